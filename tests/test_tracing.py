"""Tracing: sizes by hand, losses against autograd, and everything left as it was."""

import copy
import json
import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewlabels.errors import DataError
from fewlabels.graph import Graph, node
from fewlabels.heads import Head
from fewlabels.layers import Concat
from fewlabels.model import Model
from fewlabels.recipes import kmeans_1
from fewlabels.trace_losses import Loss, against_own_answers, half_squares, loss_of
from fewlabels.tracing import EdgeTrace, root_mean_square, trace


def ones(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.ones_like(value) for name, value in values.items()}


ONES = Loss(words="the sum", gradient=ones)


def scale(factor: float) -> nn.Conv2d:
    module = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.constant_(module.weight, factor)
    return module


def small() -> Graph:
    return Graph(
        {
            "first": node(scale(2.0), "image"),
            "second": node(scale(0.01), "first"),
            "both": node(Concat(), "first", "second"),
            "unused": node(nn.Flatten(), "first"),
        },
        inputs={"image": (1, 2, 2)},
        outputs=("both",),
    ).freeze("second")


def test_sizes_of_values_edges_and_parameters_are_those_by_hand():
    traced = trace(small(), torch.full((2, 1, 2, 2), 3.0), ONES, repeats=1)
    nodes = {one.name: one for one in traced.nodes}

    assert (2, "the sum") == (traced.n_images, traced.loss)
    assert ["image", "first", "second", "both", "unused"] == list(nodes)
    assert [3.0, 6.0] == [nodes[name].value_rms for name in ("image", "first")]
    assert math.isclose(math.sqrt((6**2 + 0.06**2) / 2), nodes["both"].value_rms, rel_tol=1e-6)
    # d sum / d first = 1 along "both" and 0.01 along "second"
    assert [
        EdgeTrace(source="image", target="first", position=0, value_rms=3.0, gradient_rms=2.02),
        EdgeTrace(source="first", target="second", position=0, value_rms=6.0, gradient_rms=0.01),
        EdgeTrace(source="first", target="both", position=0, value_rms=6.0, gradient_rms=1.0),
        EdgeTrace(source="second", target="both", position=1, value_rms=0.06, gradient_rms=1.0),
    ] == [
        replace(one, value_rms=round(one.value_rms, 6), gradient_rms=round(one.gradient_rms, 6))
        for one in traced.edges
    ]
    assert math.isclose(1.01, nodes["first"].gradient_rms, rel_tol=1e-6)
    first, second = traced.parameters
    assert ("layers.first.weight", "first", (1, 1, 1, 1), False) == (
        first.name, first.node, first.shape, first.frozen
    )  # fmt: skip
    assert math.isclose(8 * 3 * 1.01, first.gradient_rms, rel_tol=1e-6)  # 8 values of 3
    assert (True, None) == (second.frozen, second.gradient_rms)


def test_memory_counts_and_seconds_stand_where_they_are():
    traced = trace(small(), torch.ones(2, 1, 2, 2), ONES, repeats=2)
    nodes = {one.name: one for one in traced.nodes}

    assert 2 * 2 * 4 * 4 / 2**20 == nodes["both"].output_mib  # 2 images of 2 x 2 x 2 floats
    assert [0, 1, 1, 0, 0] == [one.n_parameters for one in traced.nodes]
    assert (2, 2, 2) == nodes["both"].shape
    for name in ("first", "second", "both"):
        assert nodes[name].forward_seconds > 0
        assert nodes[name].backward_seconds > 0
    assert nodes["image"].forward_seconds is None
    unused = nodes["unused"]
    assert [None] * 4 == [
        unused.forward_seconds, unused.value_rms, unused.gradient_rms, unused.output_mib
    ]  # fmt: skip


def test_a_shared_module_counts_at_its_first_node():
    shared = scale(1.0)
    graph = Graph({"a": node(shared, "x"), "b": node(shared, "a")}, {"x": (1, 2, 2)}, ("b",))
    traced = trace(graph, torch.ones(2, 1, 2, 2), ONES, repeats=1)

    assert [0, 1, 0] == [one.n_parameters for one in traced.nodes]
    assert ["layers.a.weight"] == [one.name for one in traced.parameters]
    assert 8 + 8 == traced.parameters[0].gradient_rms  # of w^2 x, for 8 values of 1


