"""`fewlabels compare` through the command line: the table, the picture, and what it refuses."""

import json
import shutil
from pathlib import Path

import pytest
import tomli_w
from PIL import Image

from fewlabels.cli import main

pytest_plugins = ("run_fixtures",)
FILES = ["comparison.json", "comparison.png", "comparison.svg"]


def made_run(folder: Path, accuracies: tuple[float, ...] = (), **changes: object) -> Path:
    """A run folder as `fit` writes it, so far as a comparison reads it."""
    folder.mkdir(parents=True)
    scores = {
        "accuracy": 0.75,
        "accuracy_clean": 0.74,
        "calibration_error": 0.031,
        "accuracy_per_class": {"cat": 0.5, "dog": 1.0},
        "confusion": [[1, 1], [0, 2]],
        "n_test": 4,
        "protocol": "all-labels",
        "recipe": "labels",
        "seed": 0,
        "seconds": {"training": 120.5, "reading train": 1.0},
        "peak_memory_mib": 1234.5,
    }
    (folder / "scores.json").write_text(json.dumps(scores | changes))
    config = {"run": {"source": "/pets", "folds": [0], "seed": 0}, "data": {"n_labelled": 6}}
    (folder / "config.toml").write_text(tomli_w.dumps(config))
    lines = [
        {
            "stage": "training",
            "epoch": float(number),
            "seconds": 10.0 * number,
            "train_accuracy": min(1.0, accuracy + 0.1),
            "test_accuracy": accuracy,
        }
        for number, accuracy in enumerate(accuracies, 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    first = made_run(tmp_path / "runs" / "a", (0.25, 0.5, 0.75))
    return first, made_run(tmp_path / "runs" / "b", (0.5, 0.6), accuracy=0.6, seed=1)


@pytest.fixture
def compared(tmp_path: Path, capsys):
    """Runs `fewlabels compare --json`; gives its one object, and what it said on stderr."""

    def compare(*runs: Path) -> tuple[dict, str]:
        capsys.readouterr()
        out = ("--out", str(tmp_path / "out"), "--json")
        assert 0 == main(["compare", *map(str, runs), *out])
        printed = capsys.readouterr()
        return json.loads(printed.out), printed.err

    return compare


@pytest.fixture
def refused(tmp_path: Path, capsys):
    """Runs `fewlabels compare`, which must refuse and write nothing; gives its one line."""

    def refusal(*arguments: Path | str) -> str:
        before = sorted(tmp_path.rglob("*"))
        capsys.readouterr()
        code = main(["compare", *map(str, arguments)])
        printed = capsys.readouterr()
        assert (2, "") == (code, printed.out)
        (line,) = printed.err.splitlines()
        assert before == sorted(tmp_path.rglob("*"))
        return line.removeprefix("fewlabels: ")

    return refusal


def test_it_writes_a_picture_of_both_kinds_and_the_numbers(two, tmp_path: Path, compared):
    result, said = compared(*two)

    out = tmp_path / "out"
    assert FILES == sorted(path.name for path in out.iterdir())
    with Image.open(out / "comparison.png") as picture:
        assert 1560 <= picture.width <= 1660  # 8 inches
    assert "</svg>" in (out / "comparison.svg").read_text()
    assert str(out / "comparison.png") == result["png"]
    written = json.loads((out / "comparison.json").read_text())
    assert written == {key: result[key] for key in written}
    assert ("", []) == (said, result["warnings"])


def test_json_holds_the_row_and_the_curves_of_each_run(two, compared):
    result, _ = compared(*two)

    first, second = result["runs"]
    expected = {
        "accuracy": 0.75,
        "accuracy_clean": 0.74,
        "calibration_error": 0.031,
        "recipe": "labels",
        "protocol": "all-labels",
        "seconds": 121.5,
        "peak_memory_mib": 1234.5,
        "seed": 0,
        "n_test": 4,
        "n_labelled": 6,
        "source": "/pets",
        "run": str(two[0]),
    }
    assert expected == {key: first[key] for key in expected}
    assert (0.6, 1) == (second["accuracy"], second["seed"])
    (test,) = first["curves"]["test"]
    assert ([1, 2, 3], [10, 20, 30], [0.25, 0.5, 0.75]) == tuple(
        test[key] for key in ("epochs", "seconds", "accuracy")
    )


def test_the_table_has_a_row_per_run(two, tmp_path: Path, capsys):
    assert 0 == main(["compare", *map(str, two), "--out", str(tmp_path / "out")])
    heads, first, second, _, picture = capsys.readouterr().out.splitlines()

    assert "run recipe protocol accuracy clean calibration seconds MiB seed".split() == (
        heads.split()
    )
    told = "labels all-labels 75.00 % 74.00 % 3.10 % 122 1,234 0".split()
    assert [str(two[0]), *told] == first.split()
    assert second.split()[-1] == "1"
    assert str(tmp_path / "out" / "comparison.png") == picture


def test_without_out_the_files_are_written_where_one_stands(two, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert 0 == main(["compare", "runs/a", "runs/b"])
    assert FILES == sorted(path.name for path in tmp_path.glob("comparison.*"))


def test_a_run_of_filters_has_a_row_and_no_curve(tiny_run: Path, two, compared):
    result, said = compared(two[0], tiny_run)

    scores = json.loads((tiny_run / "scores.json").read_text())
    row = result["runs"][1]
    assert (scores["accuracy"], "kmeans-1", {}) == (row["accuracy"], row["recipe"], row["curves"])
    assert sum(scores["seconds"].values()) == pytest.approx(row["seconds"], abs=1e-3)
    assert "warning: the runs have different data (" in said
    assert "warning: the runs have different test sets (" in said


def test_runs_of_filters_alone_are_compared_too(tiny_run: Path, tmp_path: Path, compared):
    other = tmp_path / "other"
    shutil.copytree(tiny_run, other)

    result, said = compared(tiny_run, other)

    assert [{}, {}] == [run["curves"] for run in result["runs"]]
    assert "" == said


def test_different_protocols_are_said_and_shown(two, tmp_path: Path, compared):
    third = made_run(tmp_path / "c", (0.3, 0.4), protocol="labels-20")

    result, said = compared(*two, third)

    sentence = "the runs have different protocols (a, b: all-labels; c: labels-20)"
    assert f"warning: {sentence}\n" == said
    assert [sentence] == result["warnings"]


def test_a_run_without_test_images_stands_beside_others(two, tmp_path: Path, compared):
    untested = made_run(tmp_path / "c", (0.3,))
    (untested / "scores.json").write_text('{"recipe": "labels", "protocol": "all-labels"}')
    (untested / "metrics.jsonl").unlink()

    result, said = compared(two[0], untested)

    assert (None, None, {}) == tuple(
        result["runs"][1][key] for key in ("accuracy", "seconds", "curves")
    )
    assert "different test sets (a: 4 images of 2 classes (2 cat, 2 dog); c: none)" in said


def test_a_run_without_test_images_prints_dashes(two, tmp_path: Path, capsys):
    untested = made_run(tmp_path / "c")
    (untested / "scores.json").write_text("{}")

    assert 0 == main(["compare", str(two[0]), str(untested), "--out", str(tmp_path / "out")])
    row = capsys.readouterr().out.splitlines()[2]
    assert [str(untested), *"--------"] == row.split()


def test_an_earlier_comparison_is_replaced(two, tmp_path: Path, compared):
    third = made_run(tmp_path / "c", (0.3, 0.4))
    compared(*two)

    compared(two[0], third)

    written = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [str(two[0]), str(third)] == [run["run"] for run in written["runs"]]
    assert FILES == sorted(path.name for path in (tmp_path / "out").iterdir())


@pytest.mark.parametrize("name", FILES)
def test_what_no_comparison_wrote_is_left_as_it_is(two, tmp_path: Path, name: str, refused):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text('{"made_by": "me"}')

    line = refused(*two, "--out", tmp_path / "mine")

    assert f"{name} was not written by fewlabels compare, and is left as it is" in line
    assert '{"made_by": "me"}' == (tmp_path / "mine" / name).read_text()


def test_out_is_neither_a_run_nor_a_file(two, tmp_path: Path, refused):
    assert "is the folder of a run: give another --out" in refused(*two, "--out", two[0])
    (tmp_path / "file").touch()
    assert "is a file, and comparisons need a folder" in refused(*two, "--out", tmp_path / "file")
    inside = refused(*two, "--out", tmp_path / "file" / "deeper")
    assert "cannot be written into" in inside and "give another --out" in inside


def test_fewer_than_two_runs_and_one_twice_are_refused(two, refused):
    assert "compare takes 2 to 35 runs, and got 1" in refused(two[0])
    assert "compare takes 2 to 35 runs, and got 0" in refused()
    again = two[0] / ".." / "a"  # the same folder by another way
    assert f"{again} is named twice: name each run once" == refused(*two, again)


def test_a_missing_run_and_a_folder_that_is_none(two, tmp_path: Path, refused):
    assert f"{tmp_path / 'absent'} is no folder" in refused(two[0], tmp_path / "absent")
    assert f"{tmp_path / 'runs'} holds no run" in refused(two[0], tmp_path / "runs")


def test_a_run_that_is_not_finished(two, tmp_path: Path, refused):
    working = tmp_path / "c.unfinished"
    working.mkdir()
    (working / ".running").touch()

    expected = "is not finished (there is c.unfinished): wait until it is, or go on with fewlabels"
    assert f"{tmp_path / 'c'} {expected} fit ... --resume" == refused(two[0], tmp_path / "c")
    assert f"{working} is not finished: wait" in refused(two[0], working)


def test_damaged_files_of_a_run_are_named(two, refused):
    (two[1] / "metrics.jsonl").write_text("{")
    assert f"{two[1] / 'metrics.jsonl'}, line 1 is no JSON" in refused(*two)
    (two[1] / "scores.json").write_text("[]")
    assert f"{two[1] / 'scores.json'} cannot be read (it is a list, not a table)" in refused(*two)
    (two[1] / "scores.json").unlink()
    assert f"{two[1] / 'scores.json'} cannot be read" in refused(*two)


def test_runs_without_any_accuracy_are_refused(two, refused):
    for run in two:
        (run / "scores.json").write_text("{}")
        (run / "metrics.jsonl").write_text("")

    assert "none of these runs has an accuracy to draw" in refused(*two)


def test_a_full_disk_leaves_the_earlier_comparison(two, tmp_path: Path, compared, monkeypatch):
    compared(*two)
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fewlabels.whole_files.os.fsync", full)
    code = main(["compare", str(two[1]), str(two[0]), "--out", str(tmp_path / "out")])

    assert 2 == code
    assert before == {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
