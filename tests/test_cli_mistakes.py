"""Odd folders and slips of a first use: one clear line with exit 2, or it works."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewlabels.cli import main
from fewlabels.terminal import table
from small_runs import FAST_SETTINGS

pytest_plugins = ("run_fixtures",)


@pytest.fixture
def refusal(capsys) -> Callable[..., str]:
    """Runs a command, which must refuse; gives its one line."""

    def refused(*arguments: object) -> str:
        capsys.readouterr()
        code = main([*map(str, arguments)])
        printed = capsys.readouterr()
        lines = printed.err.splitlines()
        assert (2, "", 1) == (code, printed.out, len(lines))
        assert lines[0].startswith("fewlabels: ")
        return lines[0]

    return refused


def picture(path: Path, size: tuple[int, int] = (16, 16)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(path.parents) + len(path.name) + sum(path.name.encode()))
    pixels = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Class folders without `train` above them."""
    for number in range(4):
        for name in ("cat", "dog"):
            picture(tmp_path / "flat" / name / f"{number}.png")
    return tmp_path / "flat"


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """What lies in folders of photographs: odd names, links, rubbish, images of one pixel."""
    folder = tmp_path / "odd"
    for name in ("red cat", "Füchse", '<b>"x" & y', "日本"):
        for number, suffix in enumerate(("JPG", "JPEG", "PNG", "jpg")):
            picture(folder / "train" / name / f"{number}.{suffix}")
        picture(folder / "test" / name / "a.png")
    for number in range(12):
        picture(folder / "unlabeled" / f"{number}.jpg")
    picture(folder / "unlabeled" / "one.png", (1, 1))
    picture(folder / "unlabeled" / "strip.png", (200, 3))
    for rubbish in (".DS_Store", "Thumbs.db", "._0.jpg"):
        (folder / "train" / "red cat" / rubbish).write_bytes(b"x")
    (folder / "train" / "red cat" / "zero.jpg").write_bytes(b"")
    (folder / "train" / "Füchse" / "text.jpg").write_text("hello")
    (folder / "unlabeled" / "link.jpg").symlink_to(folder / "unlabeled" / "0.jpg")
    (folder / "unlabeled" / "nowhere.jpg").symlink_to("/nowhere/0.jpg")
    (folder / "unlabeled" / "loop").symlink_to(folder / "unlabeled")
    return folder


def test_an_odd_folder_is_learned_from_and_its_names_are_escaped(odd: Path, tmp_path, capsys):
    run = tmp_path / "run"

    assert 0 == main(["fit", str(odd), "--out", str(run), *FAST_SETTINGS])
    said = capsys.readouterr().err
    assert 0 == main(["predict", str(run), str(odd / "unlabeled")])
    printed = capsys.readouterr()
    assert 0 == main(["evaluate", str(run)])

    for damaged in ("zero.jpg is empty", "text.jpg is no image", "nowhere.jpg cannot be read"):
        assert damaged in said
    assert 15 == len(printed.out.splitlines())  # 12, one.png, strip.png and link.jpg
    assert "nowhere.jpg cannot be read (No such file or directory)" in printed.err
    page = (run / "report.html").read_text()
    assert '<b>"x"' not in page
    assert "日本" in page


def test_an_odd_folder_converts_to_shards_with_its_class_names(odd: Path, tmp_path, capsys):
    assert 0 == main(["convert", str(odd), str(tmp_path / "shards"), "--to", "shards"])
    assert 0 == main(["data", str(tmp_path / "shards")])

    assert '<b>"x" & y' in capsys.readouterr().out


