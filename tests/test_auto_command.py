"""The recipe auto and --baseline through the command line and from Python, in a moment each."""

import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fewlabels
from fewlabels import (
    auto,
    auto_facts,
    baseline,
    checkpoints,
    deciding,
    fitting,
    learning,
    machine,
    promise,
    protocol,
    runs,
    splits,
)
from fewlabels.cli import main
from fewlabels.errors import CheckpointError, ConfigError
from fewlabels.images import ImageSet
from fewlabels.model import Model
from fewlabels.progress import watching
from fewlabels.promise import Speeds
from small_consistency import Heard
from small_runs import SMALL

pytest_plugins = ("run_fixtures",)

ENDS = ("epochs", "least_steps", "checkpoint_minutes")
SETTINGS = {
    key: value for key, value in SMALL["consistency"].items() if key.split(".")[1] not in ENDS
}
WORDS = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
# a busy machine takes a while for its first step
WORDS += ["--precision", "fp32", "--set", "consistency.labels_part=0.5"]


@pytest.fixture
def quick(monkeypatch):
    """A machine that writes its files in no time, and learns from so many images a second."""

    def at(learning: float) -> None:
        monkeypatch.setattr(promise, "WRITING", 0.2)
        monkeypatch.setattr(promise, "FILTERS", 0.1)
        monkeypatch.setattr(promise, "measure_speeds", lambda *a, **k: Speeds(learning, 5000.0))
        monkeypatch.setattr(promise, "measure_encoding", lambda *a, **k: 1e6)
        monkeypatch.setattr(machine, "products_per_second", lambda device: 1e9)
        monkeypatch.setattr(machine, "memory_gib", lambda: 64.0)

    return at


def answer(capsys, *words: object) -> tuple[dict, str]:
    """The one JSON object that a command prints, and what it says."""
    capsys.readouterr()
    assert 0 == main([*map(str, words), "--json"]), capsys.readouterr().err
    printed = capsys.readouterr()
    return json.loads(printed.out), printed.err


def test_fit_picks_a_recipe_says_why_and_records_it(tiny_folder: Path, tmp_path, quick, capsys):
    quick(learning=1e6)
    run = tmp_path / "run"
    words = [tiny_folder, "--labels", 20, *WORDS, "--budget", "9s"]

    scores, said = answer(capsys, "fit", *words, "--out", run)

    lines = said.splitlines()
    (place,) = [i for i, line in enumerate(lines) if line.startswith("auto takes the recipe cons")]
    assert "there are 40 unlabelled images beside 2 labels of each class, and " in lines[place]
    assert "uncertain: a class has 2 labels" in lines[place + 1]
    assert "all of it is to take 9 seconds" in lines[place + 1]
    assert any(line.startswith("took ") and "of the 9 seconds" in line for line in lines)
    assert ("consistency", "consistency") == (scores["recipe"], scores["auto"]["recipe"])
    config = tomllib.loads((run / "config.toml").read_text())
    assert config["auto"] == scores["auto"] == json.loads((run / "scores.json").read_text())["auto"]
    assert 9.0 == config["auto"]["promised_seconds"]
    # 2 copies of test images make it learn twice
    assert config["auto"]["training_seconds"] < 9 / 2
    assert 0 == config["recipe"]["training"]["epochs"] == config["recipe"]["steps"]["epochs"]
    page = " ".join((run / "report.html").read_text().split())
    assert "The recipe was picked by auto: there are 40 unlabelled images" in page
    assert "consistency" == Model.load(run).recipe.name


