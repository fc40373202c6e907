"""Converting: what is written reads back bit for bit, and nothing is ever left half-written."""

import errno
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewlabels.errors import ConfigError, DataError
from fewlabels.images import Images, ImageSet
from fewlabels.sources import read, writing
from fewlabels.sources.writing import convert


def random_set(
    size: tuple[int, int] = (5, 7), n_train: int = 7, names: tuple[str, ...] = (), seed: int = 0
) -> ImageSet:
    """Three classes, not sorted; training, test, validation and unlabelled images; two folds."""
    rng = np.random.default_rng(seed)

    def images(count: int, labelled: bool = True, names: tuple[str, ...] = ()) -> Images:
        labels = np.concatenate([[2, 1, 0], rng.integers(0, 3, count)])[:count]
        return Images(
            pixels=rng.integers(0, 256, (count, 3, *size), np.uint8),
            labels=labels.astype(np.int64) if labelled else None,
            names=names,
        )

    return ImageSet(
        name="random",
        class_names=("dog", "cat", "10 cows"),
        train=images(n_train, names=names),
        validation=images(4),
        test=images(5),
        unlabeled=images(3, labelled=False),
        folds=(np.array([5, 0, 3]), np.array([1, 2])),
    )


def assert_same(expected: ImageSet, found: ImageSet) -> None:
    assert expected.class_names == found.class_names
    assert list(expected.parts()) == list(found.parts())
    for part, images in expected.parts().items():
        other = found.parts()[part]
        assert np.array_equal(images.pixels, other.pixels), part
        if images.labels is None:
            assert other.labels is None
        else:
            assert images.labels.tolist() == other.labels.tolist()
    assert [fold.tolist() for fold in expected.folds] == [fold.tolist() for fold in found.folds]


@pytest.mark.parametrize("to", ["folder", "shards"])
def test_what_is_written_reads_back_bit_for_bit(tmp_path, to):
    image_set = random_set()

    convert(image_set, tmp_path / "new" / "set", to)

    assert_same(image_set, read(tmp_path / "new" / "set"))
    assert ["set"] == [entry.name for entry in (tmp_path / "new").iterdir()]


def test_binaries_read_back_bit_for_bit(tmp_path):
    image_set = replace(random_set(size=(96, 96)), validation=None)

    convert(image_set, tmp_path / "set", "stl10")

    assert_same(image_set, read(tmp_path / "set"))


def test_binaries_lie_column_by_column_with_labels_from_1(tmp_path):
    image_set = replace(random_set(size=(96, 96)), validation=None)

    convert(image_set, tmp_path / "set", "stl10")

    data = (tmp_path / "set/train_X.bin").read_bytes()
    second, row, column = image_set.train.pixels[1], 11, 2
    assert second[1, row, column] == data[3 * 96 * 96 + 96 * 96 + column * 96 + row]
    labels = image_set.train.labels + 1
    assert labels.tolist() == list((tmp_path / "set/train_y.bin").read_bytes())


@given(
    to=st.sampled_from(["folder", "shards"]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 1000),
    names=st.lists(
        st.sampled_from(["a.jpg", "b.png", "deep/a.jpg", "A.jpg", "..", "a b.gif", "x-1.png", "ü"]),
        min_size=7,
        max_size=7,
    ),
)
@settings(max_examples=20, deadline=None)
def test_any_size_and_any_names_read_back_bit_for_bit(
    tmp_path_factory, to, height, width, seed, names
):
    dest = tmp_path_factory.mktemp("set")
    image_set = random_set(size=(height, width), names=tuple(names), seed=seed)

    convert(image_set, dest, to)

    assert_same(image_set, read(dest))


def test_plain_unique_names_in_order_are_kept(tmp_path):
    names = tuple(f"train/cat/photo{index}.jpg" for index in range(7))

    convert(random_set(names=names), tmp_path / "set", "folder")

    found = read(tmp_path / "set").train.names
    assert [f"photo{index}.png" for index in range(7)] == [Path(name).name for name in found]


def test_names_that_repeat_get_their_position_before_them(tmp_path):
    convert(random_set(names=("a.jpg",) * 7), tmp_path / "set", "shards")

    found = read(tmp_path / "set").train.names
    assert "train-000000.tar/000002-a.png" == found[2]


def test_shards_hold_their_length_of_images_each(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "SHARD_LENGTH", 10)
    image_set = random_set(n_train=21)

    convert(image_set, tmp_path / "set", "shards")

    shards = sorted((tmp_path / "set").glob("train-*.tar"))
    assert ["train-000000.tar", "train-000001.tar", "train-000002.tar"] == [s.name for s in shards]
    lengths = []
    for shard in shards:
        with tarfile.open(shard) as archive:
            lengths.append(len(archive.getnames()))
    assert [20, 20, 2] == lengths  # KEY.png and KEY.cls
    assert_same(image_set, read(tmp_path / "set"))


