"""Named recipes: which filters, which head, which settings; and how a setting is changed."""

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from fewlabels.errors import ConfigError
from fewlabels.heads import HeadConfig
from fewlabels.ways.filters import FiltersConfig, LayerConfig


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that a run is made from, but for its images, labels and seed."""

    name: str
    filters: FiltersConfig
    head: HeadConfig = field(default_factory=HeadConfig)

    def as_dict(self) -> dict[str, Any]:
        """Nested dicts, lists, strings and numbers: what `config.toml` holds."""
        return _plain(asdict(self))


def kmeans_1() -> Recipe:
    """One layer: 1,600 filters of 6 x 6, compared by direction (Coates, Ng and Lee 2011)."""
    return Recipe(
        name="kmeans-1", filters=FiltersConfig(layers=(_first_layer(1600, 6),), iterations=15)
    )


def _first_layer(n_filters: int, patch_size: int) -> LayerConfig:
    return LayerConfig(
        n_filters=n_filters,
        patch_size=patch_size,
        padding=(patch_size - 1) // 2,
        whitening_epsilon=0.3,
        activation="soft-threshold",
        threshold=0.2,
        pool=3,
        features_grid=4,
        features_coarse_grid=2,
        features_shift=1,
        features_statistic="max",
    )


def kmeans_2() -> Recipe:
    """Two layers: the second looks at groups of channels that are strong together."""
    second = _deeper_layer(n_filters=256, patch_size=5, pool=2, features_grid=3)
    layers = (replace(_first_layer(1600, 6), roots=True), second)
    return Recipe(name="kmeans-2", filters=FiltersConfig(layers=layers, iterations=15))


def kmeans_3() -> Recipe:
    """Three layers, each on groups of channels of the one before."""
    second = _deeper_layer(n_filters=128, patch_size=5, pool=2, features_grid=3, roots=True)
    third = _deeper_layer(n_filters=128, patch_size=3, pool=1, features_grid=2)
    layers = (replace(_first_layer(1600, 6), roots=True), second, third)
    return Recipe(name="kmeans-3", filters=FiltersConfig(layers=layers, iterations=15))


def _deeper_layer(
    n_filters: int, patch_size: int, pool: int, features_grid: int, roots: bool = False
) -> LayerConfig:
    return LayerConfig(
        n_filters=n_filters,
        patch_size=patch_size,
        padding=patch_size // 2,
        n_groups=32,
        channels_per_group=32,
        max_values=160,
        activation="absolute",
        roots=roots,
        pool=pool,
        features_grid=features_grid,
        features_coarse_grid=1,
        features_shift=1,
        features_statistic="max",
        n_images=4000,
        patches_per_image=3,
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


RECIPES: dict[str, Callable[[], Recipe]] = {
    "kmeans-1": kmeans_1,
    "kmeans-2": kmeans_2,
    "kmeans-3": kmeans_3,
    "kmeans-report": kmeans_report,
}


def named(name: str, settings: Mapping[str, str] | None = None) -> Recipe:
    """The recipe `name`, with `settings` such as {"filters.patch_size": "22"} changed.

    A setting of layers takes one value for all of them, or one for each: "6,3,3".

    Raises ConfigError if the recipe or a setting is unknown, or a value does not fit.
    """
    if name not in RECIPES:
        raise ConfigError(f"no recipe is called {name!r}{_near(name, RECIPES)}")
    recipe = RECIPES[name]()
    for key, text in (settings or {}).items():
        recipe = _changed(recipe, key, text)
    return recipe


def from_dict(described: Mapping[str, Any]) -> Recipe:
    """The recipe that `as_dict` described.

    Raises ConfigError if the description does not fit.
    """
    try:
        filters = dict(described["filters"])
        filters["layers"] = tuple(LayerConfig(**layer) for layer in filters["layers"])
        head: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in described["head"].items()
        }
        return Recipe(
            name=described["name"], filters=FiltersConfig(**filters), head=HeadConfig(**head)
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"the recipe is not one that this fewlabels knows ({error}): use the version that "
            "wrote it, or fit again"
        ) from error


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """Every setting that can be changed, by its name in `--set`, with its value."""
    layers = recipe.filters.layers
    values: dict[str, Any] = {
        f"filters.{f.name}": [getattr(layer, f.name) for layer in layers]
        for f in fields(LayerConfig)
    }
    for part in ("filters", "head"):
        config = getattr(recipe, part)
        values |= {f"{part}.{f.name}": getattr(config, f.name) for f in fields(config)}
    del values["filters.layers"]
    return values


def _changed(recipe: Recipe, key: str, text: str) -> Recipe:
    known = settings_of(recipe)
    if key not in known:
        raise ConfigError(f"no setting is called {key!r}{_near(key, known)}")
    part, name = key.split(".", 1)
    if part == "head":
        value = _parsed(key, text, getattr(recipe.head, name))
        return replace(recipe, head=replace(recipe.head, **{name: value}))
    if name not in {f.name for f in fields(LayerConfig)}:
        value = _parsed(key, text, getattr(recipe.filters, name))
        return replace(recipe, filters=replace(recipe.filters, **{name: value}))
    layers = recipe.filters.layers
    texts = text.split(",")
    if len(texts) not in (1, len(layers)):
        raise ConfigError(
            f"{key} takes one value, or {len(layers)} for the layers of {recipe.name}; got {text!r}"
        )
    texts = texts * len(layers) if len(texts) == 1 else texts
    changed = tuple(
        replace(layer, **{name: _parsed(key, one, getattr(layer, name))})
        for layer, one in zip(layers, texts, strict=True)
    )
    return replace(recipe, filters=replace(recipe.filters, layers=changed))


def _parsed(key: str, text: str, now: Any) -> Any:
    """`text` as a value of the kind that the setting has now."""
    if isinstance(now, tuple):
        return tuple(_parsed(key, one, now[0]) for one in text.split(","))
    text = text.strip()
    if isinstance(now, bool):
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
    elif isinstance(now, str):
        return text
    else:
        try:
            value = type(now)(text)
        except ValueError:
            value = math.nan
        if math.isfinite(value):
            return value
    kind = {bool: "true or false", int: "a whole number", float: "a number"}[type(now)]
    raise ConfigError(f"{key} is {kind}, such as {now}; got {text!r}")


def _near(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    guess = f"; did you mean {close[0]!r}?" if close else "."
    return f"{guess} There are: {', '.join(known)}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return value