def test_a_large_map_has_its_time_from_what_is_promised(
    tiny_folder: Path, tmp_path: Path, monkeypatch
):
    beside = []

    def decide(*arguments, **named):
        beside.append(named["beside"])
        raise ConfigError("enough")

    monkeypatch.setattr(deciding, "decide", decide)
    monkeypatch.setattr(learning, "N_MAPPED", 50)
    for n_mapped in (0, 50, 60, 10**6):
        words = [str(tiny_folder), "--out", str(tmp_path / "run"), "--map", str(n_mapped)]
        assert 2 == main(["fit", *words])

    usual, same, more, all_there_are = beside
    assert usual == same
    assert 20 == more.n_answered - same.n_answered
    assert 10 * promise.MAPPED == pytest.approx(more.writing - same.writing)
    images = fewlabels.read(tiny_folder)
    n_images = sum(map(len, images.parts().values()))
    assert 2 * (n_images - 50) == all_there_are.n_answered - same.n_answered


def test_without_unlabelled_images_auto_and_its_baseline_are_labels(
    tiny_set: ImageSet, tmp_path, quick, capsys, monkeypatch
):
    quick(learning=1e6)
    bare = replace(tiny_set, unlabeled=None)
    monkeypatch.setattr("fewlabels.jobs.read", lambda *arguments, **options: bare)

    words = ["shapes", *WORDS[:4], "--budget", "8s", "--baseline", "--out", tmp_path / "run"]
    scores, said = answer(capsys, "fit", *words)

    assert "auto takes the recipe labels, labels.n_networks=3: there are no unlabelled" in said
    assert "the labelled images alone were learned from, in all of the time, so there is no" in said
    assert not {"gain", "gain_error", "labels_only_accuracy"} & set(scores)
    assert "they are worth" not in (tmp_path / "run" / "report.html").read_text()
    assert 8.0 > scores["auto"]["training_seconds"] > 4.0


def test_a_baseline_of_folds_gives_the_gain_of_each_and_the_mean(
    tiny_set: ImageSet, tmp_path: Path, capsys, monkeypatch
):
    _, copies = protocol.shared(tiny_set.test, tiny_set.unlabeled)
    clean = replace(tiny_set, unlabeled=tiny_set.unlabeled.take(np.flatnonzero(~copies)))
    monkeypatch.setattr("fewlabels.jobs.read", lambda *arguments, **options: clean)
    words = ["--recipe", "consistency", *WORDS, "--labels", 20, "--folds", "0-1"]
    words += ["--budget", "4s", "--baseline", "--out", tmp_path / "s"]

    scores, said = answer(capsys, "score", "shapes", *words)

    assert "--baseline: half of the budget for the recipe, half for the labels alone" in said
    gains = [fold["gain"] for fold in scores["folds"]]
    assert np.mean(gains) == pytest.approx(scores["gain"])
    assert np.mean([f["labels_only_accuracy"] for f in scores["folds"]]) == pytest.approx(
        scores["labels_only_accuracy"]
    )
    diary = (tmp_path / "s" / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in diary.splitlines()]
    ends = [one["seconds"] for one in lines if "epoch" in one]
    assert 2 <= max(ends) < 4  # of each training
    assert runs.read_config(tmp_path / "s")["run"]["baseline"]
    page = " ".join((tmp_path / "s" / "report.html").read_text().split()).replace("&#43;", "+")
    assert f"the unlabelled images gain {100 * scores['gain']:+.1f} points" in page


def test_k_means_has_a_baseline_of_as_long_and_labels_are_set_aside_without_a_test_part(
    tiny_set: ImageSet, tmp_path: Path, capsys, monkeypatch
):
    monkeypatch.setattr(baseline, "LEAST", 8.0)
    twice = tiny_set.train.take(np.repeat(np.arange(80), 2))
    bare = replace(tiny_set, test=None, train=twice, folds=())
    monkeypatch.setattr("fewlabels.jobs.read", lambda *arguments, **options: bare)
    settings = {"filters.n_filters": "8", "filters.n_images": "40", "head.kind": "ridge"}
    words = ["--recipe", "kmeans-1"]
    words += [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]

    scores, said = answer(capsys, "fit", "shapes", *words, "--baseline", "--out", tmp_path / "run")

    assert "10 labelled ones are set aside to measure the gain" in said
    assert "validation images" == scores["gain_measured_on"]
    gained = scores["labels_only_accuracy"] + scores["gain"]
    assert gained == pytest.approx(scores["accuracy_validation"])
    assert 0 == main(["report", str(tmp_path / "run")])


