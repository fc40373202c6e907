import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewlabels import splits
from fewlabels.errors import ConfigError, DataError
from fewlabels.images import Images, ImageSet
from fewlabels.splits import draw, plan, pool, without

NAMES = ("cat", "dog", "owl")


def labelled(counts: list[int]) -> Images:
    labels = np.repeat(np.arange(len(counts)), counts)
    pixels = np.arange(len(labels)).astype(np.uint8)[:, None, None, None].repeat(3, 1)
    return Images(pixels=pixels, labels=labels)


def image_set(counts: list[int], **parts) -> ImageSet:
    return ImageSet(name="pets", class_names=NAMES, train=labelled(counts), **parts)


@given(st.lists(st.integers(3, 9), min_size=2, max_size=6), st.integers(0, 99), st.data())
def test_a_draw_is_balanced_and_without_repeats(counts, seed, data):
    labels = np.repeat(np.arange(len(counts)), counts)
    n_labels = data.draw(st.integers(len(counts), 3 * len(counts)))

    drawn = draw(labels, n_labels, seed, "abcdef"[: len(counts)])
    per_class = np.bincount(labels[drawn], minlength=len(counts))

    assert n_labels == len(np.unique(drawn)) == len(drawn)
    assert per_class.max() - per_class.min() <= 1


def test_a_draw_is_the_same_for_the_same_seed_and_another_for_another():
    labels = np.repeat([0, 1, 2], 50)

    first, again, other = (draw(labels, 30, seed, NAMES).tolist() for seed in (0, 0, 1))

    assert first == again
    assert first != other


def test_more_labels_than_there_are_names_the_class_what_is_asked_and_what_is_there():
    message = "9 labels need 3 images of class 'owl', which has 2 training images"

    with pytest.raises(DataError, match=re.escape(message)):
        plan(image_set([5, 5, 2]), labels=9)


def test_fewer_labels_than_classes_are_refused():
    with pytest.raises(DataError, match="each of the 3 classes needs a label; got --labels 2"):
        plan(image_set([5, 5, 5]), labels=2)


def test_all_labels_are_used_where_nothing_is_asked():
    planned = plan(image_set([2, 2, 2]))

    assert "all-labels" == planned.protocol
    assert [[0, 1, 2, 3, 4, 5]] == [fold.tolist() for fold in planned.folds]


def test_a_given_fold_is_taken_as_it_is():
    folds = (np.array([0, 2, 4]), np.array([1, 3, 5]))

    planned = plan(image_set([2, 2, 2], folds=folds), folds=[1])

    assert "fold-1" == planned.protocol
    assert [[1, 3, 5]] == [fold.tolist() for fold in planned.folds]


def test_a_fold_that_is_not_there_is_named():
    folds = (np.array([0, 2, 4]), np.array([1, 3, 5]))

    with pytest.raises(DataError, match="pets has folds 0 to 1; got 2: ask for one of them"):
        plan(image_set([2, 2, 2], folds=folds), folds=[0, 2])
    with pytest.raises(DataError, match=r"pets has no folds: add .* or draw labels"):
        plan(image_set([2, 2, 2]), folds=[0])


def test_a_fold_without_a_class_is_refused():
    with pytest.raises(DataError, match="fold 0 of pets has no image of class 'owl'"):
        plan(image_set([2, 2, 2], folds=(np.array([0, 2]),)), folds=[0])


def test_cifar10_400_draws_400_of_each_class_with_the_seed():
    big = image_set([500, 450, 400])

    planned = plan(big, protocol="cifar10-400", seed=3)

    assert "cifar10-400" == planned.protocol
    assert [400, 400, 400] == np.bincount(big.train.labels[planned.folds[0]]).tolist()
    assert planned.folds[0].tolist() == plan(big, labels=1200, seed=3).folds[0].tolist()


def test_folds_of_draws_count_up_the_seed():
    many = image_set([20, 20, 20])

    first, second = plan(many, labels=6, folds=[0, 1], seed=5).folds

    assert first.tolist() == plan(many, labels=6, seed=5).folds[0].tolist()
    assert second.tolist() == plan(many, labels=6, seed=6).folds[0].tolist()


def test_folds_1000_needs_folds_of_a_thousand():
    small = image_set([2, 2, 2], folds=(np.arange(6),))
    large = image_set([400, 400, 400], folds=(np.arange(200, 1200),))

    with pytest.raises(DataError, match="folds-1000 needs folds of 1,000 images; those of pets"):
        plan(small, protocol="folds-1000")
    assert 1000 == len(plan(large, protocol="folds-1000").folds[0])


