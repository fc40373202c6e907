"""Tar archives: member layouts, shards, compression, and every bad input."""

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fewlabels.errors import DataError
from fewlabels.sources import shards
from fewlabels.sources.pixels import Options

OPTIONS = Options()


def png(value: int, size: tuple[int, int] = (4, 4)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (value,) * 3).save(file, "PNG")
    return file.getvalue()


def pack(path: Path, members: list[tuple[str, bytes]]) -> None:
    mode = {".gz": "w:gz", ".tgz": "w:gz", ".xz": "w:xz"}.get(path.suffix, "w")
    with tarfile.open(path, mode) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def keyed(labels: list[int], start: int = 0) -> list[tuple[str, bytes]]:
    """KEY.png of value KEY, beside KEY.cls."""
    pairs = [
        [(f"{key:06d}.png", png(key)), (f"{key:06d}.cls", str(label).encode())]
        for key, label in enumerate(labels, start)
    ]
    return [member for pair in pairs for member in pair]


def values(images) -> list[int]:
    return images.pixels[:, 0, 0, 0].tolist()


def test_keys_and_labels_pair_up_whichever_comes_first(tmp_path):
    members = keyed([1, 0, 2])
    members[2], members[3] = members[3], members[2]  # 000001.cls before 000001.png
    pack(tmp_path / "train.tar", members)

    assert shards.matches(tmp_path)
    found = shards.read(tmp_path, OPTIONS)

    assert ("0", "1", "2") == found.class_names
    assert [0, 1, 2] == values(found.train)
    assert [1, 0, 2] == found.train.labels.tolist()
    assert "train.tar/000001.png" == found.train.names[1]


def test_class_names_and_folds_beside_are_honoured(tmp_path):
    pack(tmp_path / "train.tar", keyed([1, 0]))
    pack(tmp_path / "test.tar", keyed([1]))
    (tmp_path / "class_names.txt").write_text("cat\nlong-haired dog\n")
    (tmp_path / "fold_indices.txt").write_text("1\n0 1\n")

    found = shards.read(tmp_path, OPTIONS)

    assert ("cat", "long-haired dog") == found.class_names
    assert [1] == found.test.labels.tolist()
    assert [[1], [0, 1]] == [fold.tolist() for fold in found.folds]


@pytest.mark.parametrize("start", ["", "./", "train/"])
def test_class_folders_in_an_archive_are_the_classes(tmp_path, start):
    members = [("dog/a.png", png(1)), ("cat/a.png", png(2)), ("dog/deep/b.png", png(3))]
    pack(tmp_path / "train.tar", [(start + name, data) for name, data in members])

    found = shards.read(tmp_path, OPTIONS)

    assert ("cat", "dog") == found.class_names
    assert [1, 2, 3] == values(found.train)
    assert [1, 0, 1] == found.train.labels.tolist()


def test_labels_of_unlabelled_images_are_ignored(tmp_path):
    pack(tmp_path / "train.tar", keyed([0, 1]))
    pack(tmp_path / "unlabeled.tar", [*keyed([7, 99], start=5), ("x.png", png(9))])

    found = shards.read(tmp_path, OPTIONS)

    assert [5, 6, 9] == values(found.unlabeled)
    assert found.unlabeled.labels is None


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz", ".tar.xz"])
def test_shards_of_each_compression_are_read_in_the_order_of_their_numbers(tmp_path, suffix):
    for number in range(11):  # 2 comes before 10
        pack(tmp_path / f"train-{number}{suffix}", keyed([number % 2], start=number))

    assert shards.matches(tmp_path)
    assert list(range(11)) == values(shards.read(tmp_path, OPTIONS).train)


def test_a_missing_shard_is_named(tmp_path):
    for number in (0, 1, 3):
        pack(tmp_path / f"train-{number:06d}.tar", keyed([0, 1]))

    with pytest.raises(DataError, match=r"run from 0 to 3, and 1 of them .* first number 2"):
        shards.read(tmp_path, OPTIONS)


def test_a_part_given_twice_is_refused(tmp_path):
    pack(tmp_path / "train.tar", keyed([0, 1]))
    pack(tmp_path / "train.tar.xz", keyed([0, 1]))

    with pytest.raises(DataError, match="'train' more than once"):
        shards.read(tmp_path, OPTIONS)


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.xz"])
@given(share=st.floats(0, 0.999))
@settings(max_examples=25, deadline=None)
def test_an_archive_cut_off_anywhere_is_refused(tmp_path_factory, suffix, share):
    folder = tmp_path_factory.mktemp("cut")
    path = folder / f"train{suffix}"
    pack(path, keyed([0, 1, 0, 1]))
    data = path.read_bytes().rstrip(b"\0") if suffix == ".tar" else path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])

    with pytest.raises(DataError, match=rf"train{suffix} is cut off or damaged .* fetch"):
        shards.read(folder, OPTIONS)


def test_an_archive_cut_off_between_two_members_is_refused(tmp_path):
    path = tmp_path / "train.tar"
    pack(path, keyed([0, 1, 0]))
    path.write_bytes(path.read_bytes()[: 8 * 512])  # two images and labels, 2 blocks each

    with pytest.raises(DataError, match="zero blocks"):
        shards.read(tmp_path, OPTIONS)


def test_text_named_tar_is_refused(tmp_path):
    (tmp_path / "train.tar").write_text("not an archive " * 100)

    with pytest.raises(DataError, match=r"train.tar is cut off or damaged"):
        shards.read(tmp_path, OPTIONS)