def refused(capsys, *words: object) -> str:
    capsys.readouterr()
    assert 2 == main([*map(str, words)])
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_what_auto_cannot_do_is_one_line(tiny_folder: Path, tmp_path: Path, quick, capsys):
    quick(learning=1e6)
    words = ["fit", tiny_folder, "--out", tmp_path / "run", *WORDS]

    assert "is too short: reading took" in refused(capsys, *words, "--budget", "0.5s")
    told = refused(capsys, *words, "--set", "filters.patch_size=3", "--budget", "9s")
    assert "auto takes the recipe consistency for these images, and no setting is called" in told
    told = refused(capsys, *words, "--set", "training.epochs=3", "--budget", "9s")
    assert "give one of them" in told
    told = refused(capsys, *words, "--recipe", "consistency", "--baseline")
    assert "none is given: give a --budget" in told
    assert [] == list(tmp_path.iterdir())


# --- deciding


def decide(image_set: ImageSet, folder: Path | None = None, resume: bool = False, **asked):
    asked = {"settings": {}, "budget_seconds": 900.0, **asked}
    with watching(Heard()) as heard:
        decided = deciding.decide(
            image_set,
            splits.plan(image_set, labels=40),
            deciding.Asked(**asked),
            began=promise.now(),
            beside=deciding.Beside(writing=10.0, n_times=2, n_answered=1000),
            precision="fp32",
            folder=folder,
            resume=resume,
        )
    return decided, heard


def test_the_seconds_of_a_training_are_what_the_rest_leaves(tiny_set: ImageSet, quick):
    quick(learning=1e6)

    decided, _ = decide(tiny_set, baseline=True)

    # 2 per cent as room, 10 to write, 0.1 for filters; 3 models answer 1,000 + 3 * 4 at 5,000 a s
    # for a narrow network: a wide one takes 2.7 times as long, and each model is three of them
    # with three teachers, the baseline three
    expected = (0.98 * 900 - 10.1) / 3 - 2.7 * (6 + 6 + 3) / 3 * 1012 / 5000
    assert expected == pytest.approx(decided.seconds, abs=0.1)
    assert 900.0 == decided.whole
    facts = decided.record["facts"]
    assert (40, 160, 4) == (facts["n_labelled"], facts["n_unlabelled"], facts["least_per_class"])
    # what it was chosen by, before it was known how wide and how many the networks are
    assert (0.98 * 900 - 10.1) / 3 - 1012 / 5000 == pytest.approx(facts["seconds"], abs=0.1)


@pytest.mark.parametrize(
    ("least", "without", "n_networks", "takes"),
    # images that unlabelled ones pay from: more than there is time for, or than beside a baseline,
    # where there is no time for two wide networks
    [(10**9, "labels", 2, 2.7), (400_000, "consistency", 3, 1.0)],
)
def test_what_is_its_own_baseline_has_all_of_the_time(
    least, without, n_networks, takes, tiny_set: ImageSet, quick, monkeypatch
):
    quick(learning=1000.0)
    monkeypatch.setattr(auto_facts, "UNLABELLED_LEAST", least)

    decided, heard = decide(tiny_set, baseline=True)
    alone, _ = decide(tiny_set)

    assert "labels" == decided.recipe.name
    assert ("half of the time, beside a baseline, is too short" in heard.text) == (takes == 1.0)
    facts, others = decided.record["facts"], alone.record["facts"]
    assert pytest.approx(others.pop("seconds"), abs=0.1) == facts.pop("seconds")
    assert others == facts
    assert without == alone.recipe.name
    assert n_networks == decided.recipe.n_networks
    # it is learned twice, for copies of test images; wide networks answer 2.7 times as long
    expected = (0.98 * 900 - 10.1) / 2 - takes * n_networks * 1012 / 5000
    assert expected == pytest.approx(decided.seconds, abs=0.1)


