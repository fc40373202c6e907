"""A set and a recipe -> models: the label-free part once, then what needs labels for each fold.

Where that is a head, the folds share one graph, and the features of an image are computed once for
all of them; where the network itself learns from labels, each fold has a graph of its own.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fewlabels import auto, deciding, fold_heads, origins, promise, splits
from fewlabels.architectures import ExemplarNetwork, WhitenedNetwork
from fewlabels.checkpoints import precision_in
from fewlabels.devices import resolve
from fewlabels.enough import check_enough
from fewlabels.errors import ConfigError
from fewlabels.graph import Graph
from fewlabels.heads import Head
from fewlabels.images import Images, ImageSet
from fewlabels.model import Model
from fewlabels.precision import choose
from fewlabels.progress import say
from fewlabels.recipes import Recipe
from fewlabels.recipes import as_recipe as as_recipe
from fewlabels.recipes import within as within
from fewlabels.training import Measure
from fewlabels.ways import (
    consistency,
    filters,
    first_layers,
    selfsupervised,
    stack,
    starts,
    surrogate,
)
from fewlabels.ways import labels as labels_way


def fit(
    image_set: ImageSet,
    recipe: str | Recipe = "auto",
    *,
    labels: int | None = None,
    fold: int | None = None,
    protocol: str | None = None,
    seed: int = 0,
    settings: Mapping[str, str] | None = None,
    device: str = "cpu",
    precision: str = "auto",
    budget_seconds: float | None = None,
    checkpoints: str | Path | None = None,
    resume: bool = False,
) -> Model:
    """Learn a model from a set.

    Parameters
    ----------
    recipe : a name, or a recipe of one's own; "auto" picks one by the images, the machine and the
        time
    labels : how many labels to use, drawn evenly over the classes; fold : the number of a given
        labelled subset; protocol : a named one, see `splits.plan`. All labels if none is given.
    settings : changes to a named recipe, such as {"filters.patch_size": "8"}
    budget_seconds : for all of this with "auto", half an hour or less if None; else for the
        training, in place of `training.epochs`, and only where one learns by gradients
    checkpoints : folder where the training writes, now and then, where it stands; resume : go on
        from there

    Raises
    ------
    DataError, ConfigError : the set, the recipe or the settings do not fit
    CheckpointError : the checkpoints are of another run, or cannot be written
    """
    began = promise.now()
    folds = None if fold is None else (fold,)
    plan = splits.plan(image_set, labels=labels, folds=folds, protocol=protocol, seed=seed)
    if len(plan.folds) > 1:
        raise ConfigError(f"{plan.protocol} has {len(plan.folds)} folds: say which one (--fold)")
    folder = None if checkpoints is None else Path(checkpoints)
    how: dict[str, Any] = {"seed": seed, "device": resolve(device), "precision": precision}
    how |= {"resume": resume}
    record: Mapping[str, Any] = {}
    if recipe == auto.NAME:
        auto.check_settings(settings or {})
        asked = deciding.Asked(settings=dict(settings or {}), budget_seconds=budget_seconds)
        beside = deciding.Beside(writing=0.0)
        decided = deciding.decide(
            image_set, plan, asked, began=began, beside=beside, folder=folder, **how
        )
        chosen, budget_seconds = decided.recipe, decided.seconds
        record = {auto.NAME: decided.record}
    else:
        sized = as_recipe(recipe, settings, image_set.train.size)
        chosen = within(sized, budget_seconds, settings)
    (model,) = fit_folds(
        image_set, chosen, plan, budget_seconds=budget_seconds, checkpoints=folder, **how
    )
    return replace(model, info={**model.info, **record})


def precision_of(asked: str, device: str, checkpoints: Path | None, resume: bool) -> str:
    """The one precision of a run, "fp32" or "bf16": for "auto" that of the run that is resumed,
    else what is faster on this machine now.
    """
    found = precision_in(checkpoints) if resume and checkpoints is not None else None
    return choose(found if found is not None and asked == "auto" else asked, device)


def fit_folds(
    image_set: ImageSet,
    recipe: Recipe,
    plan: splits.Plan,
    *,
    pool: Images | None = None,
    seed: int = 0,
    device: str = "cpu",
    precision: str = "auto",
    budget_seconds: float | None = None,
    checkpoints: Path | None = None,
    resume: bool = False,
    measure: Measure | None = None,
) -> tuple[Model, ...]:
    """A model per fold of the plan; what needs no labels is learned once for all.

    Parameters
    ----------
    pool : what the label-free part learns from; `splits.pool` of the set if None
    budget_seconds : of each training; with a recipe whose `training.epochs` are 0
    checkpoints : folder for those of each training, in folders of their own
    measure : see `training.train`; of the networks that learn from labels
    """
    recipe.check()
    device = resolve(device)
    precision = precision_of(precision, device, checkpoints, resume)
    if image_set.unlabeled is None:
        say(
            "the set has no unlabelled images: the training images without their labels take their "
            "place"
        )
    if pool is None:
        pool = splits.pool(image_set, plan.withheld)
    check_enough(image_set, recipe, plan, pool)
    how = {"seed": seed, "device": device, "precision": precision}
    trained = {"budget_seconds": budget_seconds, "resume": resume}
    learned: list[tuple[Graph, Head, Mapping[str, Any]]]
    if recipe.labels is not None:
        learned = _learn_from_labels(
            image_set, recipe, plan, pool, how, {**trained, "measure": measure}, checkpoints
        )
    else:
        way = "surrogate" if recipe.selfsupervised is None else "selfsupervised"
        folder = None if checkpoints is None else checkpoints / way
        graph = _learn_features(pool, recipe, how, {**trained, "folder": folder})
        found = fold_heads.fit(graph, image_set, recipe, plan, seed=seed, device=device)
        learned = [(graph, head, {}) for head in found]
    return tuple(
        Model(
            graph=graph,
            head=head,
            class_names=image_set.class_names,
            recipe=recipe,
            image_size=image_set.train.size,
            info={"learned": facts} if facts else {},
        )
        for graph, head, facts in learned
    )


def _learn_features(
    pool: Images, recipe: Recipe, how: Mapping[str, Any], trained: Mapping[str, Any]
) -> Graph:
    """The frozen graph from images to features, learned without labels."""
    if recipe.selfsupervised is not None:
        assert recipe.training is not None and recipe.augmentation is not None
        assert isinstance(recipe.network, WhitenedNetwork)
        return selfsupervised.learn(
            pool,
            recipe.selfsupervised,
            recipe.network,
            recipe.training,
            recipe.augmentation,
            **how,
            **trained,
        )
    if recipe.surrogate is None:
        assert recipe.filters is not None
        graph = filters.learn(pool, recipe.filters, **how)
        for name, config in recipe.stacks.items():
            graph = stack.learn(pool, graph, config, name=name, **how)
        return graph
    assert recipe.surrogates is not None and recipe.training is not None
    assert isinstance(recipe.network, ExemplarNetwork)
    return surrogate.learn(
        pool,
        recipe.surrogates,
        recipe.network,
        recipe.surrogate,
        recipe.training,
        **how,
        **trained,
    )


def _learn_from_labels(
    image_set: ImageSet,
    recipe: Recipe,
    plan: splits.Plan,
    pool: Images,
    how: Mapping[str, Any],
    trained: Mapping[str, Any],
    checkpoints: Path | None,
) -> list[tuple[Graph, Head, Mapping[str, Any]]]:
    """A trained network, its head and facts per fold; first layers start from the same filters."""
    assert recipe.labels is not None and recipe.training is not None
    assert recipe.augmentation is not None and recipe.network is not None
    assert not isinstance(recipe.network, ExemplarNetwork)
    if recipe.consistency is None:
        start = first_layers.first_layer(pool, recipe.network, recipe.filters, **how)
    else:
        start = starts.first_layer(pool, recipe.consistency_parts(), **how)
    # one that is drawn by the seed has nothing to do with unlabelled images
    made_from = {} if start is None else {"unlabelled images": origins.of_images(pool.pixels)}
    learned: list[tuple[Graph, Head, Mapping[str, Any]]] = []
    for number, fold in zip(plan.numbers, plan.folds, strict=True):
        if len(plan.folds) > 1:
            say(f"fold {number}")
        labelled = image_set.train.take(fold)
        n_classes = len(image_set.class_names)
        each = {**how, **trained, "made_from": made_from}
        each["folder"] = None if checkpoints is None else checkpoints / f"fold-{number}"
        if recipe.consistency is not None:
            others = splits.unlabelled(image_set, pool, fold)
            parts = recipe.consistency_parts()
            found = consistency.learn(labelled, others, n_classes, parts, start, **each)
            learned.append((found.graph, found.head, found.facts))
            continue
        graph, head = labels_way.learn(
            labelled,
            n_classes,
            recipe.network,
            start,
            recipe.labels,
            recipe.training,
            recipe.augmentation,
            filters_config=recipe.filters,
            **each,
        )
        learned.append((graph, head, {}))
    if recipe.is_committee:
        return fold_heads.join(learned, image_set, recipe, plan, pool, **how)
    return learned
