"""A saved and loaded graph is the same graph, and a damaged file is refused in one line."""

import copy
import errno
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

from fewlabels.errors import CheckpointError, ConfigError
from fewlabels.graph import Graph, node
from fewlabels.graph_files import load, register, save


@register
class Scaled(nn.Module):
    """A kind of one's own: plain arguments, a buffer, a parameter."""

    def __init__(self, n_channels: int, scale: float, kernel=(1, 1), bias: bool = True) -> None:
        super().__init__()
        self.n_channels, self.scale, self.kernel = n_channels, scale, kernel
        self.bias = nn.Parameter(torch.randn(n_channels, 1, 1)) if bias else None
        self.register_buffer("mean", torch.randn(n_channels, 1, 1))

    def forward(self, *tensors: Tensor) -> Tensor:
        value = self.scale * (sum(tensors) - self.mean)
        return value if self.bias is None else value + self.bias


def network() -> Graph:
    shared = nn.Conv2d(4, 4, 3, padding="same", bias=False)
    graph = Graph(
        {
            "stem": node(nn.Conv2d(3, 4, 3, stride=2, padding_mode="reflect", padding=1), "image"),
            "norm": node(nn.Sequential(nn.BatchNorm2d(4, momentum=None), nn.GELU("tanh")), "stem"),
            "once": node(shared, "norm"),
            "twice": node(nn.Sequential(shared, nn.Sequential(), nn.LeakyReLU(0.2)), "once"),
            "sum": node(Scaled(4, 0.5, kernel=[1, 2], bias=False), "norm", "twice", "once"),
            "pool": node(nn.AdaptiveAvgPool2d((2, 1)), "sum"),
            "head": node(nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(8, 5)), "pool"),
        },
        inputs={"image": (3, 8, 8)},
        outputs=("head", "sum"),
    )
    graph(torch.randn(16, 3, 8, 8))  # running statistics of its own
    return graph.eval()


def same(left: Graph, right: Graph, dtype: torch.dtype = torch.float32) -> None:
    images = torch.randn(3, *left.inputs["image"]).to(dtype)
    values = left(images, wanted=list(left.layers))

    assert left.shapes == right.shapes
    assert (left.inputs, left.outputs, left.sources) == (right.inputs, right.outputs, right.sources)
    assert all(torch.equal(v, values[k]) for k, v in right(images, wanted=list(values)).items())
    weights = right.state_dict()
    assert list(left.state_dict()) == list(weights)
    for key, value in left.state_dict().items():
        assert value.dtype == weights[key].dtype
        assert torch.equal(value, weights[key])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_loaded_graph_is_the_saved_one_bit_for_bit(tmp_path, dtype):
    graph = network().to(dtype)
    save(graph, tmp_path / "new" / "folder")
    loaded = load(tmp_path / "new" / "folder")

    same(graph, loaded, dtype)
    assert not loaded.training
    assert {"graph.json", "weights.safetensors"} == {
        path.name for path in (tmp_path / "new" / "folder").iterdir()
    }


KINDS = [
    nn.Conv2d(3, 3, (1, 3), padding=(0, 1), groups=3, bias=False),
    nn.BatchNorm2d(3, eps=0.1, affine=False),
    nn.BatchNorm2d(3, track_running_stats=False),
    nn.GroupNorm(3, 3),
    nn.LayerNorm([4, 4], elementwise_affine=False),
    nn.LayerNorm(4),
    nn.Sequential(nn.MaxPool2d(2, ceil_mode=True), nn.Upsample(scale_factor=2, mode="bilinear")),
    nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), nn.SiLU(inplace=True)),
    nn.Sequential(nn.AdaptiveMaxPool2d((None, 4)), nn.Identity(), nn.Sigmoid()),
    nn.Sequential(nn.Dropout2d(0.1), nn.Tanh(), nn.ReLU(inplace=True)),
    nn.Linear(4, 4),
    Scaled(3, 2.0),
]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5), st.data())
def test_any_registered_modules_in_any_order_come_back(tmp_path_factory, kinds, data):
    names = ["image"]
    nodes = {}
    for i, kind in enumerate(kinds):  # the same module may be drawn twice: it is then shared
        nodes[f"node{i}"] = node(kind, data.draw(st.sampled_from(names)))
        names.append(f"node{i}")
    graph = Graph(nodes, {"image": (3, 4, 4)}, (names[-1],)).eval()
    folder = tmp_path_factory.mktemp("graph")
    save(graph, folder)
    loaded = load(folder)

    same(graph, loaded)
    assert [f.shared_with for f in graph.describe()] == [f.shared_with for f in loaded.describe()]
    assert [str(n.module) for n in graph.nodes.values()] == [
        str(n.module) for n in loaded.nodes.values()
    ]


