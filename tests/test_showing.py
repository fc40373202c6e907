"""What the page of a run says of how it learned."""

import pytest

from fewlabels import recipes, showing

WITHOUT_LABELS = "learned from the unlabelled images and from all training images without their"


@pytest.mark.parametrize(
    ("recipe", "settings", "expected"),
    [
        ("kmeans-1", {}, f"The filters {WITHOUT_LABELS}"),
        ("surrogate", {}, f"The network {WITHOUT_LABELS}"),
        ("labels", {}, f"labelled images; what its first layer starts from {WITHOUT_LABELS}"),
        ("report-2", {}, f"labelled images; what its first layer starts from {WITHOUT_LABELS}"),
        ("committee", {}, f"starts from, and the filters that the head reads, {WITHOUT_LABELS}"),
        (
            "report-2",
            {"network.first": "random"},
            "The network learned from the labelled images alone; test images were only answered.",
        ),
    ],
)
def test_the_page_tells_what_was_learned_from_which_images(recipe, settings, expected):
    described = recipes.named(recipe, settings).as_dict()

    (note,) = showing._protocol_notes({"protocol": "fold-0"}, described)

    assert note.startswith("Protocol: fold-0. The ")
    assert expected in note
    assert note.endswith("test images were only answered.")
    assert ("unlabelled" in note) == (settings == {})
