"""Whether a set has the images that a recipe needs, known before anything is learned."""

import numpy as np

from fewlabels.errors import DataError
from fewlabels.images import Images, ImageSet
from fewlabels.recipe import Recipe
from fewlabels.splits import Plan
from fewlabels.ways.filters import LayerConfig
from fewlabels.ways.stack import StackLayerConfig, first_layer


def check_enough(image_set: ImageSet, recipe: Recipe, plan: Plan, pool: Images) -> None:
    """Raises DataError where the labels are of one class, or images too few for a part."""
    assert image_set.train.labels is not None
    for number, fold in zip(plan.numbers, plan.folds, strict=True):
        if len(np.unique(image_set.train.labels[fold])) < 2:
            raise DataError(f"the labelled images of fold {number} are of fewer than 2 classes")
    if recipe.surrogates is not None and len(pool) < recipe.surrogates.n_classes:
        raise DataError(
            f"{recipe.surrogates.n_classes:,} surrogate classes need as many images, and "
            f"{len(pool):,} are left (--set surrogates.n_classes={len(pool)} for so many)"
        )
    filters = () if recipe.filters is None else recipe.filters.layers
    asked: list[tuple[str, LayerConfig | StackLayerConfig]]
    asked = [("filters.n_filters", layer) for layer in filters]
    for part, stack in recipe.stacks.items():
        asked.append((f"{part}.first_filters", first_layer(stack)))
        asked += [(f"{part}.n_filters", layer) for layer in stack.layers]
    for setting, layer in asked:
        n_patches = min(len(pool), layer.n_images) * layer.patches_per_image
        if n_patches < layer.n_filters:
            raise DataError(
                f"{layer.n_filters:,} filters need as many patches, and {len(pool):,} images give "
                f"{n_patches:,} (--set {setting}={n_patches} for so many)"
            )