def test_the_reports_split_takes_the_sources_validation_images():
    given_set = image_set([2, 2, 2], validation=labelled([1, 1, 1]))

    planned = plan(given_set, protocol="report-split")

    assert given_set.validation is planned.validation
    assert 6 == len(planned.folds[0])


def test_the_reports_split_is_drawn_where_there_are_no_validation_images():
    pictures = np.zeros((1500, 3, 1, 1), np.uint8)
    train = Images(pixels=pictures, labels=np.repeat([0, 1, 2], 500))
    drawn_set = ImageSet(name="pets", class_names=NAMES, train=train)

    planned = plan(drawn_set, protocol="report-split")

    assert [400] * 3 == np.bincount(train.labels[planned.folds[0]]).tolist()
    assert [100] * 3 == np.bincount(planned.validation.labels).tolist()
    assert set() == set(planned.folds[0].tolist()) & set(planned.withheld.tolist())
    assert 1200 == len(pool(drawn_set, planned.withheld))


def test_options_that_exclude_one_another_are_refused():
    pets = image_set([2, 2, 2])

    with pytest.raises(ConfigError, match="cifar10-400 says how many labels there are"):
        plan(pets, labels=5, protocol="cifar10-400")
    with pytest.raises(ConfigError, match="report-split has no folds"):
        plan(pets, folds=[0], protocol="report-split")
    with pytest.raises(ConfigError, match="a protocol is one of cifar10-400, folds-1000"):
        plan(pets, protocol="imagenet")


def test_the_pool_is_all_but_test_validation_and_withheld_images_without_labels():
    unlabeled = Images(pixels=np.full((2, 3, 1, 1), 99, np.uint8))
    pets = image_set([2, 2, 2], unlabeled=unlabeled, test=labelled([1, 1, 1]))

    assert [99, 99, 0, 1, 2, 3, 4, 5] == pool(pets).pixels[:][:, 0, 0, 0].tolist()
    assert [99, 99, 0, 2, 3, 5] == pool(pets, np.array([1, 4])).pixels[:][:, 0, 0, 0].tolist()
    assert [0, 1, 2, 3, 4, 5] == pool(replace(pets, unlabeled=None)).pixels[:][:, 0, 0, 0].tolist()
    assert pool(pets).labels is None


def test_images_can_be_left_out():
    left_out = np.array([True, False, False, True, False, True])

    assert [1, 2, 4] == without(labelled([2, 2, 2]), left_out).pixels[:][:, 0, 0, 0].tolist()


def test_copies_of_test_images_leave_the_labelled_ones():
    plan = splits.Plan(protocol="p", numbers=(0, 1), folds=(np.array([0, 2]), np.array([1, 2])))

    left = splits.without_labelled(plan, np.array([True, False, False]))

    assert [[2], [1, 2]] == [fold.tolist() for fold in left.folds]
    with pytest.raises(DataError, match="copies of test images"):
        splits.without_labelled(plan, np.array([False, True, True]))


def test_negative_folds_are_refused(tiny_set):
    with pytest.raises(ConfigError, match="numbered from 0; got -1"):
        splits.plan(tiny_set, labels=20, folds=(-1,))


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"labels": 5},
        {"labels": 5, "folds": (2,)},
        {"folds": (1,)},
        {"protocol": "folds-1000", "folds": (1,)},
        {"protocol": "report-split"},
        {"protocol": "cifar10-400", "folds": (3,)},
    ],
)
def test_the_plan_of_a_run_is_made_again_from_what_its_config_says(asked: dict):
    pets = image_set([600, 600, 600])
    pets = replace(pets, folds=(np.arange(1000) * 9 // 5, np.arange(1000) * 9 // 5 + 1))
    first = plan(pets, **asked, seed=4)
    told = {"protocol": first.protocol, "folds": list(first.numbers), "seed": 4}
    if "labels" in asked:  # TOML has no null
        told["labels"] = asked["labels"]

    again = splits.again(pets, told)

    assert (first.protocol, first.numbers) == (again.protocol, again.numbers)
    assert [fold.tolist() for fold in first.folds] == [fold.tolist() for fold in again.folds]
    assert (first.withheld is None) == (again.withheld is None)
