"""Which unlabelled images belong to a class at all, and how often each class is among them.

Shapes: M unlabelled images, L classes.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fewlabels import novelty
from fewlabels.graph import Graph
from fewlabels.images import Images
from fewlabels.joined import Joined
from fewlabels.progress import say, stage
from fewlabels.sketches import sketches_by
from fewlabels.ways import filters, pseudo_labels
from fewlabels.ways.consistency_config import ConsistencyConfig
from fewlabels.ways.course import Course

N_FILTERS, PATCH_SIZE, PATCHES_PER_IMAGE = 400, 6, 8
# for the images of no class to be looked for: with fewer, those of the classes are taken for them
LEAST_LABELS, LEAST_UNLABELLED = 20, 1000
# So many images tell first whether some are of no class. Where a twentieth are, these pass for
# images of the classes anyway, and to look at 46,000 takes an eighth of half an hour on a processor
# without bf16 ("Images of no class" in docs/accuracy.md).
N_SAMPLED, NEARLY_ALL = 2000, 0.98
N_LOOKED_AT = 5000  # images whose answers tell how often each class is among them
# A class that has less than this part of its share among the labels is missing: of CIFAR-10 a class
# left out seemed to have 0.00 to 0.03 of it, a tenth of one 0.07 to 0.14, half of one 0.43 to 0.58
# ("A class that is missing" in docs/accuracy.md). A network of few labels prefers some classes, and
# that exaggerates the shares: its mean answer is not as low.
MISSING, LOW = 0.2, 0.6
LEAST_EXPECTED = 20  # images of a class, for it to be missing


@dataclass(frozen=True, kw_only=True, eq=False)
class Usable:
    """Unlabelled images that may be of a class.

    weights : float32 (n_images,), how surely
    share : of all unlabelled images
    """

    images: Images
    weights: np.ndarray
    share: float = 1.0

    def __len__(self) -> int:
        return len(self.weights)


def in_class_weights(course: Course, unlabelled: Images) -> np.ndarray:
    """The probability that each unlabelled image belongs to one of the labelled classes: (M,).

    1 for all where there are too few images, or too small ones, to tell, and where nearly all of
    some that are looked at first belong to one.
    """
    labelled = Images(pixels=course.pixels, labels=course.labels)
    how = {key: course.how[key] for key in ("seed", "device", "precision")}
    if len(unlabelled) > 2 * N_SAMPLED:
        sample, _ = drawn(unlabelled, N_SAMPLED, course.seed)
        scores_S = scores_by_new_filters(labelled, sample, **how)
        least = course.parts.consistency.least_weight
        if scores_S is not None and (scores_S >= least).mean() >= NEARLY_ALL:
            say(
                f"hardly one of {N_SAMPLED:,} unlabelled images seems to belong to no class: all "
                "take part"
            )
            return np.ones(len(unlabelled), np.float32)
    scores_M = scores_by_new_filters(labelled, unlabelled, **how)
    if scores_M is None:
        say(
            "too few or too small images to tell which unlabelled ones are of no class: "
            "all take part"
        )
        return np.ones(len(unlabelled), np.float32)
    return scores_M


def scores_by_new_filters(
    labelled: Images, unlabelled: Images, *, seed: int, device: str, precision: str = "auto"
) -> np.ndarray | None:
    """The probability of each unlabelled image to be of a labelled class: (M,).

    None where there are too few images, or too small ones, to tell.

    By features of k-means filters that are learned here, not by a network: it has learned the
    labelled images by heart, so that they look unlike all others to it.

    device : "cpu" or "cuda"
    """
    labels_N = labelled.labels
    if labels_N is None or len(labels_N) < LEAST_LABELS or len(unlabelled) < LEAST_UNLABELLED:
        return None
    config = filters_like(min(unlabelled.size), len(unlabelled))
    if config is None:
        return None
    how: dict[str, Any] = {"seed": seed, "device": device}
    graph = filters.learn(unlabelled, config, **how, precision=precision)
    labelled_NK, unlabelled_MK = (
        sketches_by(graph, images, flips=True, what=f"features of {what} images", **how)
        for images, what in ((labelled, "labelled"), (unlabelled, "unlabelled"))
    )
    with stage("telling what is of no class", total=1):
        return novelty.scores(labelled_NK, labels_N, unlabelled_MK, seed=seed)


def filters_like(side: int, n_images: int) -> filters.FiltersConfig | None:
    """Settings of the filters, fewer for few images; None where images are smaller than one."""
    layer = replace(
        filters.sharp_layer(min(N_FILTERS, n_images * PATCHES_PER_IMAGE), PATCH_SIZE),
        stride=max(1, round(side / 48)),  # larger images show the same in larger steps
        n_images=3000,
        patches_per_image=PATCHES_PER_IMAGE,
    )
    if side < PATCH_SIZE:
        return None
    return filters.FiltersConfig(layers=(layer,), iterations=15)


def usable(course: Course, unlabelled: Images) -> Usable:
    """The images that belong to a class with at least `least_weight`; the pixels stay where they
    are.
    """
    least = course.parts.consistency.least_weight
    weights_M = np.ones(len(unlabelled), np.float32)
    if least:
        weights_M = in_class_weights(course, unlabelled).astype(np.float32)
    chosen = np.flatnonzero((weights_M >= least) & (weights_M > 0))
    if 0 < len(chosen) < len(weights_M):
        say(
            f"{len(weights_M) - len(chosen):,} of {len(weights_M):,} unlabelled images seem to "
            "belong to no class, and take no part"
        )
    pixels = Joined([unlabelled.pixels], chosen)
    share = len(chosen) / max(1, len(weights_M))
    return Usable(images=Images(pixels=pixels), weights=weights_M[chosen], share=share)


def drawn(images: Images, n_images: int, seed: int) -> tuple[Images, np.ndarray]:
    """So many of the images, or all there are, whose pixels stay where they are; their indices."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(images))[:n_images])
    return Images(pixels=Joined([images.pixels], chosen)), chosen


