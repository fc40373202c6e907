"""The filters way: what it learns on made images, layer by layer."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fewlabels import features, graph_files
from fewlabels.errors import ConfigError, DataError
from fewlabels.images import Images, as_float
from fewlabels.ways import filters
from fewlabels.ways.filters import FiltersConfig, LayerConfig

ONE = FiltersConfig(layers=(LayerConfig(n_filters=12, patch_size=5),), iterations=5)
TWO = FiltersConfig(
    layers=(
        LayerConfig(
            n_filters=16, patch_size=5, activation="soft-threshold", threshold=0.2, pool=3,
            padding=2,
        ),
        LayerConfig(
            n_filters=6, patch_size=3, n_groups=4, channels_per_group=5, features_grid=2,
            activation="absolute", max_values=20,
        ),
    ),
    iterations=5,
)  # fmt: skip


@pytest.fixture(scope="module")
def unlabeled(tiny_set) -> Images:
    return tiny_set.unlabeled


@pytest.mark.parametrize("config", [ONE, TWO], ids=["one layer", "two layers"])
def test_the_same_seed_learns_the_same_graph_and_another_seed_another(unlabeled, config):
    first, again, other = (
        filters.learn(unlabeled, config, seed=seed, precision="fp32") for seed in (0, 0, 1)
    )

    rows = [features.extract(one, unlabeled, flips=False) for one in (first, again, other)]

    assert torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[0], rows[2])


def test_features_of_all_layers_are_joined_as_a_dag(unlabeled):
    graph = filters.learn(unlabeled, TWO, seed=0)

    assert graph.shapes["layer1"] == (16, 8, 8)
    assert graph.shapes["features1"] == (16 * 9,)
    assert graph.shapes["features2"] == (4 * 6 * 4,)
    assert graph.shapes["features"] == (16 * 9 + 4 * 6 * 4,)
    assert graph.sources["features"] == ("features1", "features2")
    assert set(graph.frozen) == set(graph.layers)


def test_a_next_layer_looks_at_square_roots_where_asked(unlabeled):
    first, second = TWO.layers
    rooted = replace(TWO, layers=(replace(first, roots=True), replace(second, roots=True)))
    graph = filters.learn(unlabeled, rooted, seed=0)

    values = graph(as_float(unlabeled.pixels[:4]), wanted=("layer1", "roots1"))

    assert ("roots1",) == graph.sources["layer2"]
    assert ("layer1",) == graph.sources["features1"]
    assert torch.equal(values["layer1"].sqrt(), values["roots1"])
    assert "roots2" not in graph.sources  # no layer reads it


def test_a_learned_graph_is_the_same_after_saving_and_loading(unlabeled, tmp_path):
    graph = filters.learn(unlabeled, TWO, seed=0)
    graph_files.save(graph, tmp_path)

    loaded = graph_files.load(tmp_path)

    expected = features.extract(graph, unlabeled, flips=True)
    assert torch.equal(expected, features.extract(loaded, unlabeled, flips=True))


def test_filters_lie_nearer_to_whitened_patches_than_their_mean_does(unlabeled):
    """K-means explains a part of the variance: the gallery is made of what is in the images."""
    graph = filters.learn(unlabeled, ONE, seed=0)
    pictures = filters.gallery(graph)

    assert pictures.shape == (12, 3, 5, 5)
    assert torch.isfinite(pictures).all()
    # directions of the gallery are the centroids' own: a rotation keeps lengths
    lengths = pictures.flatten(1).norm(dim=1)
    torch.testing.assert_close(
        lengths, graph.layers["layer1"].centroids_GKE[0].norm(dim=1), rtol=2e-2, atol=1e-2
    )


def test_learned_features_tell_classes_apart_better_than_chance(tiny_set):
    """Nearest neighbour in the features, leave one out, on ten classes."""
    graph = filters.learn(tiny_set.unlabeled, ONE, seed=0)
    rows = features.extract(graph, tiny_set.train, flips=True)
    distances = torch.cdist(rows, rows).fill_diagonal_(torch.inf)

    found = tiny_set.train.labels[distances.argmin(1).numpy()]

    assert (found == tiny_set.train.labels).mean() > 0.2


def test_images_smaller_than_the_patch_are_refused_in_one_line(unlabeled):
    config = FiltersConfig(layers=(LayerConfig(n_filters=4, patch_size=25),))

    with pytest.raises(DataError, match=r"patches of 25 x 25 .* 24 x 24") as error:
        filters.learn(unlabeled, config, seed=0)
    assert "\n" not in str(error.value)


def test_a_second_layer_that_does_not_fit_names_the_maps(unlabeled):
    layers = (TWO.layers[0], LayerConfig(n_filters=4, patch_size=9))

    with pytest.raises(DataError, match=r"maps of layer1 .* 8 x 8"):
        filters.learn(unlabeled, FiltersConfig(layers=layers, iterations=2), seed=0)


def test_fewer_patches_than_filters_is_refused(unlabeled):
    few = Images(pixels=np.ascontiguousarray(unlabeled.pixels[:2]))
    config = FiltersConfig(layers=(LayerConfig(n_filters=17, patch_size=5),))

    with pytest.raises(DataError, match="17 centroids need at least as many patches; got 16"):
        filters.learn(few, config, seed=0)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"n_filters": 0}, "n_filters is at least 1"),
        ({"activation": "relu"}, "activation is one of"),
        ({"kept_variance": 1.5}, r"kept_variance is in \(0, 1\]"),
        ({"padding": -1}, "padding is at least 0"),
        ({"channels_per_group": -1}, "channels_per_group is at least 0"),
        ({"whitening_epsilon": -0.1}, "whitening_epsilon is at least 0"),
        ({"features_statistic": "median"}, "features_statistic is one of mean, max"),
    ],
)
def test_settings_out_of_range_are_refused(changed, told):
    with pytest.raises(ConfigError, match=told):
        LayerConfig(**{"n_filters": 4, "patch_size": 5, **changed})


def test_several_groups_of_all_channels_are_refused(unlabeled):
    config = FiltersConfig(layers=(LayerConfig(n_filters=4, patch_size=5, n_groups=2),))

    with pytest.raises(ConfigError, match="2 groups of all channels would be equal"):
        filters.learn(unlabeled, config, seed=0)


def test_filters_of_some_channels_are_shown_in_all(unlabeled):
    layer = LayerConfig(n_filters=4, patch_size=5, channels_per_group=2)
    graph = filters.learn(unlabeled, FiltersConfig(layers=(layer,), iterations=2), seed=0)

    pictures = filters.gallery(graph)

    assert pictures.shape == (4, 3, 5, 5)
    assert int((pictures.abs().sum((0, 2, 3)) > 0).sum()) == 2


def test_more_channels_than_there_are_is_a_setting_to_mend(unlabeled):
    layer = LayerConfig(n_filters=4, patch_size=5, channels_per_group=9)

    with pytest.raises(ConfigError, match="groups of 9 channels"):
        filters.learn(unlabeled, FiltersConfig(layers=(layer,)), seed=0)
