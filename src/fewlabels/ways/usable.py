"""Which unlabelled images belong to a class at all, and how often each class is among them.

Shapes: M unlabelled images, L classes.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fewlabels.graph import Graph
from fewlabels.images import Images
from fewlabels.joined import Joined
from fewlabels.progress import say
from fewlabels.ways import pseudo_labels
from fewlabels.ways.consistency_config import ConsistencyConfig
from fewlabels.ways.course import Course

N_LOOKED_AT = 5000  # images whose answers tell how often each class is among them


@dataclass(frozen=True, kw_only=True, eq=False)
class Usable:
    """Unlabelled images that may be of a class: `weights`, float32 (n_images,), tell how surely."""

    images: Images
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.weights)


def in_class_weights(course: Course, baseline: Graph, unlabelled: Images) -> np.ndarray:
    """How surely each unlabelled image belongs to one of the labelled classes: (n_images,)."""
    return np.ones(len(unlabelled), np.float32)


def usable(course: Course, baseline: Graph, unlabelled: Images) -> Usable:
    """The images that belong to a class with at least `least_weight`; the pixels stay where they
    are.
    """
    weights_M = in_class_weights(course, baseline, unlabelled).astype(np.float32)
    least = course.parts.consistency.least_weight
    chosen = np.flatnonzero((weights_M >= least) & (weights_M > 0))
    if 0 < len(chosen) < len(weights_M):
        say(
            f"{len(weights_M) - len(chosen):,} of {len(weights_M):,} unlabelled images seem to "
            "belong to no class, and take no part"
        )
    pixels = Joined([unlabelled.pixels], chosen)
    return Usable(images=Images(pixels=pixels), weights=weights_M[chosen])


def mean_answer(course: Course, baseline: Graph, usable: Usable) -> Tensor:
    """The mean probabilities of the classes for some of the images, each with its weight."""
    draw = np.random.default_rng(course.seed)
    chosen = np.sort(draw.permutation(len(usable))[:N_LOOKED_AT])
    some = Images(pixels=Joined([usable.images.pixels], chosen))
    answers_ML = course.answers(baseline, some, "answers to unlabelled images")
    return pseudo_labels.weighted_mean(answers_ML, torch.from_numpy(usable.weights[chosen]))


def aligns(config: ConsistencyConfig, mean_L: Tensor, prior_L: Tensor) -> bool:
    """Whether answers are aligned; for "auto", where the mean answer is near the labels' shares."""
    if config.alignment != "auto":
        return config.alignment == "on"
    moved = pseudo_labels.imbalance(mean_L, prior_L)
    balanced = moved <= config.balance_tolerance
    verdict, aligned = ("", "are") if balanced else ("not ", "are not")
    say(
        f"the unlabelled images are {verdict}shared among the classes as the labels are: "
        f"{100 * moved:.0f} % of the answers lie elsewhere, so answers {aligned} aligned"
    )
    return balanced
