"""A head for each fold: alone on features that all folds share, or beside the fold's own network.

Shapes: N images, D features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from fewlabels import committee, features, heads, splits
from fewlabels.graph import Graph
from fewlabels.heads import Head
from fewlabels.images import Images, ImageSet
from fewlabels.recipes import Recipe
from fewlabels.ways import filters
from fewlabels.ways import labels as labels_way

Learned = tuple[Graph, Head, Mapping[str, Any]]  # and facts of the training


def fit(
    graph: Graph,
    image_set: ImageSet,
    recipe: Recipe,
    plan: splits.Plan,
    *,
    seed: int,
    device: str = "cpu",
) -> list[Head]:
    """A head per fold; features of images that are in several folds are computed once."""
    train = image_set.train
    assert train.labels is not None and recipe.head is not None
    used = np.unique(np.concatenate(plan.folds))
    features_ND = features.extract(
        graph,
        train if len(used) == len(train) else train.take(used),
        flips=recipe.flips,
        device=device,
        what="features of labelled images",
    )
    learned = []
    for fold in plan.folds:
        rows = torch.from_numpy(np.searchsorted(used, fold))
        labels_N = torch.from_numpy(train.labels[fold])
        n_classes = len(image_set.class_names)
        learned.append(heads.fit(features_ND[rows], labels_N, n_classes, recipe.head, seed=seed))
    return learned


def join(
    networks: Sequence[Learned],
    image_set: ImageSet,
    recipe: Recipe,
    plan: splits.Plan,
    pool: Images,
    *,
    seed: int,
    device: str,
    precision: str,
) -> list[Learned]:
    """The network of each fold in a committee with a head on filters, which all folds share.

    Of what a network held out of its labels, the head does not learn either: these images tell how
    sure both together may be. With too few labels to hold some out, the committee is as sure as the
    product of its members.

    Parameters
    ----------
    networks : one per fold of the plan, learned with this seed
    pool : what the filters learn from
    """
    assert recipe.filters is not None and image_set.train.labels is not None
    how: dict[str, Any] = {"seed": seed, "device": device}
    filled = filters.learn(pool, recipe.filters, precision=precision, **how)
    apart, kept = list[np.ndarray](), list[np.ndarray]()
    for fold in plan.folds:
        held = _held_out(image_set.train.labels[fold], recipe, seed)
        apart.append(fold[held])
        kept.append(np.delete(fold, held))
    members = fit(filled, image_set, recipe, replace(plan, folds=tuple(kept)), **how)
    joined: list[Learned] = []
    for (network, head, facts), member, held in zip(networks, members, apart, strict=True):
        graph = committee.joined_graph(network, filled)
        head = committee.joined_head(head, member)
        if len(held):
            images = image_set.train.take(held)
            assert images.labels is not None
            rows_ND = features.extract(
                graph,
                images,
                flips=recipe.flips,
                device=device,
                what="fitting the temperature of both",
            )
            head = committee.calibrated(head, rows_ND, torch.from_numpy(images.labels))
        joined.append((graph, head, facts))
    return joined


def _held_out(labels_N: np.ndarray, recipe: Recipe, seed: int) -> np.ndarray:
    """Indices of images that no network of the recipe learned from.

    `consistency` learns as `labels` does where it finds no use for the unlabelled images, and each
    holds out its own number of each class. These are drawn in the same order, so that the fewer
    are among the more.
    """
    assert recipe.labels is not None
    held, config = labels_way.held_out(labels_N, recipe.labels.held_out, seed), recipe.consistency
    if config is None:
        return held
    others = labels_way.held_out(labels_N, config.held_out, seed, config.most_held_out)
    return np.intersect1d(held, others)
