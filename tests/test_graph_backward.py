"""Backpropagation through the DAG: by hand, and equal to PyTorch's own on the whole."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fewlabels.errors import ConfigError, DataError
from fewlabels.graph import Graph, node
from fewlabels.graph_backward import Edge, Gradients


class Add(nn.Module):
    """The sum of any number of inputs."""

    def forward(self, *tensors: Tensor) -> Tensor:
        return torch.stack(tensors).sum(0)


class Product(nn.Module):
    """The product of any number of inputs: each one's gradient depends on the others."""

    def forward(self, *tensors: Tensor) -> Tensor:
        return torch.stack(tensors).prod(0)


class First(nn.Module):
    """The first of its inputs; no gradient flows to the others."""

    def forward(self, *tensors: Tensor) -> Tensor:
        return tensors[0]


def build(nodes, inputs=None, outputs=("a",)) -> Graph:
    return Graph(nodes, inputs=inputs or {"x": (1,)}, outputs=outputs)


def scale(factor: float) -> nn.Linear:
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, factor)
    return module


def numbers(tensors: dict) -> dict:
    return {name: tensor.item() for name, tensor in tensors.items()}


# By hand


def test_gradients_of_a_diamond_add_up_where_its_branches_part():
    graph = build(
        {
            "stem": node(scale(2.0), "x"),
            "left": node(scale(3.0), "stem"),
            "right": node(scale(5.0), "stem"),
            "a": node(Product(), "left", "right"),
        }
    )
    output = graph.record(torch.tensor([[1.0]]))
    gradients = graph.backward(torch.tensor([[1.0]]))

    assert 6 * 10 == output.item()  # left = 3 * 2, right = 5 * 2
    assert {
        ("x", "stem", 0): 2 * 60.0,
        ("stem", "left", 0): 3 * 10.0,
        ("stem", "right", 0): 5 * 6.0,
        ("left", "a", 0): 10.0,
        ("right", "a", 1): 6.0,
    } == numbers(gradients.edges)
    assert {"x": 120.0, "stem": 30.0 + 30.0, "left": 10.0, "right": 6.0, "a": 1.0} == numbers(
        gradients.values
    )
    assert {"x": 120.0} == numbers(gradients.inputs)
    assert {
        "layers.stem.weight": 60 * 1.0,
        "layers.left.weight": 10 * 2.0,
        "layers.right.weight": 6 * 2.0,
    } == numbers(gradients.parameters)


def test_a_value_that_is_read_twice_has_two_edges():
    graph = build({"a": node(Product(), "x", "x")})
    graph.record(torch.tensor([[7.0]]))
    gradients = graph.backward(torch.tensor([[1.0]]))

    assert {Edge("x", "a", 0): 7.0, Edge("x", "a", 1): 7.0} == numbers(gradients.edges)
    assert 2 * 7 == gradients.inputs["x"].item()  # of x * x


def test_a_shared_module_and_tied_parameters_add_up_under_their_first_name():
    shared, tied = scale(3.0), scale(0.0)
    tied.weight = shared.weight
    graph = build(
        {"a": node(shared, "x"), "b": node(shared, "a"), "c": node(tied, "b")}, outputs=("c",)
    )
    graph.record(torch.tensor([[5.0]]))
    gradients = graph.backward(torch.tensor([[1.0]]))

    assert {"layers.a.weight": 3 * 3**2 * 5.0} == numbers(gradients.parameters)  # of w^3 x


def test_an_output_that_others_read_too_has_its_own_gradient_and_theirs():
    graph = build({"a": node(scale(2.0), "x"), "b": node(scale(3.0), "a")}, outputs=("b", "a"))
    graph.record(torch.tensor([[1.0]]))
    gradients = graph.backward((torch.tensor([[10.0]]), torch.tensor([[100.0]])))

    assert {"x": 260.0, "a": 3 * 10.0 + 100, "b": 10.0} == numbers(gradients.values)


def test_outputs_that_are_left_out_of_a_dict_add_nothing():
    graph = build({"a": node(scale(2.0), "x"), "b": node(scale(3.0), "x")}, outputs=("b", "a"))
    graph.record(torch.tensor([[1.0]]))
    gradients = graph.backward({"a": torch.tensor([[10.0]])})

    assert {"x": 20.0, "a": 10.0} == numbers(gradients.values)
    assert {"layers.a.weight"} == set(gradients.parameters)


