"""Networks that learn by gradients: their shapes, what is frozen, where their weights come from."""

from pathlib import Path

import pytest
import torch
from torch import nn

from fewlabels import graph_files, recipes
from fewlabels.architectures import (
    EXEMPLAR_SIZES,
    ExemplarNetwork,
    FirstLayer,
    ReportNetwork,
    WhitenedNetwork,
    exemplar_network,
    report_network,
)
from fewlabels.batch_norm import BatchNormActivation
from fewlabels.batches import shrunk
from fewlabels.errors import ConfigError
from fewlabels.graph import Graph
from fewlabels.mirrors import answers_alike
from fewlabels.trained_features import exemplar_features
from fewlabels.whitened import whitened_network

FIRST = FirstLayer(torch.linspace(-1, 1, 6 * 12).reshape(6, 3, 2, 2), torch.arange(6.0))


def whitened(size=(32, 32), widths=(8, 12), stride=1, seed=0, first=FIRST, mirrored=False) -> Graph:
    return whitened_network(
        WhitenedNetwork(widths=widths, mirrored=mirrored),
        first,
        stride=stride,
        n_classes=5,
        image_size=size,
        seed=seed,
    )


def report(n_layers=2, size=(24, 24), first=None, seed=0) -> Graph:
    return report_network(
        ReportNetwork(n_layers=n_layers, width=7, kernel_size=3),
        first,
        n_first=6,
        first_size=6,
        stride=2,
        n_classes=5,
        image_size=size,
        seed=seed,
    )


def exemplar(size="small", side=16, n_classes=9) -> Graph:
    return exemplar_network(ExemplarNetwork(size=size), n_classes=n_classes, size=side, seed=0)


def parameters(graph: Graph) -> int:
    return sum(value.numel() for value in graph.parameters() if value.requires_grad)


# --- the network for few labels


def test_maps_are_halved_by_each_stage():
    graph = whitened(widths=(8, 12, 16))

    assert (6, 31, 31) == graph.shapes["first_gelu"]
    assert [(8, 15, 15), (12, 7, 7), (16, 3, 3)] == [graph.shapes[f"stage{n}"] for n in (1, 2, 3)]
    assert (5,) == graph.shapes["logits"]


