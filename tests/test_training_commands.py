"""Networks that learn by gradients through the command line: budgets, resuming, folds, answers."""

import json
import os
import signal
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fewlabels import fitting, graph_files, protocol, recipes, splits, training
from fewlabels.cli import main
from fewlabels.errors import ConfigError
from fewlabels.images import Images, ImageSet
from fewlabels.model import Model
from small_runs import SMALL

pytest_plugins = ("run_fixtures",)

# their head reads features
FEATURE_WAYS = ("surrogate", "selfsupervised", "committee", "consistency-committee")
PULLS = dict.fromkeys(FEATURE_WAYS, "highest answer of the linear head")
RUN_FILES = {"config.toml", "graph.json", "weights.safetensors", "head.safetensors"}


def arguments(recipe: str, *options: object) -> list[str]:
    settings = [w for name, value in SMALL[recipe].items() for w in ("--set", f"{name}={value}")]
    return ["--recipe", recipe, "--precision", "fp32", *settings, *map(str, options)]


def answer(capsys, *words: object) -> dict:
    """The one JSON object that a command prints."""
    capsys.readouterr()
    assert 0 == main([*map(str, words), "--json"])
    return json.loads(capsys.readouterr().out)


def refusal(capsys, *words: object) -> str:
    """The one line of a command that ends with 2."""
    capsys.readouterr()
    assert 2 == main([*map(str, words)])
    printed = capsys.readouterr()
    assert "" == printed.out
    return printed.err.strip().splitlines()[-1]


def notes(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "epoch" in line]


def test_photographs_are_changed_more_but_for_what_is_set(tiny_folder: Path, tmp_path, capsys):
    run = tmp_path / "run"
    size = ("--size", 64, "--set", "training.epochs=1", "--set", "augmentation.cutout=0.2")

    answer(capsys, "fit", tiny_folder, "--out", run, *arguments("labels", *size))

    learned = tomllib.loads((run / "config.toml").read_text())["recipe"]["augmentation"]
    kept = (learned["max_scale"], learned["max_rotation_deg"], learned["cutout"])
    assert (1.6, 15.0, 0.2) == kept


@pytest.mark.parametrize("recipe", SMALL)
def test_a_trained_recipe_is_fitted_evaluated_asked_and_reported(
    recipe: str, tiny_folder: Path, tmp_path: Path, capsys
):
    run = tmp_path / "run"
    words = arguments(recipe, "--set", "training.epochs=2", "--out", run)

    scores = answer(capsys, "fit", tiny_folder, *words)
    again = answer(capsys, "evaluate", run)
    told = answer(capsys, "predict", run, tiny_folder / "test")
    page = answer(capsys, "report", run)
    traced = answer(capsys, "trace", run)

    assert RUN_FILES <= {path.name for path in run.iterdir()}
    assert not (run / "checkpoints").exists()
    assert (scores["confusion"], scores["accuracy"]) == (again["confusion"], again["accuracy"])
    assert 20 == len(told["predictions"])
    assert "data:image/webp" in Path(page["report"]).read_text()
    assert recipe == scores["recipe"]
    assert "training" in scores["seconds"]
    assert traced["loss"].startswith(PULLS.get(recipe, "cross-entropy"))
    assert [1, 2] == [line["epoch"] for line in notes(run)][:2]


def test_a_learning_curve_has_training_and_test_accuracy(tiny_folder: Path, tmp_path: Path, capsys):
    words = arguments("labels", "--set", "training.epochs=3", "--out", tmp_path / "run")

    answer(capsys, "fit", tiny_folder, *words)

    # the copies of test images make it learn twice
    curve = notes(tmp_path / "run")
    assert [1, 2, 3, 1, 2, 3] == [line["epoch"] for line in curve]
    for line in curve:
        assert 0 <= line["test_accuracy"] <= 1 and 0 <= line["accuracy_train"] <= 1
        assert line["seconds"] > 0


def test_compare_tells_accuracy_on_surrogates_from_that_on_labelled_images(
    tiny_folder: Path, tmp_path: Path, capsys
):
    runs = [tmp_path / recipe for recipe in ("labels", "surrogate")]
    for run in runs:
        words = arguments(run.name, "--set", "training.epochs=2", "--out", run)
        answer(capsys, "fit", tiny_folder, *words)

    compared = answer(capsys, "compare", *runs, "--out", tmp_path / "compared")

    names = [
        {part: {curve["name"] for curve in curves} for part, curves in run["curves"].items()}
        for run in compared["runs"]
    ]
    assert [
        {"training": {"accuracy_train"}, "test": {"test_accuracy"}},
        {"surrogate": {"accuracy_surrogate"}},
    ] == names
    assert [] == compared["warnings"]


