"""Named recipes: which ways, which network, which head, which settings; how one is changed."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from fewlabels import settings as naming
from fewlabels import trained_recipes
from fewlabels.architectures import WhitenedNetwork
from fewlabels.errors import ConfigError
from fewlabels.recipe import Recipe as Recipe
from fewlabels.recipe import from_dict as from_dict
from fewlabels.settings import settings_of as settings_of
from fewlabels.ways.filters import FiltersConfig, LayerConfig, sharp_layer
from fewlabels.ways.stack import StackConfig, StackLayerConfig


def kmeans_1() -> Recipe:
    """One layer: 1,600 filters of 6 x 6, compared by direction (Coates, Ng and Lee 2011)."""
    return Recipe(
        name="kmeans-1",
        filters=FiltersConfig(layers=(sharp_layer(1600, 6),), iterations=15),
    )


def kmeans_2() -> Recipe:
    """Two layers: the second looks at groups of channels that are strong together."""
    second = LayerConfig(
        n_filters=128,
        patch_size=5,
        padding=2,
        n_groups=32,
        channels_per_group=32,
        max_values=160,
        activation="absolute",
        pool=2,
        features_grid=3,
        features_coarse_grid=1,
        features_shift=1,
        features_statistic="max",
        n_images=4000,
        patches_per_image=3,
    )
    layers = (replace(sharp_layer(1600, 6), roots=True), second)
    return Recipe(name="kmeans-2", filters=FiltersConfig(layers=layers, iterations=15))


def kmeans_3() -> Recipe:
    """The layer of `kmeans-1`, and beside it stacks of three and of two layers."""
    layers = (StackLayerConfig(n_filters=2048), StackLayerConfig(n_filters=4096))
    second = (StackLayerConfig(n_filters=1024),)
    return replace(
        kmeans_1(),
        name="kmeans-3",
        stack=StackConfig(layers=layers),
        second_stack=StackConfig(layers=second, first="cosine", first_filters=512),
    )


def kmeans_report() -> Recipe:
    """The report's filters: 16 patches of 22 x 22 from each of 20,000 images, 1,600 centroids."""
    layer = LayerConfig(
        n_filters=1600,
        patch_size=22,
        stride=4,
        n_images=20_000,
        patches_per_image=16,
        kept_variance=0.99,
        features_grid=3,
    )
    return Recipe(name="kmeans-report", filters=FiltersConfig(layers=(layer,)))


def committee() -> Recipe:
    """The network of `labels` and the head of `kmeans-1`, which err on different images."""
    return _with_kmeans_1("committee", trained_recipes.labels())


def consistency_committee() -> Recipe:
    """The networks of `consistency` and the head of `kmeans-1`."""
    return _with_kmeans_1("consistency-committee", trained_recipes.consistency())


def _with_kmeans_1(name: str, networks: Recipe) -> Recipe:
    first = kmeans_1()
    return replace(networks, name=name, filters=first.filters, head=first.head)


AUTO = "auto"  # picks one of the others, see `auto`
# Images of so many pixels a side bear more change than icons of 32: at 96 the stronger ones brought
# one point, at 32 they took one away ("Photographs" in docs/accuracy.md). In between: not measured.
PHOTOGRAPH_SIDE = 64
PHOTOGRAPHS: Mapping[str, str] = {
    "augmentation.max_scale": "1.6",
    "augmentation.max_rotation_deg": "15",
    "augmentation.cutout": "0.5",
}
BEAR_MORE = "images of this size bear that more is changed in them"
RECIPES: dict[str, Callable[[], Recipe]] = {
    "kmeans-1": kmeans_1,
    "kmeans-2": kmeans_2,
    "kmeans-3": kmeans_3,
    "kmeans-report": kmeans_report,
    **trained_recipes.RECIPES,
    "committee": committee,
    "consistency-committee": consistency_committee,
}


def named(name: str, settings: Mapping[str, str] | None = None) -> Recipe:
    """The recipe `name`, with `settings` such as {"filters.patch_size": "22"} changed.

    A setting of layers takes one value for all of them, or one for each: "6,3,3".

    Raises ConfigError if the recipe or a setting is unknown, or a value does not fit.
    """
    if name == AUTO:
        raise ConfigError(f"{AUTO} picks a recipe for images that are there: fit with it")
    if name not in RECIPES:
        known = {**RECIPES, AUTO: None}
        raise ConfigError(f"no recipe is called {name!r}{naming.near(name, known)}")
    recipe = RECIPES[name]()
    for key, text in (settings or {}).items():
        recipe = naming.changed(recipe, key, text)
    recipe.check()
    return recipe


def of_size(name: str, image_size: tuple[int, int]) -> dict[str, str]:
    """Settings of the recipe `name` that are others for images of (height, width) pixels."""
    recipe = named(name)
    learns = recipe.labels is not None and isinstance(recipe.network, WhitenedNetwork)
    return dict(PHOTOGRAPHS) if learns and min(image_size) >= PHOTOGRAPH_SIDE else {}


def as_recipe(
    recipe: str | Recipe,
    settings: Mapping[str, str] | None = None,
    image_size: tuple[int, int] | None = None,
) -> Recipe:
    """The recipe of that name, as it is for images of this size, with the settings changed.

    A recipe object is passed through.

    Raises ConfigError where there is no such name or setting; TypeError for settings of a recipe
    object, which has its own.
    """
    if isinstance(recipe, str):
        usual = {} if image_size is None else of_size(recipe, image_size)
        return named(recipe, {**usual, **(settings or {})})
    if settings:
        raise TypeError("settings change a named recipe: give its name, or change the object")
    return recipe


def within(
    recipe: Recipe, budget_seconds: float | None, settings: Mapping[str, str] | None = None
) -> Recipe:
    """The recipe as it is under a budget of time, which takes the place of its epochs.

    Raises ConfigError where nothing learns by gradients, or `settings` give epochs too.
    """
    if budget_seconds is None:
        return recipe
    if recipe.training is None:
        raise ConfigError(
            f"a budget is for recipes that learn by gradients, and {recipe.name} takes the time "
            "it takes: leave --budget out"
        )
    for part in ("training", "rounds", "steps"):
        training = getattr(recipe, part)
        if settings and f"{part}.epochs" in settings:
            raise ConfigError(
                f"a training ends after {part}.epochs or after a --budget of time: give one of them"
            )
        if training is not None:
            recipe = replace(recipe, **{part: replace(training, epochs=0)})
    return recipe
