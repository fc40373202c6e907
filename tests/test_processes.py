"""Two processes that `torchrun` starts learn what one does."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fewlabels import checkpoints
from fewlabels.architectures import WhitenedNetwork
from fewlabels.augment import Augmentation
from fewlabels.cli import main
from fewlabels.errors import ConfigError
from fewlabels.graph import Graph
from fewlabels.images import Images
from fewlabels.jobs import evaluate_run
from fewlabels.processes import agreed, join, largest, mean
from fewlabels.training import TrainingConfig, train
from fewlabels.ways import selfsupervised
from fewlabels.ways.consistency_config import ConsistencyConfig
from fewlabels.ways.selfsupervised import SelfSupervisedConfig
from fewlabels.ways.steps import PseudoLabelStep
from fewlabels.ways.views import Views
from small_runs import FAST_SETTINGS, SMALL
from small_training import MadeExamples, small_graph

pytest_plugins = ("run_fixtures",)

CONFIG = TrainingConfig(
    # batches of 7 are shared 4 and 3
    batch_size=7,
    epochs=2,
    learning_rate=0.1,
    averaging=0.9,
    weight_decay=1e-4,
    checkpoint_minutes=1e-9,
)


def run(folder: Path, *, measure=None, resume: bool = False):
    graph = small_graph(norm=False, dropout=0.0)
    how = {"seed": 5, "precision": "fp32", "folder": folder, "resume": resume}
    return graph, train(graph, MadeExamples(23), CONFIG, measure=measure, **how)


def under_torchrun(code: str, *arguments: str) -> str:
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    script = Path(arguments[0]) / "script.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(script), *arguments], env=environment, capture_output=True, text=True
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout


SHARED = """
import sys
from pathlib import Path
import torch
import test_processes as t

folder = Path(sys.argv[1])
measure = lambda graph: {"rank": torch.distributed.get_rank()}
graph, result = t.run(folder / "checkpoints", measure=measure)
rank = torch.distributed.get_rank()
torch.save(graph.state_dict(), folder / f"{rank}.pt")
record = result.history[-1]
sys.stdout.write(f"{rank} {result.steps} {record['loss']:.6f} {record['rank']:.0f}\\n")
"""


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path: Path):
    one, result = run(tmp_path / "one")

    said = under_torchrun(SHARED, str(tmp_path))

    # the first process alone measures, and both know what it found
    lines = sorted(line.split() for line in said.splitlines())
    assert [["0", "6"], ["1", "6"]] == [line[:2] for line in lines]
    assert ["0", "0"] == [line[3] for line in lines]
    assert lines[0][2] == lines[1][2]
    states = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for name, value in one.state_dict().items():
        assert torch.equal(states[0][name], states[1][name])
        torch.testing.assert_close(states[0][name], value, rtol=1e-4, atol=1e-5)
    assert 6 == result.steps == checkpoints.load(tmp_path / "checkpoints").step


RESUMED = """
import sys
from pathlib import Path
import torch
import test_processes as t

class Breaking(t.MadeExamples):
    calls = 0
    def batch(self, indices_N, epoch):
        self.calls += 1
        if self.calls == 5:
            raise KeyboardInterrupt
        return super().batch(indices_N, epoch)

folder = Path(sys.argv[1])
whole, _ = t.run(folder / "whole")
first = t.MadeExamples
t.MadeExamples = Breaking
try:
    t.run(folder / "broken")
except KeyboardInterrupt:
    pass
t.MadeExamples = first
torch.distributed.barrier()
assert 4 == t.checkpoints.load(folder / "broken").step
resumed, _ = t.run(folder / "broken", resume=True)
for name, value in whole.state_dict().items():
    assert torch.equal(value, resumed.state_dict()[name]), name
"""


@pytest.mark.slow
def test_several_processes_resume_bit_for_bit(tmp_path: Path):
    under_torchrun(RESUMED, str(tmp_path))


UNSOUND = """
import sys
from pathlib import Path
import torch
import test_processes as t

class Unsound(t.MadeExamples):
    def batch(self, indices_N, epoch):
        images, labels = super().batch(indices_N, epoch)
        return images * (torch.inf if torch.distributed.get_rank() == 1 else 1), labels

t.MadeExamples = Unsound
try:
    t.run(Path(sys.argv[1]) / "checkpoints")
except t.ConfigError as error:
    sys.stdout.write(f"{'diverged' in str(error)}\\n")
"""


@pytest.mark.slow
def test_all_processes_stop_where_one_diverges(tmp_path: Path):
    assert ["True", "True"] == under_torchrun(UNSOUND, str(tmp_path)).split()


TAUGHT = """
import sys
import torch
import test_processes as t