@pytest.mark.parametrize("command", ["fit", "score", "convert"])
def test_nothing_is_written_into_the_folder_that_is_read(command, flat: Path, refusal):
    inside = flat / "new" / "run"
    where = (inside, "--to", "folder") if command == "convert" else ("--out", inside)

    line = refusal(command, flat, *where)

    assert f"{inside} lies inside {flat}, which is only read: name a folder outside" in line
    assert ["cat", "dog"] == sorted(path.name for path in flat.iterdir())
    assert 0 == main(["data", str(flat)])


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--seed", "4294967296", "Must be <= 4294967295"),
        ("--size", "100000", "a size is a whole number of pixels, from 1 to 4,096; got 100,000"),
        ("--labels", "0", "Must be >= 1"),
        ("--labels", "-1", "Must be >= 1"),
        ("--labels", "1", "each of the 2 classes needs a label; got --labels 1"),
        ("--fold", "99", "has no folds"),
        ("--set", "filters.patch_sise=8", "did you mean 'filters.patch_size'"),
        ("--set", "filters.n_filters=0", "filters.n_filters is at least 1"),
    ],
)
def test_numbers_that_cannot_be(option, value, reason, flat: Path, tmp_path: Path, refusal):
    assert reason in refusal("fit", flat, "--out", tmp_path / "run", option, value)


def test_the_largest_seed_that_is_taken_can_be_learned_with(flat: Path, tmp_path: Path):
    seed = ("--seed", str(2**32 - 1))

    assert 0 == main(["fit", str(flat), "--out", str(tmp_path / "run"), *seed, *FAST_SETTINGS])


def test_a_source_that_is_forgotten_is_asked_for(refusal):
    assert "parameter SOURCE requires an argument" in refusal("data")
    assert "the name of the source is empty: give a folder" in refusal("data", "")
    assert "parameter RUN requires an argument" in refusal("evaluate")


def test_a_folder_that_vanishes_while_it_is_walked_is_one_line(flat: Path, refusal, monkeypatch):
    def vanished(*arguments, onerror, **options):
        onerror(FileNotFoundError(2, "No such file or directory", "flat/cat"))
        return iter(())

    monkeypatch.setattr(os, "walk", vanished)

    assert "flat/cat cannot be read (No such file or directory): look at it" in refusal(
        "data", flat
    )


def test_a_name_that_is_too_long_is_one_line(refusal):
    assert "cannot be read (File name too long)" in refusal("data", "a" * 5000)


def test_a_class_of_photographs_in_another_format_says_which(flat: Path, refusal):
    (flat / "owl").mkdir()
    for number in range(3):
        (flat / "owl" / f"{number}.heic").write_bytes(b"x")

    line = refusal("data", flat)

    assert f"{flat / 'owl'} has no images, only files of other kinds (.heic 3)" in line


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ("[]", "cannot be read (it is a list, not a table)"),
        ('{"recipe": "x", "confusion": [[1]]}', "do not fit together (10 classes need a confusion"),
        ("{}", "it lacks 'recipe'"),
    ],
)
def test_scores_that_do_not_fit_are_one_line(scores, reason, tiny_run: Path, tmp_path, refusal):
    shutil.copytree(tiny_run, tmp_path / "run")
    (tmp_path / "run" / "scores.json").write_text(scores)

    assert reason in refusal("report", tmp_path / "run")


def test_a_score_is_no_model_and_says_so(tiny_folder: Path, tmp_path: Path, refusal, capsys):
    out = tmp_path / "scores"
    assert 0 == main(["score", str(tiny_folder), "--folds", "0", "--out", str(out), *FAST_SETTINGS])

    for command in (("evaluate", out), ("predict", out, tiny_folder)):
        assert "is of `fewlabels score`, which keeps no model" in refusal(*command)


def test_a_fit_without_test_images_says_why_there_is_no_score(flat: Path, tmp_path, capsys):
    assert 0 == main(["fit", str(flat), "--out", str(tmp_path / "run"), *FAST_SETTINGS])

    assert "no score, as there are no labelled test images" in capsys.readouterr().out


def test_columns_of_letters_that_take_two_places_stay_aligned():
    assert "日本  10\ncat    5" == table([("日本", "10"), ("cat", "5")])


@pytest.mark.parametrize("command", ["fit", "score", "data", "convert", "evaluate", "report"])
def test_help_shows_no_default_of_what_is_only_switched_on(command, capsys):
    assert 0 == main([command, "--help"])

    printed = capsys.readouterr().out
    assert "False" not in printed
    assert "()" not in printed