def test_points_of_the_curve_are_the_accuracy_on_test_images(tiny_set: ImageSet):
    recipe = recipes.named("labels", SMALL["labels"] | {"training.epochs": "1"})
    (model,) = fitting.fit_folds(tiny_set, recipe, splits.plan(tiny_set), precision="fp32")
    model.graph.requires_grad_(False)
    logits = model.graph(torch.from_numpy(tiny_set.test.pixels).float() / 255)
    expected = (logits.argmax(1).numpy() == tiny_set.test.labels).mean()

    assert {"test_accuracy": expected} == protocol.curve(tiny_set.test)(model.graph)
    some = protocol.curve(tiny_set.test, 7)(model.graph)["test_accuracy"]
    assert some * 7 == pytest.approx(round(some * 7))
    assert protocol.curve(None) is None
    assert protocol.curve(Images(pixels=tiny_set.test.pixels)) is None


def test_a_budget_takes_the_place_of_epochs(tiny_folder: Path, tmp_path: Path, capsys):
    words = arguments("labels", "--budget", "1s", "--out", tmp_path / "run")

    answer(capsys, "fit", tiny_folder, *words)

    config = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert (0, "1s") == (config["recipe"]["training"]["epochs"], config["run"]["budget"])
    assert notes(tmp_path / "run")[-1]["seconds"] >= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--budget", "0.001s"), "the budget of 0.001 s is too short for one step"),
        (("--budget", "soon"), "--budget is a time such as 10m, 90s or 1h30m; got 'soon'"),
        (("--budget", "1m", "--set", "training.epochs=3"), "or after a --budget of time: give one"),
        (("--set", "training.epochs=0"), "was given neither: give one of them"),
        (("--set", "network.first_size=17"), "use larger images (--size) or a smaller network"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(
    options: tuple, message: str, tiny_folder: Path, tmp_path: Path, capsys
):
    words = arguments("labels", *options, "--out", tmp_path / "run")

    assert message in refusal(capsys, "fit", tiny_folder, *words)
    assert [] == list(tmp_path.iterdir())


def test_folds_have_networks_of_their_own_each_as_alone(tiny_set: ImageSet, tmp_path: Path):
    recipe = recipes.named("labels", SMALL["labels"] | {"training.epochs": "2"})
    several = fitting.fit_folds(
        tiny_set,
        recipe,
        splits.plan(tiny_set, labels=40, folds=(0, 1)),
        precision="fp32",
        checkpoints=tmp_path,
    )
    (alone,) = fitting.fit_folds(
        tiny_set, recipe, splits.plan(tiny_set, labels=40, folds=(1,)), precision="fp32"
    )

    assert ["fold-0", "fold-1"] == sorted(path.name for path in tmp_path.iterdir())
    first, second, expected = (m.predict(tiny_set.test).probabilities for m in (*several, alone))
    assert (second == expected).all()
    assert (first != second).any()


def test_score_trains_each_fold(tiny_folder: Path, tmp_path: Path, capsys):
    words = arguments("labels", "--labels", 20, "--folds", "0-1", "--budget", "1s")

    scores = answer(capsys, "score", tiny_folder, *words, "--out", tmp_path / "s")

    assert [0, 1] == [fold["fold"] for fold in scores["folds"]]
    mean = sum(fold["accuracy"] for fold in scores["folds"]) / 2
    assert mean == pytest.approx(scores["accuracy"])
    assert scores["seconds"]["training"] >= 2


def test_fit_takes_a_budget_from_python(tiny_set: ImageSet, tmp_path: Path):
    settings = SMALL["labels"]
    model = fitting.fit(
        tiny_set, "labels", settings=settings, budget_seconds=2.0, checkpoints=str(tmp_path)
    )

    assert 0 == model.recipe.training.epochs
    assert (tmp_path / "fold-0" / "training.safetensors").exists()
    with pytest.raises(ConfigError, match="kmeans-1 takes the time it takes: leave --budget out"):
        fitting.fit(tiny_set, "kmeans-1", budget_seconds=5.0)
    with pytest.raises(ConfigError, match="after a --budget of time: give one of them"):
        epochs = settings | {"training.epochs": "3"}
        fitting.fit(tiny_set, "labels", settings=epochs, budget_seconds=5.0)


KILLED = """
import os, sys
from fewlabels import checkpoints
from fewlabels.cli import main
save = checkpoints.save
def save_and_die(checkpoint, folder):
    save(checkpoint, folder)
    if checkpoint.step == int(sys.argv[1]) and sys.argv[2] in str(folder):
        os.kill(os.getpid(), 9)
checkpoints.save = save_and_die
sys.exit(main(sys.argv[3:]))
"""


def killed(step: int, where: str, words: list[str]) -> None:
    command = [sys.executable, "-c", KILLED, str(step), where, *words]
    paths = os.pathsep.join(filter(None, sys.path))
    ended = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True)
    assert -signal.SIGKILL == ended.returncode, ended.stderr.decode()


