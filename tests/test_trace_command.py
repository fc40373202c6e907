"""`fewlabels trace`: the files, the table, and bad input in one line."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

from fewlabels.cli import main
from fewlabels.graph import Graph, node
from fewlabels.model import Model
from small_runs import FAST_SETTINGS

pytest_plugins = ("run_fixtures",)


def refusal(capsys, *arguments: object) -> str:
    """The line of a refused command; where the machine is slow, lines of progress go before it."""
    capsys.readouterr()
    code = main(["trace", *map(str, arguments)])
    printed = capsys.readouterr()
    assert (2, "") == (code, printed.out)
    lines = printed.err.splitlines()
    assert 1 == sum(line.startswith("fewlabels: ") for line in lines)
    return lines[-1]


def test_a_trace_of_frozen_filters_shows_gradients_of_values_and_says_that_nothing_learns(
    tiny_run: Path, tmp_path: Path, capsys
):
    before = {path.name: path.read_bytes() for path in tiny_run.iterdir()}
    capsys.readouterr()
    assert 0 == main(["trace", str(tiny_run), "--out", str(tmp_path), "--json"])
    printed = json.loads(capsys.readouterr().out)
    written = json.loads((tmp_path / "trace.json").read_text())
    root = ElementTree.fromstring((tmp_path / "trace.svg").read_text())

    assert {"svg": str(tmp_path / "trace.svg"), "json": str(tmp_path / "trace.json")} == {
        key: printed.pop(key) for key in ("svg", "json")
    }
    assert written == printed
    assert 20 == written["n_images"]  # all of the test images
    assert "highest answer of the linear head, mean over images" == written["loss"]
    assert all(edge["gradient_rms"] > 0 for edge in written["edges"])
    assert [] == written["parameters"]
    assert "no parameter of this network learns" in "".join(root.itertext())
    assert {"trace.svg", "trace.json"} == {path.name for path in tmp_path.iterdir()}
    assert before == {path.name: path.read_bytes() for path in tiny_run.iterdir()}


def test_without_out_the_trace_lies_in_the_run_which_stays_a_run(
    tiny_run: Path, tiny_folder: Path, tmp_path: Path, capsys
):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    assert 0 == main(["trace", str(run)])
    table = capsys.readouterr().out

    assert f"drawn in {run / 'trace.svg'}" in table
    assert "image -> layer1" in table
    assert (run / "trace.json").is_file()
    # it may be replaced as before
    again = ["fit", str(tiny_folder), "--out", str(run), "--overwrite", *FAST_SETTINGS]
    assert 0 == main(again)
    assert not (run / "trace.json").exists()


@pytest.fixture
def trained(tiny_run: Path, tmp_path: Path) -> Path:
    """A run whose graph has batch norm, learns, and ends in logits of the ten classes."""
    graph = Graph(
        {
            "stem": node(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), "image"),
            "pool": node(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), "stem"),
            "logits": node(nn.Linear(4, 10), "pool"),
        },
        {"image": (3, 16, 16)},
        ("logits",),
    )
    replace(Model.load(tiny_run), graph=graph).save(tmp_path / "trained")
    return tmp_path / "trained"


def test_a_network_that_ends_in_logits_has_gradients_of_parameters(trained: Path, capsys):
    capsys.readouterr()
    assert 0 == main(["trace", str(trained), "--json"])
    traced = json.loads(capsys.readouterr().out)

    assert traced["loss"].startswith("cross-entropy against the network's own")
    gradients = {one["name"]: one["gradient_rms"] for one in traced["parameters"]}
    assert gradients.pop("layers.stem.0.bias") < 1e-6  # batch norm takes every bias away
    assert {"layers.stem.0.weight", "layers.stem.1.weight", "layers.stem.1.bias",
            "layers.logits.weight", "layers.logits.bias"} == set(gradients)  # fmt: skip
    assert min(gradients.values()) > 1e-6


def test_images_may_come_from_another_source(tiny_run: Path, tmp_path: Path, capsys):
    capsys.readouterr()
    arguments = ["--images", "digits", "--out", str(tmp_path), "--json"]
    assert 0 == main(["trace", str(tiny_run), *arguments])
    traced = json.loads(capsys.readouterr().out)

    assert ("digits", 64) == (traced["source"], traced["n_images"])


def test_a_run_that_is_none(tmp_path: Path, capsys):
    (tmp_path / "empty").mkdir()

    assert "absent is no folder: expected a folder with config.toml" in refusal(
        capsys, tmp_path / "absent"
    )
    assert not (tmp_path / "absent").exists()
    assert "holds no run" in refusal(capsys, tmp_path / "empty")


def test_a_source_that_is_not_there_any_more(tiny_run: Path, tmp_path: Path, capsys):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    config = (run / "config.toml").read_text()
    learned_from = json.dumps(Model.load(run).info["run"]["source"])
    (run / "config.toml").write_text(config.replace(learned_from, '"/gone"'))

    assert "name the SOURCE too (fewlabels trace" in refusal(capsys, run)
    assert "/absent does not exist" in refusal(capsys, run, "--images", "/absent")


def test_images_of_another_size(tiny_run: Path, tmp_path: Path, capsys):
    graph = Graph(
        {"a": node(nn.Flatten(), "image"), "b": node(nn.Linear(3 * 16 * 20, 10), "a")},
        {"image": (3, 16, 20)},
        ("b",),
    )
    run = tmp_path / "wide"
    replace(Model.load(tiny_run), graph=graph, image_size=(16, 20)).save(run)
    line = refusal(capsys, run)

    assert "takes images of 16 x 20" in line
    assert "are 16 x 16: resize them" in line
    assert not (run / "trace.svg").exists()


def test_a_network_of_another_shape_than_its_run_says(trained: Path, capsys):
    config = (trained / "config.toml").read_text()
    changed = config.replace(
        "image_size = [\n    16,\n    16,\n]", "image_size = [\n    8,\n    8,\n]"
    )
    assert changed != config
    (trained / "config.toml").write_text(changed)

    assert "the network takes images of 3 x 16 x 16; got 3 x 8 x 8" in refusal(capsys, trained)


def test_a_place_that_cannot_be_written(tiny_run: Path, tmp_path: Path, capsys):
    (tmp_path / "file").write_text("mine")

    assert "is a file, and traces need a folder" in refusal(
        capsys, tiny_run, "--out", tmp_path / "file"
    )
    assert "cannot be written into" in refusal(
        capsys, tiny_run, "--out", tmp_path / "file" / "inside"
    )
    assert "mine" == (tmp_path / "file").read_text()


def test_an_earlier_trace_is_replaced_and_files_of_others_are_not(
    tiny_run: Path, tmp_path: Path, capsys
):
    assert 0 == main(["trace", str(tiny_run), "--out", str(tmp_path / "own")])
    assert 0 == main(["trace", str(tiny_run), "--out", str(tmp_path / "own")])
    (tmp_path / "trace.svg").write_text("mine")

    line = refusal(capsys, tiny_run, "--out", tmp_path)

    assert "trace.svg was not written by fewlabels trace, and is left as it is" in line
    assert "mine" == (tmp_path / "trace.svg").read_text()
    assert not (tmp_path / "trace.json").exists()


def test_a_disk_that_is_full(tiny_run: Path, tmp_path: Path, capsys, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fewlabels.made_files.write_files", full)

    assert "the disk is full" in refusal(capsys, tiny_run, "--out", tmp_path)


def test_torch_gives_the_same_trace_twice(trained: Path, tmp_path: Path, capsys):
    sizes = []
    for _ in range(2):
        capsys.readouterr()
        assert 0 == main(["trace", str(trained), "--out", str(tmp_path / "t"), "--json"])
        traced = json.loads(capsys.readouterr().out)
        sizes.append([traced["edges"], traced["parameters"]])

    assert sizes[0] == sizes[1]
    assert torch.is_grad_enabled()
