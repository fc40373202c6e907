"""Heads against scikit-learn, and the choice of their settings against one made by hand."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import StratifiedKFold
from torch import Tensor

from fewlabels import heads
from fewlabels.calibration import SPREAD, fit_temperature
from fewlabels.errors import ConfigError
from fewlabels.heads import Head, HeadConfig
from labelled_features import labelled

KINDS = tuple(heads.KINDS)


def fit(kind: str, n_classes: int = 3, seed: int = 0, **settings) -> Head:
    return heads.fit(
        *labelled(n_classes=n_classes), n_classes, HeadConfig(kind=kind, **settings), seed=seed
    )


def scaled(head: Head, values: Tensor) -> np.ndarray:
    """Features as the head sees them, in float64."""
    return ((values - head.tensors["mean"]) * head.tensors["scale"]).double().numpy()


def one_hot(labels: Tensor, n_classes: int = 3) -> np.ndarray:
    return F.one_hot(labels, n_classes).double().numpy()


def standardised(values: Tensor) -> np.ndarray:
    """What `fit` makes of features first."""
    deviation = values.std(0, correction=0)
    return ((values - values.mean(0)) / (deviation + 0.01 * deviation.mean())).double().numpy()


# --- scikit-learn is the witness


@pytest.mark.parametrize("n_values", [12, 200])
def test_ridge_is_that_of_scikit_learn(n_values: int):
    values, labels = labelled(n_values=n_values)
    others, _ = labelled(20, n_values, seed=1)
    head = heads.fit(values, labels, 3, HeadConfig(kind="ridge", strengths=(0.1,)), seed=0)

    x = scaled(head, values)
    alpha = 0.1 * (x**2).sum() / min(x.shape)
    witness = Ridge(alpha=alpha).fit(x, one_hot(labels))
    np.testing.assert_allclose(
        head.answers(others), witness.predict(scaled(head, others)), 1e-3, 1e-4
    )


def test_kernel_ridge_is_that_of_scikit_learn():
    values, labels = labelled()
    others, _ = labelled(20, seed=1)
    config = HeadConfig(kind="kernel", strengths=(0.1,), widths=(0.5,))
    head = heads.fit(values, labels, 3, config, seed=0)

    x = scaled(head, values)
    squared = ((x[:, None] - x[None]) ** 2).sum(2)
    targets = one_hot(labels)
    witness = KernelRidge(alpha=0.1, kernel="rbf", gamma=0.5 / squared.mean())
    witness.fit(x, targets - targets.mean(0))
    expected = witness.predict(scaled(head, others)) + targets.mean(0)
    np.testing.assert_allclose(head.answers(others), expected, rtol=1e-3, atol=1e-4)
    assert 0.5 / squared.mean() == pytest.approx(head.chosen["width"], rel=1e-4)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_logistic_is_that_of_scikit_learn(n_classes: int):
    values, labels = labelled(n_classes=n_classes)
    others, _ = labelled(20, n_classes=n_classes, seed=1)
    config = HeadConfig(kind="logistic", strengths=(0.1,))
    head = heads.fit(values, labels, n_classes, config, seed=0)

    witness = LogisticRegression(C=1 / (0.1 * 90), max_iter=1000).fit(scaled(head, values), labels)
    expected = witness.predict_proba(scaled(head, others))
    np.testing.assert_allclose(head.answers(others).softmax(1), expected, rtol=0, atol=1e-3)


# --- the choice


def by_hand(kind: str, strength: float, width: float, seed: int) -> float:
    """Cross-validated accuracy with scikit-learn's models."""
    values, labels = labelled()
    x, targets = standardised(values), one_hot(labels)
    right = 0
    folds = StratifiedKFold(5, shuffle=True, random_state=seed).split(x, labels.numpy())
    for kept, left in folds:
        centred = targets[kept] - targets[kept].mean(0)
        if kind == "ridge":
            alpha = strength * (x[kept] ** 2).sum() / min(x[kept].shape)
            model = Ridge(alpha=alpha, fit_intercept=False).fit(x[kept], centred)
            answers = model.predict(x[left]) + targets[kept].mean(0)
        elif kind == "kernel":
            squared = ((x[kept][:, None] - x[kept][None]) ** 2).sum(2)
            model = KernelRidge(alpha=strength, kernel="rbf", gamma=width / squared.mean())
            answers = model.fit(x[kept], centred).predict(x[left]) + targets[kept].mean(0)
        else:
            model = LogisticRegression(C=1 / (strength * len(kept)), max_iter=1000)
            answers = model.fit(x[kept], labels[kept]).decision_function(x[left])
        right += int((answers.argmax(1) == labels[left].numpy()).sum())
    return right / len(labels)


@pytest.mark.parametrize("kind", KINDS)
def test_the_settings_chosen_are_the_best_of_a_cross_validation_by_hand(kind: str):
    strengths, widths = (0.01, 0.3, 10.0), (0.05, 0.5) if kind == "kernel" else (1.0,)

    chosen = fit(kind, strengths=strengths, widths=widths, seed=7).chosen

    table = {(s, w): by_hand(kind, s, w, seed=7) for s in strengths for w in widths}
    assert len(set(table.values())) > 1
    best = max(table.values())
    assert best == pytest.approx(chosen["accuracy"])
    assert best == table[chosen["strength"], chosen.get("relative_width", 1.0)]


