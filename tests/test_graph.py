"""The DAG of modules: what it computes, what it frees, what it refuses."""

import copy
import weakref
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fewlabels.errors import DataError
from fewlabels.graph import Graph, Node, node


class Add(nn.Module):
    """The sum of any number of inputs."""

    def forward(self, *tensors: Tensor) -> Tensor:
        return torch.stack(tensors).sum(0)


def diamond() -> Graph:
    return Graph(
        {
            "stem": node(nn.Conv2d(3, 4, 3), "image"),
            "left": node(nn.ReLU(), "stem"),
            "right": node(nn.Tanh(), "stem"),
            "sum": node(Add(), "left", "right"),
        },
        inputs={"image": (3, 8, 8)},
        outputs=("sum",),
    )


def build(nodes, inputs=None, outputs=("a",)) -> Graph:
    return Graph(nodes, inputs=inputs or {"x": (4,)}, outputs=outputs)


# What it computes


def test_a_diamond_is_the_sum_of_its_two_branches():
    graph = diamond()
    images = torch.randn(2, 3, 8, 8)
    stem = graph.layers["stem"](images)

    assert torch.equal(stem.relu() + stem.tanh(), graph(images))
    assert {
        "image": (3, 8, 8),
        "stem": (4, 6, 6),
        "left": (4, 6, 6),
        "right": (4, 6, 6),
        "sum": (4, 6, 6),
    } == graph.shapes


def test_several_inputs_are_given_in_the_order_of_declaration_and_of_the_node():
    class Minus(nn.Module):
        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return left - right

    graph = build(
        {"a": node(Minus(), "y", "x"), "b": node(nn.Identity(), "x")},
        inputs={"x": (1,), "y": (1,)},
        outputs=("b", "a"),
    )
    b, a = graph(torch.tensor([[1.0]]), torch.tensor([[10.0]]))

    assert 1 == b.item()
    assert 10 - 1 == a.item()


def test_wanted_values_come_by_name_and_only_what_they_need_is_run():
    graph = diamond()
    graph.layers["right"].forward = None  # whoever runs it fails
    images = torch.randn(1, 3, 8, 8)
    values = graph(images, wanted=["left", "stem", "image"])

    assert ["left", "stem", "image"] == list(values)
    assert values["image"] is images
    assert torch.equal(values["stem"].relu(), values["left"])
    assert ["stem"] == list(graph(images, wanted="stem"))


def test_nodes_run_in_the_order_of_declaration_where_that_is_possible_else_sorted():
    forwards = build({"a": node(nn.ReLU(), "x"), "b": node(nn.ReLU(), "x")})
    backwards = build({"b": node(nn.ReLU(), "a"), "a": node(nn.ReLU(), "x")}, outputs=("b",))

    assert ["a", "b"] == list(forwards.layers)
    assert ["a", "b"] == list(backwards.layers)


def test_a_module_cannot_be_replaced_or_taken_out():
    graph = diamond()
    with pytest.raises(TypeError, match=r"build Graph\(\{\*\*graph.nodes, 'left'"):
        graph.layers["left"] = nn.Identity()
    with pytest.raises(TypeError, match="without 'left'"):
        del graph.layers["left"]


def test_a_graph_of_changed_nodes_is_built_from_the_nodes_of_another():
    graph = diamond()
    changed = Graph(
        {**graph.nodes, "head": node(nn.Flatten(), "sum")}, inputs=graph.inputs, outputs=("head",)
    )

    assert (4 * 6 * 6,) == changed.shapes["head"]
    assert changed.layers["stem"] is graph.layers["stem"]


def test_a_deep_copy_shares_nothing_and_gives_the_same():
    graph = diamond()
    images = torch.randn(1, 3, 8, 8)
    expected = graph(images)
    copied = copy.deepcopy(graph)
    nn.init.zeros_(graph.layers["stem"].weight)

    assert torch.equal(expected, copied(images))


def test_gradients_of_a_shared_module_add_up():
    shared = nn.Linear(1, 1, bias=False)
    graph = build({"b": node(shared, "x"), "a": node(shared, "b")}, inputs={"x": (1,)})
    nn.init.constant_(shared.weight, 3.0)
    graph(torch.tensor([[5.0]])).sum().backward()

    assert 2 * 3 * 5 == shared.weight.grad.item()  # of w * w * x


# Laws on random graphs


@st.composite
def random_graphs(draw: Callable) -> Graph:
    """Diamonds, several inputs and outputs, shared modules, unused nodes, any order."""
    inputs = [f"input{i}" for i in range(draw(st.integers(1, 2)))]
    names, nodes = list(inputs), {}
    pool = [nn.Linear(3, 3, dtype=torch.float64), nn.Tanh(), nn.Sequential(nn.ReLU(), nn.Tanh())]
    for i in range(draw(st.integers(1, 9))):
        if draw(st.booleans()):
            read = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3))
            nodes[f"node{i}"] = node(Add(), *read)
        else:
            nodes[f"node{i}"] = node(draw(st.sampled_from(pool)), draw(st.sampled_from(names)))
        names.append(f"node{i}")
    order = draw(st.permutations(list(nodes)))
    outputs = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
    return Graph(
        [(name, nodes[name]) for name in order],
        inputs={name: (3,) for name in inputs},
        outputs=outputs,
    )


