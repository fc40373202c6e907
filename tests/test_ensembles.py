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
from fewlabels.model_views import last_features
from fewlabels.ways.labels import LabelsConfig

DRAW = torch.Generator().manual_seed(0)
FIRST = FirstLayer(torch.randn(8, 3, 2, 2, generator=DRAW), torch.randn(8, generator=DRAW))
IMAGES = torch.rand(7, 3, 12, 12, generator=DRAW)


def network(seed: int) -> Graph:
    """One that has seen images, so that its running statistics are its own."""
    graph = architectures.whitened_network(
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


def test_the_label_free_layer_is_there_once_and_stays_frozen():
    together = ensembles.joined([network(0), network(1)])

    assert ["first"] == [name for name in together.nodes if name.endswith("first")]
    assert ("first",) == together.frozen
    assert ("first_gelu",) == together.sources["network2_stage1_conv1"]
    # one that learns is each network's own
    others = ensembles.joined([report_network(0), report_network(1)])
    assert {"network1_layer1_conv", "network2_layer1_conv"} <= set(others.nodes)


def test_a_last_layer_reads_the_values_of_all_networks():
    name, (linear, scale) = last_features(ensembles.joined([network(0), network(1)]))

    assert "flat" == name
    assert (3, 12) == tuple(linear.weight.shape)
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


def test_one_network_sees_tones_as_told_and_several_from_never_to_twice_as_often():
    def tones(often: float, n_networks: int) -> list[float]:
        found = ensembles.variants(Augmentation(flip=0.5, tones=often), n_networks)
        assert {0.5} == {one.flip for one in found}
        return [one.tones for one in found]

    assert [0.6] == tones(0.6, 1)
    assert [0.0, 1.0] == tones(0.6, 2)
    assert [0.0, 0.3, 0.6] == pytest.approx(tones(0.3, 3))
    assert [0.0, 1 / 3, 2 / 3, 1.0] == pytest.approx(tones(0.6, 4))
    assert [0.0, 0.0, 0.0] == tones(0.0, 3)  # who wants none changed has none changed


def test_no_network_is_too_few():
    with pytest.raises(ConfigError, match=r"labels\.n_networks is at least 1; got 0"):
        LabelsConfig(n_networks=0)
