"""What building a graph refuses, finds out, and leaves as it was."""

import copy

import pytest
import torch
from torch import Tensor, nn

from fewlabels.errors import ConfigError, DataError
from fewlabels.graph import Graph, node


def build(nodes, inputs=None, outputs=("a",)) -> Graph:
    return Graph(nodes, inputs=inputs or {"x": (4,)}, outputs=outputs)


def two_layers() -> Graph:
    return Graph(
        {"stem": node(nn.Conv2d(3, 4, 3), "image"), "head": node(nn.Flatten(), "stem")},
        inputs={"image": (3, 8, 8)},
        outputs=("head",),
    )


# Building leaves everything as it was


def test_building_touches_no_statistic_flag_gradient_or_random_state():
    stem = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5))
    stem[1].eval()
    before, state = copy.deepcopy(stem.state_dict()), torch.get_rng_state()
    build({"a": node(stem, "x")}, inputs={"x": (3, 4, 4)})

    assert torch.equal(state, torch.get_rng_state())
    assert [True, True, False] == [part.training for part in stem.modules()]
    assert all(torch.equal(before[key], value) for key, value in stem.state_dict().items())
    assert {"cpu"} == {tensor.device.type for tensor in stem.state_dict().values()}


def test_a_graph_can_be_built_where_inference_mode_is_on():
    with torch.inference_mode():
        graph = two_layers()

    assert (4 * 6 * 6,) == graph.shapes["head"]


def test_shapes_are_found_without_computing():
    class Counting(nn.Identity):
        def forward(self, x: Tensor) -> Tensor:
            devices.append(x.device.type)
            return x

    devices: list[str] = []
    build({"a": node(Counting(), "x")})

    assert ["meta"] == devices


def test_a_module_that_needs_values_is_run_on_zeros_and_keeps_its_buffers():
    class Decides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            torch.rand(1)
            return x if x.sum().item() > 1 else x.repeat(1, 2)

    module, state = Decides(), torch.get_rng_state()
    graph = build({"a": node(module, "x")})

    assert (8,) == graph.shapes["a"]
    assert 0 == module.calls
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_shapes_are_found_in_any_precision(dtype):
    graph = build({"a": node(nn.Linear(4, 2, dtype=dtype), "x")})

    assert (2,) == graph.shapes["a"]


# What it refuses


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            lambda: build({"a": node(nn.ReLU(), "b"), "b": node(nn.ReLU(), "a")}),
            r"cycle: (a -> b -> a|b -> a -> b): a node can read only",
        ),
        (lambda: build({"a": node(nn.ReLU(), "a")}), "cycle: a -> a"),
        (
            lambda: build({"stem": node(nn.ReLU(), "x"), "a": node(nn.ReLU(), "stm")}),
            "node 'a' reads what is not there, 'stm': did you mean 'stem'",
        ),
        (lambda: build({"x": node(nn.ReLU(), "x")}, outputs=("x",)), "'x': rename one"),
        (lambda: build([("a", node(nn.ReLU(), "x"))] * 2), "are named 'a': rename one"),
        (lambda: build({"a": node(nn.ReLU(), "x")}, outputs=("b",)), "no output 'b': .*x, a"),
        (lambda: build({"a": node(nn.ReLU(), "x")}, outputs=()), "at least one output"),
        (lambda: build({"a.b": node(nn.ReLU(), "x")}, outputs=("a.b",)), 'can\'t contain "."'),
        (lambda: build({"type": node(nn.ReLU(), "x")}, outputs=("type",)), "'type'"),
        (lambda: build({"a\n": node(nn.ReLU(), "x")}, outputs=("a\n",)), "printable"),
        (lambda: build({"a": node(nn.ReLU(), "x")}, inputs={"x": (0, 3)}), "positive integers"),
        (lambda: node(nn.ReLU()), "at least one value"),
        (lambda: two_layers().freeze("stm"), "no node 'stm': did you mean 'stem'"),
        (
            lambda: two_layers()(torch.zeros(1, 3, 8, 8), wanted=("heat",)),
            "'heat': did you mean 'head'",
        ),
    ],
)
def test_a_wrong_declaration_is_refused_in_one_clear_line(arguments, line):
    with pytest.raises(ConfigError, match=line) as caught:
        arguments()

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "sources", "parts"),
    [
        (
            nn.Conv2d(1, 8, 3),
            ["x"],
            ["'a'", "Conv2d(1, 8", "'x' of shape (3, 8, 8)", "to have 1 channels, but got 3"],
        ),
        (nn.Linear(5, 2), ["x"], ["Linear(in_features=5", "cannot be multiplied"]),
        (nn.ReLU(), ["x", "x"], ["ReLU()", "'x' of shape (3, 8, 8), 'x' of", "takes 2"]),
        (nn.ReLU(inplace=True), ["x"], ["writes into its input", "use inplace=False"]),
        (nn.LSTM(8, 4), ["v"], ["LSTM(8, 4)", "gives a tuple"]),
        (nn.Flatten(0), ["x"], ["(384,)", "batch dimension first"]),
    ],
)
def test_a_module_that_cannot_take_its_inputs_is_named_with_them(module, sources, parts):
    with pytest.raises(ConfigError) as caught:
        build({"a": node(module, *sources)}, inputs={"x": (3, 8, 8), "v": (2, 8)})

    assert "\n" not in str(caught.value)
    assert [] == [part for part in parts if part not in str(caught.value)]


def test_forward_names_the_input_of_another_shape():
    with pytest.raises(
        DataError, match=r"'image' is of shape \(n_images, 3, 8, 8\); got \(2, 3, 9"
    ):
        two_layers()(torch.zeros(2, 3, 9, 8))
    with pytest.raises(TypeError, match="takes image; got 2 tensors"):
        two_layers()(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))


def test_what_is_no_node_is_a_type_error():
    with pytest.raises(TypeError, match="'a' is a ReLU: use node"):
        build({"a": nn.ReLU()})
    with pytest.raises(TypeError, match=r"runs an nn\.Module; got type"):
        node(nn.ReLU, "x")
