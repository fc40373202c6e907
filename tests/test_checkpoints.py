import errno
import json
import os
from pathlib import Path

import pytest
import safetensors.torch
import torch

from fewlabels import checkpoints
from fewlabels.checkpoints import FILE, Checkpoint, gather, load, put_back, save
from fewlabels.errors import CheckpointError
from fewlabels.optimizers import build
from fewlabels.training_config import TrainingConfig
from small_training import small_graph


def a_checkpoint(step: int = 3) -> Checkpoint:
    return Checkpoint(
        tensors={"weights/a": torch.arange(6.0).view(2, 3), "weights/n": torch.tensor(7)},
        made_by={"graph": "abc", "seed": 0},
        step=step,
        seconds=1 / 3,
        facts={"history": [{"loss": 0.1}], "first_loss": None},
    )


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path):
    expected = a_checkpoint()

    save(expected, tmp_path / "deep" / "folder")

    found = load(tmp_path / "deep" / "folder")
    assert (expected.step, expected.seconds) == (found.step, found.seconds)
    assert (expected.made_by, expected.facts) == (found.made_by, found.facts)
    assert all(torch.equal(value, found.tensors[name]) for name, value in expected.tensors.items())
    assert [FILE] == [path.name for path in (tmp_path / "deep" / "folder").iterdir()]


def test_where_there_is_none_there_is_none(tmp_path: Path):
    assert load(tmp_path) is None


def test_the_last_good_one_stays_until_the_next_is_whole(tmp_path: Path, monkeypatch):
    save(a_checkpoint(3), tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"no space is left .*nothing was changed"):
        save(a_checkpoint(4), tmp_path)

    assert 3 == load(tmp_path).step
    assert [FILE] == [path.name for path in tmp_path.iterdir()]


@pytest.mark.parametrize("part", [0, 4, 100, 0.5, -1])
def test_a_file_cut_short_is_one_line(tmp_path: Path, part: float):
    save(a_checkpoint(), tmp_path)
    content = (tmp_path / FILE).read_bytes()
    kept = int(part * len(content)) if isinstance(part, float) else part
    (tmp_path / FILE).write_bytes(content[:kept])

    with pytest.raises(CheckpointError, match=r"is not a whole checkpoint \(.*copy it again") as e:
        load(tmp_path)

    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "described",
    [None, {}, {"training": "{"}, {"training": "[]"}, {"training": '{"format": 2}'}],
)
def test_a_file_of_another_kind_is_one_line(tmp_path: Path, described):
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / FILE, described)

    with pytest.raises(CheckpointError, match="is not a whole checkpoint"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("version", "text"),
    [(3, "has format 3, .* reads 2: update fewlabels"), (1, "has format 1, .* with the fewlabels")],
)
def test_another_version_says_what_to_do(tmp_path: Path, version: int, text: str):
    described = {"training": json.dumps({"format": version, "and": "more"})}
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / FILE, described)

    with pytest.raises(CheckpointError, match=text):
        load(tmp_path)


def test_what_is_put_back_lies_in_memory_as_it_did():
    graph = small_graph().to(memory_format=torch.channels_last)
    optimizers = build(graph, TrainingConfig(), torch.float32)
    graph(torch.randn(4, 3, 6, 6)).square().mean().backward()
    for optimizer in optimizers:
        optimizer.step()
    tensors = gather(graph, None, optimizers)
    assert tensors["weights/layers.conv.weight"].is_contiguous()

    other = small_graph().to(memory_format=torch.channels_last)
    others = build(other, TrainingConfig(), torch.float32)
    put_back(tensors, other, None, others, Path("x"))

    weight = other.layers["conv"].weight
    assert torch.equal(graph.layers["conv"].weight, weight)
    assert weight.is_contiguous(memory_format=torch.channels_last)
    buffers = [
        one[0].state[module.layers["conv"].weight]["momentum_buffer"]
        for one, module in ((optimizers, graph), (others, other))
    ]
    assert torch.equal(*buffers) and buffers[0].stride() == buffers[1].stride()


def test_a_tensor_too_many_or_too_few_is_named():
    graph = small_graph()
    tensors = gather(graph, None, [])
    missing = {k: v for k, v in tensors.items() if k != "weights/layers.norm.bias"}
    more = {**tensors, "optimizer/layers.gone.weight/momentum_buffer": torch.zeros(1)}
    larger = {**tensors, "weights/layers.norm.bias": torch.zeros(9)}

    for wrong, name in ((missing, "norm.bias"), (more, "gone.weight"), (larger, "norm.bias")):
        with pytest.raises(CheckpointError, match=rf"does not fit .*{name}"):
            put_back(wrong, graph, None, [], Path("x"))


def test_not_a_number_is_seen_in_weights_and_statistics():
    graph = small_graph()
    assert checkpoints.all_finite(graph)
    graph.layers["norm"].running_var[2] = torch.inf
    assert not checkpoints.all_finite(graph)