def test_tracing_leaves_statistics_modes_gradients_and_random_state_as_they_were():
    graph = Graph(
        {"norm": node(nn.BatchNorm2d(3), "x"), "drop": node(nn.Dropout(0.5), "norm"),
         "fixed": node(nn.BatchNorm2d(3), "drop")},
        {"x": (3, 4, 4)}, ("fixed",),
    ).freeze("fixed").eval()  # fmt: skip
    graph.layers["drop"].train()
    before, state = copy.deepcopy(graph.state_dict()), torch.get_rng_state()
    images = torch.randn(4, 3, 4, 4)
    state = torch.get_rng_state()
    traced = trace(graph, images, ONES)

    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[key], value) for key, value in graph.state_dict().items())
    modes = {name: layer.training for name, layer in graph.layers.items()}
    assert {"norm": False, "drop": True, "fixed": False} == modes
    assert all(parameter.grad is None for parameter in graph.parameters())
    # training mode: batch norm by the batch's own statistics
    assert math.isclose(1.0, traced.nodes[1].value_rms, rel_tol=1e-3)
    again = trace(graph, images, ONES)
    assert [one.value_rms for one in traced.nodes] == [one.value_rms for one in again.nodes]


def test_what_is_not_finite_is_a_word_in_json():
    graph = Graph({"a": node(scale(math.inf), "x")}, {"x": (1, 2, 2)}, ("a",))
    traced = trace(graph, torch.zeros(2, 1, 2, 2), ONES, repeats=1).as_dict()

    def refused(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    assert traced == json.loads(json.dumps(traced), parse_constant=refused)
    assert "nan" == traced["nodes"][1]["value_rms"]
    assert "inf" == traced["edges"][0]["gradient_rms"]


@pytest.mark.parametrize(
    ("shape", "line"),
    [
        ((2, 1, 3, 2), "takes images of 1 x 2 x 2; got 1 x 3 x 2: resize"),
        ((1, 1, 2, 2), "at least 2 images; got 1: give more"),
    ],
)
def test_images_that_do_not_fit_are_refused(shape, line):
    with pytest.raises(DataError, match=line):
        trace(small(), torch.zeros(shape), ONES)


def test_the_root_mean_square_is_that_of_its_name():
    assert 5.0 == root_mean_square(torch.tensor([[1.0, 7.0]]))
    assert 5.0 == root_mean_square(torch.tensor([1, 7]))
    assert math.isclose(1e-30, root_mean_square(torch.full((5,), 1e-30)), rel_tol=1e-6)


# Losses


def model_that_ends_in(width: int, kind: str = "ridge") -> Model:
    graph = Graph({"out": node(nn.Linear(4, width), "x")}, {"x": (4,)}, ("out",))
    tensors = {"mean": torch.rand(width), "scale": torch.rand(width)}
    if kind == "kernel":
        tensors |= {"support": torch.rand(2, width), "duals": torch.rand(2, 3)}
    else:
        tensors["weights"] = torch.randn(width, 3)
    head = Head(kind=kind, tensors=tensors | {"bias": torch.rand(3)}, chosen={"width": 1.0})
    return Model(
        graph=graph, head=head, class_names=("a", "b", "c"), recipe=kmeans_1(), image_size=(2, 2)
    )


def by_autograd(loss: Tensor, values: Tensor) -> Tensor:
    return torch.autograd.grad(loss, values)[0]


def test_logits_are_pulled_by_cross_entropy_with_their_own_answer():
    values = torch.randn(5, 3, requires_grad=True)
    loss = loss_of(model_that_ends_in(3))
    expected = by_autograd(F.cross_entropy(values, values.argmax(1)), values)

    assert "cross-entropy" in loss.words
    torch.testing.assert_close(expected, loss.gradient({"out": values.detach()})["out"])
    assert loss.words == against_own_answers("out").words


def test_features_of_a_linear_head_are_pulled_by_its_highest_answer():
    model = model_that_ends_in(7)
    values = torch.randn(5, 7, requires_grad=True)
    loss = loss_of(model)
    expected = by_autograd(model.head.answers(values).max(1).values.mean(), values)

    assert "highest answer of the linear head" in loss.words
    torch.testing.assert_close(expected, loss.gradient({"out": values.detach()})["out"])


def test_features_of_a_kernel_head_are_pulled_by_half_their_squares():
    values = torch.randn(5, 7, requires_grad=True)
    loss = loss_of(model_that_ends_in(7, "kernel"))
    expected = by_autograd(values.square().sum(1).mean() / 2, values)

    assert half_squares("out").words == loss.words
    torch.testing.assert_close(expected, loss.gradient({"out": values.detach()})["out"])
