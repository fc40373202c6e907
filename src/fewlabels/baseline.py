"""What the unlabelled images are worth: the same time with the labelled images alone.

Shapes: F folds, N images that all folds answer.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fewlabels import checkpoints, processes, recipes, splits
from fewlabels.architectures import WhitenedNetwork
from fewlabels.errors import ConfigError, DataError
from fewlabels.fitting import fit_folds
from fewlabels.images import ImageSet
from fewlabels.model import Model
from fewlabels.progress import say
from fewlabels.protocol import Outcome, evaluate
from fewlabels.recipe import Recipe
from fewlabels.ways import labels as labels_way
from fewlabels.ways.watching import difference

SET_ASIDE, MOST_SET_ASIDE = 20, 0.1  # labelled images of each class, and the part at most
LEAST = 30.0  # seconds
FOLDER = "baseline"  # of its checkpoints


@dataclass(frozen=True, kw_only=True)
class Gain:
    """How much more of the same images is right with the unlabelled images than without.

    labels_only_accuracy, gain : parts of 1; error : standard error of the gain
    measured_on : "test images" or "validation images"
    """

    labels_only_accuracy: float
    gain: float
    error: float
    measured_on: str

    def as_dict(self) -> dict[str, Any]:
        """As in `scores.json`."""
        return {
            "labels_only_accuracy": self.labels_only_accuracy,
            "gain": self.gain,
            "gain_error": self.error,
            "gain_measured_on": self.measured_on,
        }


def gain_of(before_N: np.ndarray, after_N: np.ndarray, measured_on: str) -> Gain:
    """The gain of one fold.

    Parameters
    ----------
    before_N, after_N : which images are right, bool, without and with the unlabelled images

    Its error is that of the pairs of answers (see `watching.difference`), so of the choice of
    these images; that other labels would have been drawn is not in it.
    """
    gain, error = difference(before_N, after_N)
    return Gain(
        labels_only_accuracy=float(before_N.mean()), gain=gain, error=error, measured_on=measured_on
    )


def mean_gain(
    before_FN: Sequence[np.ndarray], after_FN: Sequence[np.ndarray], measured_on: str
) -> Gain:
    """The mean gain of folds that answer the same images.

    error^2 = var_N(mean_F d) / N + var_F(mean_N d) / F, where d is 1, 0 or -1 for each answer

    The first part is of the choice of images, the second of that of labels; what is in both counts
    twice, so the error is rather too large than too small. For one fold it is that of `gain_of`.
    """
    change_FN = np.asarray(after_FN, float) - np.asarray(before_FN, float)
    n_folds, n_images = change_FN.shape
    variance = float(change_FN.mean(0).var()) / n_images
    if n_folds > 1:
        variance += float(change_FN.mean(1).var(ddof=1)) / n_folds
    return Gain(
        labels_only_accuracy=float(np.mean(before_FN)),
        gain=float(change_FN.mean()),
        error=math.sqrt(variance),
        measured_on=measured_on,
    )


@dataclass(frozen=True)
class Gains:
    """Of each fold, and the mean."""

    folds: tuple[Gain, ...]
    mean: Gain


def measured(
    image_set: ImageSet,
    recipe: Recipe,
    plan: splits.Plan,
    outcome: Outcome,
    seconds: float | None,
    *,
    device: str,
    **how: Any,
) -> Gains | None:
    """Learn the baseline of every fold and compare.

    None where there are no images to measure on, the recipe is its own baseline, or that cannot be
    learned, which is said.

    Parameters
    ----------
    outcome : of the recipe
    seconds : for each baseline; None for as long as the recipe took, at least half a minute
    how : "seed", "precision", "checkpoints", "resume" as `learn` takes them
    """
    images, measured_on = image_set.test, "test images"
    if outcome.scores:
        after_FN = [one.right for one in outcome.scores]
    elif plan.validation is not None:
        images, measured_on = plan.validation, "validation images"
        after_FN = [one.right for one in evaluate(outcome.models, images, device=device)]
    else:
        return None
    assert images is not None
    if is_own(recipe, image_set, plan):
        say(
            "--baseline: the labelled images alone were learned from, in all of the time, so there "
            "is no gain to tell"
        )
        return None
    if seconds is None:
        seconds = _as_long_as(outcome, plan, device, how)
    try:
        models = learn(image_set, recipe, plan, seconds, device=device, **how)
    except (ConfigError, DataError) as error:  # what the recipe learned is not lost by it
        say(f"--baseline: the gain is left out: {error}")
        return None
    before_FN = [one.right for one in evaluate(models, images, device=device)]
    return Gains(
        folds=tuple(
            gain_of(before_N, after_N, measured_on)
            for before_N, after_N in zip(before_FN, after_FN, strict=True)
        ),
        mean=mean_gain(before_FN, after_FN, measured_on),
    )


def _as_long_as(outcome: Outcome, plan: splits.Plan, device: str, how: Mapping[str, Any]) -> float:
    """Seconds that the recipe took for a fold, the same for all processes.

    A baseline that is resumed has what it was given when it began.
    """
    if how["resume"] and how["checkpoints"] is not None:
        begun = checkpoints.load(how["checkpoints"] / FOLDER / f"fold-{plan.numbers[0]}")
        if begun is not None and begun.made_by["budget_seconds"] is not None:
            return float(begun.made_by["budget_seconds"])
    each = outcome.seconds / len(plan.folds)
    (agreed,) = processes.agreed_means([each], device, how["precision"])
    return max(LEAST, agreed)


def recipe_of(recipe: Recipe, image_size: tuple[int, int]) -> Recipe:
    """The recipe `labels` under a budget, as it is for images of (height, width) pixels.

    It has the network and training of `recipe` where that has them, as many networks as it has
    teachers, and its filters and head in a committee.
    """
    plain = recipes.as_recipe("labels", image_size=image_size)
    if recipe.labels is not None and isinstance(recipe.network, WhitenedNetwork):
        plain = replace(
            plain,
            labels=replace(recipe.labels, n_networks=recipe.n_alone),
            network=recipe.network,
            training=recipe.training,
            augmentation=recipe.augmentation,
        )
    if recipe.is_committee:
        plain = replace(plain, filters=recipe.filters, head=recipe.head)
    return recipes.within(plain, 1.0)


def is_own(recipe: Recipe, image_set: ImageSet, plan: splits.Plan) -> bool:
    """Whether a recipe learns from the labelled images alone, so that nothing is to be gained."""
    n_pool = len(splits.pool(image_set, plan.withheld))
    return recipe.is_of_labels_alone or all(n_pool == len(fold) for fold in plan.folds)


def check(recipe: Recipe, budget_seconds: float | None) -> None:
    """Raises ConfigError where there is no time to part between a recipe and its baseline."""
    if recipe.training is not None and budget_seconds is None:
        raise ConfigError(
            "--baseline parts a time between the recipe and the labels alone, and none is given: "
            "give a --budget"
        )


def half(budget_seconds: float | None) -> float | None:
    """Seconds of the recipe, and as many of its baseline, out of a budget for both."""
    if budget_seconds is None:
        return None
    say("--baseline: half of the budget for the recipe, half for the labels alone")
    return budget_seconds / 2


def learn(
    image_set: ImageSet,
    recipe: Recipe,
    plan: splits.Plan,
    seconds: float,
    *,
    seed: int,
    device: str,
    precision: str,
    checkpoints: Path | None,
    resume: bool,
) -> tuple[Model, ...]:
    """A model for each fold that sees none but its labelled images, not even without labels.

    Parameters
    ----------
    recipe : whose baseline it is; seconds : for each fold
    """
    models: list[Model] = []
    for number, fold in zip(plan.numbers, plan.folds, strict=True):
        say(f"the labels alone{f', fold {number}' if len(plan.folds) > 1 else ''}")
        models += fit_folds(
            image_set,
            recipe_of(recipe, image_set.train.size),
            replace(plan, numbers=(number,), folds=(fold,)),
            pool=image_set.train.take(fold),
            seed=seed,
            device=device,
            precision=precision,
            budget_seconds=seconds,
            checkpoints=None if checkpoints is None else checkpoints / FOLDER,
            resume=resume,
        )
    return tuple(models)


def set_aside(image_set: ImageSet, plan: splits.Plan, seed: int) -> splits.Plan:
    """The plan of one fold with some of its labelled images kept apart, for measuring the gain.

    Up to 20 of each class are, and at most a tenth of the class; neither network learns from them.
    The plan itself where there are images to measure on, or too few labels.
    """
    has_test = image_set.test is not None and image_set.test.labels is not None
    if has_test or plan.validation is not None:
        return plan
    (fold,) = plan.folds
    assert image_set.train.labels is not None
    labels_N = image_set.train.labels[fold]
    aside = fold[labels_way.held_out(labels_N, SET_ASIDE, seed, MOST_SET_ASIDE)]
    if not len(aside):
        say(
            "--baseline: there are no labelled test images, and too few labels to set some aside: "
            "the gain is not measured"
        )
        return plan
    say(
        f"--baseline: there are no labelled test images, so {len(aside):,} labelled ones are set "
        "aside to measure the gain, and not learned from"
    )
    withheld = aside if plan.withheld is None else np.union1d(plan.withheld, aside)
    return replace(
        plan,
        folds=(np.setdiff1d(fold, aside),),
        validation=image_set.train.take(aside),
        withheld=withheld,
    )
