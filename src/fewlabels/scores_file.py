"""What `scores.json` holds: an outcome and the facts of its run as nested dicts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fewlabels import runs
from fewlabels.learning import Learned
from fewlabels.progress import Clock
from fewlabels.protocol import mean_and_deviation


def facts(learned: Learned, seed: int, precision: str, clock: Clock) -> dict[str, Any]:
    """What stands beside every score; the memory is the highest resident set so far.

    The seconds of a training hold those before it was resumed, up to its last checkpoint; what else
    an interrupted process did is done, and counted, once more.
    """
    auto = {} if learned.auto is None else {"auto": learned.auto}
    return {
        "protocol": learned.plan.protocol,
        "recipe": learned.recipe.name,
        **auto,
        "seed": seed,
        "precision": precision,
        "commit": runs.commit(),
        "seconds": {stage: round(seconds, 3) for stage, seconds in clock.seconds.items()},
        "peak_memory_mib": runs.peak_memory_mib(),
    }


def fold_scores(learned: Learned, number: int, class_names: Sequence[str]) -> dict[str, Any]:
    """The scores of the fold at that place of the outcome."""
    outcome = learned.outcome
    scores: dict[str, Any] = {"none_below": outcome.models[number].head.none_below}
    if outcome.scores:
        scores |= outcome.scores[number].as_dict(class_names)
        clean = outcome.clean[number] if outcome.clean else None
        scores |= {"accuracy_clean": clean, "n_leaked": outcome.n_leaked}
    if outcome.validation:
        scores["accuracy_validation"] = outcome.validation[number]
    if learned.gains is not None:
        scores |= learned.gains.folds[number].as_dict()
    scores |= outcome.models[number].info.get("learned", {})
    return scores


def mean_scores(learned: Learned, class_names: Sequence[str]) -> dict[str, Any]:
    """Means over folds, and each fold; the confusion matrix adds the folds up."""
    outcome, plan = learned.outcome, learned.plan
    accuracy, deviation = mean_and_deviation([one.accuracy for one in outcome.scores])
    left_out = not outcome.clean
    clean, clean_deviation = (None, None) if left_out else mean_and_deviation(outcome.clean)
    per_class = np.array([one.accuracy_per_class for one in outcome.scores], float).mean(0)
    folds = [
        {"fold": number, "n_labelled": len(plan.folds[place])}
        | fold_scores(learned, place, class_names)
        for place, number in enumerate(plan.numbers)
    ]
    return {
        "accuracy": accuracy,
        "accuracy_std": deviation,
        "accuracy_clean": clean,
        "accuracy_clean_std": clean_deviation,
        "n_folds": len(folds),
        "n_test": outcome.scores[0].n_test,
        "n_leaked": outcome.n_leaked,
        **({} if learned.gains is None else learned.gains.mean.as_dict()),
        "accuracy_per_class": {
            name: None if np.isnan(value) else float(value)
            for name, value in zip(class_names, per_class, strict=True)
        },
        "confusion": np.sum([one.confusion for one in outcome.scores], axis=0).tolist(),
        "calibration_error": float(np.mean([one.calibration_error for one in outcome.scores])),
        "folds": folds,
    }