@pytest.mark.parametrize("side", [3, 6, 7])
def test_pooling_is_the_mean_of_neighbouring_largest_answers(side: int):
    graph = whitened(size=(side + 1, side + 1))
    images = torch.rand(2, 3, side + 1, side + 1, generator=torch.Generator().manual_seed(0))

    with torch.no_grad():
        found = graph.eval()(images, wanted=("stage1_conv1", "stage1_pool"))

    maps, pooled = found["stage1_conv1"], found["stage1_pool"]
    assert pooled.shape[2:] == (side // 2, side // 2)
    for row in range(side // 2):
        for column in range(side // 2):
            largest = [
                maps[:, :, top : top + 2, left : left + 2].amax((2, 3))
                for top in range(2 * row, min(2 * row + 2, side - 1))
                for left in range(2 * column, min(2 * column + 2, side - 1))
            ]
            torch.testing.assert_close(pooled[:, :, row, column], torch.stack(largest).mean(0))


def test_parameters_are_as_many_as_counted_by_hand():
    norms = 2 * (3 * 8 + 3 * 12)
    stages = 9 * (6 * 8 + 2 * 8 * 8) + 9 * (8 * 12 + 2 * 12 * 12)

    assert norms + stages + 12 * 5 == parameters(whitened())


@pytest.mark.parametrize("size", [(2, 2), (5, 5), (8, 8), (24, 40), (96, 96)])
def test_images_of_any_size_are_taken(size: tuple[int, int]):
    _, stride = WhitenedNetwork().first_layer(size)
    graph = whitened(size, widths=(4, 4, 4), stride=stride)

    assert (3, 5) == graph.train()(torch.rand(3, 3, *size)).shape


@pytest.mark.parametrize("n_stages", [3, 4])
def test_images_that_are_shown_smaller_at_first_are_taken_too(n_stages: int):
    for side in range(2, 41):
        _, stride = WhitenedNetwork().first_layer((side, side))
        graph = whitened((side, side), widths=(4,) * n_stages, stride=stride)

        (small,) = shrunk((torch.rand(2, 3, side, side),), 0.75)
        with graph.train().any_size():
            assert (2, 5) == graph(small).shape


@pytest.mark.parametrize(
    ("side", "expected"),
    [(8, (2, 1)), (32, (2, 1)), (59, (2, 1)), (60, (3, 2)), (96, (3, 2)), (120, (4, 3))],
)
def test_the_first_layer_is_wider_for_larger_images(side: int, expected: tuple[int, int]):
    assert expected == WhitenedNetwork().first_layer((side, side))
    assert (7, 5) == WhitenedNetwork(first_size=7, first_stride=5).first_layer((side, side))


def test_the_whitening_filters_are_those_given_and_stay():
    graph = whitened().train()

    assert torch.equal(FIRST.filters_F3kk, graph.layers["first"].weight)
    assert torch.equal(FIRST.offset_F, graph.layers["first"].bias)
    assert ("first",) == graph.frozen
    values = graph(torch.rand(4, 3, 32, 32), wanted=("first_gelu", "logits"))
    assert not values["first_gelu"].requires_grad
    values["logits"].sum().backward()
    assert graph.layers["first"].weight.grad is None
    assert graph.layers["stage1_conv1"].weight.grad is not None


def test_a_shortcut_goes_around_two_convolutions():
    names = ("stage1_norm1", "stage1_norm3", "stage1")
    values = whitened().eval()(torch.rand(2, 3, 32, 32), wanted=names)

    assert torch.equal(values["stage1"], values["stage1_norm1"] + values["stage1_norm3"])


def test_first_filters_of_a_convolution_hand_their_inputs_on():
    graph = whitened()
    maps = torch.rand(2, 8, 5, 5)

    torch.testing.assert_close(graph.layers["stage1_conv2"](maps), maps)
    wider = graph.layers["stage2_conv1"](maps)
    torch.testing.assert_close(wider[:, :8], maps)
    assert (wider[:, 8:] != 0).any()


def test_logits_are_scaled_by_the_number_of_values_and_of_classes():
    graph = whitened().eval()
    values = graph(torch.rand(2, 3, 32, 32), wanted=("flat", "logits"))

    weight = graph.layers["linear"].weight
    torch.testing.assert_close(values["logits"], values["flat"] @ weight.T * (5 / 10 / 12) ** 0.5)


def test_weights_are_the_seed_s_and_torch_s_own_generator_stays():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first, again, other = whitened(seed=3), whitened(seed=3), whitened(seed=4)

    assert torch.equal(before, torch.random.get_rng_state())
    key = "layers.stage1_conv1.weight"
    assert torch.equal(first.state_dict()[key], again.state_dict()[key])
    assert not torch.equal(first.state_dict()[key], other.state_dict()[key])


# --- the same of filters and their mirror images


def mirrored(size=(32, 32), **how) -> Graph:
    """One whose weights are not those that hand inputs on, in evaluation."""
    graph = whitened(size, mirrored=True, **how)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in graph.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=draw), alpha=0.1)
        graph.train()(torch.rand(9, 3, *size, generator=draw))
    return graph.eval()


@torch.no_grad()
@pytest.mark.parametrize("size", [(32, 32), (48, 48), (30, 16), (8, 8)])
def test_an_image_and_its_mirror_image_are_answered_alike(size: tuple[int, int]):
    graph, images = mirrored(size), torch.rand(4, 3, *size)

    found, image = graph(images), graph(images.flip(3))

    assert answers_alike(graph, "logits")
    torch.testing.assert_close(found, image, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found, graph(images.flip(2)), atol=1e-2)  # but not if upside down


@torch.no_grad()
@pytest.mark.parametrize(("size", "stride"), [((96, 96), 2), ((33, 33), 1), ((32, 33), 1)])
def test_where_strides_leave_columns_over_they_are_answered_nearly_alike(size, stride: int):
    graph, images = mirrored(size, stride=stride), torch.rand(4, 3, *size)

    found, image = graph(images), graph(images.flip(3))

    assert not answers_alike(graph, "logits")
    assert 1e-4 < (found - image).abs().max() < 0.5 * found.std()


def test_a_network_that_is_not_mirrored_does_not_say_that_it_is():
    assert not answers_alike(whitened(), "logits")
    assert not answers_alike(mirrored(), "stage1")
    assert not answers_alike(mirrored(), "image")


def test_mirrored_networks_have_as_many_filters_and_half_of_the_weights():
    plain, graph = whitened(), mirrored()

    stages = [name for name in plain.nodes if name.startswith("stage")]
    assert [plain.shapes[name] for name in stages] == [graph.shapes[name] for name in stages]
    # the 6 filters of the first layer and their mirror images, which are not among them
    norms, last = 2 * (3 * 4 + 3 * 6), 6 * 5
    stages = 9 * (12 * 4 + 2 * 8 * 4) + 9 * (8 * 6 + 2 * 12 * 6)
    assert norms + stages + last == parameters(graph)
    assert (12, 31, 31) == graph.shapes["first"]
    torch.testing.assert_close(FIRST.filters_F3kk.flip(3), graph.layers["first"].weight[6:])


def test_first_layers_that_hold_their_mirror_images_are_left_as_they_are():
    both = torch.cat([FIRST.filters_F3kk, FIRST.filters_F3kk.flip(3)])
    first = FirstLayer(both, FIRST.offset_F.repeat(2))

    assert torch.equal(both, mirrored(first=first).layers["first"].weight)


def test_the_first_filters_of_mirrored_convolutions_hand_their_inputs_on():
    graph, maps = whitened(mirrored=True), torch.rand(2, 8, 5, 5)

    torch.testing.assert_close(graph.layers["stage1_conv2"](maps), maps)
    wider = graph.layers["stage2_conv1"](maps)  # 6 pairs
    torch.testing.assert_close(wider[:, :6], maps[:, :6])
    torch.testing.assert_close(wider[:, 6:], maps[:, [4, 5, 6, 7, 0, 1]])


def test_an_odd_number_of_filters_cannot_be_mirrored():
    with pytest.raises(ConfigError, match=r"widths are even.*got \(8, 9\): .*mirrored=false"):
        mirrored(widths=(8, 9))
    with pytest.raises(ConfigError, match=r"widths are even"):
        recipes.named("labels", {"network.widths": "8,9"})

    told = {"network.widths": "8,9", "network.mirrored": "false"}
    assert (8, 9) == recipes.named("labels", told).network.widths
    assert (9, 7, 7) == whitened(widths=(8, 9)).shapes["stage2"]


# --- the report's networks


def test_the_report_s_networks_have_as_many_layers_of_filters_as_asked():
    for n_layers in (1, 2, 3):
        convolutions = [m for m in report(n_layers).modules() if isinstance(m, nn.Conv2d)]
        assert n_layers == len(convolutions)

    graph = report(3)
    # (24 - 6) / 2 + 1 = 10 places, halved where there is more than one
    shapes = [graph.shapes[f"layer{n}_pool"] for n in (1, 2, 3)]
    assert [(6, 5, 5), (7, 2, 2), (7, 1, 1)] == shapes
    assert (5,) == graph.shapes["logits"]


def test_a_first_layer_of_centroids_keeps_their_directions_and_learns():
    centroids = torch.randn(6, 3, 6, 6, generator=torch.Generator().manual_seed(1)) * 40
    graph, random = report(first=FirstLayer(centroids, torch.ones(6))), report()

    found, drawn = (one.layers["layer1_conv"].weight.detach() for one in (graph, random))
    cosines = torch.cosine_similarity(found.flatten(1), centroids.flatten(1))
    torch.testing.assert_close(cosines, torch.ones(6))
    lengths = [one.flatten(1).norm(dim=1) for one in (found, drawn)]
    torch.testing.assert_close(lengths[0], lengths[1].mean().expand(6))
    assert () == graph.frozen
    # all else is drawn alike
    key = "layers.layer2_conv.weight"
    assert torch.equal(graph.state_dict()[key], random.state_dict()[key])


def test_the_report_s_network_runs_on_oblong_images():
    assert (2, 5) == report(3, (24, 40))(torch.rand(2, 3, 24, 40)).shape


# --- Exemplar-CNN


@pytest.mark.parametrize("size", EXEMPLAR_SIZES)
def test_exemplar_networks_are_those_of_the_paper(size: str):
    graph = exemplar(size, side=32)
    convolutions = [m for m in graph.modules() if isinstance(m, nn.Conv2d)]
    widths, full = {
        "small": ([64, 64], 128),
        "medium": ([64, 128, 256], 512),
        "large": ([92, 256, 512], 1024),
    }[size]

    assert [*widths, full] == [one.out_channels for one in convolutions]
    # 5 x 5, and after two poolings a layer over all of 32 / 4 places
    assert [5] * len(widths) + [8] == [one.kernel_size[0] for one in convolutions]
    pools = [m for m in graph.modules() if isinstance(m, nn.MaxPool2d)]
    assert 2 == len(pools)
    assert (full, 1, 1) == graph.shapes["full_norm"]
    assert (9,) == graph.shapes["logits"]


def test_features_are_the_highest_answers_in_each_quarter_of_every_layer():
    network = exemplar().eval()
    graph = exemplar_features(network, (24, 24))
    images = torch.rand(2, 3, 24, 24)

    found = graph(images)

    maps = graph(images, wanted=("norm1", "norm2", "full_norm"))
    assert (2, 4 * (64 + 64 + 128)) == found.shape
    quarters = [
        maps["norm1"][:, :, rows, columns].amax((2, 3))
        for rows in (slice(0, 12), slice(12, 24))
        for columns in (slice(0, 12), slice(12, 24))
    ]
    torch.testing.assert_close(found[:, : 4 * 64], torch.stack(quarters, 2).flatten(1))
    assert (3, 3) == maps["full_norm"].shape[2:]


def test_features_of_images_as_small_as_surrogates_hold_the_full_layer_once():
    network = exemplar().eval()
    images = torch.rand(2, 3, 16, 16)

    found = exemplar_features(network, (16, 16))(images)

    full = network(images, wanted=("full_norm",))["full_norm"].flatten(1)
    assert (2, 4 * 128 + 128) == found.shape
    torch.testing.assert_close(found[:, -128:], full)


def test_feature_graphs_share_the_trained_weights_and_are_frozen():
    network = exemplar()
    graph = exemplar_features(network, (20, 20))

    assert graph.layers["conv1"] is network.layers["conv1"]
    assert set(graph.frozen) == set(graph.nodes)
    assert "logits" not in graph.nodes


def test_surrogates_too_small_for_the_network_are_refused():
    with pytest.raises(ConfigError, match=r"surrogates.size is at least 4 .* got 3"):
        exemplar(side=3)


# --- all of them


@pytest.mark.parametrize(
    "graph",
    [whitened(), mirrored(), report(), exemplar()],
    ids="whitened mirrored report ex".split(),
)
def test_a_network_is_saved_and_loaded_bit_for_bit(graph: Graph, tmp_path: Path):
    (_, height, width) = graph.inputs["image"]
    images = torch.rand(3, 3, height, width)
    graph.train()(images)

    graph_files.save(graph.eval(), tmp_path)

    assert torch.equal(graph(images), graph_files.load(tmp_path)(images))


@pytest.mark.parametrize(
    "graph", [whitened(), report(), exemplar()], ids="whitened report ex".split()
)
def test_every_convolution_that_learns_has_a_norm_and_no_bias(graph: Graph):
    learning = [name for name in graph.nodes if name not in graph.frozen]
    convolutions = [m for m in map(graph.layers.__getitem__, learning) if isinstance(m, nn.Conv2d)]
    norms = [m for m in graph.modules() if isinstance(m, BatchNormActivation)]

    assert len(convolutions) == len(norms)
    assert all(one.bias is None for one in convolutions)