def test_without_a_budget_there_is_a_time_for_it_that_is_said(tiny_set: ImageSet, quick):
    quick(learning=1e6)

    decided, heard = decide(tiny_set, budget_seconds=None)

    # 2 trainings of the least time, 60 s, and what belongs to them
    assert 120 + 2 * 1012 / 5000 + 10.1 == pytest.approx(decided.whole, abs=0.2)
    assert re.search(r"take 2 minutes 1[01] seconds \(--budget for another time\)", heard.text)
    quick(learning=10.0)
    assert 1800.0 == decide(tiny_set, budget_seconds=None)[0].whole


def test_what_was_asked_for_goes_before_what_is_chosen(tiny_set: ImageSet, quick, monkeypatch):
    monkeypatch.setattr(auto_facts, "UNLABELLED_LEAST", 200_000)
    quick(learning=560.0)
    decided, heard = decide(tiny_set, settings={"network.widths": "4,6"})
    assert (4, 6) == decided.recipe.network.widths
    few = {"consistency.n_teachers": "1", "consistency.n_students": "2"}
    assert few == decided.record["settings"]
    assert "consistency, consistency.n_teachers=1, consistency.n_students=2: " in heard.text

    chosen, heard = decide(tiny_set)
    assert (32, 64, 128) == chosen.recipe.network.widths
    assert "auto takes the recipe consistency, network.widths=32,64,128, consistency" in heard.text


def test_k_means_takes_the_time_it_takes(tiny_set: ImageSet, quick, monkeypatch):
    quick(learning=1.0)
    monkeypatch.setattr(machine, "products_per_second", lambda device: 1e12)

    decided, heard = decide(tiny_set)

    assert ("kmeans-1", None) == (decided.recipe.name, decided.seconds)
    assert "training_seconds" not in decided.record
    assert "it takes about " in heard.text and "of the 15 minutes" in heard.text


def test_a_run_that_was_cut_off_goes_on_with_what_was_decided(
    tiny_set: ImageSet, tmp_path: Path, quick
):
    quick(learning=1e6)
    before, _ = decide(tiny_set, tmp_path)
    quick(learning=1.0)  # a busier machine would now choose otherwise

    after, heard = decide(tiny_set, tmp_path, resume=True)

    assert (before.recipe, before.seconds, before.record) == (
        after.recipe,
        after.seconds,
        after.record,
    )
    assert "auto takes the recipe consistency" in heard.text
    with pytest.raises(CheckpointError, match="for --budget 15 minutes, not --budget 20 minutes"):
        decide(tiny_set, tmp_path, resume=True, budget_seconds=1200.0)
    with pytest.raises(CheckpointError, match=r"for no --set, not --set consistency.threshold=0.8"):
        decide(tiny_set, tmp_path, resume=True, settings={"consistency.threshold": "0.8"})
    (tmp_path / "fold-0").mkdir()
    (tmp_path / "fold-0" / checkpoints.FILE).touch()
    with pytest.raises(CheckpointError, match="holds checkpoints of another run: go on with"):
        decide(tiny_set, tmp_path)
    (tmp_path / deciding.FILE).write_text("{")
    with pytest.raises(CheckpointError, match=r"auto\.json is damaged"):
        decide(tiny_set, tmp_path, resume=True)


def test_python_fits_with_auto_too(tiny_set: ImageSet, quick):
    quick(learning=1e6)

    model = fitting.fit(
        tiny_set,
        settings=SETTINGS | {"consistency.labels_part": "0.5"},
        labels=20,
        budget_seconds=4.0,
    )

    assert ("consistency", 4.0) == (model.recipe.name, model.info["auto"]["promised_seconds"])
    assert 60 == len(model.predict(tiny_set.test).labels)
    with pytest.raises(ConfigError, match=r"no setting is called 'network\.width'"):
        fitting.fit(tiny_set, settings={"network.width": "3"})
    assert "auto" == auto.NAME