def test_what_no_gradient_reaches_has_no_entry():
    graph = build(
        {
            "unused": node(scale(1.0), "x"),
            "ignored": node(scale(1.0), "x"),
            "frozen": node(scale(4.0), "x"),
            "a": node(First(), "frozen", "ignored"),
        },
    ).freeze("frozen")
    graph.layers["unused"].forward = None  # whoever runs it fails
    graph.record(torch.tensor([[1.0]]))
    gradients = graph.backward(torch.tensor([[1.0]]))

    assert {"x": 4.0, "frozen": 1.0, "a": 1.0} == numbers(gradients.values)
    assert [("x", "frozen", 0), ("frozen", "a", 0)] == list(gradients.edges)
    assert {} == gradients.parameters


def test_no_gradient_flows_through_whole_numbers():
    class Pick(nn.Module):
        def forward(self, x: Tensor, place: Tensor) -> Tensor:
            return x.gather(1, place)

    class Largest(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.argmax(1, keepdim=True)

    graph = build(
        {"place": node(Largest(), "x"), "a": node(Pick(), "x", "place")}, inputs={"x": (3,)}
    )
    graph.record(torch.tensor([[1.0, 5.0, 2.0]]))
    gradients = graph.backward(torch.tensor([[1.0]]))

    assert [("x", "a", 0)] == list(gradients.edges)
    assert [[0, 1, 0]] == gradients.inputs["x"].tolist()


# The law: equal to PyTorch on the whole


@st.composite
def random_graphs(draw: Callable) -> Graph:
    """Diamonds, several inputs and outputs, shared modules, tied parameters, unused nodes."""
    inputs = [f"input{i}" for i in range(draw(st.integers(1, 2)))]
    names, nodes = list(inputs), {}
    linear, tied, frozen = (nn.Linear(3, 3) for _ in range(3))
    tied.weight = linear.weight
    frozen.requires_grad_(False)
    pool = [
        *(linear, tied, frozen),
        *(nn.Tanh(), nn.Identity(), nn.Unflatten(1, (3,)), nn.Softplus()),
        nn.Sequential(nn.BatchNorm1d(3), linear),
        nn.BatchNorm1d(3, momentum=0.3),
    ]
    for i in range(draw(st.integers(1, 10))):
        if draw(st.booleans()):
            read = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3))
            joined = draw(st.sampled_from([Add, Product, First]))()
            nodes[f"node{i}"] = node(joined, *read)
        else:
            nodes[f"node{i}"] = node(draw(st.sampled_from(pool)), draw(st.sampled_from(names)))
        names.append(f"node{i}")
    outputs = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
    order = draw(st.permutations(list(nodes)))
    return Graph(
        [(name, nodes[name]) for name in order],
        inputs={name: (3,) for name in inputs},
        outputs=outputs,
    ).double()


def by_autograd(graph: Graph, tensors: list[Tensor], loss_gradients: list[Tensor]) -> Gradients:
    """The same by one call of PyTorch's autograd, with a tensor of its own for each edge."""
    values = {
        name: tensor.clone().requires_grad_()
        for name, tensor in zip(graph.inputs, tensors, strict=True)
    }
    edges: dict[Edge, Tensor] = {}
    needed = set(graph.outputs)
    for name in reversed(graph.sources):
        needed |= set(graph.sources[name]) if name in needed else set()
    for name, sources in graph.sources.items():
        if name in needed:
            own = {Edge(s, name, i): values[s].clone() for i, s in enumerate(sources)}
            values[name] = graph.layers[name](*own.values()).clone()
            edges |= own
    parameters = {n: p for n, p in graph.named_parameters() if p.requires_grad}
    wanted = [*edges.values(), *values.values(), *parameters.values()]
    found = iter(
        torch.autograd.grad(
            [values[name].clone() for name in graph.outputs],
            [tensor if tensor.requires_grad else tensor.requires_grad_() for tensor in wanted],
            loss_gradients,
            allow_unused=True,
        )
    )
    edges, values, parameters = (
        {key: g for key, g in zip(part, found, strict=False) if g is not None}
        for part in (edges, values, parameters)
    )
    inputs = {name: values[name] for name in graph.inputs if name in values}
    return Gradients(edges=edges, values=values, inputs=inputs, parameters=parameters)