def test_a_label_outside_the_classes_is_named(tmp_path):
    pack(tmp_path / "train.tar", keyed([0, 1, 2]))
    (tmp_path / "class_names.txt").write_text("cat\ndog\n")

    with pytest.raises(DataError, match=r"in 000002.cls .* from 0 to 1; got '2'"):
        shards.read(tmp_path, OPTIONS)


def test_a_label_that_is_no_number_is_named(tmp_path):
    pack(tmp_path / "train.tar", [("a.png", png(1)), ("a.cls", b"cat")])

    with pytest.raises(DataError, match=r"in a.cls .* whole number from 0; got 'cat'"):
        shards.read(tmp_path, OPTIONS)


def test_a_test_label_without_training_images_is_refused(tmp_path):
    pack(tmp_path / "train.tar", keyed([0, 1]))
    pack(tmp_path / "test.tar", keyed([2]))

    with pytest.raises(DataError, match=r"000000.png \(test\) is of class '2', .* 2 classes"):
        shards.read(tmp_path, OPTIONS)


def test_an_image_without_a_label_among_labelled_ones_is_named(tmp_path):
    pack(tmp_path / "train.tar", [*keyed([0, 1]), ("stray.png", png(3))])

    with pytest.raises(DataError, match=r"stray.png has no label"):
        shards.read(tmp_path, OPTIONS)


def test_training_images_without_labels_are_refused(tmp_path):
    pack(tmp_path / "train.tar", [("a.png", png(1)), ("b.png", png(3))])

    with pytest.raises(DataError, match="no labels for its training images"):
        shards.read(tmp_path, OPTIONS)


def test_an_archive_without_images_is_refused(tmp_path):
    pack(tmp_path / "train.tar", [("a.txt", b"x")])

    with pytest.raises(DataError, match="'train' holds no images"):
        shards.read(tmp_path, OPTIONS)


def test_damaged_images_are_skipped_with_their_labels_and_folds_move(tmp_path):
    members = keyed([1, 0, 1, 0])
    members[2] = ("000001.png", png(1)[:30])
    pack(tmp_path / "train.tar", members)
    (tmp_path / "fold_indices.txt").write_text("1 2 3\n")

    found = shards.read(tmp_path, OPTIONS)

    assert [0, 2, 3] == values(found.train)
    assert [1, 1, 0] == found.train.labels.tolist()
    assert ["train.tar/000001.png"] == [file.name for file in found.damaged]
    assert [1, 2] == found.folds[0].tolist()


def test_other_members_are_ignored_and_counted(tmp_path):
    path = tmp_path / "train.tar"
    pack(path, [*keyed([0, 1]), ("000001.json", b"{}"), ("._000001.png", b"x")])
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("z.png")
        link.type, link.linkname = tarfile.SYMTYPE, "000000.png"
        archive.addfile(link)

    found = shards.read(tmp_path, OPTIONS)

    assert 2 == len(found.train)
    expected = "3 files that are no images were ignored (.json 1, hidden 1, links 1)"
    assert (expected,) == found.notes


def test_mixed_sizes_in_archives_end_with_one_size_for_all_parts(tmp_path):
    pack(tmp_path / "train.tar", [("a/1.png", png(1, (8, 9))), ("b/1.png", png(2, (6, 7)))])
    pack(tmp_path / "unlabeled.tar", [("1.png", png(3, (6, 6)))])

    found = shards.read(tmp_path, OPTIONS)

    assert {(6, 6)} == {images.size for images in found.parts().values()}
    assert ("a", "b") == found.class_names
    assert "mixed sizes: each was resized and centre-cropped to 6 x 6" in found.notes[0]


def first_members(archive: Path, count: int, dest: Path) -> None:
    """The first members of a real archive as an archive of its own."""
    with tarfile.open(archive) as whole, tarfile.open(dest, "w") as part:
        for _ in range(count):
            member = whole.next()
            part.addfile(member, whole.extractfile(member))


@pytest.mark.data
def test_real_archives_agree_with_the_independent_reader(data_folder, tmp_path):
    source, dest = data_folder / "nette96", tmp_path / "binaries"
    command = [sys.executable, data_folder / "unpack.py", "nette96", dest, "--to", "stl10"]
    subprocess.run([*command, "--limit", "200"], check=True)
    for part, per_image in (("train", 2), ("test", 2), ("unlabeled", 1)):
        first_members(source / f"{part}.tar", 200 * per_image, tmp_path / f"{part}.tar")
    names = (source / "class_names.txt").read_text()
    (tmp_path / "class_names.txt").write_text(names)

    labelled = np.fromfile(dest / "train_y.bin", np.uint8)
    if len(set(labelled.tolist())) < 10:
        pytest.skip("the first 200 images have not every class")
    found = shards.read(tmp_path, OPTIONS)

    assert names.split() == list(found.class_names)
    for part, images in found.parts().items():
        columns_first = np.fromfile(dest / f"{part}_X.bin", np.uint8).reshape(-1, 3, 96, 96)
        assert np.array_equal(columns_first.transpose(0, 1, 3, 2), images.pixels)
        if part != "unlabeled":
            expected = np.fromfile(dest / f"{part}_y.bin", np.uint8) - 1
            assert expected.tolist() == images.labels.tolist()
