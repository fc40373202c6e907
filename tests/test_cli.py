import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewlabels import jobs, learning, sources
from fewlabels.cli import main
from fewlabels.model import Model
from small_runs import FAST_SETTINGS

pytest_plugins = ("run_fixtures",)


def answer(capsys, *arguments: object) -> dict:
    """The one JSON object that a command prints."""
    capsys.readouterr()
    assert 0 == main([*map(str, arguments), "--json"])
    return json.loads(capsys.readouterr().out)


def test_help_and_version_name_the_commands_and_the_number(capsys):
    assert 0 == main(["--help"])
    commands = capsys.readouterr().out
    assert 0 == main(["--version"])
    version = capsys.readouterr().out

    for name in "demo data convert fit score evaluate predict trace report compare".split():
        assert f" {name} " in commands
    assert version.strip().count(".") == 2


def test_data_prints_a_table_or_one_json_object(tiny_folder: Path, capsys):
    found = answer(capsys, "data", tiny_folder)
    assert 0 == main(["data", str(tiny_folder)])
    text = capsys.readouterr().out

    assert 30 == found["parts"]["train"]["n_images"] == found["parts"]["unlabeled"]["n_images"]
    assert 2 == found["n_leaked"]
    assert "10 classes, images of 16 x 16" in text
    assert "damaged images: 0" in text


def test_convert_writes_a_set_that_reads_as_the_same(tiny_folder: Path, tmp_path: Path, capsys):
    answer(capsys, "convert", tiny_folder, tmp_path / "shards", "--to", "shards")

    first, second = sources.read(tiny_folder), sources.read(tmp_path / "shards")
    assert (first.train.pixels == second.train.pixels).all()


def test_fit_writes_the_run_folder(tiny_run: Path, tiny_folder: Path):
    names = {path.name for path in tiny_run.iterdir()}
    config = tomllib.loads((tiny_run / "config.toml").read_text())
    scores = json.loads((tiny_run / "scores.json").read_text())
    stages = [json.loads(line) for line in (tiny_run / "metrics.jsonl").read_text().splitlines()]

    expected = {"config.toml", "graph.json", "weights.safetensors", "head.safetensors"}
    expected |= {"metrics.jsonl", "scores.json", "report.html"}
    assert expected | {"mistakes.safetensors", "pictures.safetensors"} == names
    assert str(tiny_folder) == config["run"]["source"]
    assert f"fewlabels fit {tiny_folder}" in config["run"]["command"]
    assert {"python", "torch", "numpy", "fewlabels"} <= set(config["versions"])
    assert 12 == config["recipe"]["filters"]["layers"][0]["n_filters"]
    assert 30 == config["data"]["n_labelled"] == config["data"]["n_unlabeled"]
    assert {
        "accuracy",
        "accuracy_per_class",
        "confusion",
        "n_test",
        "accuracy_clean",
        "n_leaked",
        "none_below",
        "calibration_error",
        "seconds",
        "peak_memory_mib",
        "seed",
        "precision",
        "recipe",
        "protocol",
        "commit",
    } == set(scores)
    assert scores["precision"] == config["run"]["precision"] in ("fp32", "bf16")
    assert (20, 2, "kmeans-1", "all-labels") == tuple(
        scores[key] for key in ("n_test", "n_leaked", "recipe", "protocol")
    )
    assert "clustering" in {line["stage"] for line in stages}
    assert set(scores["seconds"]) == {line["stage"] for line in stages}


def test_evaluate_remembers_the_source_and_repeats_the_score(tiny_run: Path, capsys, monkeypatch):
    monkeypatch.chdir("/")  # the source is found from any folder
    scores = json.loads((tiny_run / "scores.json").read_text())

    again = answer(capsys, "evaluate", tiny_run)

    assert scores["confusion"] == again["confusion"]
    assert scores["accuracy"] == again["accuracy"]


def test_predict_gives_a_line_per_image_and_names_damaged_ones(
    tiny_run: Path, tiny_folder: Path, tmp_path: Path, capsys
):
    good = sorted((tiny_folder / "test").rglob("*.png"))[0]
    (tmp_path / "bad.jpg").write_text("no picture")

    answered = answer(capsys, "predict", tiny_run, good, tmp_path)
    assert 0 == main(["predict", str(tiny_run), str(good), str(tmp_path)])
    printed = capsys.readouterr()

    expected = Model.load(tiny_run).predict(good)
    assert [str(good)] == [one["path"] for one in answered["predictions"]]
    assert expected.labels[0] == answered["predictions"][0]["class"]
    assert expected.probability[0] == pytest.approx(
        answered["predictions"][0]["probability"], abs=1e-6
    )
    assert [str(tmp_path / "bad.jpg")] == [one["path"] for one in answered["damaged"]]
    assert f"{good}\t{expected.labels[0]}\t{expected.probability[0]:.4f}\n" == printed.out
    assert "bad.jpg" in printed.err


def test_an_image_of_any_size_is_predicted(tiny_run: Path, tmp_path: Path, capsys):
    Image.fromarray(np.zeros((50, 70), np.uint16)).save(tmp_path / "gray16.png")

    answered = answer(capsys, "predict", tiny_run, tmp_path / "gray16.png")

    assert 1 == len(answered["predictions"])


