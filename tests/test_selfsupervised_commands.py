"""Learning that two views agree through the command line: a recipe, a start, what does not fit."""

import json
import tomllib
from pathlib import Path

import pytest
import torch

from fewlabels import fitting, graph_files
from fewlabels.images import ImageSet
from small_runs import SMALL
from test_training_commands import answer, arguments, notes, refusal

pytest_plugins = ("run_fixtures",)

FACTS = {"invariance", "variance", "covariance", "deviation", "loss"}
START = (
    *("--set", "consistency.start=selfsupervised"),
    *("--set", "consistency.selfsupervised_epochs=2"),
)


def test_two_views_are_learned_from_for_a_budget(tiny_folder: Path, tmp_path: Path, capsys):
    run = tmp_path / "run"
    words = arguments("selfsupervised", "--budget", "1s", "--out", run)

    scores = answer(capsys, "fit", tiny_folder, *words)

    assert scores["seconds"]["training"] >= 1
    assert all(set(line) >= FACTS for line in notes(run))
    # without labels: no accuracy is one of the training
    assert not any("accuracy" in name for line in notes(run) for name in line)
    assert "The network learned from the unlabelled images and from all training images" in (
        run / "report.html"
    ).read_text().replace("\n", " ")
    config = tomllib.loads((run / "config.toml").read_text())
    assert [8, 6] == config["recipe"]["selfsupervised"]["projector"]


def test_what_was_learned_is_gone_on_with(tiny_set: ImageSet, tmp_path: Path):
    settings = SMALL["selfsupervised"] | {"training.epochs": "2"}
    how = {"settings": settings, "precision": "fp32", "checkpoints": tmp_path}

    first = fitting.fit(tiny_set, "selfsupervised", **how)
    kept = (tmp_path / "selfsupervised" / "training.safetensors").read_bytes()
    again = fitting.fit(tiny_set, "selfsupervised", **how, resume=True)

    assert kept == (tmp_path / "selfsupervised" / "training.safetensors").read_bytes()
    states = [model.graph.state_dict() for model in (first, again)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.batch_size=1", "training.batch_size is at least 2 to learn from two views"),
        ("selfsupervised.projector=0", "selfsupervised.projector are at least 1 each; got (0,)"),
        ("selfsupervised.projector=wide", "selfsupervised.projector is a whole number"),
        ("selfsupervised.variance_weight=0", "variance_weight is a number over 0"),
        ("selfsupervised.covariance_weight=inf", "selfsupervised.covariance_weight is a number"),
        ("selfsupervised.projectors=8", "did you mean 'selfsupervised.projector'?"),
        ("training.epochs=0", "was given neither: give one of them"),
    ],
)
def test_settings_that_do_not_fit_are_said_in_one_line(
    setting: str, message: str, tiny_folder: Path, tmp_path: Path, capsys
):
    words = arguments("selfsupervised", "--set", setting, "--out", tmp_path / "run")

    assert message in refusal(capsys, "fit", tiny_folder, *words)
    assert [] == list(tmp_path.iterdir())


# --- as a start


def test_a_start_from_two_views_is_fitted_evaluated_asked_and_reported(
    tiny_folder: Path, tmp_path: Path, capsys
):
    run = tmp_path / "run"
    words = arguments("consistency", "--set", "training.epochs=2", *START, "--out", run)

    scores = answer(capsys, "fit", tiny_folder, *words)
    again = answer(capsys, "evaluate", run)
    told = answer(capsys, "predict", run, tiny_folder / "test")
    page = answer(capsys, "report", run)

    assert scores["confusion"] == again["confusion"]
    assert 20 == len(told["predictions"])
    assert "data:image/webp" in Path(page["report"]).read_text()
    # two epochs of views, then labels
    assert [True, True, False] == ["invariance" in line for line in notes(run)][:3]
    names = json.loads((run / "graph.json").read_text())
    assert "projector" not in json.dumps(names)
    assert {"linear", "logits"} <= set(graph_files.load(run).nodes)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.batch_size=1", "training.batch_size is at least 2 to learn from two views"),
        ("consistency.start=views", "one of labels, filters, surrogate, selfsupervised; got"),
        ("consistency.selfsupervised_part=1", "selfsupervised_part is a part, over 0 and under 1"),
        ("consistency.selfsupervised_epochs=0", "selfsupervised_epochs is at least 1; got 0"),
    ],
)
def test_a_start_that_does_not_fit_is_said_in_one_line(
    setting: str, message: str, tiny_folder: Path, tmp_path: Path, capsys
):
    words = arguments("consistency", *START, "--set", setting, "--out", tmp_path / "run")

    assert message in refusal(capsys, "fit", tiny_folder, *words)
    assert [] == list(tmp_path.iterdir())