step = t.taught()
rank = torch.distributed.get_rank()
sys.stdout.write(f"{rank} {t.told(step)}\\n")
"""


def taught() -> PseudoLabelStep:
    """A training on unlabelled images, whose step keeps moving means."""
    draw = np.random.default_rng(0)
    views = Views(
        pixels=draw.integers(0, 256, (9, 3, 6, 6), np.uint8),
        labels=np.arange(9) % 3,
        unlabelled=draw.integers(0, 256, (30, 3, 6, 6), np.uint8),
        weights=np.ones(30, np.float32),
        ratio=2,
        n_groups=8,
        strong=Augmentation(flip=0.5),
        weak=Augmentation(),
        seed=1,
    )
    third_L = torch.full((3,), 1 / 3)
    config = ConsistencyConfig(momentum=0.5, threshold=0.4)
    step = PseudoLabelStep(
        config, prior_L=third_L, answered_L=third_L, aligns=True, label_smoothing=0.0
    )
    graph = small_graph(norm=False, dropout=0.0)
    train(graph, views, replace(CONFIG, batch_size=4), seed=5, precision="fp32", step=step)
    return step


def told(step: PseudoLabelStep) -> str:
    return " ".join(f"{value:.4f}" for value in [*step.answered_L.tolist(), float(step.overall)])


@pytest.mark.slow
def test_moving_means_of_answers_are_those_of_all_processes(tmp_path: Path):
    alone = told(taught())

    said = under_torchrun(TAUGHT, str(tmp_path)).splitlines()

    assert [f"0 {alone}", f"1 {alone}"] == sorted(said)


VIEWED = """
import sys
from pathlib import Path
import torch
import test_processes as t

graph = t.of_two_views()
torch.save(graph.state_dict(), Path(sys.argv[1]) / f"{torch.distributed.get_rank()}.pt")
"""


def of_two_views() -> Graph:
    """Features that were learned by comparing the images of a batch with one another."""
    pixels = np.random.default_rng(0).integers(0, 256, (14, 3, 12, 12), np.uint8)
    return selfsupervised.learn(
        Images(pixels=pixels),
        SelfSupervisedConfig(projector=(8, 5)),
        WhitenedNetwork(widths=(4, 6), first_filters=8),
        CONFIG,
        Augmentation(flip=0.5, brightness=0.2),
        seed=5,
        precision="fp32",
    )


@pytest.mark.slow
def test_two_processes_compare_the_images_of_the_whole_batch(tmp_path: Path):
    one = of_two_views().state_dict()

    under_torchrun(VIEWED, str(tmp_path))

    states = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for name, value in one.items():
        assert torch.equal(states[0][name], states[1][name])
        # both settle their statistics by the same images: n / (n - 1) is then of twice as many
        room = 2e-2 if name.endswith("running_var") else 1e-4
        torch.testing.assert_close(states[0][name], value, rtol=room, atol=1e-5)


COMMAND = """
import json, sys
from fewlabels.cli import main
sys.exit(main(json.loads(sys.argv[2])))
"""


@pytest.mark.slow
def test_the_command_runs_under_torchrun_and_writes_one_run(tiny_folder: Path, tmp_path: Path):
    run = tmp_path / "run"
    settings = {**SMALL["labels"], "training.epochs": "2", "training.tensorboard": "true"}
    words = ["fit", str(tiny_folder), "--recipe", "labels", "--out", str(run), "--json"]
    words += [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]

    scores = json.loads(under_torchrun(COMMAND, str(tmp_path), json.dumps(words)))

    assert ["run", "script.py"] == sorted(path.name for path in tmp_path.iterdir())
    assert scores["confusion"] == json.loads((run / "scores.json").read_text())["confusion"]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    # two epochs of three steps, and once more without the copies of test images
    assert [1, 2, 1, 2] == [line["epoch"] for line in lines if "epoch" in line]
    assert 1 == len(list((run / "tensorboard" / "fold-0").iterdir()))
    assert scores["accuracy"] == evaluate_run(run)["accuracy"]


def test_a_process_that_is_not_the_first_writes_nothing(
    tiny_folder: Path, tmp_path: Path, monkeypatch, capfd
):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("RANK", "1")
    # what the first one would send
    monkeypatch.setattr("fewlabels.processes.agreed", lambda value, device: "fp32")

    words = ["fit", str(tiny_folder), "--out", str(tmp_path / "run"), *FAST_SETTINGS, "--json"]
    assert 0 == main(words)
    assert ("", "") == tuple(capfd.readouterr())
    assert 2 == main(["fit", "absent", "--out", str(tmp_path / "run")])

    assert "absent" in capfd.readouterr().err
    assert [] == list(tmp_path.iterdir())


def test_alone_every_value_is_its_own_largest_and_mean():
    fabric = join("cpu", "fp32")

    assert "bf16" == agreed("bf16", "cpu")

    assert (1, [3.0, -1.0], [3.0, -1.0]) == (
        fabric.world_size,
        largest(fabric, [3.0, -1.0]),
        mean(fabric, [3.0, -1.0]),
    )


def test_a_batch_smaller_than_the_processes_is_refused(monkeypatch):
    class Two:
        def __init__(self, fabric):
            self.fabric = fabric

        def __getattr__(self, name):
            return 2 if name == "world_size" else getattr(self.fabric, name)

    monkeypatch.setattr("fewlabels.processes.join", lambda *how: Two(join(*how)))
    with pytest.raises(ConfigError, match="a batch of 1 images cannot be shared by 2 processes"):
        train(small_graph(), MadeExamples(1), CONFIG, seed=0)
