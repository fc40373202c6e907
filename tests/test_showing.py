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


def test_where_the_unlabelled_images_were_of_no_use_the_page_does_not_say_that_they_taught():
    described = recipes.named("consistency", {}).as_dict()

    def told(*folds: dict) -> str:
        scores = {"protocol": "fold-0", **(folds[0] if len(folds) == 1 else {"folds": folds})}
        return showing._protocol_notes(scores, described)[0]

    unused, used = {"accuracy": 0.5, "why_none_used": "there are none"}, {"accuracy": 0.5}
    assert "by its own answers all of it" in told(used)
    assert "by its own answers all of it" in told(used, unused)
    for one in (told(unused), told(unused, unused)):
        assert f"what its first layer starts from {WITHOUT_LABELS}" in one
        assert "answers" not in one
