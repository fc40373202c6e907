"""Heads of few labels, of classes without any, and of features that are odd."""

import pytest
import torch

from fewlabels import heads
from fewlabels.errors import DataError
from fewlabels.heads import HeadConfig
from labelled_features import labelled

KINDS = tuple(heads.KINDS)


# --- few labels


@pytest.mark.parametrize("kind", KINDS)
def test_one_image_a_class_is_enough(kind: str):
    values, labels = labelled(3, noise=0.1)

    head = heads.fit(values, labels, 3, HeadConfig(kind=kind), seed=0)

    assert torch.equal(labels, head.probabilities(values).argmax(1))
    assert "accuracy" not in head.chosen
    assert (0.03, 1.0) == (head.chosen["strength"], head.temperature)


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_with_a_single_image_does_not_stop_the_choice_among_the_others(kind: str):
    values, labels = labelled(61, noise=0.3)
    labels[:60] = torch.arange(60) % 2
    values[:60] = labelled(60, n_classes=2, noise=0.3)[0]
    labels[60] = 2
    values[60] = -5 * values[:60].mean(0)

    head = heads.fit(values, labels, 3, HeadConfig(kind=kind), seed=0)

    assert head.chosen["accuracy"] > 0.9
    assert 2 == head.answers(values[60:]).argmax()


@pytest.mark.parametrize("kind", KINDS)
def test_two_classes_are_told_apart(kind: str):
    values, labels = labelled(n_classes=2, noise=0.3)

    head = heads.fit(values, labels, 2, HeadConfig(kind=kind), seed=0)

    assert (90, 2) == head.probabilities(values).shape
    assert (head.probabilities(values).argmax(1) == labels).double().mean() > 0.95


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("present", [(0, 2), (1, 2, 3)])
def test_a_class_without_labels_is_never_answered(kind: str, present: tuple[int, ...]):
    values, numbers = labelled(n_classes=len(present), noise=0.3)
    labels = torch.tensor(present)[numbers]

    head = heads.fit(values, labels, 4, HeadConfig(kind=kind), seed=0)

    probabilities = head.probabilities(values)
    assert probabilities.isfinite().all()
    assert set(present) == set(probabilities.argmax(1).tolist())
    assert (probabilities.argmax(1) == labels).double().mean() > 0.95


# --- features that are odd


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(30, 5), (5, 30)])
@pytest.mark.parametrize("value", [0.0, 0.1])
def test_features_that_never_change_give_finite_probabilities(
    kind: str, shape: tuple[int, int], value: float
):
    head = heads.fit(
        torch.full(shape, value), torch.arange(shape[0]) % 2, 2, HeadConfig(kind=kind), seed=0
    )

    assert head.probabilities(torch.full(shape, value)).isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_feature_that_never_changes_says_nothing(kind: str):
    values, labels = labelled(noise=0.3)
    padded = torch.cat([values, torch.full((90, 1), 7.0)], dim=1)

    head = heads.fit(padded, labels, 3, HeadConfig(kind=kind), seed=0)

    plain = heads.fit(values, labels, 3, HeadConfig(kind=kind), seed=0)
    assert plain.chosen["accuracy"] == head.chosen["accuracy"]
    assert torch.equal(plain.answers(values).argmax(1), head.answers(padded).argmax(1))


def test_features_that_are_not_numbers_are_refused():
    values, labels = labelled()
    values[4, 2] = torch.nan

    with pytest.raises(ValueError, match="features are finite numbers; some are NaN"):
        heads.fit(values, labels, 3, HeadConfig(), seed=0)


def test_labels_of_a_single_class_are_refused_in_one_line():
    with pytest.raises(DataError, match="at least 2 classes apart") as raised:
        heads.fit(labelled(9)[0], torch.zeros(9, dtype=torch.int64), 3, HeadConfig(), seed=0)

    assert "\n" not in str(raised.value)


def test_features_and_labels_stay_as_they_are():
    values, labels = labelled()
    before = values.clone(), labels.clone()

    for kind in KINDS:
        head = heads.fit(values, labels, 3, HeadConfig(kind=kind), seed=0)
        head.probabilities(values)

    assert torch.equal(before[0], values)
    assert torch.equal(before[1], labels)