def test_equal_sets_give_equal_archives(tmp_path):
    for name in ("one", "two"):
        convert(random_set(), tmp_path / name, "shards")

    one, two = (sorted((tmp_path / name).iterdir()) for name in ("one", "two"))
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in two]


def test_binaries_of_another_size_are_refused(tmp_path):
    with pytest.raises(DataError, match="96 x 96, these are 5 x 7: add --size 96"):
        convert(random_set(), tmp_path / "set", "stl10")

    assert [] == list(tmp_path.iterdir())


def test_what_binaries_cannot_hold_is_refused(tmp_path):
    image_set = random_set(size=(96, 96))
    without_labels = replace(image_set.test, labels=None)

    with pytest.raises(DataError, match="no validation part"):
        convert(image_set, tmp_path / "set", "stl10")
    with pytest.raises(DataError, match="'test' have no labels"):
        convert(replace(image_set, validation=None, test=without_labels), tmp_path / "set", "stl10")


def test_an_unknown_layout_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="stl10, folder, shards; got 'zip'"):
        convert(random_set(), tmp_path / "set", "zip")


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "<b>", "DOG"])
def test_class_names_that_cannot_name_a_folder_are_refused(tmp_path, name):
    image_set = replace(random_set(), class_names=("dog", "cat", name))

    with pytest.raises(DataError, match=r"class name.* (folder|hidden)"):
        convert(image_set, tmp_path / "set", "folder")
    convert(image_set, tmp_path / "set", "shards")  # where they name no folder
    assert image_set.class_names == read(tmp_path / "set").class_names


@pytest.mark.parametrize("layout", ["folder", "shards"])
@pytest.mark.parametrize("name", [" cat", "a\nb", ""])
def test_class_names_that_cannot_be_a_line_are_refused(tmp_path, name, layout):
    image_set = replace(random_set(), class_names=("dog", "cat", name))

    with pytest.raises(DataError, match=r"class name .* cannot be a line of class_names.txt"):
        convert(image_set, tmp_path / "set", layout)


def test_a_folder_that_holds_something_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/train.tar").write_text("old")

    with pytest.raises(DataError, match=r"is not empty .* --overwrite"):
        convert(random_set(), tmp_path / "set", "folder")

    assert "old" == (tmp_path / "set/train.tar").read_text()


def test_overwrite_replaces_a_whole_converted_set(tmp_path):
    convert(random_set(seed=1), tmp_path / "set", "shards")
    convert(random_set(seed=2), tmp_path / "set", "folder", overwrite=True)

    assert_same(random_set(seed=2), read(tmp_path / "set"))
    assert ["set"] == [entry.name for entry in tmp_path.iterdir()]


def test_a_set_is_converted_over_its_own_files(tmp_path):
    image_set = replace(random_set(size=(96, 96)), validation=None)
    convert(image_set, tmp_path / "set", "stl10")

    mapped = read(tmp_path / "set")
    convert(mapped, tmp_path / "set", "folder", overwrite=True)

    assert_same(image_set, read(tmp_path / "set"))


def test_overwrite_never_replaces_a_folder_with_other_things(tmp_path):
    (tmp_path / "set/train").mkdir(parents=True)
    (tmp_path / "set/thesis.tex").write_text("years of work")

    with pytest.raises(DataError, match=r"also has thesis.tex"):
        convert(random_set(), tmp_path / "set", "folder", overwrite=True)

    assert "years of work" == (tmp_path / "set/thesis.tex").read_text()


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "set").write_text("x")

    with pytest.raises(DataError, match="is a file"):
        convert(random_set(), tmp_path / "set", "folder", overwrite=True)


@pytest.mark.parametrize(
    "error, line",
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full, so nothing"),
        (PermissionError(errno.EACCES, "Permission denied"), "cannot be written .Permission"),
    ],
)
def test_a_disk_that_fills_up_leaves_the_old_set_and_no_half_written_one(
    tmp_path, monkeypatch, error, line
):
    convert(random_set(seed=1), tmp_path / "set", "shards")
    written = []

    def fail_at_the_third(archive, name, content):
        written.append(name)
        if len(written) == 3:
            raise error

    monkeypatch.setattr(writing, "_add", fail_at_the_third)
    with pytest.raises(DataError, match=line):
        convert(random_set(seed=2), tmp_path / "set", "shards", overwrite=True)

    assert_same(random_set(seed=1), read(tmp_path / "set"))
    assert ["set"] == [entry.name for entry in tmp_path.iterdir()]


def test_converting_changes_nothing_in_the_set(tmp_path):
    image_set = random_set()
    before = {part: images.pixels.copy() for part, images in image_set.parts().items()}

    convert(image_set, tmp_path / "set", "folder")

    for part, images in image_set.parts().items():
        assert np.array_equal(before[part], images.pixels)
