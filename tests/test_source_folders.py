"""Class folders: layouts, order, what lies beside, and every bad input."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewlabels.errors import DataError
from fewlabels.sources import folders
from fewlabels.sources.pixels import Options

OPTIONS = Options()


def put(path: Path, value: int = 0, size: tuple[int, int] = (4, 4)) -> None:
    """An even gray image of `size` (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value,) * 3).save(path)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """Two classes; the value of each image is said in its name."""
    for name, value in [
        ("train/dog/b11.png", 11),
        ("train/dog/a12.png", 12),
        ("train/cat/a13.png", 13),
        ("train/cat/deep/er/b14.png", 14),
        ("test/cat/a21.png", 21),
        ("validation/dog/a31.png", 31),
        ("unlabeled/a41.png", 41),
        ("unlabeled/deep/b42.png", 42),
    ]:
        put(tmp_path / name, value)
    return tmp_path


def values(images) -> list[int]:
    return images.pixels[:, 0, 0, 0].tolist()


def test_every_part_is_read_in_the_order_of_names_then_classes(whole):
    found = folders.read(whole, OPTIONS)

    assert ("cat", "dog") == found.class_names
    assert [12, 13, 11, 14] == values(found.train)  # a12, a13, b11, deep/er/b14
    assert [1, 0, 1, 0] == found.train.labels.tolist()
    assert "train/cat/deep/er/b14.png" == found.train.names[3]
    assert [21] == values(found.test) and [0] == found.test.labels.tolist()
    assert [31] == values(found.validation) and [1] == found.validation.labels.tolist()
    assert [41, 42] == values(found.unlabeled) and found.unlabeled.labels is None
    assert () == found.damaged == found.notes


def test_british_unlabelled_and_short_val_mean_the_same(whole):
    (whole / "unlabeled").rename(whole / "unlabelled")
    (whole / "validation").rename(whole / "val")

    found = folders.read(whole, OPTIONS)

    assert [41, 42] == values(found.unlabeled) and [31] == values(found.validation)


def test_both_spellings_at_once_are_refused(whole):
    put(whole / "unlabelled/x.png")

    with pytest.raises(DataError, match="both unlabeled and unlabelled"):
        folders.read(whole, OPTIONS)


def test_class_folders_without_train_are_the_training_images(tmp_path):
    put(tmp_path / "cat/a.png", 1)
    put(tmp_path / "dog/deep/a.JPG", 255)
    put(tmp_path / "unlabeled/a.png", 3)

    assert folders.matches(tmp_path)
    found = folders.read(tmp_path, OPTIONS)

    assert ("cat", "dog") == found.class_names
    assert [1, 255] == values(found.train) and [3] == values(found.unlabeled)


def test_classes_that_are_numbers_are_sorted_as_numbers(tmp_path):
    for name in ("10", "9", "1"):
        put(tmp_path / "train" / name / "a.png")

    assert ("1", "9", "10") == folders.read(tmp_path, OPTIONS).class_names


def test_class_names_and_folds_beside_are_honoured(whole):
    (whole / "class_names.txt").write_text("dog\ncat\n")
    (whole / "fold_indices.txt").write_text("0 1\n3 2\n")

    found = folders.read(whole, OPTIONS)

    assert ("dog", "cat") == found.class_names
    assert [0, 1, 0, 1] == found.train.labels.tolist()
    assert [[0, 1], [3, 2]] == [fold.tolist() for fold in found.folds]


def test_class_names_other_than_the_folders_are_refused(whole):
    (whole / "class_names.txt").write_text("dog\ncat\ncow\n")

    with pytest.raises(DataError, match=r"'cow' is in class_names.txt only"):
        folders.read(whole, OPTIONS)


@pytest.mark.parametrize(
    "text, reason",
    [("", "no name"), ("dog\ncat\ndog\n", "'dog' twice"), (b"\xff\xfe\x00", "UTF-8")],
)
def test_class_names_that_are_no_list_of_names_are_refused(whole, text, reason):
    (whole / "class_names.txt").write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(DataError, match=reason):
        folders.read(whole, OPTIONS)


@pytest.mark.parametrize(
    "text, reason",
    [("0 4\n", "0 to 3 .*it has 4"), ("-1\n", "it has -1"), ("a b\n", "whole numbers")],
)
def test_fold_indices_that_do_not_fit_are_refused(whole, text, reason):
    (whole / "fold_indices.txt").write_text(text)

    with pytest.raises(DataError, match=reason):
        folders.read(whole, OPTIONS)


def test_other_files_are_ignored_and_counted(whole):
    for name in ("train/.DS_Store", "train/cat/notes.txt", "train/dog/._a.jpg", "unlabeled/x.csv"):
        (whole / name).write_text("x")
    (whole / "train/cat/Thumbs.db").write_text("x")
    put(whole / "train/.git/x.png")

    found = folders.read(whole, OPTIONS)

    assert 4 == len(found.train)
    expected = "5 files that are no images were ignored (hidden 2, .txt 1, .db 1, .csv 1)"
    note = found.notes[0]
    assert expected[:40] == note[:40]
    assert set(expected[42:-1].split(", ")) == set(note[42:-1].split(", "))