def test_at_equal_accuracy_the_stronger_regularisation_is_chosen():
    values, labels = labelled(noise=0.01)

    chosen = heads.fit(
        values, labels, 3, HeadConfig(kind="ridge", strengths=(0.01, 1.0, 0.1)), seed=0
    ).chosen

    assert (1.0, 1.0) == (chosen["accuracy"], chosen["strength"])


@pytest.mark.parametrize("kind", KINDS)
def test_labels_without_meaning_are_held_out_at_chance(kind: str):
    # more values than images: what is learned from is answered perfectly, what is held out is not
    draw = torch.Generator().manual_seed(3)
    values = torch.randn(200, 400, generator=draw)
    labels = (torch.arange(200) % 4)[torch.randperm(200, generator=draw)]

    head = heads.fit(values, labels, 4, HeadConfig(kind=kind, strengths=(0.03,)), seed=0)

    assert 0.25 == pytest.approx(head.chosen["accuracy"], abs=0.1)
    assert (head.answers(values).argmax(1) == labels).double().mean() > 0.95


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_head(kind: str):
    first, second = fit(kind, seed=3), fit(kind, seed=3)

    assert (first.chosen, first.temperature) == (second.chosen, second.temperature)
    assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in first.tensors)


# --- probabilities


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_add_up_to_one(kind: str):
    probabilities = fit(kind).probabilities(labelled(50, seed=2)[0])

    assert probabilities.min() >= 0
    torch.testing.assert_close(probabilities.sum(1), torch.ones(50))


def test_a_kernel_head_answers_in_blocks_as_at_once():
    head = fit("kernel")
    many = labelled(2100, seed=2)[0]

    torch.testing.assert_close(head.answers(many)[2040:], head.answers(many[2040:]))


def test_the_temperature_gives_the_labels_the_highest_likelihood():
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(3000, 4, generator=draw)
    # labels drawn by these very probabilities, then answers three times too sure
    labels = torch.multinomial(logits.softmax(1), 1, generator=draw)[:, 0]

    temperature = fit_temperature(3 * logits, labels)

    assert 3 == pytest.approx(temperature, rel=0.1)
    loss = F.cross_entropy(3 * logits / temperature, labels)
    for factor in (1.05, 1.5, 1 / 1.05, 1 / 1.5):
        assert loss <= F.cross_entropy(3 * logits / (temperature * factor), labels)


def test_beside_a_usual_temperature_the_likelihood_counts_once_for_each_image():
    draw = torch.Generator().manual_seed(1)
    answers, labels = torch.randn(40, 3, generator=draw), torch.randint(3, (40,), generator=draw)

    def unlikely(temperature: float) -> float:
        """Of the labels, and of a normal logarithm about that of 0.5."""
        of_labels = F.cross_entropy(answers / temperature, labels, reduction="sum")
        return float(of_labels) + (math.log(temperature / 0.5) / SPREAD) ** 2 / 2

    temperature = fit_temperature(answers, labels, usual=0.5)

    assert 0.5 < temperature < fit_temperature(answers, labels)
    for factor in (1.05, 1.5, 1 / 1.05, 1 / 1.5):
        assert unlikely(temperature) <= unlikely(temperature * factor)


def test_few_images_hardly_move_a_temperature_from_the_usual_one_and_many_do():
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(20_000, 4, generator=draw)
    labels = torch.multinomial(logits.softmax(1), 1, generator=draw)[:, 0]

    few, many = (fit_temperature(logits[:n], labels[:n], usual=0.5) for n in (5, 20_000))

    assert 0.5 == pytest.approx(few, rel=0.3)
    assert 1 == pytest.approx(many, rel=0.1)


def test_the_temperature_does_not_depend_on_the_scale_of_the_answers():
    answers, labels = fit("ridge").answers(labelled()[0]), labelled()[1]

    assert 100 * fit_temperature(answers, labels) == pytest.approx(
        fit_temperature(100 * answers, labels), rel=1e-4
    )


@pytest.mark.parametrize(("n_images", "n_classes"), [(10, 2), (10, 10), (50, 10)])
def test_answers_that_are_all_right_are_not_made_surer_than_so_few_images_tell(
    n_images: int, n_classes: int
):
    labels = torch.arange(n_images) % n_classes

    temperature = fit_temperature(5.0 * F.one_hot(labels, n_classes), labels)

    # 10.5 of 11, 50.5 of 51
    sure = (5.0 * F.one_hot(labels, n_classes) / temperature).softmax(1).amax(1)
    assert (n_images + 0.5) / (n_images + 1) == pytest.approx(float(sure.mean()), abs=0.015)


# --- settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "tree"}, "head.kind is one of ridge, kernel, logistic; got 'tree'"),
        ({"folds": 1}, "head.folds is at least 2; got 1"),
        ({"strengths": ()}, r"head.strengths are numbers over 0, at least one; got \(\)"),
        ({"widths": (0.0,)}, r"head.widths are numbers over 0, at least one; got \(0.0,\)"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        HeadConfig(**settings)
