"""Networks that answer together: their mean, as one graph."""

import copy
from pathlib import Path

import pytest
import torch

from fewlabels import architectures, ensembles
from fewlabels.architectures import FirstLayer, WhitenedNetwork
from fewlabels.augment import Augmentation
from fewlabels.errors import ConfigError
from fewlabels.graph import Graph
from fewlabels.graph_files import load, save
from fewlabels.layers import Scale
from fewlabels.sketches import last_features
from fewlabels.ways.labels import LabelsConfig
from fewlabels.whitened import whitened_network

DRAW = torch.Generator().manual_seed(0)
FIRST = FirstLayer(torch.randn(8, 3, 2, 2, generator=DRAW), torch.randn(8, generator=DRAW))
IMAGES = torch.rand(7, 3, 12, 12, generator=DRAW)


def network(seed: int) -> Graph:
    """One that has seen images, so that its running statistics are its own."""
    graph = whitened_network(
        WhitenedNetwork(widths=(4, 6), first_filters=8), FIRST, stride=1, n_classes=3,
        image_size=(12, 12), seed=seed,
    )  # fmt: skip
    with torch.no_grad():
        for _ in range(3):
            graph.train()(torch.rand(7, 3, 12, 12, generator=DRAW))
    return graph.eval()


def report_network(seed: int) -> Graph:
    return architectures.report_network(
        architectures.ReportNetwork(width=4), None, n_first=5, first_size=3, stride=1, n_classes=3,
        image_size=(12, 12), seed=seed,
    ).eval()  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("made", [network, report_network])
def test_the_logits_are_the_mean_of_the_networks_logits(made):
    networks = [made(seed) for seed in range(3)]
    alone = torch.stack([one(IMAGES) for one in networks])
    together = ensembles.joined(networks)

    assert alone.std(0).min() > 1e-4  # they differ
    torch.testing.assert_close(alone.mean(0), together(IMAGES), rtol=0, atol=1e-5)


@torch.no_grad()
def test_networks_that_weigh_unlike_have_the_weighted_sum_of_their_logits():
    networks = [network(seed) for seed in range(3)]
    expected = sum(p * one(IMAGES) for p, one in zip((0.5, 0.0, 2.0), networks, strict=True))
    together = ensembles.joined(networks, [0.5, 0.0, 2.0])

    torch.testing.assert_close(expected, together(IMAGES), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="zip"):
        ensembles.joined(networks, [1.0])


def test_the_label_free_layer_is_there_once_and_stays_frozen():
    together = ensembles.joined([network(0), network(1)])

    assert ["first"] == [name for name in together.nodes if name.endswith("first")]
    assert ("first",) == together.frozen
    assert ("first_gelu",) == together.sources["network2_stage1_conv1"]
    # one that learns is each network's own
    others = ensembles.joined([report_network(0), report_network(1)])
    assert {"network1_layer1_conv", "network2_layer1_conv"} <= set(others.nodes)
    assert () == tuple(others.frozen)


def test_a_last_layer_reads_the_values_of_all_networks():
    name, (linear, scale) = last_features(ensembles.joined([network(0), network(1)]))

    assert "flat" == name
    assert (3, 6) == tuple(linear.weight.shape)
    assert isinstance(scale, Scale)


def test_one_network_is_given_back_and_the_others_are_left_as_they_were():
    one, two = network(0), network(1)
    before = copy.deepcopy(two.state_dict())

    assert ensembles.joined([one]) is one
    ensembles.joined([one, two])
    assert all(torch.equal(value, two.state_dict()[key]) for key, value in before.items())


@torch.no_grad()
def test_a_saved_and_loaded_ensemble_answers_the_same_bit_for_bit(tmp_path: Path):
    together = ensembles.joined([network(0), network(1)])
    save(together, tmp_path)

    assert torch.equal(together(IMAGES), load(tmp_path).eval()(IMAGES))


def test_one_network_sees_images_as_told_and_several_unlike_ones():
    told = Augmentation(flip=0.5, tones=0.6)
    plain = Augmentation(flip=0.5)

    def seen(n_networks: int) -> list[tuple[Augmentation, bool]]:
        return [(one.changes, one.gray) for one in ensembles.members(told, n_networks)]

    four = [(plain, False), (told, True), (told, False), (told, False)]
    assert [(told, False)] == seen(1)
    assert four[:2] == seen(2)
    assert four[:3] == seen(3)
    assert [*four, *four[:2]] == seen(6)


@torch.no_grad()
def test_a_network_without_colours_answers_to_the_gray_of_an_image():
    one = network(0)
    gray = ensembles.without_colours(one)
    luma = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    as_gray = (IMAGES * luma).sum(1, keepdim=True).expand(-1, 3, -1, -1)

    torch.testing.assert_close(one(as_gray), gray(IMAGES), rtol=0, atol=1e-5)
    assert (one(IMAGES) - gray(IMAGES)).abs().max() > 1e-3
    assert {"gray", "first"} == set(gray.frozen)
    assert all(gray.layers[name] is module for name, module in one.layers.items())


@torch.no_grad()
def test_networks_with_and_without_colours_share_no_first_layer():
    networks = [network(0), ensembles.without_colours(network(1)), network(2)]
    alone = torch.stack([one(IMAGES) for one in networks])
    together = ensembles.joined(networks)

    torch.testing.assert_close(alone.mean(0), together(IMAGES), rtol=0, atol=1e-5)
    first = {"first", "network2_first"}
    assert first == {name for name in together.nodes if name.endswith("first")}
    assert {*first, "network2_gray"} == set(together.frozen)


def test_no_network_is_too_few():
    with pytest.raises(ConfigError, match=r"labels\.n_networks is at least 1; got 0"):
        LabelsConfig(n_networks=0)
