"""The course's tables and others in Torch 7 files, and content that does not fit."""

import struct
from pathlib import Path

import numpy as np
import pytest

from fewlabels.errors import DataError
from fewlabels.images import ImageSet, as_float
from fewlabels.sources import storing, torch7
from fewlabels.sources.pixels import Options
from torch7_writer import Writer, pictures, save


def read(folder: Path) -> ImageSet:
    return torch7.read(folder, Options())


def refusal(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_courses_files_are_tables_of_images_per_class(tmp_path):
    parts = {name: pictures(6, seed=seed) for seed, name in enumerate(("train", "val", "test"))}
    for name, images in parts.items():
        save(tmp_path / f"{name}.t7b", {"data": [list(images[:2]), list(images[2:])]})
    extra = pictures(5, seed=4)
    save(tmp_path / "extra.t7b", {"data": [list(extra)]})

    images = read(tmp_path)

    assert torch7.matches(tmp_path)
    assert ["train", "validation", "test", "unlabeled"] == list(images.parts())
    for name, part in zip(parts, (images.train, images.validation, images.test), strict=True):
        assert (parts[name] == part.pixels).all()
        assert [0, 0, 1, 1, 1, 1] == part.labels.tolist()
    assert (extra == images.unlabeled.pixels).all()
    assert images.unlabeled.labels is None
    assert ("1", "2") == images.class_names


@pytest.mark.parametrize(
    "labels", [np.array([2, 1, 2], np.uint8), np.array([2.0, 1, 2]), [2, 1, 2]]
)
@pytest.mark.parametrize("data", ["tensor", "table"])
def test_images_with_labels_beside_them_are_read(tmp_path, labels, data):
    expected = pictures(3)
    images = expected if data == "tensor" else list(expected)
    save(tmp_path / "train.t7", {"data": images, "labels": labels})
    save(tmp_path / "extra.t7", expected)

    read_set = read(tmp_path)

    assert (expected == read_set.train.pixels).all()
    assert [1, 0, 1] == read_set.train.labels.tolist()
    assert (expected == read_set.unlabeled.pixels).all()


def test_a_class_may_be_one_tensor(tmp_path):
    expected = pictures(5)
    save(tmp_path / "train.t7b", {"data": [expected[:2], expected[2:]]})

    images = read(tmp_path).train

    assert (expected == images.pixels).all()
    assert [0, 0, 1, 1, 1] == images.labels.tolist()


def test_test_images_in_one_class_have_no_labels(tmp_path):
    save(tmp_path / "train.t7b", {"data": [pictures(2), pictures(2)]})
    save(tmp_path / "test.t7b", {"data": [list(pictures(3))]})

    assert read(tmp_path).test.labels is None


def test_one_tensor_of_bytes_is_mapped_and_the_file_cannot_be_written(tmp_path):
    save(tmp_path / "train.t7b", {"data": pictures(3), "labels": [1, 2, 1]})
    before = (tmp_path / "train.t7b").read_bytes()

    pixels = read(tmp_path).train.pixels
    pixels[:] = 0

    assert not pixels.flags.owndata
    assert before == (tmp_path / "train.t7b").read_bytes()


def test_many_images_lie_in_a_mapped_file(tmp_path, monkeypatch):
    expected = pictures(20)
    save(tmp_path / "train.t7b", {"data": [list(expected[:9]), list(expected[9:])]})
    monkeypatch.setattr(storing, "IN_MEMORY", 100)

    pixels = read(tmp_path).train.pixels

    assert isinstance(pixels, np.memmap)
    assert (expected == pixels).all()


@pytest.mark.parametrize(("code", "divisor"), [("f4", 255), ("f8", 255), ("f4", 1), ("i4", 1)])
def test_numbers_become_bytes_by_the_stated_rule(tmp_path, code, divisor):
    expected = pictures(3)
    values = (expected / divisor).astype(code)
    save(tmp_path / "train.t7b", {"data": values, "labels": [1, 2, 1]})

    images = read(tmp_path)

    assert (expected == images.train.pixels).all()
    assert (divisor == 255) == any("round(255 v)" in note for note in images.notes)
    assert float(as_float(images.train.pixels[:1]).max()) <= 1


def test_the_scale_is_chosen_for_the_whole_file_not_for_each_image(tmp_path):
    values = np.ones((2, 3, 1, 1), np.float32)
    values[1] = 200.4
    save(tmp_path / "train.t7b", {"data": [[values[0]], [values[1]]]})

    assert [1, 200] == read(tmp_path).train.pixels[:, 0, 0, 0].tolist()


def test_gray_images_get_three_equal_channels(tmp_path):
    gray = pictures(2)[:, :1]
    save(tmp_path / "train.t7b", {"data": gray, "labels": [1, 2]})

    images = read(tmp_path)

    assert (np.repeat(gray, 3, axis=1) == images.train.pixels).all()
    assert "gray" in images.notes[-1]


def test_names_and_folds_may_lie_beside(tmp_path):
    save(tmp_path / "train.t7b", {"data": pictures(3), "labels": [1, 2, 1]})
    (tmp_path / "class_names.txt").write_text("cat\ndog\n")
    (tmp_path / "fold_indices.txt").write_text("0 1\n")

    images = read(tmp_path)

    assert ("cat", "dog") == images.class_names
    assert [[0, 1]] == [fold.tolist() for fold in images.folds]


THREE = pictures(3)
REFUSED = {
    "no labels": ({"data": THREE}, "needs labels"),
    "no data": ({"labels": [1, 2, 1]}, "needs `data`"),
    "a number": (3, "needs `data`"),
    "holes": ({"data": {1: THREE[0], 3: THREE[1]}}, "keys 1, 2, 3"),
    "nothing": ({"data": []}, "got none"),
    "too few labels": ({"data": THREE, "labels": [1, 2]}, "it has 2"),
    "a label of 0": ({"data": THREE, "labels": [0, 1, 2]}, "whole numbers from 1"),
    "a broken label": ({"data": THREE, "labels": [1, 1.5, 2]}, "got 1.5"),
    "an undefined label": ({"data": THREE, "labels": [1, float("nan"), 2]}, "got nan"),
    "a huge label": ({"data": THREE, "labels": [1, 2**30, 2]}, "an image of every class"),
    "a word as label": ({"data": THREE, "labels": ["cat", "dog", "cat"]}, "must be numbers"),
    "two channels": ({"data": THREE[:, :2], "labels": [1, 2, 1]}, "3 x height x width"),
    "words": ({"data": [["cat"], ["dog"]]}, "3 x height x width"),
    "two sizes": ({"data": [[THREE[0]], [THREE[1, :, :2]]]}, "one size"),
    "two types": ({"data": [[THREE[0]], [THREE[1].astype("f4")]]}, "one type"),
    "normalised": ({"data": THREE - np.float32(99), "labels": [1, 2, 1]}, "go from 0 to 255"),
    "undefined": ({"data": np.full((2, 3, 1, 1), np.nan), "labels": [1, 2]}, "got nan"),
    "too bright": ({"data": THREE.astype("i4") + 256, "labels": [1, 2, 1]}, "go from 0 to 255"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_content_that_does_not_fit_is_refused_with_the_reason(tmp_path, case):
    value, reason = REFUSED[case]
    save(tmp_path / "train.t7b", value)

    message = refusal(tmp_path)

    assert "train.t7b" in message
    assert reason in message


def test_validation_images_need_labels(tmp_path):
    save(tmp_path / "train.t7b", {"data": THREE, "labels": [1, 2, 1]})
    save(tmp_path / "val.t7b", {"data": THREE})

    assert "val.t7b needs labels" in refusal(tmp_path)


def test_a_folder_without_training_file_is_refused(tmp_path):
    assert not torch7.matches(tmp_path)
    assert "train.t7b" in refusal(tmp_path)


def test_many_references_to_one_image_are_not_multiplied(tmp_path):
    reference = struct.pack("<ii", 4, 10_000)  # to the first tensor
    tensor = Writer().tensor(pictures(1, side=96)[0])
    first = struct.pack("<ii", 4, 10_000) + tensor[8:]
    items = [first] + [reference] * 5_000
    numbered = [Writer().object(i) + item for i, item in enumerate(items, start=1)]
    flat = struct.pack("<iii", 3, 20_000, len(items)) + b"".join(numbered)
    table = struct.pack("<iii", 3, 30_000, 1) + Writer().object(1) + flat
    (tmp_path / "train.t7b").write_bytes(
        struct.pack("<iii", 3, 40_000, 1) + Writer().object("data") + table
    )

    assert "each image once" in refusal(tmp_path)
