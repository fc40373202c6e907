"""`fewlabels suggest`: the files, what is in them, and bad input in one line."""

import csv
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewlabels import novelty, suggest_job
from fewlabels.cli import main
from fewlabels.model import Model
from fewlabels.sources import made
from fewlabels.sources.pixels import Options
from fewlabels.sources.writing import convert
from small_runs import FAST_SETTINGS, SMALL

pytest_plugins = ("run_fixtures",)
KINDS = ["label-next", "mislabelled", "near-duplicate", "no-class"]


def refusal(capsys, *arguments: object) -> str:
    """The one line of a refused command."""
    capsys.readouterr()
    code = main(["suggest", *map(str, arguments)])
    printed = capsys.readouterr()
    assert (2, "") == (code, printed.out)
    (line,) = [line for line in printed.err.splitlines() if line.startswith("fewlabels: ")]
    assert line == printed.err.splitlines()[-1]  # before it, what was done on a slow machine
    return line


def suggested(capsys, *arguments: object) -> dict:
    capsys.readouterr()
    assert 0 == main(["suggest", *map(str, arguments), "--json"])
    return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red and blue noise, 12 of each in train (two under the other's name), 4 in test, 20 without
    labels; then 6 green ones without labels, and a copy of a test image."""
    folder = tmp_path_factory.mktemp("sets") / "colours"
    draw = np.random.default_rng(0)

    def write(path: Path, channel: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 120, (16, 16, 3))
        pixels[..., channel] += 130
        Image.fromarray(pixels.astype(np.uint8)).save(path)

    for number in range(12):
        swapped = number == 0
        write(folder / "train" / ("blue" if swapped else "red") / f"r{number}.png", 0)
        write(folder / "train" / ("red" if swapped else "blue") / f"b{number}.png", 2)
    for number in range(4):
        write(folder / "test" / "red" / f"tr{number}.png", 0)
        write(folder / "test" / "blue" / f"tb{number}.png", 2)
    for number in range(20):
        write(folder / "unlabeled" / f"u{number}.png", 2 * (number % 2))
    for number in range(6):
        write(folder / "unlabeled" / f"green{number}.png", 1)
    shutil.copy(folder / "test" / "red" / "tr1.png", folder / "unlabeled" / "copy.png")
    return folder


@pytest.fixture(scope="module")
def run(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "colours"
    assert 0 == main(["fit", str(colours), "--out", str(out), *FAST_SETTINGS])
    return out


def test_the_files_agree_and_hold_all_kinds(run: Path, colours: Path, tmp_path: Path, capsys):
    before = {path.name: path.read_bytes() for path in run.iterdir()}

    told = suggested(capsys, run, colours, "--out", tmp_path / "out", "--top", 8)

    written = json.loads((tmp_path / "out" / "suggestions.json").read_text())
    with (tmp_path / "out" / "suggestions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    page = (tmp_path / "out" / "suggestions.html").read_text()
    files = {name: told.pop(name) for name in ("csv", "json", "html")}
    assert {str(tmp_path / "out" / f"suggestions.{name}") for name in files} == set(files.values())
    assert written == told
    assert (24, 27) == (told["n_labelled"], told["n_unlabelled"])
    assert KINDS == list(told["counts"])
    assert sum(told["counts"].values()) == len(told["suggestions"]) == len(rows)
    assert all(count <= 8 for count in told["counts"].values())
    for row, line in zip(told["suggestions"], rows, strict=True):
        assert {name: "" if value is None else str(value) for name, value in row.items()} == line
    n_pictures = len(rows) + told["counts"]["near-duplicate"]
    assert n_pictures == page.count("data:image/jpeg;base64,")
    assert "<script" not in page and "://" not in page
    assert before == {path.name: path.read_bytes() for path in run.iterdir()}


def test_a_swapped_label_a_copy_and_the_images_to_label_are_named(run: Path, tmp_path, capsys):
    told = suggested(capsys, run, "--out", tmp_path)  # the source is remembered

    of = {kind: [row for row in told["suggestions"] if row["kind"] == kind] for kind in KINDS}
    swapped = {row["name"].rsplit("/", 1)[-1]: row for row in of["mislabelled"]}
    # how many of the two are wrong by cleanlab's count is a matter of the processor's rounding
    assert set() < set(swapped) <= {"r0.png", "b0.png"}
    for name, row in swapped.items():
        truth = {"r": "red", "b": "blue"}[name[0]]
        assert truth == row["predicted"] != row["label"]
    (copy,) = of["near-duplicate"]
    assert ("unlabeled", "test", 1.0) == (copy["part"], copy["other_part"], copy["score"])
    assert copy["name"].endswith("copy.png") and copy["other_name"].endswith("tr1.png")
    assert "byte for byte the same as" in copy["reason"] and "test image" in copy["reason"]
    next_ones = of["label-next"]
    assert {"unlabeled"} == {row["part"] for row in next_ones}
    assert len(next_ones) == len({row["name"] for row in next_ones}) <= 27
    assert all(0 <= row["score"] <= 1 and 0 <= row["probability"] <= 1 for row in next_ones)
    assert all(row["reason"].startswith("unsure between ") for row in next_ones)


def test_strangers_are_not_to_be_labelled_next_and_pairs_of_unlabelled_images_come_last(
    run: Path, colours: Path, tmp_path: Path, capsys, monkeypatch
):
    def of_a_class(labelled_NK, labels_N, unlabelled_MK, *, seed: int) -> np.ndarray:
        return np.where(np.arange(len(unlabelled_MK)) < 6, 0.9, 0.1)

    monkeypatch.setattr(novelty, "scores", of_a_class)
    folder = tmp_path / "set"
    shutil.copytree(colours, folder)
    for name in ("u1.png", "u2.png"):
        shutil.copy(folder / "unlabeled" / name, folder / "unlabeled" / f"again-{name}")
    told = suggested(capsys, run, folder, "--out", tmp_path / "out", "--top", "4")

    of = {kind: [row for row in told["suggestions"] if row["kind"] == kind] for kind in KINDS}
    assert 4 == len(of["label-next"]) == len(of["no-class"])
    assert {row["number"] for row in of["label-next"]} <= set(range(6))
    assert all(row["number"] >= 6 for row in of["no-class"])
    assert [0.9] * 4 == pytest.approx([row["score"] for row in of["no-class"]])
    parts = [(row["part"], row["other_part"]) for row in of["near-duplicate"]]
    assert [("unlabeled", "test")] + [("unlabeled", "unlabeled")] * 2 == parts


def test_labels_that_the_run_did_not_use_are_unlabelled_images(colours: Path, tmp_path, capsys):
    out = tmp_path / "few"
    assert 0 == main(["fit", str(colours), "--labels", "14", "--out", str(out), *FAST_SETTINGS])

    told = suggested(capsys, out, colours)

    assert (14, 10 + 27) == (told["n_labelled"], told["n_unlabelled"])
    assert {"train", "unlabeled"} == {
        row["part"] for row in told["suggestions"] if row["kind"] == "label-next"
    }
    # the run's folder holds them, and is still a run that may be replaced
    assert (out / "suggestions.html").is_file()
    again = ["fit", str(colours), "--out", str(out), "--overwrite", *FAST_SETTINGS]
    assert 0 == main(again)
    assert not (out / "suggestions.html").exists()


def test_another_set_of_other_classes_gets_what_makes_sense_and_a_note(
    run: Path, tiny_folder: Path, tmp_path: Path, capsys
):
    told = suggested(capsys, run, tiny_folder, "--out", tmp_path)

    assert (0, 60) == (told["n_labelled"], told["n_unlabelled"])
    assert 0 == told["counts"]["mislabelled"]
    assert 0 < told["counts"]["label-next"]
    assert "other classes than the model" in told["notes"][0]


def test_a_network_that_ends_in_logits_is_looked_at_below_its_last_layer(tmp_path: Path, capsys):
    small = made.shapes(
        Options(size=16), n_train_per_class=3, n_test_per_class=1, n_unlabeled=20, n_leaked=0
    )
    convert(small, tmp_path / "set", "folder")
    out = tmp_path / "run"
    settings = [f"--set={name}={value}" for name, value in SMALL["labels"].items()]
    epochs = ["--recipe", "labels", "--set", "training.epochs=1"]
    assert 0 == main(["fit", str(tmp_path / "set"), *epochs, "--out", str(out), *settings])

    told = suggested(capsys, out)

    assert (30, 20) == (told["n_labelled"], told["n_unlabelled"])
    assert 20 >= told["counts"]["label-next"] > 0
    assert [] == told["notes"]
    assert not Model.load(out).graph.training


def test_what_is_printed_counts_the_kinds_and_names_the_files(run: Path, tmp_path: Path, capsys):
    capsys.readouterr()
    assert 0 == main(["suggest", str(run), "--out", str(tmp_path), "--top", "2"])
    printed = capsys.readouterr().out

    assert "Near-duplicates: two images of one picture: 1, such as" in printed
    assert "they differ from one another: 2 or more, such as" in printed
    assert "byte for byte the same as" in printed
    assert str(tmp_path / "suggestions.html") in printed.splitlines()[-1]


def test_earlier_suggestions_are_replaced_and_other_files_are_not(
    run: Path, tmp_path: Path, capsys
):
    first = suggested(capsys, run, "--out", tmp_path, "--top", 1)
    second = suggested(capsys, run, "--out", tmp_path, "--top", 2)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "suggestions.csv").write_text("mine")

    refused = refusal(capsys, run, "--out", tmp_path / "other")

    assert (1, 2) == (first["top"], second["top"])
    assert "suggestions.csv was not written by fewlabels suggest" in refused
    assert "mine" == (tmp_path / "other" / "suggestions.csv").read_text()


def test_bad_input_is_refused_in_one_line(run: Path, tmp_path: Path, capsys):
    (tmp_path / "file").write_text("")

    assert "is no folder: expected a folder" in refusal(capsys, tmp_path / "absent")
    assert not (tmp_path / "absent").exists()
    assert "does not exist" in refusal(capsys, run, tmp_path / "absent")
    assert "is a file, and suggestions need a folder" in refusal(
        capsys, run, "--out", tmp_path / "file"
    )
    assert "--top" in refusal(capsys, run, "--top", "0")


def test_without_cleanlab_all_but_wrong_labels_is_suggested(
    run: Path, tmp_path: Path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)

    told = suggested(capsys, run, "--out", tmp_path)

    assert 0 == told["counts"]["mislabelled"] < told["counts"]["label-next"]
    assert told["notes"][0].startswith("No label is judged: labels that look wrong are found with")
    assert told["notes"][0].endswith("pip install 'fewlabels[suggest]'.")


def test_the_columns_of_the_table_are_those_of_the_rows():
    assert ("kind", "part", "number", "name", "score", "reason") == suggest_job.COLUMNS[:6]
