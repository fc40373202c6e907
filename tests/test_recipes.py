"""Recipes: settings are changed by name, kept as plain data, and refused in one line."""

import json
import tomllib
from dataclasses import fields, replace

import pytest
import tomli_w

from fewlabels import recipes
from fewlabels.errors import ConfigError
from fewlabels.heads import HeadConfig
from fewlabels.recipes import Recipe
from fewlabels.training_config import n_epochs
from fewlabels.ways.filters import FiltersConfig, LayerConfig

NAMES = sorted(recipes.RECIPES)
MANY = ["kmeans-2"]  # of several layers
# of each setting that takes only some values, another than the usual one
OTHER = {
    "filters.activation": "triangle",
    "filters.features_statistic": "mean",
    "filters.start": "k-means++",
    "filters.kept_variance": "0.75",
    "filters.roots": "true",
    "head.kind": "logistic",
    "head.flips": "false",
}


def other(key: str, value: object) -> str:
    """Text of another value for a setting."""
    if key in OTHER:
        return OTHER[key] if OTHER[key] != str(value) else "k-means++"
    one = value[0] if isinstance(value, list | tuple) else value
    return f"{one + 1}"


def refusal(name: str, settings: dict[str, str]) -> str:
    with pytest.raises(ConfigError) as raised:
        recipes.named(name, settings)
    assert "\n" not in str(raised.value)
    return str(raised.value)


# --- the recipes


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_has_the_name_that_it_is_asked_for_by(name: str):
    assert name == recipes.named(name).name


def test_the_report_s_numbers_are_those_of_the_report():
    recipe = recipes.named("kmeans-report")

    (layer,) = recipe.filters.layers
    assert (22, 16, 20_000, 1600) == (
        layer.patch_size, layer.patches_per_image, layer.n_images, layer.n_filters
    )  # fmt: skip


@pytest.mark.parametrize(("name", "n_layers"), [("kmeans-1", 1), ("kmeans-2", 2), ("kmeans-3", 3)])
def test_a_recipe_is_as_deep_as_its_name_says(name: str, n_layers: int):
    recipe = recipes.named(name)

    stack = 0 if recipe.stack is None else 1 + len(recipe.stack.layers)  # and its first
    assert n_layers == max(len(recipe.filters.layers), stack)


def test_kmeans_1_has_1600_filters_of_6_x_6():
    (layer,) = recipes.named("kmeans-1").filters.layers

    assert (1600, 6) == (layer.n_filters, layer.patch_size)


# --- as data


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_kept_by_toml_and_by_json(name: str):
    recipe = recipes.named(name)
    described = recipe.as_dict()

    assert recipe == recipes.from_dict(described)
    assert recipe == recipes.from_dict(tomllib.loads(tomli_w.dumps(described)))
    assert recipe == recipes.from_dict(json.loads(json.dumps(described)))


@pytest.mark.parametrize("key", sorted(recipes.settings_of(recipes.named("kmeans-1"))))
def test_every_setting_can_be_changed_and_is_kept(key: str):
    before = recipes.settings_of(recipes.named("kmeans-1"))

    changed = recipes.named("kmeans-1", {key: other(key, before[key])})

    after = recipes.settings_of(changed)
    assert [key] == [name for name in before if before[name] != after[name]]
    assert changed == recipes.from_dict(changed.as_dict())


def test_every_setting_has_a_name():
    names = set(recipes.settings_of(recipes.named("kmeans-1")))

    layers = {f.name for f in fields(LayerConfig)}
    ways = {f.name for f in fields(FiltersConfig)} - {"layers"}
    assert {f"filters.{n}" for n in layers | ways} | {
        f"head.{f.name}" for f in fields(HeadConfig)
    } == names
    # one name says one thing
    assert not layers & ways


@pytest.mark.parametrize("config", [LayerConfig, FiltersConfig, HeadConfig])
def test_usual_values_are_of_the_type_that_they_are_declared_with(config: type):
    # `--set` reads a text as what the setting is now: 0 for 0.0 would refuse 0.5
    for field in fields(config):
        if isinstance(field.default, bool | int | float | str):
            assert field.type in (type(field.default), type(field.default).__name__), field.name


@pytest.mark.parametrize(
    "described",
    [
        {},
        {"name": "kmeans-1", "filters": {}, "head": {}},
        {"name": "kmeans-1", "filters": {"layers": ["a"]}, "head": {}},
        {"name": "kmeans-1", "filters": {"layers": [{"n_filters": 3}]}, "head": {}},
        {"name": "kmeans-1", "filters": {"layers": []}, "head": {"sort": "ridge"}},
        {"name": "kmeans-1", "filters": None, "head": None},
    ],
)
def test_a_description_that_does_not_fit_is_refused_in_one_line(described: dict):
    with pytest.raises(ConfigError) as raised:
        recipes.from_dict(described)

    assert "\n" not in str(raised.value)


# --- changing settings