def test_damaged_images_are_named_counted_and_skipped_and_folds_move(whole):
    (whole / "train/dog/a12.png").write_bytes(b"")
    (whole / "unlabeled/text.jpg").write_text("holiday notes")
    (whole / "fold_indices.txt").write_text("0 1 2\n3 0\n")

    found = folders.read(whole, OPTIONS)

    assert [13, 11, 14] == values(found.train)
    assert [0, 1, 0] == found.train.labels.tolist()
    assert ["train/dog/a12.png", "unlabeled/text.jpg"] == [file.name for file in found.damaged]
    assert ["is empty (0 bytes)", "is no image of a known format"] == [
        file.reason for file in found.damaged
    ]
    assert [[0, 1], [2]] == [fold.tolist() for fold in found.folds]  # a12 was the first of all


def test_strict_stops_at_the_first_damaged_image(whole):
    (whole / "train/dog/a12.png").write_bytes(b"")

    with pytest.raises(DataError, match=r"train/dog/a12\.png is empty"):
        folders.read(whole, Options(strict=True))


def test_a_part_with_damaged_images_only_is_refused(whole):
    (whole / "test/cat/a21.png").write_bytes(b"")

    with pytest.raises(DataError, match=r"none of the 1 images of 'test' can be read"):
        folders.read(whole, OPTIONS)


def test_a_class_whose_images_are_all_damaged_is_named(whole):
    for name in ("a12", "b11"):
        (whole / f"train/dog/{name}.png").write_bytes(b"x")

    with pytest.raises(DataError, match="none of: dog"):
        folders.read(whole, OPTIONS)


def test_a_class_without_images_is_named(whole):
    (whole / "train/cow").mkdir()

    with pytest.raises(DataError, match=r"train/cow has no images"):
        folders.read(whole, OPTIONS)


def test_one_class_only_is_refused(tmp_path):
    put(tmp_path / "train/cat/a.png")

    with pytest.raises(DataError, match="1 class, and a recogniser needs at least 2"):
        folders.read(tmp_path, OPTIONS)


def test_no_class_folder_is_refused(tmp_path):
    (tmp_path / "train").mkdir()

    with pytest.raises(DataError, match="one folder of images for each class; it has none"):
        folders.read(tmp_path, OPTIONS)


def test_a_test_class_without_training_images_is_refused(whole):
    put(whole / "test/cow/a.png")

    with pytest.raises(DataError, match=r"cow is a class without training images"):
        folders.read(whole, OPTIONS)


def test_an_image_outside_class_folders_is_refused(whole):
    put(whole / "train/stray.png")

    with pytest.raises(DataError, match=r"stray.png lies in no class folder"):
        folders.read(whole, OPTIONS)


def test_an_empty_unlabeled_folder_is_refused(whole):
    for file in (whole / "unlabeled").rglob("*.png"):
        file.unlink()

    with pytest.raises(DataError, match="'unlabeled' holds no images"):
        folders.read(whole, OPTIONS)


@pytest.mark.data
def test_an_unpacked_folder_has_the_same_images_as_its_archives(data_folder, tmp_path):
    command = [sys.executable, data_folder / "unpack.py", "nette96", tmp_path / "nette96"]
    subprocess.run([*command, "--to", "folder", "--limit", "200"], check=True)
    names = (data_folder / "nette96/class_names.txt").read_text().split()

    found = folders.read(tmp_path / "nette96", OPTIONS)

    assert [200, 200, 200] == [len(images) for images in found.parts().values()]
    for images in (found.train, found.test):
        for position, name in enumerate(images.names):
            file = tmp_path / "nette96" / name
            assert f"{position:06d}.jpg" == file.name  # the archive's order
            assert file.parent.name == found.class_names[images.labels[position]]
            seen = np.asarray(Image.open(file).convert("RGB"))
            assert np.array_equal(seen.transpose(2, 0, 1), images.pixels[position])
    assert sorted(set(found.class_names)) == sorted(set(names) & set(found.class_names))


def test_linked_folders_are_read_and_a_link_back_up_is_not_walked_for_ever(whole):
    put(whole / "elsewhere" / "c43.png", 43)
    (whole / "unlabeled" / "linked").symlink_to(whole / "elsewhere")
    (whole / "unlabeled" / "deep" / "back").symlink_to(whole / "unlabeled")

    found = folders.read(whole, OPTIONS)

    assert [41, 42, 43] == values(found.unlabeled)


def test_a_file_name_that_is_no_utf_8_is_spelled_out(whole):
    put(whole / "unlabeled" / "z.png", 44)
    (whole / "unlabeled" / "z.png").rename(whole / "unlabeled" / "photo\udce9.png")

    names = folders.read(whole, OPTIONS).unlabeled.names

    assert "unlabeled/photo\\xe9.png" in names
