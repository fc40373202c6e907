"""What a model sees of images; N images, D features, K values of a sketch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fewlabels import sketches
from fewlabels.fitting import fit
from fewlabels.graph import Graph, node
from fewlabels.images import ImageSet
from fewlabels.model import Model, probabilities
from fewlabels.model_views import features_of, sketches_of, view
from fewlabels.sketches import last_features
from small_runs import FAST, SMALL


@pytest.fixture(scope="module")
def filters(tiny_set: ImageSet) -> Model:
    return fit(tiny_set, "kmeans-1", settings=FAST)


@pytest.fixture(scope="module")
def network(tiny_set: ImageSet) -> Model:
    return fit(tiny_set, "labels", settings=SMALL["labels"] | {"training.epochs": "1"})


def test_answers_are_those_of_the_model(filters: Model, network: Model, tiny_set: ImageSet):
    for model in (filters, network):
        seen = view(model, tiny_set.test, seed=0, what="some")
        (expected,) = probabilities((model,), tiny_set.test)

        np.testing.assert_allclose(expected, seen.probabilities_NL, atol=1e-5)


def test_a_network_is_seen_below_its_last_linear_layer(network: Model, tiny_set: ImageSet):
    name, modules = last_features(network.graph)

    features_ND = features_of(network, tiny_set.test, what="some")
    seen = view(network, tiny_set.test, seed=0, what="some")

    assert ("flat", 2) == (name, len(modules))  # the linear layer and its scale
    assert (60, 3) == features_ND.shape  # pairs of filters and their mirror images
    np.testing.assert_allclose(features_ND.numpy(), seen.sketches_NK, atol=1e-6)


def test_a_network_that_ends_otherwise_is_seen_at_its_output():
    nodes = {"a": node(nn.Linear(4, 3), "x"), "b": node(nn.ReLU(), "a")}

    assert ("b", ()) == last_features(Graph(nodes, {"x": (4,)}, ("b",)))
    assert "x" == last_features(Graph({"a": nodes["a"]}, {"x": (4,)}, ("a",)))[0]


def test_few_features_are_their_own_sketch_standardised_as_the_head_does(
    filters: Model, tiny_set: ImageSet, monkeypatch
):
    monkeypatch.setattr(sketches, "N_VALUES", 10**6)
    features_ND = features_of(filters, tiny_set.test, what="some")
    tensors = filters.head.tensors

    seen = view(filters, tiny_set.test, seed=0, what="some")

    expected = (features_ND - tensors["mean"]) * tensors["scale"]
    np.testing.assert_allclose(expected.numpy(), seen.sketches_NK, atol=1e-5)


def test_a_sketch_keeps_distances_within_a_few_percent(filters: Model, tiny_set: ImageSet):
    draw = torch.Generator().manual_seed(0)
    n_features = 4000
    tensors = {"mean": torch.ones(n_features), "scale": torch.full((n_features,), 2.0)}
    wide = replace(filters, head=replace(filters.head, tensors=tensors))
    features_ND = torch.randn(20, n_features, generator=draw)

    sketches_NK = torch.from_numpy(sketches_of(wide, features_ND, seed=3))

    ratio = torch.pdist(sketches_NK) / (2 * torch.pdist(features_ND))
    assert (20, 512) == sketches_NK.shape
    assert 0.15 > float((ratio - 1).abs().max())
    assert 0.05 > float((ratio - 1).abs().mean())


def test_sketches_of_features_are_those_of_a_view(filters: Model, tiny_set: ImageSet, monkeypatch):
    monkeypatch.setattr(sketches, "N_VALUES", 16)
    features_ND = features_of(filters, tiny_set.test, what="some")

    seen = view(filters, tiny_set.test, seed=5, what="some")

    assert (60, 16) == seen.sketches_NK.shape
    np.testing.assert_allclose(
        sketches_of(filters, features_ND, seed=5), seen.sketches_NK, rtol=1e-4, atol=1e-3
    )
