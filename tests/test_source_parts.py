"""Some parts of a source alone: the same as in the whole set, and no other is decoded."""

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from fewlabels import splits
from fewlabels.errors import DataError
from fewlabels.images import ImageSet
from fewlabels.jobs import evaluate_run
from fewlabels.progress import Clock, watching
from fewlabels.sources import made, read
from fewlabels.sources.pixels import Options
from fewlabels.sources.survey import survey
from fewlabels.sources.writing import convert
from torch7_writer import pictures, save

pytest_plugins = ("run_fixtures",)


def small_set(size: int) -> ImageSet:
    return made.shapes(
        Options(size=size), n_train_per_class=2, n_test_per_class=1, n_unlabeled=12, n_leaked=1
    )


def shards_without_names(folder: Path) -> None:
    convert(small_set(16), folder, "shards")
    (folder / "class_names.txt").unlink()


def torch7_tables(folder: Path) -> None:
    folder.mkdir()
    for seed, name in enumerate(("train", "val", "test", "extra")):
        images = pictures(4, seed=seed)
        save(folder / f"{name}.t7b", {"data": [list(images[:2]), list(images[2:])]})


WRITERS: dict[str, Callable[[Path], None]] = {
    "folder": lambda folder: convert(small_set(16), folder, "folder"),
    "shards": lambda folder: convert(small_set(16), folder, "shards"),
    "shards without names": shards_without_names,
    "stl10": lambda folder: convert(small_set(96), folder, "stl10"),
    "torch7": torch7_tables,
}


@pytest.fixture(scope="module", params=[*WRITERS, "digits"])
def source(request, tmp_path_factory) -> Path | str:
    if request.param == "digits":
        return request.param
    folder = tmp_path_factory.mktemp("parts") / request.param.replace(" ", "-")
    WRITERS[request.param](folder)
    return folder


def assert_same_part(whole: ImageSet, some: ImageSet, part: str) -> None:
    expected, got = whole.parts()[part], some.parts()[part]
    assert (expected.pixels == got.pixels).all()
    assert expected.names == got.names
    assert np.array_equal(expected.labels, got.labels) or expected.labels is got.labels is None


def test_parts_read_alone_are_those_of_the_whole_set(source: Path | str):
    whole = read(source)
    there = list(whole.parts())
    for asked in (list(some) for n in range(1, 5) for some in combinations(there, n)):
        some = read(source, parts=asked)

        assert asked == list(some.parts())
        assert (whole.name, whole.class_names) == (some.name, some.class_names)
        assert (len(whole.folds) if "train" in asked else 0) == len(some.folds)
        for part in asked:
            assert_same_part(whole, some, part)


def test_made_shapes_are_the_same_without_the_unlabelled_ones():
    parts = frozenset({"train", "test"})
    sizes = {"n_train_per_class": 2, "n_test_per_class": 1, "n_unlabeled": 12}

    whole = made.shapes(Options(size=16, seed=3), **sizes)
    some = made.shapes(Options(size=16, seed=3, parts=parts), **sizes)

    assert some.unlabeled is None
    assert_same_part(whole, some, "train")
    assert_same_part(whole, some, "test")


@pytest.mark.parametrize("layout", ["folder", "shards"])
def test_a_part_that_was_not_asked_for_is_not_decoded(layout, tmp_path: Path):
    convert(small_set(16), tmp_path / "set", layout)
    clock = Clock()

    with watching(clock):
        read(tmp_path / "set", parts=("test",))

    assert ["reading test"] == list(clock.seconds)


def test_some_parts_can_be_resized_counted_and_converted(tmp_path: Path):
    some = read("digits", parts=("test",), size=20)

    assert (20, 20) == some.train.size == some.test.size
    assert ["test"] == list(survey(some)["parts"])
    convert(some, tmp_path / "digits", "folder")
    assert ["class_names.txt", "test"] == sorted(p.name for p in (tmp_path / "digits").iterdir())


def test_labels_and_sizes_of_a_part_alone_are_still_checked(tmp_path: Path):
    convert(small_set(16), tmp_path / "set", "shards")
    (tmp_path / "set" / "class_names.txt").write_text("cat\ndog\n")

    with pytest.raises(DataError, match="is a whole number from 0 to 1"):
        read(tmp_path / "set", parts=("test",))


def test_a_part_that_the_source_has_not_is_said(tmp_path: Path):
    convert(small_set(16), tmp_path / "set", "folder")

    with pytest.raises(DataError, match=r"set has no validation images: add validation/CLASS/\*"):
        read(tmp_path / "set", parts=("validation",))
    with pytest.raises(DataError, match="digits has no validation images"):
        read("digits", parts=("validation",))


@pytest.mark.parametrize("parts", [("tests",), "test", ()])
def test_a_part_that_cannot_be_is_refused(parts):
    with pytest.raises(ValueError, match=r"parts are some of train, validation, test, unlabeled"):
        read("digits", parts=parts)


def test_nothing_can_be_learned_from_a_set_without_its_training_images():
    with pytest.raises(DataError, match="digits was read without its training images"):
        splits.plan(read("digits", parts=("test",)))


def test_evaluating_reads_the_test_images_alone(tiny_run: Path):
    scores = json.loads((tiny_run / "scores.json").read_text())
    clock = Clock()

    with watching(clock):
        again = evaluate_run(tiny_run)

    assert scores["confusion"] == again["confusion"]
    assert {"reading test"} == {stage for stage in clock.seconds if stage.startswith("reading")}
