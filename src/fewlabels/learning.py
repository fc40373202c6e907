"""What was asked for on a set -> models and how they did: a recipe chosen, the time shared out."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewlabels import auto, baseline, deciding, promise, recipes, unfinished
from fewlabels.baseline import Gains
from fewlabels.devices import resolve
from fewlabels.images import ImageSet
from fewlabels.options import N_MAPPED, Learning, seconds_of, settings_of
from fewlabels.progress import say
from fewlabels.promise import spoken
from fewlabels.protocol import N_CURVE, Outcome, Shared, copies_of_test, labelled_test, score
from fewlabels.recipe import Recipe
from fewlabels.recipes import as_recipe, within
from fewlabels.splits import Plan


@dataclass(frozen=True, kw_only=True, eq=False)
class Learned:
    """What a run has come to.

    plan : as it was learned by: labels may have been set aside from the one that was asked for
    gains : over the labels alone, where that was asked for and there are images to measure on
    auto : what the recipe `auto` decided, and from what; promised : seconds in all
    """

    recipe: Recipe
    plan: Plan
    outcome: Outcome
    gains: Gains | None = None
    auto: Mapping[str, Any] | None = None
    promised: float | None = None


def check(asked: Learning) -> None:
    """What can be told before anything is read.

    Raises ConfigError where the recipe, a setting or the budget does not fit.
    """
    settings, seconds = settings_of(asked.settings), _budget(asked)
    if asked.recipe == auto.NAME:
        auto.check_settings(settings)
        return
    recipe = within(as_recipe(asked.recipe, settings), seconds, settings)
    if asked.baseline:
        baseline.check(recipe, seconds)


def learn(
    image_set: ImageSet, plan: Plan, asked: Learning, folder: Path, resume: bool, began: float
) -> Learned:
    """Learn and score what was asked for.

    Parameters
    ----------
    folder : of the run; began : `time.monotonic()` when the command began
    """
    settings, seconds = settings_of(asked.settings), _budget(asked)
    how: dict[str, Any] = {"seed": asked.seed, "device": resolve(asked.device)}
    how |= {"precision": asked.precision, "resume": resume}
    kept, size = folder / unfinished.CHECKPOINTS, image_set.train.size
    found: Shared | None = None
    decided: deciding.Decided | None = None
    if asked.recipe == auto.NAME:
        if labelled_test(image_set) is not None:
            found = copies_of_test(image_set, plan)
        n_mapped = min(asked.n_mapped, sum(map(len, image_set.parts().values())))
        n_more = max(0, n_mapped - N_MAPPED)  # than WRITING has seconds for
        decided = deciding.decide(
            image_set,
            plan,
            deciding.Asked(settings=settings, budget_seconds=seconds, baseline=asked.baseline),
            began=began,
            beside=deciding.Beside(
                writing=promise.WRITING + promise.MAPPED * n_more,
                n_times=1 if found is None or not found[0].any() else 2,
                n_answered=_n_answered(image_set, plan) + 2 * n_more,  # what it is, where it lies
            ),
            folder=kept,
            **how,
        )
        recipe, seconds = decided.recipe, decided.seconds
    else:
        recipe = within(as_recipe(asked.recipe, settings, size), seconds, settings)
        _say_of_size(recipes.of_size(asked.recipe, size), settings)
        if asked.baseline and not baseline.is_own(recipe, image_set, plan):
            seconds = baseline.half(seconds)
    if asked.baseline and not baseline.is_own(recipe, image_set, plan):
        plan = baseline.set_aside(image_set, plan, asked.seed)
    outcome = score(
        image_set, recipe, plan, budget_seconds=seconds, checkpoints=kept, found=found, **how
    )
    gains = None
    if asked.baseline:
        gains = baseline.measured(
            image_set, recipe, plan, outcome, seconds, checkpoints=kept, **how
        )
    return Learned(
        recipe=recipe,
        plan=plan,
        outcome=outcome,
        gains=gains,
        auto=None if decided is None else decided.record,
        promised=None if decided is None else decided.whole,
    )


def _say_of_size(usual: Mapping[str, str], settings: Mapping[str, str]) -> None:
    """Which settings of the recipe are others for images of their size, but for those given."""
    changed = [f"{name}={value}" for name, value in usual.items() if name not in settings]
    if changed:
        say(f"{recipes.BEAR_MORE}: {', '.join(changed)} (--set for others)")


def say_time(learned: Learned, began: float) -> None:
    """How long all of it took, where a time was promised."""
    if learned.promised is not None:
        took = time.monotonic() - began
        say(f"took {spoken(took)} of the {spoken(learned.promised)} for all of it")


def _budget(asked: Learning) -> float | None:
    return None if asked.budget is None else seconds_of(asked.budget)


def _n_answered(image_set: ImageSet, plan: Plan) -> int:
    """Images that each model answers in the end, with those of the last point of its curve."""
    n_answered = 0 if plan.validation is None else len(plan.validation)
    if (test := labelled_test(image_set)) is not None:
        # a point of the curve is without mirror images
        n_answered += len(test) + min(N_CURVE, len(test)) // 2
    return n_answered
