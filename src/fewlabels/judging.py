"""What labelled images would be answered by what did not learn from their labels.

Shapes: N labelled images, D features, L classes.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fewlabels import features, heads
from fewlabels.devices import resolve
from fewlabels.heads import HeadConfig
from fewlabels.images import Images
from fewlabels.model import Model
from fewlabels.progress import stage
from fewlabels.ways import filters
from fewlabels.ways.usable import filters_like

ANOTHER_HEAD = HeadConfig(kind="logistic", strengths=(0.003, 0.03, 0.3))  # on a network's features
OF_FILTERS = HeadConfig(kind="kernel")
MOST_OF_FILTERS = 8000  # labelled images: the kernel has an entry for each two


def answers(
    model: Model,
    labelled: Images,
    features_ND: Tensor,
    others: Images | None,
    *,
    seed: int,
    device: str = "cpu",
) -> np.ndarray:
    """Probabilities of the classes, (N, L), by heads that learned from other labelled images.

    A network learned from every label, and its features tell: with a wrong one they look a little
    as the label says. So features of new filters of k-means have a head of their own, which learned
    no label, and the mean of both answers: of labels made wrong it found twice as many as the
    network's alone ("Labels that are wrong" in docs/accuracy.md).

    Parameters
    ----------
    features_ND : of the labelled images by the model
    others : unlabelled images for filters to learn from, if any
    """
    assert labelled.labels is not None
    names, labels_N = model.class_names, torch.from_numpy(labelled.labels)
    if model.recipe.is_committee:
        features_ND = features_ND[:, len(names) :]  # the network's logits learned from each label
    with stage("judging labels", total=1):
        found_NL = heads.out_of_fold(features_ND, labels_N, len(names), _head(model), seed=seed)
    if model.head.kind == "logits" and len(labelled) <= MOST_OF_FILTERS:
        new_ND = _by_new_filters(labelled, others or labelled, seed, resolve(device))
        if new_ND is not None:
            with stage("judging labels by filters", total=1):
                new_NL = heads.out_of_fold(new_ND, labels_N, len(names), OF_FILTERS, seed=seed)
            found_NL = (found_NL + new_NL) / 2
    return found_NL.numpy()


def _head(model: Model) -> HeadConfig:
    """The model's, with the settings that it chose, or another."""
    config, chosen = model.recipe.head, model.head.chosen
    if config is None or model.head.kind == "logits":
        return ANOTHER_HEAD
    strengths = (chosen["strength"],) if "strength" in chosen else config.strengths
    widths = (chosen["relative_width"],) if "relative_width" in chosen else config.widths
    return replace(config, strengths=strengths, widths=widths)


def _by_new_filters(labelled: Images, learned: Images, seed: int, device: str) -> Tensor | None:
    """Features of filters that were learned from images; None where these are too small."""
    config = filters_like(min(learned.size), len(learned))
    if config is None:
        return None
    graph = filters.learn(learned, config, seed=seed, device=device)
    what = "features of labelled images"
    return features.extract(graph, labelled, flips=True, device=device, what=what)
