"""How surely each unlabelled image is of one of the labelled classes, by what knows no label.

Shapes: N labelled images, M unlabelled ones, K values of a sketch.
"""

import numpy as np

from fewlabels import novelty
from fewlabels.devices import resolve
from fewlabels.images import Images
from fewlabels.model import Model
from fewlabels.model_views import View
from fewlabels.progress import stage
from fewlabels.ways.usable import scores_by_new_filters

FEWEST_LABELLED = 10  # images of the classes from which it is learned what is of none


def of_a_class(
    model: Model,
    labelled: Images,
    sketches_NK: np.ndarray | None,
    unlabelled: Images,
    seen: View,
    *,
    seed: int,
    device: str = "cpu",
) -> np.ndarray:
    """The probability of each unlabelled image to be of a class, float64 (n_unlabelled,).

    By what the model's features say where these were learned without labels. A network that
    learned from the labelled images knows them by heart, so that they look unlike all others to
    it, and all of which it is unsure would be of no class: there, features of new filters of
    k-means are looked at, and with few images for that its own answers are taken.

    Parameters
    ----------
    sketches_NK : of the labelled images by the model, see `model_views`; None where the labels are
        of no use, and the model's own answers are all that there is
    seen : the model's view of the unlabelled images
    """
    labels_N = labelled.labels
    if sketches_NK is None or labels_N is None or len(labels_N) < FEWEST_LABELLED:
        return _by_its_own_word(model, seen)
    if model.head.kind == "logits":
        scores_M = scores_by_new_filters(labelled, unlabelled, seed=seed, device=resolve(device))
        return _by_its_own_word(model, seen) if scores_M is None else scores_M
    with stage("telling what is of no class", total=1):
        return novelty.scores(sketches_NK, labels_N, seen.sketches_NK, seed=seed)


def _by_its_own_word(model: Model, seen: View) -> np.ndarray:
    """By the model's largest probability: half likely where its own rule changes."""
    below = max(model.head.none_below, 1e-6)
    return np.clip(seen.probabilities_NL.max(1).astype(np.float64) / (2 * below), 0, 1)