def test_shared_modules_and_tied_weights_are_written_once_and_shared_again(tmp_path):
    graph = network()
    graph = Graph(
        {
            **graph.nodes,
            "tied": node(nn.Linear(5, 8), "head"),
            "tail": node(nn.Linear(8, 5), "tied"),
        },
        inputs=graph.inputs,
        outputs=("tail",),
    ).eval()
    graph.layers["tied"].weight = nn.Parameter(torch.randn(8, 5))
    graph.layers["tail"].weight = nn.Parameter(torch.randn(5, 8))
    graph.layers["tail"].bias = graph.layers["head"][2].bias
    save(graph, tmp_path)
    loaded = load(tmp_path)

    same(graph, loaded)
    assert loaded.layers["once"] is loaded.layers["twice"][0]
    assert loaded.layers["tail"].bias is loaded.layers["head"][2].bias
    assert sum(p.numel() for p in graph.parameters()) == sum(p.numel() for p in loaded.parameters())
    stored = load_file(tmp_path / "weights.safetensors")
    assert sum(v.numel() for v in stored.values()) == sum(
        v.numel() for v in [*graph.parameters(), *graph.buffers()]
    )


def test_frozen_nodes_stay_frozen_and_the_rest_learns(tmp_path):
    save(network().freeze("norm"), tmp_path)
    loaded = load(tmp_path).train()

    assert ("norm",) == loaded.frozen
    assert not loaded.layers["norm"].training
    assert not loaded.layers["norm"][0].weight.requires_grad
    assert loaded.layers["head"][2].weight.requires_grad
    save(network(), tmp_path)
    assert () == load(tmp_path).frozen


def test_weights_keep_the_order_in_memory_that_they_had(tmp_path):
    graph = network().to(memory_format=torch.channels_last)
    save(graph, tmp_path)
    loaded = load(tmp_path)

    same(graph, loaded)
    assert [p.stride() for p in graph.parameters()] == [p.stride() for p in loaded.parameters()]


def test_weights_that_are_views_of_one_memory_are_written_without_the_rest(tmp_path):
    graph = Graph({"a": node(nn.Linear(4, 4), "image")}, {"image": (4,)}, ("a",)).eval()
    memory = torch.randn(1000)
    graph.layers["a"].weight.data = memory[:16].view(4, 4).T
    graph.layers["a"].bias.data = memory[12:16]  # overlaps the weight
    save(graph, tmp_path)

    same(graph, load(tmp_path))
    assert (tmp_path / "weights.safetensors").stat().st_size < 1000


def test_loading_draws_no_random_number_and_saving_changes_nothing(tmp_path):
    graph = network().train()
    before, state = copy.deepcopy(graph.state_dict()), torch.get_rng_state()
    save(graph, tmp_path)
    load(tmp_path)

    assert torch.equal(state, torch.get_rng_state())
    assert graph.training
    assert all(torch.equal(before[key], value) for key, value in graph.state_dict().items())


def test_the_same_graph_is_the_same_bytes(tmp_path):
    graph = network()
    save(graph, tmp_path / "a")
    save(load(tmp_path / "a"), tmp_path / "b")

    for name in ("graph.json", "weights.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


# What cannot be saved


def test_a_module_of_an_unregistered_kind_is_named_with_its_node(tmp_path):
    class Own(nn.Identity):
        pass

    graph = Graph({"a": node(nn.Sequential(Own()), "image")}, {"image": (4,)}, ("a",))
    with pytest.raises(ConfigError, match="node 'a' cannot be saved: Own is not a registered"):
        save(graph, tmp_path)

    assert [] == list(tmp_path.iterdir())


def test_an_argument_that_is_not_kept_as_plain_data_is_named(tmp_path):
    module = Scaled(4, 1.0)
    module.scale = torch.ones(())
    graph = Graph({"a": node(module, "image")}, {"image": (4, 1, 1)}, ("a",))
    with pytest.raises(ConfigError, match=r"node 'a' .* Scaled needs an attribute 'scale'"):
        save(graph, tmp_path)


def test_another_class_of_a_registered_name_is_refused():
    with pytest.raises(ValueError, match="named Conv2d is there"):
        register(type("Conv2d", (nn.Module,), {}))
    assert Scaled is register(Scaled)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_is_said_and_leaves_the_old_files(tmp_path, monkeypatch, failing):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    save(network(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(os if failing == "fsync" else Path, failing, full)
        with pytest.raises(CheckpointError, match=r"no space is left for 0.0 MiB"):
            save(network(), tmp_path)

    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(CheckpointError, match=r"taken, .*: choose another folder"):
        save(network(), tmp_path / "taken")