def test_a_run_killed_half_way_is_resumed_bit_for_bit(tiny_folder: Path, tmp_path: Path, capsys):
    words = ["fit", str(tiny_folder), *arguments("labels", "--set", "training.epochs=4", "--json")]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert 0 == main([*words, "--out", str(whole)])
    words += ["--out", str(cut)]

    killed(5, "fold-0", words)

    assert not cut.exists()
    assert "holds a run that was cut off: go on with --resume" in refusal(capsys, *words)
    assert 0 == main([*words, "--resume"])
    first, second = (graph_files.load(run).state_dict() for run in (whole, cut))
    assert all(torch.equal(first[key], second[key]) for key in first)
    scores = [json.loads((run / "scores.json").read_text()) for run in (whole, cut)]
    assert scores[0]["confusion"] == scores[1]["confusion"]
    heads = [Model.load(run).head.temperature for run in (whole, cut)]
    assert heads[0] == heads[1]
    assert "going on from step 5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "setting", "message"),
    [
        ("absent", "training.epochs=4", "absent"),
        (None, "training.epochs=much", "training.epochs"),
        (None, "network.first_size=17", "use larger images"),
    ],
)
def test_a_mistake_beside_overwrite_does_not_lose_the_checkpoints(
    source, setting, message, tiny_folder: Path, tmp_path: Path, capsys
):
    place = tmp_path / "run.unfinished" / "checkpoints" / "fold-0" / "training.safetensors"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"step 7")
    (tmp_path / "run.unfinished" / ".running").touch()
    words = arguments("labels", "--set", setting, "--out", tmp_path / "run", "--overwrite")

    assert message in refusal(capsys, "fit", tiny_folder if source is None else source, *words)

    assert b"step 7" == place.read_bytes()


def test_a_score_killed_in_its_second_fold_does_not_train_the_first_again(
    tiny_folder: Path, tmp_path: Path, capsys
):
    words = ["score", str(tiny_folder), *arguments("labels", "--labels", 20, "--folds", "0-1")]
    words += ["--set", "training.epochs=2", "--out", str(tmp_path / "s"), "--json"]

    killed(3, "fold-1", words)
    assert 0 == main([*words, "--resume"])

    printed = capsys.readouterr()
    assert 2 == len(json.loads(printed.out)["folds"])
    # 2 epochs of 2 steps: the first fold is through, the second goes on
    steps = [line for line in printed.err.splitlines() if line.startswith("going on from step")]
    assert ["going on from step 4", "going on from step 3"] == steps[:2]


def test_surrogate_runs_are_resumed_too(tiny_folder: Path, tmp_path: Path, capsys):
    words = ["fit", str(tiny_folder), *arguments("surrogate", "--set", "training.epochs=2")]
    words += ["--set", "training.checkpoint_minutes=1e-9", "--json"]
    words += ["--out", str(tmp_path / "run")]

    killed(7, "surrogate", words)
    assert 0 == main([*words, "--resume"])

    assert "going on from step 7" in capsys.readouterr().err


def test_a_set_without_unlabelled_images_is_trained_on(tiny_set: ImageSet):
    bare = replace(tiny_set, unlabeled=None)

    model = fitting.fit(bare, "labels", settings=SMALL["labels"] | {"training.epochs": "1"})

    assert 60 == len(model.predict(tiny_set.test).labels)


def test_an_interrupt_ends_with_130_and_what_was_saved(
    tiny_folder: Path, tmp_path: Path, monkeypatch, capsys
):
    usual = training.cross_entropy

    def interrupting(smoothing: float):
        def step(network, batch):
            os.kill(os.getpid(), signal.SIGINT)
            return usual(smoothing)(network, batch)

        return step

    run = tmp_path / "run"
    epochs = ("--set", "training.epochs=2")
    words = ["fit", str(tiny_folder), *arguments("labels", *epochs, "--out", run)]
    monkeypatch.setattr(training, "cross_entropy", interrupting)

    assert 130 == main(words)

    assert "step 1 is saved: go on with --resume" in capsys.readouterr().err
    assert not run.exists()
    monkeypatch.undo()
    assert 0 == main([*words, "--resume"])
