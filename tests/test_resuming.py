"""A training that was cut off and resumed ends as one that never was."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fewlabels import checkpoints
from fewlabels.errors import CheckpointError, ConfigError
from fewlabels.progress import Clock, watching
from fewlabels.runs import Diary
from fewlabels.training import TrainingConfig, train
from small_training import MadeExamples, small_graph

EVERY_STEP = 1e-9  # minutes
CONFIG = TrainingConfig(
    batch_size=8, epochs=4, learning_rate=0.1, averaging=0.9, checkpoint_minutes=EVERY_STEP
)  # 20 steps


class CutOffError(Exception):
    """Stands for a machine that goes away."""


class Breaking(MadeExamples):
    """Does something instead of the batch of a step."""

    def __init__(self, step: int, action) -> None:
        super().__init__()
        self.left, self.action = step, action

    def batch(self, indices_N, epoch):
        if self.left == 0:
            self.action()
        self.left -= 1
        return super().batch(indices_N, epoch)


def fail() -> None:
    raise CutOffError


def run(folder: Path | None, config=CONFIG, *, examples=None, graph=None, **how):
    graph = graph or small_graph()
    how = {"seed": 5, "precision": "fp32", "folder": folder, **how}
    return graph, train(graph, examples or MadeExamples(), config, **how)


def equal(first, second) -> bool:
    states = first.state_dict(), second.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("optimizer", ["muon", "sgd"])
@pytest.mark.parametrize("step", [1, 7, 10, 19])  # in an epoch of 5 steps, and at its end
def test_a_resumed_training_ends_bit_for_bit_as_one_never_cut_off(
    tmp_path: Path, step: int, optimizer: str, precision: str
):
    config = replace(CONFIG, optimizer=optimizer)
    whole, expected = run(None, config, precision=precision)
    with pytest.raises(CutOffError):
        run(tmp_path, config, examples=Breaking(step, fail), precision=precision)
    assert step == checkpoints.load(tmp_path).step

    # "auto" is the precision of the checkpoint
    resumed, result = run(tmp_path, config, resume=True, precision="auto")

    assert equal(whole, resumed)
    assert precision == result.precision
    timeless = [
        [{k: v for k, v in record.items() if k != "seconds"} for record in one.history]
        for one in (expected, result)
    ]
    assert timeless[0] == timeless[1]


@pytest.mark.parametrize("step", [3, 12, 24])
def test_a_training_of_least_steps_is_resumed_bit_for_bit(tmp_path: Path, step: int):
    config = replace(CONFIG, epochs=2, least_steps=23)  # 5 epochs, in records of 3 and 2
    whole, expected = run(None, config)
    with pytest.raises(CutOffError):
        run(tmp_path, config, examples=Breaking(step, fail))

    resumed, result = run(tmp_path, config, resume=True)

    assert equal(whole, resumed)
    losses = [[record["loss"] for record in one.history] for one in (expected, result)]
    assert losses[0] == losses[1] and 2 == len(losses[0])


def test_checkpoints_of_long_ago_are_good_too(tmp_path: Path):
    whole, _ = run(None)
    rare = replace(CONFIG, checkpoint_minutes=1000)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, rare, examples=Breaking(7, interrupt))
    # goes on to step 13, and is cut off without another checkpoint
    with pytest.raises(CutOffError):
        run(tmp_path, rare, examples=Breaking(5, fail), resume=True)

    resumed, _ = run(tmp_path, rare, resume=True)

    assert equal(whole, resumed)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_step_and_saves_it(tmp_path: Path, number):
    rare = replace(CONFIG, checkpoint_minutes=1000)
    stop = Breaking(7, lambda: os.kill(os.getpid(), number))
    text = "stopped after step 8, step 8 is saved: go on with --resume"

    with pytest.raises(KeyboardInterrupt, match=text):
        run(tmp_path, rare, examples=stop)

    assert 8 == checkpoints.load(tmp_path).step
    resumed, _ = run(tmp_path, rare, resume=True)
    assert equal(run(None)[0], resumed)


def test_an_interrupt_while_the_end_is_measured_is_not_lost(tmp_path: Path):
    measured: list[int] = []

    def measure(graph) -> dict[str, float]:
        measured.append(1)
        if len(measured) == 4:  # the last epoch's
            interrupt()
        return {}

    with pytest.raises(KeyboardInterrupt, match="stopped after step 20, step 20 is saved"):
        run(tmp_path, measure=measure)


def test_without_a_folder_an_interrupt_says_that_nothing_is_kept():
    with pytest.raises(KeyboardInterrupt, match="after step 3, no checkpoint is kept"):
        run(None, examples=Breaking(2, interrupt))


KILLED = """
import sys
from pathlib import Path
import test_resuming as t
t.run(Path(sys.argv[1]), examples=t.Breaking(int(sys.argv[2]), lambda: t.os.kill(t.os.getpid(), 9)))
"""


def test_a_killed_process_leaves_a_checkpoint_to_go_on_from(tmp_path: Path):
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    command = [sys.executable, "-c", KILLED, str(tmp_path), "8"]

    ended = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True)

    assert -signal.SIGKILL == ended.returncode, ended.stderr.decode()
    resumed, _ = run(tmp_path, resume=True)
    assert equal(run(None)[0], resumed)


def test_a_finished_training_is_taken_as_it_is(tmp_path: Path):
    whole, expected = run(tmp_path)

    again, result = run(tmp_path, examples=Breaking(0, fail), resume=True)

    assert equal(whole, again)
    assert expected == result


def test_seconds_add_up_and_all_epochs_are_noted(tmp_path: Path):
    with pytest.raises(CutOffError):
        run(tmp_path, examples=Breaking(12, fail))
    before = checkpoints.load(tmp_path).seconds

    with watching(Diary(tmp_path / "metrics.jsonl")):
        _, result = run(tmp_path, resume=True)

    assert result.seconds > before
    assert [1, 2, 3, 4] == [record["epoch"] for record in result.history]
    assert 5 == len((tmp_path / "metrics.jsonl").read_text().splitlines())  # and the stage's own


def test_the_seconds_of_a_stage_hold_those_before_the_break(tmp_path: Path, monkeypatch):
    with pytest.raises(CutOffError):
        run(tmp_path, examples=Breaking(12, fail))
    found = checkpoints.load(tmp_path)
    checkpoints.save(replace(found, seconds=1000.0), tmp_path)
    clock, diary = Clock(), Diary(tmp_path / "metrics.jsonl")

    with watching(clock), watching(diary):
        run(tmp_path, resume=True)
        first = clock.seconds["training"]
        run(tmp_path, resume=True)  # a fold that is through counts too

    assert 1000 < first < 1060
    assert 2000 < clock.seconds["training"] < 2 * first + 60
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert "count" in last and last["seconds"] >= 1000


def test_tensorboard_has_each_point_once_after_a_break(tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = replace(CONFIG, tensorboard=True)
    with pytest.raises(CutOffError):
        run(tmp_path, config, examples=Breaking(12, fail))

    _, result = run(tmp_path, config, resume=True)

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    expected = [(5 * i + 5, pytest.approx(r["loss"])) for i, r in enumerate(result.history)]
    assert expected == [(p.step, p.value) for p in events.Scalars("training/loss")]


def test_a_budget_of_time_goes_on_where_it_was(tmp_path: Path, monkeypatch):
    passed = [0.0]
    monkeypatch.setattr("fewlabels.training_loop.now", lambda: passed[0])

    class Slow(Breaking):
        def batch(self, indices_N, epoch):
            passed[0] += 1
            return super().batch(indices_N, epoch)

    config = replace(CONFIG, epochs=0)
    with pytest.raises(CutOffError):
        run(tmp_path, config, examples=Slow(12, fail), budget_seconds=20.0)
    passed[0] = 1000.0

    _, result = run(tmp_path, config, examples=Slow(-1, fail), budget_seconds=20.0, resume=True)

    assert (20, 20.0) == (result.steps, result.seconds)


def test_there_may_be_nothing_to_resume(tmp_path: Path):
    graph, _ = run(tmp_path / "absent", resume=True)

    assert equal(run(None)[0], graph)
    with pytest.raises(ConfigError, match="is resumed from a folder of checkpoints: name it"):
        run(None, resume=True)


def test_a_checkpoint_is_never_written_over_by_a_new_training(tmp_path: Path):
    run(tmp_path)
    expected = (tmp_path / checkpoints.FILE).read_bytes()

    with pytest.raises(CheckpointError, match="holds the checkpoint of another training: go on"):
        run(tmp_path)

    assert expected == (tmp_path / checkpoints.FILE).read_bytes()


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path):
    run(tmp_path)

    with pytest.raises(CheckpointError, match=r"training.safetensors is of another network: res"):
        run(tmp_path, graph=small_graph(width=6), resume=True)
    with pytest.raises(CheckpointError, match="does not fit its network and settings"):
        run(tmp_path, graph=small_graph().freeze("conv"), resume=True)
    with pytest.raises(CheckpointError, match="does not fit its network and settings"):
        run(tmp_path, replace(CONFIG, averaging=0.0), resume=True)


def brighter_graph():
    graph = small_graph()
    graph.layers["conv"].weight.data.add_(1)
    return graph


@pytest.mark.parametrize(
    ("changes", "how", "text"),
    [
        ({"batch_size": 4}, {}, "was made with 8 as training.batch_size, not 4: give the same"),
        ({"epochs": 9}, {}, "was made with 4 as training.epochs, not 9: give the same"),
        ({"least_steps": 99}, {}, "was made with 0 as training.least_steps, not 99"),
        ({"optimizer": "sgd"}, {}, "was made with muon as training.optimizer, not sgd"),
        ({}, {"seed": 6}, "was made with 5 as the seed, not 6"),
        ({}, {"examples": MadeExamples(41)}, "was made with 40 as the number of images, not 41"),
        ({}, {"precision": "bf16"}, "was made with fp32 as the precision, not bf16"),
        ({}, {"graph": brighter_graph()}, r"began with other first weights .*conv\.weight"),
        (
            {},
            {"made_from": {"photos": "abc"}},
            "was made with other photos: resume with the images",
        ),
    ],
)
def test_another_training_is_not_resumed(tmp_path: Path, changes, how, text):
    run(tmp_path)

    with pytest.raises(CheckpointError, match=text):
        run(tmp_path, replace(CONFIG, **changes), resume=True, **how)


def test_after_a_divergence_it_goes_on_with_a_lower_rate(tmp_path: Path):
    class Bright(MadeExamples):
        calls = 0

        def batch(self, indices_N, epoch):
            images, labels = super().batch(indices_N, epoch)
            self.calls += 1
            return images * (torch.inf if self.calls == 7 else 1), labels

    with pytest.raises(ConfigError, match=r"diverged.*training\.learning_rate"):
        run(tmp_path, examples=Bright())
    said: list[str] = []

    class Listener(Diary):
        def said(self, message):
            said.append(message)

    with watching(Listener(Path(os.devnull))):
        _, result = run(tmp_path, replace(CONFIG, learning_rate=0.05), resume=True)

    assert ["training.learning_rate is now 0.05, and was 0.1", "going on from step 6"] == said
    assert 20 == result.steps