def test_one_value_is_taken_for_all_layers_and_several_one_by_one():
    name = MANY[0]
    n_layers = len(recipes.named(name).filters.layers)

    same = recipes.named(name, {"filters.patch_size": "5"})
    each = recipes.named(name, {"filters.patch_size": ",".join(map(str, range(2, 2 + n_layers)))})

    assert [5] * n_layers == [layer.patch_size for layer in same.filters.layers]
    assert list(range(2, 2 + n_layers)) == [layer.patch_size for layer in each.filters.layers]


def test_another_number_of_values_than_layers_is_refused():
    assert (
        "filters.patch_size takes one value, or 1 for the layers of kmeans-1; got '6,3'"
        == refusal("kmeans-1", {"filters.patch_size": "6,3"})
    )


def test_values_are_read_by_their_kind():
    recipe = recipes.named(
        "kmeans-1",
        {
            "head.strengths": "0.5, 1",
            "head.flips": " False ",
            "head.kind": "ridge",
            "filters.iterations": "7",
            "filters.whitening_epsilon": "1",
        },
    )

    assert (0.5, 1.0) == recipe.head.strengths
    assert recipe.head.flips is False
    assert "ridge" == recipe.head.kind
    assert 7 == recipe.filters.iterations
    assert isinstance(recipe.filters.layers[0].whitening_epsilon, float)


def test_settings_leave_the_named_recipe_as_it_is():
    before = recipes.named("kmeans-1")

    recipes.named("kmeans-1", {"filters.patch_size": "9"})

    assert before == recipes.named("kmeans-1")
    assert isinstance(before, Recipe)


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("filters.patch_sze", "filters.patch_size"),
        ("patch_size", "filters.patch_size"),
        ("head.strength", "head.strengths"),
    ],
)
def test_a_misspelt_setting_is_answered_with_the_nearest(key: str, near: str):
    message = refusal("kmeans-1", {key: "3"})

    assert message.startswith(f"no setting is called {key!r}; did you mean {near!r}? There are: ")


def test_a_name_like_no_other_is_answered_with_all():
    assert "no setting is called 'x'. There are: filters." in refusal("kmeans-1", {"x": "3"})
    assert "head.widths" in refusal("kmeans-1", {"x": "3"})


@pytest.mark.parametrize("name", ["labels", "consistency", "committee"])
def test_photographs_are_changed_more_than_icons(name: str):
    icons = recipes.as_recipe(name, {}, (32, 32)).augmentation
    photographs = recipes.as_recipe(name, {"augmentation.cutout": "0.1"}, (64, 96)).augmentation

    assert recipes.named(name).augmentation == icons
    assert replace(icons, max_scale=1.6, max_rotation_deg=15.0, cutout=0.1) == photographs


@pytest.mark.parametrize("name", ["kmeans-1", "report-2", "surrogate", "selfsupervised"])
def test_other_recipes_are_as_they_are_named_for_all_sizes(name: str):
    assert recipes.named(name) == recipes.as_recipe(name, {}, (96, 96))


def test_a_misspelt_recipe_is_answered_with_the_nearest():
    assert refusal("kmean-1", {}).startswith(
        "no recipe is called 'kmean-1'; did you mean 'kmeans-1'? There are: kmeans-1, "
    )


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("filters.patch_size", "six", "filters.patch_size is a whole number, such as 6; got 'six'"),
        ("filters.patch_size", "6.5", "is a whole number, such as 6; got '6.5'"),
        ("filters.whitening_epsilon", "a", "filters.whitening_epsilon is a number, such as"),
        ("filters.whitening_epsilon", "nan", "is a number, such as 0.3; got 'nan'"),
        ("head.strengths", "0.1,inf", "head.strengths is a number, such as"),
        ("head.strengths", "", "head.strengths is a number, such as"),
        ("head.flips", "yes", "head.flips is true or false, such as True; got 'yes'"),
        ("head.kind", "tree", "head.kind is one of ridge, kernel, logistic; got 'tree'"),
        ("head.folds", "1", "head.folds is at least 2; got 1"),
        ("head.strengths", "0.1,-1", "head.strengths are numbers over 0, at least one; got"),
        ("filters.patch_size", "0", "filters.patch_size is at least 1; got 0"),
        ("filters.start", "random", "filters.start is one of sampled, k-means++; got 'random'"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_in_one_line(key: str, text: str, expected: str):
    assert expected in refusal("kmeans-1", {key: text})


@pytest.mark.parametrize(
    ("recipe", "n_labels", "steps"),
    [
        # held out, up to 8 and a twentieth of a class: 0 of 100 labels, 50 of 1,000, 80 of 4,000
        ("labels", 100, 300),
        ("labels", 950, 300),
        ("labels", 3920, 900),
        ("report-2", 100, 300),
        ("report-3", 3920, 1830),
    ],
)
def test_few_labels_take_some_hundred_steps_and_many_the_epochs(recipe, n_labels, steps):
    training = recipes.named(recipe).training
    per_epoch = n_labels // min(training.batch_size, n_labels)

    assert steps == per_epoch * n_epochs(training, per_epoch)
