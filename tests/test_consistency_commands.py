"""The recipe consistency through the command line: what it records, resuming, odd sets."""

import json
import os
import signal
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fewlabels import fitting, graph_files, processes, recipes, splits
from fewlabels.cli import main
from fewlabels.errors import CheckpointError, ConfigError
from fewlabels.images import ImageSet
from fewlabels.model import Model
from small_runs import SMALL

pytest_plugins = ("run_fixtures",)

EPOCHS_OF = ("rounds.epochs", "steps.epochs")
SETTINGS = {name: value for name, value in SMALL["consistency"].items() if name not in EPOCHS_OF}
WORDS = [
    *("--recipe", "consistency", "--precision", "fp32", "--set", "consistency.most_held_out=0.4"),
    *[w for name, value in SETTINGS.items() for w in ("--set", f"{name}={value}")],
]
# of 2 steps each, then 2 of 3 in the second phase of steps
EPOCHS = [w for name in ("training.epochs", *EPOCHS_OF) for w in ("--set", f"{name}=2")]

KILLED = """
import os, sys
from fewlabels import checkpoints
from fewlabels.cli import main
save = checkpoints.save
def save_and_die(checkpoint, folder):
    save(checkpoint, folder)
    if checkpoint.step == int(sys.argv[1]) and str(folder).endswith(sys.argv[2]):
        os.kill(os.getpid(), 9)
checkpoints.save = save_and_die
sys.exit(main(sys.argv[3:]))
"""


def killed(step: int, where: str, words: list[str]) -> None:
    command = [sys.executable, "-c", KILLED, str(step), where, *words]
    paths = os.pathsep.join(filter(None, sys.path))
    ended = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True)
    assert -signal.SIGKILL == ended.returncode, ended.stderr.decode()


@pytest.fixture(scope="module")
def whole(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was not cut off."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert 0 == main(["fit", str(tiny_folder), *WORDS, *EPOCHS, "--out", str(run), "--json"])
    return run


def test_a_run_tells_how_it_went(whole: Path):
    run, scores = whole, json.loads((whole / "scores.json").read_text())
    config = tomllib.loads((run / "config.toml").read_text())
    assert config["learned"] == {name: scores[name] for name in config["learned"]}
    assert {"fell_back", "aligned", "n_held_out", "n_unlabeled_used"} <= set(config["learned"])
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    phases = [line for line in lines if "epoch" in line]
    assert ["share_confident" in line for line in phases[:4]] == [False, False, True, True]
    assert all({"held_out_accuracy", "test_accuracy"} <= set(line) for line in phases[:4])
    assert Model.load(run).recipe == recipes.from_dict(config["recipe"])
    assert "by its own answers all of it, learned from the unlabelled" in (
        run / "report.html"
    ).read_text().replace("\n", " ")


@pytest.mark.parametrize(("step", "phase"), [(3, "labels"), (4, "steps")])
def test_a_run_killed_in_either_phase_is_resumed_bit_for_bit(
    step: int, phase: str, whole: Path, tiny_folder: Path, tmp_path: Path, capsys
):
    cut = tmp_path / "cut"
    words = ["fit", str(tiny_folder), *WORDS, *EPOCHS, "--json", "--out", str(cut)]

    killed(step, f"fold-0/{phase}", words)

    assert 0 == main([*words, "--resume"])
    first, second = (graph_files.load(run).state_dict() for run in (whole, cut))
    assert all(torch.equal(first[key], second[key]) for key in first)
    scores = [json.loads((run / "scores.json").read_text()) for run in (whole, cut)]
    for name in ("confusion", "fell_back", "aligned", "gain_held_out"):
        assert scores[0][name] == scores[1][name]
    assert Model.load(whole).head.temperature == Model.load(cut).head.temperature
    assert f"going on from step {step}" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["labels", "round-1", "round-2"])
def test_rounds_killed_are_resumed_bit_for_bit(where: str, tiny_folder: Path, tmp_path: Path):
    rounds = {"schedule": "rounds", "n_rounds": "2", "least_threshold": "0"}
    settings = [
        w for name, value in rounds.items() for w in ("--set", f"consistency.{name}={value}")
    ]
    words = ["fit", str(tiny_folder), *WORDS, *EPOCHS, *settings, "--out"]
    assert 0 == main([*words, str(tmp_path / "whole")])

    killed(3, f"fold-0/{where}", [*words, str(tmp_path / "cut")])
    assert 0 == main([*words, str(tmp_path / "cut"), "--resume"])

    first, second = (graph_files.load(tmp_path / run).state_dict() for run in ("whole", "cut"))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_rounds_are_scored_fold_by_fold_under_a_budget(tiny_folder: Path, tmp_path: Path, capsys):
    words = ["score", str(tiny_folder), *WORDS, "--set", "consistency.schedule=rounds"]
    words += ["--set", "consistency.n_teachers=1"]
    words += ["--labels", "20", "--folds", "0-1", "--budget", "4s", "--json"]

    assert 0 == main([*words, "--out", str(tmp_path / "s")])

    scores = json.loads(capsys.readouterr().out)
    assert [0, 1] == [fold["fold"] for fold in scores["folds"]]
    assert all("fell_back" in fold for fold in scores["folds"])
    config = tomllib.loads((tmp_path / "s" / "config.toml").read_text())
    assert 0 == config["recipe"]["training"]["epochs"] == config["recipe"]["steps"]["epochs"]


