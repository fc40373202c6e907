"""The made sets: what is promised of their counts, balance, seeds and copies."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewlabels.errors import ConfigError
from fewlabels.images import ImageSet
from fewlabels.sources import made, shapes
from fewlabels.sources.pixels import Options

TAN_36 = np.tan(np.pi / 5)


def counts(labels: np.ndarray) -> list[int]:
    return np.bincount(labels, minlength=10).tolist()


def test_digits_are_split_evenly_without_overlap():
    images = made.digits(Options())

    assert ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9") == images.class_names
    assert [50] * 10 == counts(images.train.labels) == counts(images.test.labels)
    assert (797, None) == (len(images.unlabeled), images.unlabeled.labels)
    names = [name for part in images.parts().values() for name in part.names]
    assert 1797 == len({name.split("/")[-1] for name in names})
    assert [10] * 10 == counts(images.train.labels[images.folds[0]])


def test_digits_at_their_own_size_keep_their_gray_values():
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = made.digits(Options(size=8)).train
    first = int(images.names[0].split("/")[-1])

    assert np.rint(bunch.images[first] * 255 / 16).tolist() == images.pixels[0, 1].tolist()
    assert bunch.target[first] == images.labels[0]


def test_digits_are_32_pixels_wide_and_another_seed_splits_otherwise():
    one, other = made.digits(Options(seed=1)), made.digits(Options(seed=2))

    assert (32, 32) == one.train.size
    assert set(one.train.names) != set(other.train.names)


def test_shapes_have_the_counts_asked_for(tiny_set: ImageSet):
    assert (80, 60, 120) == (len(tiny_set.train), len(tiny_set.test), len(tiny_set.unlabeled))
    assert [8] * 10 == counts(tiny_set.train.labels)
    assert [6] * 10 == counts(tiny_set.test.labels)
    assert 10 == len(tiny_set.folds)
    assert [[4] * 10] * 10 == [counts(tiny_set.train.labels[fold]) for fold in tiny_set.folds]
    assert "shapes/train/000079" == tiny_set.train.names[-1]
    assert any("60 show none of the 10 classes, and 5 are copies" in n for n in tiny_set.notes)


def test_shapes_hold_as_many_copies_of_test_images_as_they_say(tiny_set: ImageSet):
    test = {image.tobytes() for image in tiny_set.test.pixels}
    copies = sum(image.tobytes() in test for image in tiny_set.unlabeled.pixels)

    assert 5 == copies
    assert not test & {image.tobytes() for image in tiny_set.train.pixels}


def test_shapes_of_a_seed_are_the_same_bytes_on_every_machine():
    images = made.shapes(
        Options(size=16, seed=7), n_train_per_class=2, n_test_per_class=1, n_unlabeled=20
    )
    digest = hashlib.sha256()
    for part in images.parts().values():
        digest.update(part.pixels.tobytes())

    assert "432afa6df24cc620" == digest.hexdigest()[:16]


def test_another_seed_makes_other_shapes():
    first, second = (
        made.shapes(Options(size=8, seed=s), n_train_per_class=1, n_test_per_class=1, n_unlabeled=2)
        for s in (0, 1)
    )

    assert (first.train.pixels != second.train.pixels).mean() > 0.9


@pytest.mark.parametrize(
    ("size", "settings_"), [(4, {}), (16, {"n_unlabeled": 0}), (16, {"out_of_class": 1.5})]
)
def test_settings_that_cannot_be_are_refused(size: int, settings_: dict):
    with pytest.raises(ConfigError, match="got"):
        made.shapes(Options(size=size), **settings_)


def test_draws_are_uniform_and_permutations_complete():
    draws = shapes.Draws(0)
    values = draws.between(2, 4, 100_000)

    assert 3 == pytest.approx(values.mean(), abs=0.01)
    assert 4 / 12 == pytest.approx(values.var(), abs=0.01)
    assert list(range(1000)) == sorted(draws.permutation(1000).tolist())


@pytest.mark.parametrize(
    ("name", "area"),
    [
        ("disc", np.pi * 0.8**2),
        ("ring", np.pi * (0.86**2 - 0.46**2)),
        ("square", 1.4**2),
        ("triangle", 0.52**2 * 3 * np.sqrt(3)),
        # a pentagon of that apothem, and five points whose angle is 36 degrees
        ("star", 5 * 0.37**2 * TAN_36 * (1 + TAN_36 / np.tan(np.pi / 10))),
        ("cross", 4 * 0.86 * 0.27 * 2 - 4 * 0.27**2),
        ("hexagon", 0.72**2 * 6 / np.sqrt(3)),
    ],
)
def test_an_object_covers_the_area_of_its_formula(name: str, area: float):
    axis = shapes._axis(900) * 1.5
    inside = shapes.OBJECTS[name](axis[None, :], axis[:, None]) < 0

    assert area == pytest.approx(inside.mean() * 9, rel=0.01)


@settings(max_examples=30)
@given(st.sampled_from([*shapes.OBJECTS]), st.integers(0, 1000))
def test_objects_end_within_one_and_a_half_of_their_scale(name, seed):
    axis = shapes._axis(64) * 1.5
    inside = shapes.OBJECTS[name](axis[None, :], axis[:, None]) < 0
    edge = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])

    assert inside.any() and not edge.any()
    assert shapes.draw(shapes.OBJECTS[name], 1, 16, shapes.Draws(seed)).std() > 0
