"""How well a model answers: the one door for test labels, and what honesty asks beside it.

Shapes: N test images, L classes (in a confusion matrix row: true, column: answered).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fewlabels import splits
from fewlabels.calibration import calibration_error
from fewlabels.copies import copied, digests
from fewlabels.enough import check_enough
from fewlabels.errors import ConfigError, DataError
from fewlabels.fitting import fit_folds
from fewlabels.graph import Graph
from fewlabels.images import Images, ImageSet, as_float
from fewlabels.model import Model, probabilities
from fewlabels.progress import say
from fewlabels.recipes import Recipe
from fewlabels.training import Measure

N_MISTAKES = 24  # kept for the report
N_CURVE = 1000  # test images for each point of a learning curve
BATCH = 250  # of them, answered together
Shared = tuple[np.ndarray, np.ndarray]  # bool (n_test,), bool (n_pool,)
LEFT_OUT = "the accuracy without copies of test images is left out"


@dataclass(frozen=True)
class Answer:
    """A wrong answer: the image's index, the true and the answered label, its probability."""

    index: int
    truth: int
    label: int
    probability: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """How a model answered labelled images that it did not learn from.

    accuracy : fraction; accuracy_per_class : a fraction per class, None where it has no images
    confusion : int64 array of shape (n_classes, n_classes)
    calibration_error : expected calibration error over 15 bins, see `calibration`
    mistakes : the most confident ones
    answered_N, confidence_N : the class that was answered for each image, and its probability
    right : which images were answered rightly, bool array of shape (n_test,)
    """

    accuracy: float
    accuracy_per_class: tuple[float | None, ...]
    confusion: np.ndarray
    n_test: int
    calibration_error: float
    mistakes: tuple[Answer, ...]
    answered_N: np.ndarray
    confidence_N: np.ndarray
    right: np.ndarray

    def as_dict(self, class_names: Sequence[str]) -> dict[str, Any]:
        """As in `scores.json`."""
        return {
            "accuracy": self.accuracy,
            "accuracy_per_class": dict(zip(class_names, self.accuracy_per_class, strict=True)),
            "confusion": self.confusion.tolist(),
            "n_test": self.n_test,
            "calibration_error": self.calibration_error,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """Models of all folds and how they did; each tuple has one entry per fold.

    scores : learned with all unlabelled images; clean : accuracies learned without the copies of
    test images, empty where that was left out; n_leaked : test images that have a copy, byte for
    byte, in what was learned from without labels; validation : accuracies on the validation images,
    if the plan has some; seconds : that learning all models took, the first time.
    Without labelled test images `scores` and `clean` are empty and `n_leaked` is None.
    """

    models: tuple[Model, ...]
    scores: tuple[Scores, ...] = ()
    clean: tuple[float, ...] = ()
    n_leaked: int | None = None
    validation: tuple[float, ...] = ()
    seconds: float = 0.0


def score(
    image_set: ImageSet,
    recipe: Recipe,
    plan: splits.Plan,
    *,
    seed: int = 0,
    device: str = "cpu",
    precision: str = "auto",
    budget_seconds: float | None = None,
    checkpoints: Path | None = None,
    resume: bool = False,
    found: Shared | None = None,
) -> Outcome:
    """Learn the label-free part once, the rest per fold, and answer the test images.

    Where copies of test images were among the unlabelled ones, all is learned again without them;
    where that cannot be, because too little is left or the second training fails, it is said and
    left out, and the first one stands. Whether enough is left is known before anything is learned.
    While networks learn from labels, their accuracy on some of the test images is noted for the
    learning curve, and nothing is chosen by it.

    Parameters
    ----------
    budget_seconds, checkpoints, resume : see `fitting.fit_folds`
    found : `copies_of_test` of the set, where that is known already

    Raises DataError where all that is learned from are copies of test images; what `fit_folds` does
    """
    pool = splits.pool(image_set, plan.withheld)
    how: dict[str, Any] = {"seed": seed, "device": device, "precision": precision}
    how |= {"budget_seconds": budget_seconds, "resume": resume}
    how |= {"measure": curve(image_set.test)}
    test, n_leaked, apart = labelled_test(image_set), 0, None
    if test is not None:
        found = found or copies_of_test(image_set, plan)
        n_leaked, apart = _apart(image_set, test, recipe, plan, pool, found)
    began = time.monotonic()
    models = fit_folds(image_set, recipe, plan, pool=pool, checkpoints=checkpoints, **how)
    seconds = time.monotonic() - began
    validation: tuple[float, ...] = ()
    if plan.validation is not None:
        validation = tuple(s.accuracy for s in evaluate(models, plan.validation, device=device))
    if test is None:
        return Outcome(models=models, validation=validation, seconds=seconds)
    scores = evaluate(models, test, device=device)
    clean: tuple[float, ...] = () if n_leaked else tuple(one.accuracy for one in scores)
    if apart is not None:
        say("learning again without the copies of test images")
        how |= {"checkpoints": None if checkpoints is None else checkpoints / "clean"}
        try:
            again = fit_folds(image_set, recipe, apart.plan, pool=apart.pool, **how)
            clean = tuple(s.accuracy for s in evaluate(again, test, device=device))
        except (ConfigError, DataError) as error:  # the first training is not lost by it
            say(f"{LEFT_OUT}: {error}")
    return Outcome(
        models=models,
        scores=scores,
        clean=clean,
        n_leaked=n_leaked,
        validation=validation,
        seconds=seconds,
    )


def labelled_test(image_set: ImageSet) -> Images | None:
    """The test images, where they have labels."""
    test = image_set.test
    return test if test is not None and test.labels is not None else None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Apart:
    """What is learned from without the copies of test images."""

    plan: splits.Plan
    pool: Images


def _apart(
    image_set: ImageSet,
    test: Images,
    recipe: Recipe,
    plan: splits.Plan,
    pool: Images,
    found: Shared,
) -> tuple[int, _Apart | None]:
    """How many test images have copies, and the rest to learn from where there is enough of it."""
    leaked, copies = found
    n_leaked = int(leaked.sum())
    if not n_leaked:
        return 0, None
    if copies.all():
        raise DataError(
            f"all images to learn from in {image_set.name} are copies of test images: give others"
        )
    say(f"{n_leaked:,} test images lie among those to learn from, byte for byte")
    apart = _Apart(
        plan=splits.without_labelled(plan, copied(image_set.train.pixels, test.pixels)),
        pool=splits.without(pool, copies),
    )
    try:
        check_enough(image_set, recipe, apart.plan, apart.pool)
    except DataError as error:
        say(f"{LEFT_OUT}: {error}")
        return n_leaked, None
    return n_leaked, apart


def curve(test: Images | None, n_images: int = N_CURVE) -> Measure | None:
    """A `training.Measure` for networks that end in logits: "test_accuracy" of some test images.

    They are spread evenly over the test images. None where these have no labels.
    """
    if test is None or test.labels is None:
        return None
    chosen = np.unique(np.linspace(0, len(test) - 1, min(n_images, len(test))).astype(np.int64))
    some = test.take(chosen)

    def measured(graph: Graph) -> dict[str, float]:
        assert some.labels is not None
        device = next(graph.parameters()).device
        answers = []
        for start in range(0, len(some), BATCH):
            logits_NL = graph(as_float(some.pixels[start : start + BATCH]).to(device))
            answers.append(logits_NL.float().softmax(1).cpu().numpy())
        return {"test_accuracy": measure(np.concatenate(answers), some.labels).accuracy}

    return measured


def copies_of_test(image_set: ImageSet, plan: splits.Plan) -> Shared:
    """`shared` of the labelled test images and the pool."""
    test = labelled_test(image_set)
    assert test is not None, "there are labelled test images"
    return shared(test, splits.pool(image_set, plan.withheld))


def shared(test: Images, pool: Images) -> Shared:
    """Which images of either (bool arrays) occur byte for byte in the other."""
    found, others = digests(test.pixels), digests(pool.pixels)
    return np.isin(found, others), np.isin(others, found)


def evaluate(models: Sequence[Model], images: Images, *, device: str = "cpu") -> tuple[Scores, ...]:
    """The scores of models on labelled images.

    Raises DataError where the images have no labels.
    """
    if images.labels is None:
        raise DataError("the test images have no labels, so there is no score: label them")
    answers = probabilities(models, images, device=device, what="features of test images")
    return tuple(measure(answers_NL, images.labels) for answers_NL in answers)


def measure(answers_NL: np.ndarray, labels_N: np.ndarray) -> Scores:
    """Compare answers with the truth: the only function that test labels enter.

    Parameters
    ----------
    answers_NL : float array of shape (n_images, n_classes), rows adding up to 1
    labels_N : int64 array of shape (n_images,)
    """
    n_classes = answers_NL.shape[1]
    answered_N, confidence_N = answers_NL.argmax(1), answers_NL.max(1)
    right_N = answered_N == labels_N
    confusion_LL = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(confusion_LL, (labels_N, answered_N), 1)
    counts = confusion_LL.sum(1)
    wrong = np.flatnonzero(~right_N)
    worst = wrong[np.argsort(-confidence_N[wrong], kind="stable")[:N_MISTAKES]]
    return Scores(
        accuracy=float(right_N.mean()),
        accuracy_per_class=tuple(
            float(confusion_LL[label, label] / counts[label]) if counts[label] else None
            for label in range(n_classes)
        ),
        confusion=confusion_LL,
        n_test=len(labels_N),
        calibration_error=calibration_error(confidence_N, right_N),
        mistakes=tuple(
            Answer(int(i), int(labels_N[i]), int(answered_N[i]), float(confidence_N[i]))
            for i in worst
        ),
        answered_N=answered_N,
        confidence_N=confidence_N,
        right=right_N,
    )


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean, and the standard deviation over folds (n - 1 below); None for a single fold."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None
