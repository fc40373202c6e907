"""Bad input through the command line: one clear line, exit 2, nothing written over."""

import errno
import io
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewlabels.cli import main
from small_runs import FAST_SETTINGS

pytest_plugins = ("run_fixtures",)


@pytest.fixture
def refused(tmp_path: Path, capsys):
    """Runs `fewlabels fit`, which must refuse; gives its one line."""

    def refusal(source: Path | str, *options: str) -> str:
        out = tmp_path / "run"
        capsys.readouterr()
        recipe, settings = FAST_SETTINGS[:2], FAST_SETTINGS[2:]
        usual = settings if "--recipe" in options else [*recipe, *settings]
        code = main(["fit", str(source), "--out", str(out), *usual, *options])
        printed = capsys.readouterr()
        assert (2, "") == (code, printed.out)
        lines = printed.err.splitlines()
        assert ["fewlabels: "] == [line[:11] for line in lines if line.startswith("fewlabels: ")]
        assert lines[-1].startswith("fewlabels: ")
        assert not out.exists()
        assert [] == [path.name for path in tmp_path.iterdir() if "partial" in path.name]
        return lines[-1]

    return refusal


def pictures(folder: Path, n_images: int = 3, size: int = 16) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(len(str(folder)))
    for number in range(n_images):
        pixels = rng.integers(0, 256, (size, size, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for name in ("cat", "dog"):
        pictures(tmp_path / "pets" / "train" / name)
        pictures(tmp_path / "pets" / "test" / name)
    pictures(tmp_path / "pets" / "unlabeled", 12)
    return tmp_path / "pets"


def test_good_input_is_not_refused(pets: Path, tmp_path: Path):
    assert 0 == main(["fit", str(pets), "--out", str(tmp_path / "run"), *FAST_SETTINGS])


def test_a_missing_folder(tmp_path: Path, refused):
    assert f"{tmp_path / 'absent'} does not exist: give a folder" in refused(tmp_path / "absent")


def test_an_empty_folder(tmp_path: Path, refused):
    (tmp_path / "empty").mkdir()

    assert f"{tmp_path / 'empty'} is empty: put images there" in refused(tmp_path / "empty")


def test_a_class_with_no_images(pets: Path, refused):
    (pets / "train" / "owl").mkdir()

    assert "owl" in refused(pets)


def test_one_class_only(pets: Path, refused):
    shutil.rmtree(pets / "train" / "dog")
    shutil.rmtree(pets / "test" / "dog")

    assert "has 1 class, and a recogniser needs at least 2" in refused(pets)


def test_more_labels_than_there_are(pets: Path, refused):
    message = "8 labels need 4 images of class 'cat', which has 3 training images: ask for fewer"

    assert message in refused(pets, "--labels", "8")


def test_a_truncated_binary(tmp_path: Path, refused):
    (tmp_path / "stl").mkdir()
    (tmp_path / "stl" / "train_X.bin").write_bytes(bytes(27_648 * 2 - 5))
    (tmp_path / "stl" / "train_y.bin").write_bytes(bytes([1, 2]))

    assert "train_X.bin" in refused(tmp_path / "stl")


def test_a_truncated_archive(tmp_path: Path, pets: Path, refused):
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        archive.add(pets / "train", arcname=".")
    (tmp_path / "tars").mkdir()
    (tmp_path / "tars" / "train.tar").write_bytes(whole.getvalue()[:3000])

    assert "train.tar" in refused(tmp_path / "tars")


def test_a_text_file_named_jpg_is_named_counted_and_skipped(pets: Path, tmp_path: Path, capsys):
    (pets / "train" / "cat" / "note.jpg").write_text("no picture")

    assert 0 == main(["fit", str(pets), "--out", str(tmp_path / "run"), *FAST_SETTINGS])
    assert "note.jpg is no image of a known format" in capsys.readouterr().err
    assert "note.jpg" in (tmp_path / "run" / "report.html").read_text()
    assert 0 == main(["data", str(pets)])
    assert "damaged images: 1\n  " in capsys.readouterr().out


def test_a_damaged_image_stops_a_strict_reading(pets: Path, refused):
    (pets / "train" / "cat" / "note.jpg").write_text("no picture")

    assert "note.jpg is no image of a known format" in refused(pets, "--strict")


def test_a_class_of_text_files_named_jpg(pets: Path, refused):
    for path in (pets / "train" / "cat").iterdir():
        path.rename(path.with_suffix(".jpg"))
        path.with_suffix(".jpg").write_text("no picture")

    assert "cat" in refused(pets)


def test_images_smaller_than_the_patch(pets: Path, refused):
    line = refused(pets, "--size", "4")

    assert "patch" in line
    assert "4 x 4" in line


def test_a_label_outside_the_classes(tmp_path: Path, refused):
    folder = tmp_path / "stl"
    folder.mkdir()
    (folder / "train_X.bin").write_bytes(bytes(27_648 * 2))
    (folder / "train_y.bin").write_bytes(bytes([1, 3]))
    (folder / "class_names.txt").write_text("cat\ndog\n")

    assert "3" in refused(folder)


def test_fold_indices_out_of_range(pets: Path, refused):
    (pets / "fold_indices.txt").write_text("0 1 3\n0 4 99\n")

    assert "fold_indices.txt" in refused(pets, "--fold", "0")


def test_a_fold_that_is_not_there(pets: Path, refused):
    (pets / "fold_indices.txt").write_text("0 1 3\n0 4 5\n")

    assert "has folds 0 to 1; got 2: ask for one of them" in refused(pets, "--fold", "2")


@pytest.mark.parametrize("command", ["fit", "score"])
def test_an_output_folder_that_holds_another_run(
    command: str, tiny_run: Path, tiny_folder: Path, capsys
):
    before = {path.name: path.read_bytes() for path in tiny_run.iterdir()}

    code = main([command, str(tiny_folder), "--out", str(tiny_run), *FAST_SETTINGS])

    line = f"fewlabels: {tiny_run} holds another run: give another --out, or replace it with"
    assert 2 == code
    assert capsys.readouterr().err.startswith(line)
    assert before == {path.name: path.read_bytes() for path in tiny_run.iterdir()}


def test_a_run_is_replaced_with_overwrite(pets: Path, tmp_path: Path):
    arguments = ["fit", str(pets), "--out", str(tmp_path / "run"), *FAST_SETTINGS]
    assert 0 == main(arguments)

    assert 0 == main([*arguments, "--overwrite", "--seed", "4"])

    assert "seed = 4" in (tmp_path / "run" / "config.toml").read_text()
    assert {"pets", "run"} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    "name", ["graph.json", "weights", "head", "config.toml", "mistakes", "scores.json", "report"]
)
def test_a_disk_that_fills_up_while_saving(pets: Path, refused, monkeypatch, name: str):
    def full(write):
        def or_full(path: Path, *arguments, **options):
            if name in path.name:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(path, *arguments, **options)

        return or_full

    for method in ("open", "write_bytes", "write_text"):
        monkeypatch.setattr(Path, method, full(getattr(Path, method)))

    assert "the disk is full, so nothing was written" in refused(pets)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--recipe", "kmean-1"), "did you mean 'kmeans-1'"),
        (("--set", "filters.patch=3"), "no setting is called 'filters.patch'"),
        (("--set", "filters.patch_size"), "--set takes NAME=VALUE"),
        (("--labels", "4", "--protocol", "cifar10-400"), "leave --labels out"),
        (("--seed", "-1"), "Must be >= 0"),
        (("--budget", "10m"), "a budget is for recipes that learn by gradients, and kmeans-1"),
        (("--device", "gpu"), "--device"),
    ],
)
def test_options_that_do_not_fit(pets: Path, refused, options, message):
    assert message in refused(pets, *options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score", "PETS", "--out", "x", "--folds", "4-2"], "--folds takes all, a range 0-4"),
        (["score", "PETS", "--out", "x", "--folds", "0,0"], "--folds names a fold twice"),
        (["score", "PETS", "--out", "x"], "has no folds: add fold_indices.txt"),
        (["predict", "PETS"], "predict needs at least one PATH"),
        (["predict", "PETS", "a.jpg"], "holds no run"),
        (["evaluate", "nowhere"], "nowhere is no folder"),
        (["report", "PETS"], "holds no run"),
        (["compare", "a", "b"], "a is no folder"),
        (["juggle", "a", "b"], "Unknown command"),
        (["convert", "PETS", "PETS", "--to", "shards"], "is not empty"),
        (["data", "PETS", "--size", "0"], "Must be >= 1"),
    ],
)
def test_commands_that_do_not_fit(pets: Path, arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    code = main([str(pets) if part == "PETS" else part for part in arguments])

    lines = capsys.readouterr().err.splitlines()
    assert 2 == code
    assert 1 == len(lines)
    assert message in lines[0]
    assert not (tmp_path / "x").exists()


def test_evaluating_on_other_classes_or_a_source_that_is_gone(
    pets: Path, tiny_run: Path, tmp_path: Path, capsys
):
    assert 2 == main(["evaluate", str(tiny_run), str(pets)])
    assert "the model knows the classes" in capsys.readouterr().err
    run = tmp_path / "run"
    assert 0 == main(["fit", str(pets), "--out", str(run), *FAST_SETTINGS])
    pets.rename(tmp_path / "moved")
    capsys.readouterr()
    assert 2 == main(["evaluate", str(run)])
    assert "which is not there any more: name the SOURCE too" in capsys.readouterr().err
    assert 0 == main(["evaluate", str(run), str(tmp_path / "moved")])
