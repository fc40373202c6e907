"""Files of a graph that are missing, damaged or of another one: refused in one clear line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from fewlabels.errors import CheckpointError
from fewlabels.graph import Graph, node
from fewlabels.graph_files import load, save


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(network(), tmp_path)
    return tmp_path


def network(width: int = 4) -> Graph:
    return Graph(
        {
            "stem": node(nn.Sequential(nn.Linear(3, width), nn.ReLU()), "x"),
            "head": node(nn.Linear(width, 2), "stem"),
        },
        inputs={"x": (3,)},
        outputs=("head",),
    )


def refused(folder: Path, line: str) -> None:
    with pytest.raises(CheckpointError, match=line) as caught:
        load(folder)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["graph.json", "weights.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()

    refused(folder, f"{name} is missing: a saved graph is a folder with graph.json and weights")
    refused(folder / "nowhere", "graph.json is missing")


@pytest.mark.parametrize("n_bytes", [0, 4, 100, -1])
def test_weights_that_were_cut_short_are_refused(folder, n_bytes):
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:n_bytes])

    refused(folder, r"weights\.safetensors was cut short or is damaged .*copy it again")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000])
def test_a_description_that_is_not_json_is_refused(folder, content):
    (folder / "graph.json").write_bytes(content)

    refused(folder, r"graph\.json is not JSON")


@pytest.mark.parametrize("content", ["3", "[]", "{}", '{"format": "x"}', '{"format": 0}'])
def test_json_of_something_else_is_refused(folder, content):
    (folder / "graph.json").write_text(content)

    refused(folder, "is not a graph's description")


def change(folder: Path, edit: Callable[[dict], object]) -> None:
    path = folder / "graph.json"
    described = json.loads(path.read_text())
    edit(described)
    path.write_text(json.dumps(described))


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        (lambda d: d.update(format=2), "has format 2, .* reads up to 1: update fewlabels"),
        (lambda d: d["modules"][0].update(kind="os.system"), "unknown kind 'os.system'"),
        (lambda d: d["modules"][0].update(kind="Bilinear"), "unknown kind 'Bilinear': import"),
        (lambda d: d["modules"][0].update(kind=["Linear"]), "does not describe a graph"),
        (lambda d: d["modules"][0]["arguments"].update(x=1), "does not describe .* 'x'"),
        (lambda d: d["modules"][2]["children"].update({"0": 2}), "module 2 is asked for before"),
        (lambda d: d["nodes"][0].update(module=-1), "module -1 is asked for before"),
        (lambda d: d["nodes"][0].update(inputs=["y"]), "node 'stem' reads what is not there"),
        (lambda d: d["nodes"][0].update(inputs=["head"]), "cycle"),
        (lambda d: d.update(nodes=None), "does not describe a graph"),
        (lambda d: d.pop("tied"), "does not describe a graph .*'tied'"),
        (lambda d: d.update(frozen=["y"]), "no node 'y'"),
        (lambda d: d["tied"].update({"layers.head.bias": "y"}), "does not describe .* 'y'"),
        (
            lambda d: d["tied"].update({"layers.head.bias": "layers.head.weight"}),
            "ties weights of unlike shapes, 'layers.head.bias'",
        ),
        (
            lambda d: d["memory_order"].update({"layers.head.weight": [0, 0]}),
            r"\[0, 0\] is no order of the dimensions of 'layers.head.weight'",
        ),
        (
            lambda d: d["modules"][0]["arguments"].update(out_features=5),
            r"cannot take 'stem' of shape \(5,\)|cannot take .* shapes",
        ),
        (
            lambda d: d["modules"][3]["arguments"].update(out_features=7),
            r"'layers.head.weight' is of shape \(2, 4\), not \(7, 4\)",
        ),
        (
            lambda d: d["modules"][3]["arguments"].update(bias=False),
            "holds 'layers.head.bias', which its graph has not",
        ),
        (lambda d: d["modules"][1].update(kind="GELU"), "is of another graph than graph.json"),
    ],
)
def test_a_changed_description_is_refused_in_one_clear_line(folder, edit, line):
    change(folder, edit)

    refused(folder, line)


def test_the_weights_of_a_wider_graph_are_refused_with_both_shapes(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    save(network(width=5), other)
    (other / "weights.safetensors").replace(folder / "weights.safetensors")

    refused(folder, r"'layers.stem.0.weight' is of shape \(5, 3\), not \(4, 3\)")


def test_a_missing_weight_is_named(folder):
    weights = load_file(folder / "weights.safetensors")
    del weights["layers.head.bias"]
    save_file(weights, folder / "weights.safetensors")

    refused(folder, r"lacks 'layers\.head\.bias'")


def test_weights_without_a_fingerprint_that_fit_are_taken(folder):
    weights = load_file(folder / "weights.safetensors")
    save_file({key: torch.zeros_like(value) for key, value in weights.items()},
              folder / "weights.safetensors")  # fmt: skip

    assert 0 == load(folder)(torch.ones(1, 3)).abs().sum()


def test_nothing_in_a_description_is_imported_or_run(folder):
    change(folder, lambda d: d["modules"][0].update(kind="__import__", arguments={"name": "os"}))

    refused(folder, "unknown kind '__import__'")
