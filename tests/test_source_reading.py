"""`read`: which format, mixed sizes, memory, resizing; and what `survey` says of a set."""

import errno
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewlabels.errors import DataError
from fewlabels.images import Damaged, Images, ImageSet
from fewlabels.progress import Clock, watching
from fewlabels.sources import read, storing
from fewlabels.sources.gathering import Entry, gather
from fewlabels.sources.pixels import Options, fit_to_size
from fewlabels.sources.resizing import resized
from fewlabels.sources.storing import store
from fewlabels.sources.survey import survey
from fewlabels.threads import in_threads


def put(path: Path, size: tuple[int, int] = (4, 4), value: int = 0) -> None:
    """An even gray image of `size` (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value,) * 3).save(path)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Shorter sides 8, 6, 6, 8, 9: of the two most common the smaller is 6."""
    for name, size in [
        ("train/cat/a.png", (8, 12)),
        ("train/dog/b.png", (6, 6)),
        ("train/dog/c.png", (9, 6)),
        ("test/dog/d.png", (8, 8)),
        ("unlabeled/e.png", (9, 20)),
    ]:
        put(tmp_path / name, size)
    return tmp_path


class Listener(Clock):
    """Keeps what was said."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def said(self, message: str) -> None:
        self.heard.append(message)


def test_a_missing_path_is_refused_with_the_layouts(tmp_path):
    with pytest.raises(DataError, match=r"nowhere does not exist: .*train/CLASS.*digits, shapes"):
        read(tmp_path / "nowhere")


def test_a_file_is_refused_with_the_layouts(tmp_path):
    (tmp_path / "train.tar").write_text("x")

    with pytest.raises(DataError, match=r"is a file, not a folder: .*train/CLASS"):
        read(tmp_path / "train.tar")


def test_an_empty_folder_is_refused_with_the_layouts(tmp_path):
    with pytest.raises(DataError, match=r"is empty: .*train/CLASS"):
        read(tmp_path)


def test_a_folder_of_something_else_is_refused_with_what_was_found(tmp_path):
    (tmp_path / "song.mp3").write_text("x")
    (tmp_path / "deep").mkdir()

    with pytest.raises(DataError, match=r"no layout that is understood: .*found deep, song.mp3"):
        read(str(tmp_path))


def test_a_name_means_the_made_set_unless_it_has_a_slash_or_is_a_path(tmp_path, monkeypatch):
    for name in ("cat", "dog"):
        put(tmp_path / "digits" / name / "a.png")
    monkeypatch.chdir(tmp_path)

    assert ("cat", "dog") == read("./digits").class_names
    assert ("cat", "dog") == read(Path("digits")).class_names
    assert 10 == len(read("digits").class_names)


def test_mixed_sizes_end_with_the_most_common_shorter_side_and_say_so(mixed):
    with watching(Listener()) as listener:
        found = read(mixed)

    assert {(6, 6)} == {images.size for images in found.parts().values()}
    assert "mixed sizes: each was resized and centre-cropped to 6 x 6" in found.notes[0]
    assert [found.notes[0]] == listener.heard


def test_mixed_sizes_end_with_the_size_that_is_asked(mixed):
    found = read(mixed, size=7)

    assert {(7, 7)} == {images.size for images in found.parts().values()}
    assert () == found.notes


def test_large_images_of_mixed_sizes_end_with_96_pixels(tmp_path):
    put(tmp_path / "cat/a.png", (200, 300))
    put(tmp_path / "dog/a.png", (210, 300))

    assert (96, 96) == read(tmp_path).train.size


def test_images_of_one_size_stay_as_they_are_even_if_not_square(tmp_path):
    put(tmp_path / "cat/a.png", (96, 130))
    put(tmp_path / "dog/a.png", (96, 130))

    found = read(tmp_path)

    assert (130, 96) == found.train.size and () == found.notes


def test_photographs_of_one_size_end_with_96_pixels_and_with_what_is_asked(tmp_path):
    put(tmp_path / "cat/a.png", (120, 130))
    put(tmp_path / "dog/a.png", (120, 130))

    found = read(tmp_path)

    assert (96, 96) == found.train.size
    (note,) = found.notes
    assert note.startswith("the images are larger than 96 pixels, or of mixed sizes: each was")
    assert (120, 120) == read(tmp_path, size=120).train.size
    assert (130, 120) == read(tmp_path, largest=None).train.size


def test_one_damaged_image_of_another_size_does_not_change_the_size(mixed):
    (mixed / "train/dog/x.png").write_bytes((mixed / "train/cat/a.png").read_bytes()[:45])

    found = read(mixed)

    assert ["train/dog/x.png"] == [file.name for file in found.damaged]  # named once


def test_a_set_that_cannot_be_resized_while_read_is_resized_after(tiny_set):
    found = resized(tiny_set, 10)

    assert {(10, 10)} == {images.size for images in found.parts().values()}
    expected = fit_to_size(tiny_set.test.pixels[3], 10)
    assert np.array_equal(expected, found.test.pixels[3])
    assert tiny_set.train.labels.tolist() == found.train.labels.tolist()
    assert "from 24 x 24 to 10 x 10" in found.notes[-1]
    assert resized(tiny_set, 24) is tiny_set


def test_large_arrays_are_mapped_from_a_file_and_equal_those_in_memory(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (10, 3, 4, 5), np.uint8)
    in_memory = store(images)
    monkeypatch.setattr(storing, "IN_MEMORY", 100)
    mapped = store(images)

    assert not isinstance(in_memory, np.memmap) and isinstance(mapped, np.memmap)
    assert np.array_equal(images, in_memory) and np.array_equal(images, mapped)
    assert in_memory.flags.writeable and mapped.flags.writeable  # torch warns of read-only arrays


def test_a_full_disk_of_temporary_files_is_said_in_one_line(monkeypatch):
    class FullDisk(tempfile.SpooledTemporaryFile):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", FullDisk)
    with pytest.raises(DataError, match=r"is full after 0 .*TMPDIR"):
        store(np.zeros((2, 3, 4, 4), np.uint8))


def test_threads_keep_the_order_and_take_few_items_ahead():
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    results = in_threads(lambda number: number * 2, items())
    first = next(results)

    assert (0, 0) == first and len(taken) < 100
    assert [(n, 2 * n) for n in range(1, 1000)] == list(results)


def test_a_file_that_vanished_is_a_damaged_image(tmp_path):
    put(tmp_path / "a.png")
    entries = [
        Entry(name, (tmp_path / name).read_bytes, name) for name in ("a.png", "vanished.png")
    ]

    found = gather({"train": entries}, Options())

    assert [Damaged("vanished.png", "cannot be read (No such file or directory)")] == list(
        found.damaged
    )


def test_reading_is_a_stage_of_each_part(mixed):
    with watching(Listener()) as listener:
        read(mixed, size=4)

    assert ["reading train", "reading test", "reading unlabeled"] == list(listener.seconds)


def surveyed() -> ImageSet:
    """Distinct images 0 to 9; copies by hand: see the test."""

    def images(values: list[int], labels: list[int] | None = None) -> Images:
        pixels = (
            np.zeros((len(values), 3, 2, 2), np.uint8)
            + np.array(values, np.uint8)[:, None, None, None]
        )
        return Images(pixels=pixels, labels=None if labels is None else np.array(labels))

    return ImageSet(
        name="by hand",
        class_names=("cat", "dog"),
        train=images([0, 1, 2, 2], [0, 1, 1, 1]),
        test=images([3, 4, 5, 1], [0, 0, 1, 1]),
        unlabeled=images([3, 3, 5, 8, 9, 9, 9]),
        folds=(np.array([0, 1]), np.array([0, 1, 3])),
        damaged=(Damaged("x.jpg", "is empty (0 bytes)"),),
        notes=("a note",),
    )


def test_a_survey_counts_classes_copies_and_leaks_by_hand():
    found = survey(surveyed())

    assert {"cat": 1, "dog": 3} == found["parts"]["train"]["n_per_class"]
    assert {"cat": 2, "dog": 2} == found["parts"]["test"]["n_per_class"]
    assert found["parts"]["unlabeled"]["n_per_class"] is None
    duplicates = {part: counts["n_duplicates"] for part, counts in found["parts"].items()}
    assert {"train": 1, "test": 0, "unlabeled": 3} == duplicates  # 2; -; 3, 9 and 9
    assert 2 == found["n_leaked"]  # 3 and 5
    assert 1 == found["n_leaked_train"]  # 1
    assert (2, [2, 3]) == (found["n_folds"], found["fold_sizes"])
    assert (1, [{"name": "x.jpg", "reason": "is empty (0 bytes)"}]) == (
        found["n_damaged"],
        found["damaged"],
    )
    assert ["a note"] == found["notes"] and [2, 2] == found["size"]
    assert found == json.loads(json.dumps(found))


def test_a_survey_of_training_images_only_has_no_leaks():
    found = survey(replace(surveyed(), test=None, unlabeled=None))

    assert ["train"] == list(found["parts"]) and 0 == found["n_leaked"] == found["n_leaked_train"]