@settings(max_examples=150, deadline=None)
@given(random_graphs(), st.booleans(), st.integers(0, 2**31))
def test_any_graph_has_the_gradients_that_autograd_finds_on_the_whole(graph, training, seed):
    draw = torch.Generator().manual_seed(seed)
    graph.train(training)
    twin = copy.deepcopy(graph)
    tensors = [torch.randn(4, 3, generator=draw, dtype=torch.float64) for _ in graph.inputs]
    weights = [torch.randn(4, 3, generator=draw, dtype=torch.float64) for _ in graph.outputs]
    expected = by_autograd(twin, tensors, weights)
    with torch.no_grad():
        outputs = copy.deepcopy(graph)(*tensors)
    recorded = graph.record(*tensors)
    gradients = graph.backward(weights[0] if len(weights) == 1 else tuple(weights))

    torch.testing.assert_close(recorded, outputs, rtol=0, atol=0)
    for part in ("edges", "values", "inputs", "parameters"):
        found, wanted = getattr(gradients, part), getattr(expected, part)
        assert set(wanted) == set(found)
        for key, gradient in wanted.items():
            torch.testing.assert_close(found[key], gradient, rtol=1e-10, atol=1e-10)
    for key, value in twin.state_dict().items():  # running statistics among them
        assert torch.equal(value, graph.state_dict()[key])


# The record


def test_running_statistics_move_once_and_draws_of_dropout_are_those_of_the_record():
    graph = build({"norm": node(nn.BatchNorm1d(4), "x"), "a": node(nn.Dropout(0.5), "norm")},
                  inputs={"x": (4,)}).train()  # fmt: skip
    images = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    kept = graph.record(images) != 0
    gradients = graph.backward(torch.ones(50, 4))

    assert 1 == graph.layers["norm"].num_batches_tracked
    torch.testing.assert_close(graph.layers["norm"].running_mean, 0.1 * images.mean(0))
    assert torch.equal(2.0 * kept, gradients.values["norm"])


def test_a_record_has_no_history_and_leaves_no_gradient_on_parameters():
    graph = build({"a": node(scale(2.0), "x")})
    images = torch.tensor([[1.0]], requires_grad=True)
    output = graph.record(images)
    graph.backward(torch.tensor([[1.0]]))

    assert not output.requires_grad
    assert images.grad is None
    assert graph.layers["a"].weight.grad is None


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_record_can_be_made_where_gradients_are_off(mode):
    graph = build({"a": node(scale(2.0), "x"), "b": node(nn.Identity(), "a")}, outputs=("b",))
    with mode():
        graph.record(torch.tensor([[1.0]]))
        gradients = graph.backward(torch.tensor([[3.0]]))

    assert 6 == gradients.inputs["x"].item()


def test_a_recorded_graph_is_copied_and_pickled_without_its_record():
    graph = build({"a": node(scale(2.0), "x")})
    graph.record(torch.tensor([[1.0]]))

    for copied in (copy.deepcopy(graph), pickle.loads(pickle.dumps(graph))):
        assert 2 == copied(torch.tensor([[1.0]])).item()
        with pytest.raises(ConfigError, match="backward needs a recording"):
            copied.backward(torch.tensor([[1.0]]))
    assert 2 == graph.backward(torch.tensor([[1.0]])).inputs["x"].item()


def test_a_record_serves_once():
    graph = build({"a": node(scale(2.0), "x")})
    with pytest.raises(ConfigError, match=r"needs a recording.*call graph\.record\(\.\.\.\) first"):
        graph.backward(torch.tensor([[1.0]]))
    graph.record(torch.tensor([[1.0]]))
    graph.backward(torch.tensor([[1.0]]))
    with pytest.raises(ConfigError, match="each serves once"):
        graph.backward(torch.tensor([[1.0]]))


@pytest.mark.parametrize(
    ("loss_gradient", "error", "line"),
    [
        ((torch.ones(2, 3), torch.ones(3)), DataError, r"'b' is of shape \(2, 3\).*got \(3,\)"),
        (torch.ones(2, 3), DataError, "each output, a, b; got 1: give a tuple"),
        ({"a": torch.ones(1, 3)}, DataError, r"'a' is of shape \(2, 3\).*got \(1, 3\)"),
        ({"c": torch.ones(2, 3)}, ConfigError, "no output 'c': there are: a, b"),
        ({"a": 1.0}, TypeError, "a gradient is a tensor; got float for 'a'"),
    ],
)
def test_a_gradient_that_fits_no_output_is_refused_and_the_record_stays(loss_gradient, error, line):
    graph = build({"a": node(nn.Tanh(), "x"), "b": node(nn.Tanh(), "x")}, {"x": (3,)}, ("a", "b"))
    graph.record(torch.zeros(2, 3))
    with pytest.raises(error, match=line) as caught:
        graph.backward(loss_gradient)

    assert "\n" not in str(caught.value)
    assert (2, 3) == graph.backward({"b": torch.ones(2, 3)}).inputs["x"].shape


def test_a_record_refuses_images_of_another_shape():
    with pytest.raises(DataError, match=r"input 'x' is of shape \(n_images, 1\); got \(2, 5\)"):
        build({"a": node(nn.Tanh(), "x")}).record(torch.zeros(2, 5))
