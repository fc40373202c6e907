"""Torch 7 files, written here from the format's description, whole and damaged."""

import struct
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewlabels.errors import DataError
from fewlabels.images import ImageSet, as_float
from fewlabels.sources import storing, torch7
from fewlabels.sources.pixels import Options
from fewlabels.sources.torch7_objects import load

CLASS_OF = {"u1": "Byte", "i1": "Char", "i2": "Short", "i4": "Int", "i8": "Long"}
CLASS_OF |= {"f4": "Float", "f8": "Double"}


class Writer:
    """torch.save in a few lines: each table, tensor and storage has an index of its own."""

    def __init__(self) -> None:
        self.n_written = 0

    def index(self) -> bytes:
        self.n_written += 1
        return struct.pack("<i", self.n_written)

    def text(self, words: str) -> bytes:
        return struct.pack("<i", len(words)) + words.encode()

    def object(self, value) -> bytes:
        if value is None:
            return struct.pack("<i", 0)
        if isinstance(value, bool):
            return struct.pack("<ii", 5, value)
        if isinstance(value, int | float):
            return struct.pack("<id", 1, value)
        if isinstance(value, str):
            return struct.pack("<i", 2) + self.text(value)
        if isinstance(value, list):
            value = {number: item for number, item in enumerate(value, start=1)}
        if isinstance(value, dict):
            head = struct.pack("<i", 3) + self.index() + struct.pack("<i", len(value))
            return head + b"".join(self.object(k) + self.object(v) for k, v in value.items())
        return self.tensor(value)

    def tensor(self, array: np.ndarray) -> bytes:
        strides = [step // array.itemsize for step in np.empty(array.shape, array.dtype).strides]
        return self.view(array, array.shape, strides, 1)

    def view(self, values: np.ndarray, sizes, strides, offset: int) -> bytes:
        head = struct.pack("<i", 4) + self.index() + self.text("V 1")
        head += self.text(f"torch.{CLASS_OF[values.dtype.str[1:]]}Tensor")
        head += struct.pack("<i", len(sizes))
        head += struct.pack(f"<{2 * len(sizes) + 1}q", *sizes, *strides, offset)
        return head + self.storage(values)

    def storage(self, values: np.ndarray) -> bytes:
        head = struct.pack("<i", 4) + self.index() + self.text("V 1")
        head += self.text(f"torch.{CLASS_OF[values.dtype.str[1:]]}Storage")
        return head + struct.pack("<q", values.size) + values.tobytes()


def save(path: Path, value) -> None:
    path.write_bytes(Writer().object(value))


def read(folder: Path) -> ImageSet:
    return torch7.read(folder, Options())


def refusal(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pictures(n_images: int, *, seed: int = 0, side: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n_images, 3, side, side), np.uint8)


def test_every_kind_of_value_is_read(tmp_path):
    tensor = np.arange(6, dtype=np.int64).reshape(2, 3)
    save(tmp_path / "some.t7", {"a": 1.5, "b": "words", "c": True, "d": [None, tensor], 7: {}})

    value = load(tmp_path / "some.t7")

    assert (1.5, "words", True, {}) == (value["a"], value["b"], value["c"], value[7])
    assert value["d"][1] is None
    assert (tensor == value["d"][2]).all()


@pytest.mark.parametrize("code", CLASS_OF)
def test_every_number_type_of_tensor_is_read(tmp_path, code):
    expected = np.array([[1, 2, 3], [4, 5, 6]], code)
    save(tmp_path / "some.t7", expected)

    value = load(tmp_path / "some.t7")

    assert expected.dtype == value.dtype
    assert (expected == value).all()


def test_strides_and_offset_choose_values_of_the_storage(tmp_path):
    storage = np.arange(10, dtype=np.uint8)
    (tmp_path / "some.t7").write_bytes(Writer().view(storage, (2, 3), (1, 2), 4))

    # value (i, j) lies at 4 - 1 + 1 i + 2 j
    assert [[3, 5, 7], [4, 6, 8]] == load(tmp_path / "some.t7").tolist()


def test_the_stride_of_a_dimension_of_one_may_be_any_number(tmp_path):
    (tmp_path / "some.t7").write_bytes(
        Writer().view(np.arange(3, dtype=np.uint8), (1, 3), (2**62, 1), 1)
    )

    assert [[0, 1, 2]] == load(tmp_path / "some.t7").tolist()


def test_an_index_met_before_stands_for_the_same_object(tmp_path):
    writer = Writer()
    first = writer.view(np.arange(6, dtype=np.uint8), (3,), (1,), 1)
    tensor, storage = 2, 3
    second = struct.pack("<ii", 4, 9) + writer.text("V 1") + writer.text("torch.ByteTensor")
    second += struct.pack("<iqqq", 1, 2, 1, 5) + struct.pack("<ii", 4, storage - 1)
    third = struct.pack("<ii", 4, tensor - 1)
    table = struct.pack("<iii", 3, 8, 3)
    numbered = [writer.object(i) + item for i, item in enumerate((first, second, third), start=1)]
    (tmp_path / "some.t7").write_bytes(table + b"".join(numbered))

    value = load(tmp_path / "some.t7")

    assert [4, 5] == value[2].tolist()
    assert value[3] is value[1]


def test_a_file_from_before_versions_is_read(tmp_path):
    save(tmp_path / "some.t7", np.arange(3, dtype=np.uint8))
    content = (tmp_path / "some.t7").read_bytes()
    (tmp_path / "some.t7").write_bytes(content.replace(Writer().text("V 1"), b""))

    assert [0, 1, 2] == load(tmp_path / "some.t7").tolist()


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


RAW = {
    "empty": (b"", "empty"),
    "ASCII form": (b"4\n1\n3\nV 1\n16\ntorch.ByteTensor\n", "ASCII"),
    "text": (b"these are no images", "no object that is known"),
    "function": (struct.pack("<iii", 8, 1, 4) + b"\x1bLJ\2", "Lua function"),
    "other class": (
        struct.pack("<ii", 4, 1) + Writer().text("V 1") + Writer().text("nn.Linear"),
        "nn.Linear",
    ),
    "table as key": (struct.pack("<iii", 3, 1, 9) + Writer().object({}), "no number or string"),
    "negative count": (struct.pack("<iii", 3, 1, -1), "-1 entries"),
    "deep": (b"".join(struct.pack("<iiiid", 3, i, 1, 1, 1) for i in range(5_000)), "tables deep"),
    "outside": (Writer().view(np.zeros(12, "u1"), (3, 5), (5, 1), 1), "outside"),
    "offset of 0": (Writer().view(np.zeros(12, "u1"), (3, 4), (4, 1), 0), "outside"),
    "negative stride": (Writer().view(np.zeros(12, "u1"), (3, 4), (-4, 1), 9), "outside"),
    "one value for all": (Writer().view(np.zeros(12, "u1"), (10**9, 9), (0, 0), 1), "outside"),
    "huge string": (struct.pack("<ii", 2, 2**31 - 1), "2,147,483,647 more bytes"),
    "huge table": (struct.pack("<iii", 3, 1, 2**31 - 1), "more bytes"),
    "huge storage": (
        Writer().storage(np.zeros(0, "f8"))[:-8] + struct.pack("<q", 2**62),
        "more bytes",
    ),
    "many dimensions": (
        struct.pack("<ii", 4, 1)
        + Writer().text("V 1")
        + Writer().text("torch.ByteTensor")
        + struct.pack("<i", 2**31 - 1),
        "2147483647 dimensions",
    ),
}


@pytest.mark.parametrize("case", RAW)
def test_a_file_that_is_not_read_is_refused_without_taking_memory(tmp_path, case):
    content, reason = RAW[case]
    (tmp_path / "train.t7b").write_bytes(content)

    tracemalloc.start()
    message = refusal(tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert reason in message
    assert peak < 5 * 2**20


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


SMALL = {
    "course": {"data": [list(pictures(2, side=2)), list(pictures(2, side=2, seed=1))]},
    "floats": {"data": pictures(2, side=2) / np.float32(255), "labels": np.array([1, 2], "f8")},
}


def read_or_refuse(content: bytes) -> bool:
    """Whether the content was read; any error but DataError escapes."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "train.t7b").write_bytes(content)
        try:
            images = read(Path(folder)).train
        except DataError as error:
            assert "\n" not in str(error)
            return False
        assert np.uint8 == images.pixels.dtype
        assert 0 <= int(images.pixels.astype(np.int64).sum())  # every pixel can be reached
        return True


@pytest.mark.parametrize("name", SMALL)
def test_a_file_cut_off_anywhere_is_refused(name):
    content = Writer().object(SMALL[name])

    assert read_or_refuse(content)
    assert not any(read_or_refuse(content[:length]) for length in range(len(content)))


@pytest.mark.parametrize("value", [0, 1, 3, 0x7F, 0xFF])
def test_a_byte_changed_anywhere_is_refused_or_read(value):
    content = Writer().object(SMALL["course"])

    for place in range(len(content)):
        read_or_refuse(content[:place] + bytes([value]) + content[place + 1 :])


@given(data=st.data(), name=st.sampled_from(sorted(SMALL)))
@settings(max_examples=300, deadline=None)
def test_several_changes_anywhere_are_refused_or_read(data, name):
    content = bytearray(Writer().object(SMALL[name]))
    changes = st.tuples(st.integers(0, len(content) - 1), st.binary(min_size=1, max_size=8))
    for place, new in data.draw(st.lists(changes, min_size=1, max_size=6)):
        content[place : place + len(new)] = new
    length = data.draw(st.integers(0, len(content)))

    read_or_refuse(bytes(content))
    read_or_refuse(bytes(content[:length]))
