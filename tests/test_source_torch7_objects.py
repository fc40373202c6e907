"""Torch 7's objects: every kind read back, and damage of every kind refused."""

import struct
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewlabels.errors import DataError
from fewlabels.sources import torch7
from fewlabels.sources.pixels import Options
from fewlabels.sources.torch7_objects import load
from torch7_writer import CLASS_OF, Writer, pictures, save


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
    "huge string": (struct.pack("<ii", 2, 2**31 - 1), "for 2,147,483,647 bytes, and has 0 left"),
    "huge table": (struct.pack("<iii", 3, 1, 2**31 - 1), "left"),
    "huge storage": (
        Writer().storage(np.zeros(0, "f8"))[:-8] + struct.pack("<q", 2**62),
        "left",
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
    (tmp_path / "some.t7").write_bytes(content)

    tracemalloc.start()
    with pytest.raises(DataError) as caught:
        load(tmp_path / "some.t7")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert peak < 5 * 2**20


SMALL = {
    "course": {"data": [list(pictures(2, side=2)), list(pictures(2, side=2, seed=1))]},
    "floats": {"data": pictures(2, side=2) / np.float32(255), "labels": np.array([1, 2], "f8")},
}


def read_or_refuse(content: bytes) -> bool:
    """Whether the content was read; any error but DataError escapes."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "train.t7b").write_bytes(content)
        try:
            images = torch7.read(Path(folder), Options()).train
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
@settings(max_examples=200, deadline=None)
def test_several_changes_anywhere_are_refused_or_read(data, name):
    content = bytearray(Writer().object(SMALL[name]))
    changes = st.tuples(st.integers(0, len(content) - 1), st.binary(min_size=1, max_size=8))
    for place, new in data.draw(st.lists(changes, min_size=1, max_size=6)):
        content[place : place + len(new)] = new
    length = data.draw(st.integers(0, len(content)))

    read_or_refuse(bytes(content))
    read_or_refuse(bytes(content[:length]))
