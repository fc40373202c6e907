"""Scores of labelled images and of a mixture -> the share of the classes in it, and probabilities.

Shapes: N labelled images, all of the classes; M unlabelled ones, of the classes or of none.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

TAIL = 0.1  # the share of the classes is read between quantiles TAIL and 1 - TAIL of scores


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """How labelled each image looks to machines that did not learn from it; higher is more so.

    labelled_N, unlabelled_M : float64 arrays of shapes (n_labelled,) and (n_unlabelled,)
    """

    labelled_N: np.ndarray
    unlabelled_M: np.ndarray


def share_of_classes(found: Evidence) -> float:
    """The share of the unlabelled images that are of the classes, in (0, 1].

    Of images of the classes, labelled or not, an equal part scores above any threshold; so the
    share is at most (part of the unlabelled above it) / (part of the labelled above it). The least
    of these bounds, over thresholds at quantiles of the labelled images' scores; each part is taken
    a standard error to the safe side, so that few labels do not make a bound too low by chance.
    """
    if not len(found.unlabelled_M):
        return 1.0
    thresholds = np.quantile(found.labelled_N, np.linspace(TAIL, 1 - TAIL, 25))
    labelled = (found.labelled_N[:, None] >= thresholds).mean(0)
    unlabelled = (found.unlabelled_M[:, None] >= thresholds).mean(0)
    above = unlabelled + np.sqrt(unlabelled * (1 - unlabelled) / len(found.unlabelled_M))
    below = labelled - np.sqrt(labelled * (1 - labelled) / len(found.labelled_N))
    least = 1 / (len(found.unlabelled_M) + 1)
    return float(np.clip((above / np.maximum(below, 1e-12)).min(), least, 1))


def probabilities(found: Evidence, share: float) -> np.ndarray:
    """Scores as probabilities to be of the classes, which are `share` of the unlabelled images.

    By Bayes' rule share * (density of labelled images) / (density of unlabelled ones) at a score.
    The ratio is fitted as one that rises with the score, and a logistic curve through what it
    gives keeps the order of the scores.

    Returns
    -------
    float64 array of shape (n_unlabelled,), in [0, 1], in the order of the scores
    """
    n_labelled, n_unlabelled = len(found.labelled_N), len(found.unlabelled_M)
    if not n_unlabelled:
        return np.empty(0)
    both = np.concatenate([found.labelled_N, found.unlabelled_M])
    is_labelled = np.arange(len(both)) < n_labelled
    weight = np.where(is_labelled, 1 / n_labelled, 1 / n_unlabelled)
    rising = IsotonicRegression(out_of_bounds="clip")
    odds = rising.fit_transform(both, is_labelled.astype(float), sample_weight=weight)[n_labelled:]
    of_classes_M = np.minimum(1, share * odds / np.maximum(1 - odds, 1e-12))
    # each image counts as one of the classes and one of none, by its probability
    centre, spread = both.mean(), both.std() + 1e-12
    scores_M1 = ((found.unlabelled_M - centre) / spread)[:, None]
    curve = LogisticRegression(C=1e3)
    curve.fit(
        np.concatenate([scores_M1, scores_M1]),
        np.repeat([1, 0], n_unlabelled),
        sample_weight=np.concatenate([of_classes_M + 1e-9, 1 - of_classes_M + 1e-9]),
    )
    if curve.coef_[0, 0] <= 0:  # the scores tell nothing
        return np.full(n_unlabelled, of_classes_M.mean())
    return curve.predict_proba(scores_M1)[:, 1]