def slow_value(name: str, nodes: dict[str, Node], given: dict[str, Tensor]) -> Tensor:
    """The value of a node by its definition, computing everything again each time."""
    if name in given:
        return given[name]
    inputs = [slow_value(source, nodes, given) for source in nodes[name].inputs]
    return nodes[name].module(*inputs)


@settings(max_examples=60, deadline=None)
@given(random_graphs(), st.data())
def test_any_graph_equals_the_recursive_definition(graph: Graph, data: st.DataObject):
    given_ = {name: torch.randn(2, 3, dtype=torch.float64) for name in graph.inputs}
    wanted = data.draw(st.lists(st.sampled_from([*graph.inputs, *graph.layers]), unique=True))
    outputs = graph(*given_.values())
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    values = graph(*given_.values(), wanted=wanted)

    for name, value in [*zip(graph.outputs, outputs, strict=True), *values.items()]:
        assert torch.equal(slow_value(name, graph.nodes, given_), value)
    assert wanted == list(values)
    assert {(3,)} == set(graph.shapes.values())


@settings(max_examples=60, deadline=None)
@given(random_graphs(), st.data())
def test_exactly_what_is_still_needed_is_alive_when_a_node_runs(graph, data):
    wanted = data.draw(st.lists(st.sampled_from(list(graph.layers)), unique=True, min_size=1))
    alive: dict[str, weakref.ref] = {}
    seen: list[tuple[str, set[str]]] = []

    class Watch(nn.Module):
        def __init__(self, name: str, module: nn.Module) -> None:
            super().__init__()
            self.name, self.module = name, module

        def forward(self, *tensors: Tensor) -> Tensor:
            seen.append((self.name, {n for n, value in alive.items() if value() is not None}))
            output = self.module(*tensors).clone()
            alive[self.name] = weakref.ref(output)
            return output

    watched = Graph(
        {name: node(Watch(name, n.module), *n.inputs) for name, n in graph.nodes.items()},
        inputs=graph.inputs,
        outputs=graph.outputs,
    )
    alive.clear()
    seen.clear()
    with torch.no_grad():
        values = watched(*[torch.randn(2, 3, dtype=torch.float64) for _ in graph.inputs],
                         wanted=wanted)  # fmt: skip
    ran = [name for name, _ in seen]

    for position, (_, there) in enumerate(seen):
        read_later = {s for name in ran[position:] for s in graph.sources[name]}
        assert there == set(ran[:position]) & (read_later | set(wanted))
    assert set(values) == {name for name, value in alive.items() if value() is not None}


# Freezing


def normalised() -> Graph:
    return Graph(
        {
            "norm": node(nn.BatchNorm2d(3), "x"),
            "again": node(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)), "norm"),
        },
        inputs={"x": (3, 4, 4)},
        outputs=("again",),
    )


def test_freezing_stops_running_statistics_and_gradients_under_train():
    graph = normalised().freeze("norm").train()
    before = copy.deepcopy(graph.state_dict())
    graph(torch.randn(8, 3, 4, 4) + 5).sum().backward()
    changed = {k for k, v in graph.state_dict().items() if not torch.equal(v, before[k])}

    assert ("norm",) == graph.frozen
    assert {"running_mean", "running_var", "num_batches_tracked"} == {
        key.removeprefix("layers.again.1.") for key in changed
    }
    assert graph.layers["norm"].weight.grad is None
    assert graph.layers["again"][0].weight.grad is not None


def test_unfreezing_lets_a_node_learn_again_and_leaves_the_others_frozen():
    graph = normalised().train().freeze()
    graph.unfreeze("norm")
    graph(torch.randn(8, 3, 4, 4) + 5)

    assert ("again",) == graph.frozen
    assert graph.layers["norm"].weight.requires_grad
    assert 1 == graph.layers["norm"].num_batches_tracked
    assert 0 == graph.layers["again"][1].num_batches_tracked


def test_nodes_of_one_module_freeze_together():
    shared = nn.Linear(4, 4)
    graph = build({"a": node(shared, "x"), "b": node(nn.ReLU(), "a"), "c": node(shared, "b")})

    assert ("a", "c") == graph.freeze("c").frozen
    assert () == graph.unfreeze("a").frozen


def test_describe_tells_shapes_counts_sharing_and_freezing():
    shared = nn.Linear(4, 4)
    graph = build({"a": node(shared, "x"), "b": node(nn.BatchNorm1d(4), "a"),
                   "c": node(shared, "b")}, outputs=("c",)).freeze("b")  # fmt: skip
    facts = graph.describe()

    assert [("a", None), ("b", None), ("c", "a")] == [(f.name, f.shared_with) for f in facts]
    assert [4 * 4 + 4, 4 + 4, 4 * 4 + 4] == [f.n_parameters for f in facts]
    assert [0, 4 + 4 + 1, 0] == [f.n_buffer_values for f in facts]
    assert [False, True, False] == [f.frozen for f in facts]
    assert [False, False, True] == [f.is_output for f in facts]


def test_inputs_of_any_size_are_taken_inside_the_block_alone():
    graph = Graph({"conv": node(nn.Conv2d(3, 2, 3), "image")}, {"image": (3, 8, 8)}, ("conv",))
    small = torch.zeros(1, 3, 5, 6)

    with graph.any_size():
        assert (1, 2, 3, 4) == graph(small).shape

    with pytest.raises(DataError, match="resize the images"):
        graph(small)