def test_report_writes_the_same_page_again_without_the_source(tiny_run: Path, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(tiny_run, copy)
    before = (copy / "report.html").read_text()
    (copy / "report.html").unlink()

    answer(capsys, "report", copy)

    assert before == (copy / "report.html").read_text()
    for text in ("of 20 test images answered correctly", "kmeans-1 on tiny", "data:image/webp"):
        assert text in before


def test_score_gives_the_mean_over_folds_and_each_fold(tiny_folder: Path, tmp_path: Path, capsys):
    out = tmp_path / "scores"

    scores = answer(capsys, "score", tiny_folder, "--folds", "0,2", "--out", out, *FAST_SETTINGS)

    each = [fold["accuracy"] for fold in scores["folds"]]
    assert [0, 2] == [fold["fold"] for fold in scores["folds"]]
    assert np.mean(each) == pytest.approx(scores["accuracy"])
    assert np.std(each, ddof=1) == pytest.approx(scores["accuracy_std"])
    assert 40 == np.sum(scores["confusion"])
    written = json.loads((out / "scores.json").read_text())
    assert written == {key: scores[key] for key in written}
    assert "mean of 2 folds" in (out / "report.html").read_text()
    assert 0 == main(["report", str(out)])


def test_scoring_drawn_labels_is_the_mean_of_five_draws(tiny_folder: Path, tmp_path: Path, capsys):
    settings = ("--labels", "20", "--seed", "2", *FAST_SETTINGS)

    assert 0 == main(["score", str(tiny_folder), "--out", str(tmp_path / "five"), *settings])
    said = capsys.readouterr().err
    scores = json.loads((tmp_path / "five" / "scores.json").read_text())
    one = answer(capsys, "score", tiny_folder, "--folds", "1", "--out", tmp_path / "one", *settings)

    assert "the mean of 5 draws, with seeds 2 to 6 (--folds 0 for one)" in said
    assert ("labels-20", [0, 1, 2, 3, 4]) == (
        scores["protocol"],
        [fold["fold"] for fold in scores["folds"]],
    )
    assert one["confusion"] == scores["folds"][1]["confusion"]
    assert one["accuracy_std"] is None
    assert scores["accuracy_std"] == pytest.approx(
        np.std([fold["accuracy"] for fold in scores["folds"]], ddof=1)
    )


def test_a_fold_in_fit_is_the_same_as_that_fold_in_score(tiny_folder: Path, tmp_path: Path, capsys):
    settings = ("--fold", "2", "--out", tmp_path / "fit", *FAST_SETTINGS)
    alone = answer(capsys, "fit", tiny_folder, *settings)
    settings = ("--folds", "1-2", "--out", tmp_path / "score", *FAST_SETTINGS)
    several = answer(capsys, "score", tiny_folder, *settings)

    assert alone["confusion"] == several["folds"][1]["confusion"]
    assert alone["accuracy_clean"] == several["folds"][1]["accuracy_clean"]


def test_labels_are_drawn_with_the_seed(tiny_folder: Path, tmp_path: Path, capsys):
    settings = ("--labels", "20", "--seed", "3", *FAST_SETTINGS)

    first = answer(capsys, "fit", tiny_folder, *settings, "--out", tmp_path / "a")
    second = answer(capsys, "fit", tiny_folder, *settings, "--out", tmp_path / "b")
    config = tomllib.loads((tmp_path / "a" / "config.toml").read_text())

    assert ("labels-20", 3) == (first["protocol"], first["seed"])
    assert first["confusion"] == second["confusion"]
    assert (20, 40) == (config["data"]["n_labelled"], config["data"]["n_unlabeled"])


def test_an_interruption_is_130_and_leaves_nothing(
    tiny_folder: Path, tmp_path, monkeypatch, capsys
):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(learning, "score", interrupted)

    code = main(["fit", str(tiny_folder), "--out", str(tmp_path / "run"), *FAST_SETTINGS])

    assert 130 == code
    assert [] == list(tmp_path.iterdir())
    assert "fewlabels: interrupted; no run was written" in capsys.readouterr().err


def test_an_interrupt_tells_what_was_saved(tiny_folder: Path, tmp_path, monkeypatch, capsys):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt("step 8 is saved: go on with --resume")

    monkeypatch.setattr(learning, "score", interrupted)

    assert 130 == main(["fit", str(tiny_folder), "--out", str(tmp_path / "run"), *FAST_SETTINGS])
    assert "interrupted; step 8 is saved: go on with --resume\n" in capsys.readouterr().err


def test_a_slip_of_our_own_keeps_its_traceback(tiny_folder: Path, tmp_path: Path, monkeypatch):
    def slip(*arguments, **options):
        raise ZeroDivisionError

    monkeypatch.setattr(learning, "score", slip)

    with pytest.raises(ZeroDivisionError):
        main(["fit", str(tiny_folder), "--out", str(tmp_path / "run"), *FAST_SETTINGS])
    assert [] == list(tmp_path.iterdir())


def test_the_names_of_sources_are_those_that_can_be_read():
    assert set(jobs.NAMED_SOURCES) == set(sources._named())


def test_python_m_fewlabels_is_the_command():
    command = [sys.executable, "-m", "fewlabels", "fit", "nowhere", "--out", "x", "--epohs", "3"]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (2, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("fewlabels: Unknown option")
    assert 1 == len(done.stderr.splitlines())
