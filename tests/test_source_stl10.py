"""STL-10 binaries, against files written by hand and against the witness `unpack.py`."""

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewlabels.errors import DataError
from fewlabels.images import as_float
from fewlabels.sources import stl10
from fewlabels.sources.pixels import Options

IMAGE_BYTES = 27_648


def write_set(folder: Path, *, n_classes: int = 2, names: bool = True) -> np.ndarray:
    """Two training images a class, as many test ones, three unlabelled; the training pixels."""
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(1, n_classes + 1, dtype=np.uint8), 2)
    written = {}
    for part, n_images in (("train", len(labels)), ("test", len(labels)), ("unlabeled", 3)):
        written[part] = rng.integers(0, 256, (n_images, 3, 96, 96), np.uint8)
        with (folder / f"{part}_X.bin").open("wb") as file:
            for image in written[part]:
                for channel in image:
                    for column in range(96):
                        file.write(bytes(channel[:, column]))
        if part != "unlabeled":
            (folder / f"{part}_y.bin").write_bytes(bytes(labels))
    if names:
        lines = "".join(f"class {number}\n" for number in range(1, n_classes + 1))
        (folder / "class_names.txt").write_text(lines)
    return written["train"]


def refusal(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        stl10.read(folder, Options())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_channels_are_stored_column_by_column(tmp_path):
    expected = write_set(tmp_path)

    images = stl10.read(tmp_path, Options())

    assert (expected == images.train.pixels).all()
    assert [0, 1, 0, 1] == images.train.labels.tolist()
    assert ("class 1", "class 2") == images.class_names
    assert (4, 4, 3) == (len(images.train), len(images.test), len(images.unlabeled))


def test_pixels_are_mapped_and_cannot_be_written(tmp_path):
    write_set(tmp_path)

    pixels = stl10.read(tmp_path, Options()).unlabeled.pixels

    assert isinstance(pixels, np.memmap)
    assert not pixels.flags.writeable
    assert (2, 3, 96, 96) == tuple(as_float(pixels[:2]).shape)


def test_only_the_training_files_are_needed(tmp_path):
    write_set(tmp_path)
    for name in ("test_X.bin", "test_y.bin", "unlabeled_X.bin"):
        (tmp_path / name).unlink()

    images = stl10.read(tmp_path, Options())

    assert ["train"] == list(images.parts())
    assert () == images.folds


def test_folds_are_lines_of_indices_from_zero(tmp_path):
    write_set(tmp_path)
    (tmp_path / "fold_indices.txt").write_text("0 1\n3 2 \n")

    assert [[0, 1], [3, 2]] == [fold.tolist() for fold in stl10.read(tmp_path, Options()).folds]


@pytest.mark.parametrize(
    ("n_classes", "expected"),
    [(10, stl10.OFFICIAL_NAMES), (3, ("1", "2", "3"))],
)
def test_without_names_ten_classes_are_the_official_ones_and_others_are_numbered(
    tmp_path, n_classes, expected
):
    write_set(tmp_path, n_classes=n_classes, names=False)

    images = stl10.read(tmp_path, Options())

    assert expected == images.class_names
    assert "no class_names.txt" in images.notes[0]


@pytest.mark.parametrize("name", ["train_X.bin", "train_y.bin"])
def test_a_folder_with_one_training_file_is_recognised_and_the_other_is_asked_for(tmp_path, name):
    write_set(tmp_path)
    (tmp_path / name).unlink()

    assert stl10.matches(tmp_path)
    assert name in refusal(tmp_path)


def test_other_folders_are_not_recognised(tmp_path):
    assert not stl10.matches(tmp_path)
    assert not stl10.matches(tmp_path / "absent")


@pytest.mark.parametrize("part", ["train", "test", "unlabeled"])
def test_a_truncated_file_is_named_with_the_bytes_expected_and_got(tmp_path, part):
    write_set(tmp_path)
    path = tmp_path / f"{part}_X.bin"
    path.write_bytes(path.read_bytes()[: IMAGE_BYTES + 5])

    message = refusal(tmp_path)

    for fact in (path.name, "55,296", "27,653", "1 images and 5 bytes", "fetch it again"):
        assert fact in message


def test_an_empty_file_is_refused(tmp_path):
    write_set(tmp_path)
    (tmp_path / "unlabeled_X.bin").write_bytes(b"")

    assert "it has 0, which is 0 images and 0 bytes" in refusal(tmp_path)


@pytest.mark.parametrize("part", ["train", "test"])
def test_images_and_labels_must_be_as_many(tmp_path, part):
    write_set(tmp_path)
    (tmp_path / f"{part}_y.bin").write_bytes(b"\1\2\1")

    message = refusal(tmp_path)

    assert f"{part}_y.bin" in message
    assert "each of the 4 images" in message
    assert "it has 3" in message


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("label", [0, 3])
def test_a_label_outside_the_classes_is_named_with_its_image(tmp_path, part, label):
    write_set(tmp_path)
    (tmp_path / f"{part}_y.bin").write_bytes(bytes([1, 2, label, 1]))

    message = refusal(tmp_path)

    assert f"{part}_y.bin" in message
    assert f"image 2 has {label}" in message


def test_test_images_need_their_labels(tmp_path):
    write_set(tmp_path)
    (tmp_path / "test_y.bin").unlink()

    assert "test_y.bin" in refusal(tmp_path)


@pytest.mark.parametrize("line", ["0 4", "-1", "one", "99999999999999999999"])
def test_a_fold_index_outside_the_training_images_is_refused(tmp_path, line):
    write_set(tmp_path)
    (tmp_path / "fold_indices.txt").write_text(f"0 1\n{line}\n")

    message = refusal(tmp_path)

    assert "fold_indices.txt" in message
    assert "line 2" in message


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    write_set(tmp_path)
    (tmp_path / "train_X.bin").unlink()
    (tmp_path / "train_X.bin").mkdir()

    assert "train_X.bin" in refusal(tmp_path)


@pytest.mark.data
def test_pixels_and_labels_equal_those_of_the_witness_and_of_the_archive(data_folder, tmp_path):
    script = data_folder / "unpack.py"
    arguments = ["nette96", str(tmp_path), "--to", "stl10", "--limit", "100"]
    subprocess.run([sys.executable, str(script), *arguments], check=True)
    (tmp_path / "fold_indices.txt").unlink()  # its indices are of all 2,500 training images

    images = stl10.read(tmp_path, Options())

    for part, read in images.parts().items():
        pixels, labels = archived(data_folder / "nette96" / f"{part}.tar", len(read))
        assert (pixels == read.pixels).all()
        assert labels == ([] if read.labels is None else read.labels.tolist())


def archived(path: Path, n_images: int) -> tuple[np.ndarray, list[int]]:
    """The first images of an archive as Pillow decodes them, and the labels beside them."""
    pixels, labels = [], []
    with tarfile.open(path) as archive:
        for member in archive:
            content = archive.extractfile(member).read()
            if member.name.endswith(".cls"):
                labels.append(int(content))
            elif len(pixels) == n_images:
                break
            else:
                image = Image.open(io.BytesIO(content)).convert("RGB")
                pixels.append(np.asarray(image).transpose(2, 0, 1))
    return np.stack(pixels), labels


@pytest.mark.data
def test_the_official_names_labels_and_folds_fit(data_folder, tmp_path):
    for path in (data_folder / "stl10").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for part, n_images in (("train", 5_000), ("test", 8_000)):
        with (tmp_path / f"{part}_X.bin").open("wb") as file:
            file.truncate(n_images * IMAGE_BYTES)  # black images that take no room on the disk

    images = stl10.read(tmp_path, Options())

    assert stl10.OFFICIAL_NAMES == images.class_names
    assert [1_000] * 10 == [len(fold) for fold in images.folds]
    assert [500] * 10 == np.bincount(images.train.labels).tolist()
    assert [800] * 10 == np.bincount(images.test.labels).tolist()
