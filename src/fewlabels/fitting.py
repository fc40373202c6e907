"""A set and a recipe -> models: the label-free part once, then a head per fold.

The folds share one graph, and the features of an image are computed once for all of them.
"""

from collections.abc import Mapping

import numpy as np
import torch

from fewlabels import features, heads, recipes, splits
from fewlabels.devices import resolve
from fewlabels.errors import ConfigError
from fewlabels.graph import Graph
from fewlabels.heads import Head
from fewlabels.images import Images, ImageSet
from fewlabels.model import Model
from fewlabels.progress import say
from fewlabels.recipes import Recipe
from fewlabels.ways import filters


def fit(
    image_set: ImageSet,
    recipe: str | Recipe = "kmeans-1",
    *,
    labels: int | None = None,
    fold: int | None = None,
    protocol: str | None = None,
    seed: int = 0,
    settings: Mapping[str, str] | None = None,
    device: str = "cpu",
    precision: str = "auto",
) -> Model:
    """Learn a model from a set.

    Parameters
    ----------
    recipe : a name, or a recipe of one's own
    labels : how many labels to use, drawn evenly over the classes; fold : the number of a given
        labelled subset; protocol : a named one, see `splits.plan`. All labels if none is given.
    settings : changes to a named recipe, such as {"filters.patch_size": "8"}

    Raises DataError, ConfigError where the set, the recipe or the settings do not fit.
    """
    folds = None if fold is None else (fold,)
    plan = splits.plan(image_set, labels=labels, folds=folds, protocol=protocol, seed=seed)
    if len(plan.folds) > 1:
        raise ConfigError(f"{plan.protocol} has {len(plan.folds)} folds: say which one (--fold)")
    chosen = as_recipe(recipe, settings)
    return fit_folds(image_set, chosen, plan, seed=seed, device=device, precision=precision)[0]


def as_recipe(recipe: str | Recipe, settings: Mapping[str, str] | None = None) -> Recipe:
    """The recipe of that name with the settings changed; a recipe is passed through.

    Raises ConfigError where there is no such name or setting; TypeError for settings of a recipe
    object, which has its own.
    """
    if isinstance(recipe, str):
        return recipes.named(recipe, settings or {})
    if settings:
        raise TypeError("settings change a named recipe: give its name, or change the object")
    return recipe


def fit_folds(
    image_set: ImageSet,
    recipe: Recipe,
    plan: splits.Plan,
    *,
    pool: Images | None = None,
    seed: int = 0,
    device: str = "cpu",
    precision: str = "auto",
) -> tuple[Model, ...]:
    """A model per fold of the plan; all share one graph, learned once.

    Parameters
    ----------
    pool : what the label-free part learns from; `splits.pool` of the set if None
    """
    device = resolve(device)
    if image_set.unlabeled is None:
        say("there are no unlabelled images: the filters learn from the training images alone")
    if pool is None:
        pool = splits.pool(image_set, plan.withheld)
    graph = filters.learn(pool, recipe.filters, seed=seed, device=device, precision=precision)
    return tuple(
        Model(
            graph=graph,
            head=head,
            class_names=image_set.class_names,
            recipe=recipe,
            image_size=image_set.train.size,
        )
        for head in fit_heads(graph, image_set, recipe, plan, seed=seed, device=device)
    )


def fit_heads(
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
    assert train.labels is not None
    used = np.unique(np.concatenate(plan.folds))
    features_ND = features.extract(
        graph,
        train if len(used) == len(train) else train.take(used),
        flips=recipe.head.flips,
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