def answers_to_some(course: Course, baseline: Graph, usable: Usable) -> tuple[Tensor, Tensor]:
    """What the baseline answers to some of the images, (M, L), and the weight of each, (M,)."""
    some, chosen = drawn(usable.images, N_LOOKED_AT, course.seed)
    answers_ML = course.answers(baseline, some, "answers to unlabelled images")
    return answers_ML, torch.from_numpy(usable.weights[chosen])


def target_shares(
    config: ConsistencyConfig,
    mean_L: Tensor,
    likely_L: Tensor,
    prior_L: Tensor,
    n_images: float = math.inf,
) -> Tensor | None:
    """The shares of the classes that the answers are brought to; None to leave them as they are.

    For "auto" the labels' shares where the mean answer is near them, and the likely ones where a
    class is missing: else other classes' images would be taken for its own.

    Parameters
    ----------
    mean_L : the mean answer, as sure as it is right
    likely_L : as `pseudo_labels.likely_shares`, which tell whether a class is missing
    n_images : that both were told by; a class of few of them may be missing by chance
    """
    if config.alignment != "auto":
        return prior_L if config.alignment == "on" else None
    moved = pseudo_labels.imbalance(mean_L, prior_L)
    missing_L = (likely_L < MISSING * prior_L) & (mean_L < LOW * prior_L)
    n_missing = int((missing_L & (prior_L * n_images >= LEAST_EXPECTED)).sum())
    if n_missing:
        say(
            f"of {n_missing} of the {len(prior_L)} classes there is hardly an unlabelled image, it "
            "seems, so hardly one is taken for them"
        )
        return likely_L
    balanced = moved <= config.balance_tolerance
    verdict, aligned = ("", "are") if balanced else ("not ", "are not")
    say(
        f"the unlabelled images are {verdict}shared among the classes as the labels are: "
        f"{100 * moved:.0f} % of the answers lie elsewhere, so answers {aligned} aligned"
    )
    return prior_L if balanced else None