def test_epochs_of_neither_phase_go_with_a_budget():
    recipe, settings = recipes.named("consistency"), {"steps.epochs": "3"}

    with pytest.raises(ConfigError, match=r"after steps\.epochs or after a --budget of time"):
        fitting.within(recipe, 60.0, settings)


def test_a_set_without_unlabelled_images_is_learned_as_by_labels(tiny_set: ImageSet):
    bare, settings = replace(tiny_set, unlabeled=None), SMALL["labels"] | {"training.epochs": "2"}
    plain = fitting.fit(bare, "labels", settings=settings, precision="fp32")

    settings = SMALL["consistency"] | {"training.epochs": "2"}
    model = fitting.fit(bare, "consistency", settings=settings, precision="fp32")

    assert model.info["learned"]["fell_back"]
    answers = [one.predict(tiny_set.test).probabilities for one in (plain, model)]
    assert (answers[0] == answers[1]).all()


def test_training_images_without_their_labels_are_unlabelled_ones(tiny_set: ImageSet):
    bare = replace(tiny_set, unlabeled=None)
    settings = SMALL["consistency"] | {"training.epochs": "1", "steps.epochs": "1"}

    model = fitting.fit(bare, "consistency", labels=30, settings=settings, precision="fp32")

    assert 50 == model.info["learned"]["n_unlabeled_used"]


def test_the_labelled_images_of_a_fold_are_not_among_its_unlabelled_ones(tiny_set: ImageSet):
    fold = np.array([3, 0, 70])
    pool = splits.pool(tiny_set)
    found = splits.unlabelled(tiny_set, pool, fold)

    n_unlabelled = len(tiny_set.unlabeled)
    rest = np.setdiff1d(np.arange(80), fold)
    expected = np.concatenate([tiny_set.unlabeled.pixels[:], tiny_set.train.pixels[rest]])
    assert np.array_equal(found.pixels[:], expected)
    left_out = np.zeros(n_unlabelled + 80, bool)
    left_out[[5, n_unlabelled + 70, n_unlabelled + 4]] = True
    fewer = splits.unlabelled(tiny_set, splits.without(pool, left_out), fold)
    assert n_unlabelled - 1 + 80 - 4 == len(fewer)


# --- resuming with what was changed since


@pytest.fixture(scope="module")
def learned_under_a_budget(tiny_set: ImageSet, tmp_path_factory) -> tuple[Path, Model]:
    """The checkpoints of both phases under a budget of time, and the model."""
    processes.join("cpu", "fp32")  # what a first training loads would take its time
    folder = tmp_path_factory.mktemp("kept")
    return folder, fit_again(tiny_set, folder, resume=False)


def fit_again(tiny_set: ImageSet, folder: Path, *, resume: bool = True, budget=8.0, **changed):
    settings = SETTINGS | {"consistency.labels_part": "0.25"}
    settings |= {name.replace("__", "."): value for name, value in changed.items()}
    return fitting.fit(
        tiny_set,
        "consistency",
        settings=settings,
        precision="fp32",
        budget_seconds=budget,
        checkpoints=folder,
        resume=resume,
    )


def test_a_budget_is_resumed_though_less_of_it_is_left(tiny_set, learned_under_a_budget):
    folder, model = learned_under_a_budget
    kept = {path: path.read_bytes() for path in folder.rglob("*.safetensors")}

    again = fit_again(tiny_set, folder)

    assert ["labels", "steps"] == sorted(path.parent.name for path in kept)
    weights, others = (one.graph.state_dict() for one in (model, again))
    assert all(torch.equal(weights[key], others[key]) for key in weights)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("consistency__threshold", "0.8"),
        ("consistency__schedule", "rounds"),
        ("consistency__unlabelled_weight", "2"),
        ("consistency__momentum", "0.9"),
        ("weak__max_shift", "0.1"),
        ("augmentation__cutout", "0"),
        ("steps__label_smoothing", "0"),
        ("labels__held_out", "2"),
    ],
)
def test_other_settings_are_no_run_to_go_on_with(name, value, tiny_set, learned_under_a_budget):
    folder, _ = learned_under_a_budget

    with pytest.raises(CheckpointError, match="was made with other settings: resume with the imag"):
        fit_again(tiny_set, folder, **{name: value})


def test_another_budget_is_no_run_to_go_on_with(tiny_set, learned_under_a_budget):
    folder, _ = learned_under_a_budget

    with pytest.raises(CheckpointError, match="made with other --budget: resume with"):
        fit_again(tiny_set, folder, budget=12.0)
