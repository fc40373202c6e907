"""The stack's way: what it learns on made images, layer by layer."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fewlabels import features, fitting, graph_files, patches, protocol, recipes
from fewlabels.errors import ConfigError, DataError
from fewlabels.images import Images, as_float
from fewlabels.ways import filters, stack
from fewlabels.ways.filters import FiltersConfig, LayerConfig
from fewlabels.ways.stack import StackConfig, StackLayerConfig

BESIDE = FiltersConfig(
    layers=(
        LayerConfig(
            n_filters=10, patch_size=5, activation="soft-threshold", threshold=0.2, pool=3,
            padding=2, features_shift=1,
        ),
    ),
    iterations=3,
)  # fmt: skip
STACK = StackConfig(
    layers=(
        StackLayerConfig(n_filters=14, n_values=40),
        StackLayerConfig(n_filters=12, patch_size=3, n_values=30, features_grid=2),
    ),
    first_filters=11,
    iterations=4,
)
SMALL = {
    "filters.n_filters": "40",
    "filters.iterations": "2",
    "stack.n_filters": "30",
    "stack.first_filters": "20",
    "second_stack.n_filters": "30",
    "second_stack.first_filters": "20",
    "second_stack.iterations": "2",
    "stack.iterations": "2",
    "head.strengths": "0.1",
}


@pytest.fixture(scope="module")
def unlabeled(tiny_set) -> Images:
    return tiny_set.unlabeled


@pytest.fixture(scope="module")
def beside(unlabeled):
    return filters.learn(unlabeled, BESIDE, seed=0, precision="fp32")


@pytest.fixture(scope="module")
def graph(unlabeled, beside):
    return stack.learn(unlabeled, beside, STACK, seed=0, precision="fp32")


def test_features_of_filters_and_of_the_stack_are_joined_as_a_dag(graph, beside):
    assert graph.shapes["layer1"] == beside.shapes["layer1"] == (10, 8, 8)
    assert graph.shapes["stack1"] == (11, 12, 12)
    assert graph.shapes["stack2"] == (14, 6, 6)
    assert graph.shapes["stack3"] == (12, 3, 3)
    assert ("image",) == graph.sources["layer1"] == graph.sources["stack_bank1_white"]
    assert graph.sources["features"] == ("features1", "stack_features2", "stack_features3")
    assert graph.shapes["features"] == (90 + 14 * (9 + 1) + 12 * (4 + 1),)
    assert set(graph.frozen) == set(graph.layers)


def test_a_first_layer_of_cosines_is_one_of_the_filters_way(unlabeled, beside):
    config = replace(STACK, first="cosine", layers=STACK.layers[:1])

    graph = stack.learn(unlabeled, beside, config, seed=0, name="other", precision="fp32")

    encoder = graph.layers["other_bank1"]
    assert ("image",) == graph.sources["other_bank1"]
    assert (11, "soft-threshold", 1) == (encoder.n_filters, encoder.activation, encoder.pool)
    assert graph.shapes["other_bank1"] == (11, 24, 24)
    assert graph.sources["features"] == ("features1", "other_features2")


def test_kmeans_3_joins_both_stacks_to_the_layer_of_kmeans_1(tiny_set):
    graph = fitting.fit(tiny_set, "kmeans-3", settings=SMALL).graph

    joined = ("features1", "stack_features2", "stack_features3", "second_stack_features2")
    assert joined == graph.sources["features"]


def test_images_are_whitened_as_zca_whitens_the_middle_of_each_surrounding(unlabeled):
    """Slowly, of the same patches: deviations and axes by SVD, then one place of one image."""
    side, draw = 11, np.random.default_rng(3)
    chosen = np.sort(draw.permutation(len(unlabeled)))
    cut_PD = patches.cut(unlabeled.pixels[chosen], side, stack.PER_IMAGE, draw) / 255.0
    mean_D = cut_PD.mean(0)
    _, sizes_E, axes_ED = np.linalg.svd(cut_PD - mean_D, full_matrices=True)
    deviations_D = np.zeros(len(mean_D))
    deviations_D[: len(sizes_E)] = sizes_E / len(cut_PD) ** 0.5
    zca_DD = axes_ED.T @ np.diag(1 / (deviations_D + 0.05)) @ axes_ED
    images = as_float(unlabeled.pixels[:2])

    module = stack._whitening_of_images(unlabeled, np.random.default_rng(3))

    around_D = images[1, :, 4:15, 7:18].flatten().double().numpy()
    expected = (zca_DD @ (around_D - mean_D)).reshape(3, side, side)[:, 5, 5]
    found = module(images)[1, :, 9, 12].detach()
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-3)


def test_the_layer_beside_stays_as_it_was(graph, beside, unlabeled):
    images = as_float(unlabeled.pixels[:5])

    assert torch.equal(beside(images), graph(images, wanted=("features1",))["features1"])


def test_the_same_seed_learns_the_same_graph_and_another_seed_another(unlabeled, beside, graph):
    again, other = (
        stack.learn(unlabeled, beside, STACK, seed=seed, precision="fp32") for seed in (0, 1)
    )

    rows = [features.extract(one, unlabeled, flips=False) for one in (graph, again, other)]

    assert torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[0], rows[2])


def test_learning_leaves_the_state_of_torch_s_generator_alone(unlabeled, beside):
    before = torch.get_rng_state()

    stack.learn(unlabeled, beside, STACK, seed=0)

    assert torch.equal(before, torch.get_rng_state())


def test_filters_have_length_1_and_no_mean(graph):
    """Patches have mean 0, so what they are made of has none, and brightness does not count."""
    for name in ("stack_bank2", "stack_bank3"):
        filters_KD = graph.layers[name].filters_KCss.flatten(1)
        torch.testing.assert_close(filters_KD.norm(dim=1), torch.ones(len(filters_KD)))
        torch.testing.assert_close(
            filters_KD.mean(1), torch.zeros(len(filters_KD)), atol=1e-4, rtol=0
        )


def test_filters_are_excited_more_by_images_than_drawn_ones(graph, unlabeled):
    """K-means finds directions that patches have: random ones of the same length answer less."""
    maps = graph(as_float(unlabeled.pixels[:40]), wanted=("stack_shares1",))["stack_shares1"]
    bank = graph.layers["stack_bank2"]
    drawn = torch.randn(bank.filters_KCss.shape, generator=torch.Generator().manual_seed(0))
    drawn = drawn - drawn.mean((1, 2, 3), keepdim=True)
    drawn /= drawn.flatten(1).norm(dim=1)[:, None, None, None]

    learned, random = (
        torch.nn.functional.conv2d(maps, some, padding=2).square().mean()
        for some in (bank.filters_KCss, drawn)
    )

    assert learned > 1.5 * random


def test_whitening_divides_axes_by_their_deviation_and_a_part_of_the_mean_one():
    """By hand, in two axes that the patches lie in exactly: deviations 6 and 2."""
    scores = torch.tensor([[6.0, 2.0], [6.0, -2.0], [-6.0, 2.0], [-6.0, -2.0]])
    axes_2D = torch.tensor([[0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    layer = StackLayerConfig(n_filters=1, n_values=2, whitening_epsilon=3.0)

    project_DE = stack._whitening(scores @ axes_2D, layer, torch.Generator().manual_seed(0))

    whitened = scores @ axes_2D @ project_DE
    # each deviation by itself and 3 times their mean, 4
    torch.testing.assert_close(whitened.abs()[0], torch.tensor([6 / (6 + 12), 2 / (2 + 12)]))


def test_the_first_patches_are_all_that_come_up_to_so_many():
    chunks = iter([torch.full((4, 2), float(i)) for i in range(4)])

    first = stack._first(chunks, 10)

    assert [0] * 4 + [1] * 4 + [2] * 2 == first[:, 0].tolist()
    assert 3 == next(chunks)[0, 0]  # the rest is still to come


def test_a_learned_graph_is_the_same_after_saving_and_loading(graph, unlabeled, tmp_path):
    graph_files.save(graph, tmp_path)

    loaded = graph_files.load(tmp_path)

    expected = features.extract(graph, unlabeled, flips=True)
    assert torch.equal(expected, features.extract(loaded, unlabeled, flips=True))


def test_a_model_of_kmeans_3_knows_more_than_chance(tiny_set):
    model = fitting.fit(tiny_set, "kmeans-3", settings=SMALL)

    (scores,) = protocol.evaluate([model], tiny_set.test)

    assert scores.accuracy > 0.2


# --- bad input


def test_maps_smaller_than_the_patch_are_refused_in_one_line(unlabeled, beside):
    config = replace(STACK, layers=(StackLayerConfig(n_filters=4, patch_size=13),))

    with pytest.raises(
        DataError, match=r"maps of stack_shares1 .* 12 x 12.*stack\.patch_size"
    ) as error:
        stack.learn(unlabeled, beside, config, seed=0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("setting", "text"), [("stack.n_filters", "1001,5"), ("second_stack.first_filters", "1601")]
)
def test_fewer_patches_than_filters_are_refused_before_anything_is_learned(
    tiny_set, setting, text, monkeypatch
):
    monkeypatch.setattr(filters, "learn", None)

    with pytest.raises(DataError, match=rf"1,[06]01 filters need as many .*--set {setting}="):
        fitting.fit(tiny_set, "kmeans-3", settings={**SMALL, setting: text})


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"n_filters": 0}, "n_filters is at least 1"),
        ({"patch_size": 4}, "patch_size is odd"),
        ({"whitening_epsilon": -1.0}, "whitening_epsilon is at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(changed, told):
    with pytest.raises(ConfigError, match=rf"stack\.{told}"):
        StackLayerConfig(**{"n_filters": 4, **changed})


@pytest.mark.parametrize(
    "changed",
    [
        {"layers": ()},
        {"iterations": 0},
        {"first_filters": 0},
        {"first_patch_size": 4},
        {"first": "a"},
    ],
)
def test_settings_of_the_stack_out_of_range_are_refused(changed):
    with pytest.raises(ConfigError, match=rf"^stack\.{next(iter(changed))} (has|is) .*"):
        replace(STACK, **changed)


@pytest.mark.parametrize("part", ["stack", "second_stack"])
@pytest.mark.parametrize(("name", "text"), [("n_filters", "0"), ("iterations", "0")])
def test_a_refusal_names_the_stack_that_is_meant(part: str, name: str, text: str):
    with pytest.raises(ConfigError, match=rf"^{part}\.{name} is at least 1; got 0"):
        recipes.named("kmeans-3", {f"{part}.{name}": text})


def test_a_stack_needs_filters_that_are_the_network():
    labels = recipes.named("labels")

    with pytest.raises(ConfigError, match="the stack of recipe labels stands beside filters"):
        replace(labels, stack=STACK)
