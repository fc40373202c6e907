"""A head on disk: the same answers bit for bit, and a damaged file is said to be one."""

import json
import os
from pathlib import Path

import pytest
import safetensors.torch
import torch

from fewlabels import heads
from fewlabels.errors import CheckpointError
from fewlabels.heads import Head, HeadConfig

FEATURES = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))


def head_of(kind: str, n_classes: int = 3) -> Head:
    labels = torch.arange(30) % n_classes
    return heads.fit(FEATURES, labels, n_classes, HeadConfig(kind=kind), seed=0)


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as raised:
        heads.load(folder)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("kind", heads.KINDS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_loaded_head_answers_the_same_bit_for_bit(kind: str, n_classes: int, tmp_path: Path):
    head = head_of(kind, n_classes)

    heads.save(head, tmp_path)
    loaded = heads.load(tmp_path)

    assert torch.equal(head.probabilities(FEATURES), loaded.probabilities(FEATURES))
    assert (head.kind, head.temperature, head.chosen, head.none_below) == (
        loaded.kind, loaded.temperature, loaded.chosen, loaded.none_below
    )  # fmt: skip
    assert 0 < loaded.none_below < 1
    assert [heads.FILE] == [path.name for path in tmp_path.iterdir()]


def test_a_missing_file_is_said(tmp_path: Path):
    assert f"{tmp_path / heads.FILE} is not a whole head" in refusal(tmp_path)


def test_a_file_cut_anywhere_is_said(tmp_path: Path):
    heads.save(head_of("kernel"), tmp_path)
    path = tmp_path / heads.FILE
    whole = path.read_bytes()

    for n_bytes in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:n_bytes])
        assert "is not a whole head" in refusal(tmp_path)
        assert "fit the run again" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("kernel", {"kind": "ridge"}),
        ("ridge", {"kind": "tree"}),
        ("kernel", {"chosen": {}}),
        ("kernel", {"chosen": 3}),
        ("ridge", {"temperature": None, "other": 1}),
        ("ridge", {"format": "one"}),
    ],
)
def test_a_file_that_describes_another_head_is_said(kind: str, changes: dict, tmp_path: Path):
    head = head_of(kind)
    described = {"format": 1, "kind": kind, "temperature": 1.0, "chosen": head.chosen, **changes}
    written = safetensors.torch.save(head.tensors, {"head": json.dumps(described)})
    (tmp_path / heads.FILE).write_bytes(written)

    assert "is not a whole head" in refusal(tmp_path)


@pytest.mark.parametrize("metadata", [None, {}, {"head": "{"}, {"head": "[]"}])
def test_a_file_of_another_making_is_said(metadata: dict | None, tmp_path: Path):
    written = safetensors.torch.save({"a": torch.zeros(2)}, metadata)
    (tmp_path / heads.FILE).write_bytes(written)

    assert "is not a whole head" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["mean", "bias", "weights"])
def test_a_file_that_lacks_a_tensor_is_said(name: str, tmp_path: Path):
    head = head_of("ridge")
    fewer = {key: tensor for key, tensor in head.tensors.items() if key != name}

    heads.save(Head(kind="ridge", tensors=fewer), tmp_path)

    assert "is not a whole head" in refusal(tmp_path)


def test_a_file_of_format_1_loads_and_calls_nothing_none(tmp_path: Path):
    head = head_of("kernel")
    described = {"format": 1, "kind": "kernel", "temperature": 0.5, "chosen": head.chosen}
    written = safetensors.torch.save(head.tensors, {"head": json.dumps(described)})
    (tmp_path / heads.FILE).write_bytes(written)

    loaded = heads.load(tmp_path)

    assert (0.5, 0.0) == (loaded.temperature, loaded.none_below)
    assert torch.equal(head.answers(FEATURES), loaded.answers(FEATURES))


def test_a_file_of_a_newer_version_says_to_update(tmp_path: Path, monkeypatch):
    with monkeypatch.context() as newer:
        newer.setattr(heads, "FORMAT", heads.FORMAT + 1)
        heads.save(head_of("ridge"), tmp_path)

    assert "is of format 3, this fewlabels reads 2: update fewlabels" in refusal(tmp_path)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path):
    with pytest.raises(CheckpointError, match="could not be written"):
        heads.save(head_of("ridge"), tmp_path / "absent")


def test_a_disk_that_fills_up_leaves_the_earlier_file_whole(tmp_path: Path, monkeypatch):
    heads.save(head_of("ridge"), tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        heads.save(head_of("kernel"), tmp_path)

    assert "ridge" == heads.load(tmp_path).kind
    assert [heads.FILE] == [path.name for path in tmp_path.iterdir()]
