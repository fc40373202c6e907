"""Settings of every recipe: changed by name, kept as plain data, absent where a part is absent."""

from dataclasses import dataclass, fields, replace

import pytest

from fewlabels import recipes
from fewlabels.architectures import ExemplarNetwork, ReportNetwork, WhitenedNetwork
from fewlabels.augment import Augmentation
from fewlabels.errors import ConfigError
from fewlabels.heads import HeadConfig
from fewlabels.settings import as_plain, changed, from_plain, settings_of
from fewlabels.surrogates import SurrogateConfig
from fewlabels.training_config import TrainingConfig
from fewlabels.ways.labels import LabelsConfig
from fewlabels.ways.surrogate import SurrogateWayConfig

# of each setting that takes only some values, another than the usual one
OTHER = {
    "filters.activation": "absolute",
    "filters.features_statistic": "max",
    "filters.start": "k-means++",
    "head.kind": "logistic",
    "network.first": "random",
    "network.size": "large",
    "training.optimizer": "sgd",
    "training.decay": "cosine",
}
TRAINED = ["labels", "report-2", "report-3", "surrogate"]
KEYS = [(name, key) for name in TRAINED for key in settings_of(recipes.named(name))]


def other(key: str, value: object) -> str:
    """Text of another value for a setting, within its bounds."""
    one = value[0] if isinstance(value, list | tuple) else value
    if key in OTHER:
        return OTHER[key]
    if isinstance(one, bool):
        return str(not one).lower()
    if isinstance(one, int):
        return str(one + 2)  # odd numbers stay odd
    return str(one / 2 if one else 0.25) if key != "surrogates.min_scale" else "0.9"


@pytest.mark.parametrize(("name", "key"), KEYS)
def test_every_setting_of_a_trained_recipe_can_be_changed_and_is_kept(name: str, key: str):
    before = settings_of(recipes.named(name))
    text = {"augmentation.max_scale": "1.5", "surrogates.max_scale": "1.5"}.get(key)
    for least in ("surrogates.axis_factor", "surrogates.hsv_power", "surrogates.max_hsv_factor"):
        text = "3" if key == least else text

    altered = recipes.named(name, {key: text or other(key, before[key])})

    after = settings_of(altered)
    assert [key] == [one for one in before if before[one] != after[one]]
    assert altered == recipes.from_dict(altered.as_dict())


@pytest.mark.parametrize("name", TRAINED)
def test_parts_that_a_recipe_lacks_have_no_settings_and_are_not_written(name: str):
    recipe = recipes.named(name)
    parts = {key.split(".")[0] for key in settings_of(recipe)}

    present = {f.name for f in fields(recipe) if getattr(recipe, f.name) is not None} - {"name"}
    assert present == parts == set(recipe.as_dict()) - {"name"}
    with pytest.raises(ConfigError, match=r"no setting is called 'filtrs\.x'"):
        recipes.named(name, {"filtrs.x": "1"})


@pytest.mark.parametrize(
    "config",
    [
        TrainingConfig,
        Augmentation,
        LabelsConfig,
        SurrogateConfig,
        SurrogateWayConfig,
        WhitenedNetwork,
        ReportNetwork,
        ExemplarNetwork,
    ],
)
def test_usual_values_are_of_the_type_that_they_are_declared_with(config: type):
    # `--set` reads a text as what the setting is now: 0 for 0.0 would refuse 0.5
    for field in fields(config):
        if isinstance(field.default, bool | int | float | str):
            assert field.type in (type(field.default), type(field.default).__name__), field.name


def test_a_network_is_told_by_its_fields():
    # what tells the kinds of network apart in `config.toml`
    kinds = [{f.name for f in fields(kind)} for kind in (WhitenedNetwork, ReportNetwork)]
    kinds.append({f.name for f in fields(ExemplarNetwork)})

    assert not kinds[0] & kinds[1] and not kinds[0] & kinds[2] and not kinds[1] & kinds[2]


def test_settings_of_trained_recipes_change_what_they_name():
    recipe = recipes.named(
        "labels",
        {"training.epochs": "3", "augmentation.flip": "0.25", "network.widths": "8,16,32,64"},
    )

    assert (3, 0.25) == (recipe.training.epochs, recipe.augmentation.flip)
    assert (8, 16, 32, 64) == recipe.network.widths


@pytest.mark.parametrize(
    ("name", "key", "text", "message"),
    [
        ("labels", "network.widths", "8,0", r"network.widths are at least 1 each; got \(8, 0\)"),
        ("labels", "network.first_filters", "1", "network.first_filters is at least 2; got 1"),
        ("labels", "network.first_stride", "-1", "network.first_stride is at least 0; got -1"),
        ("labels", "labels.held_out", "-1", "labels.held_out is at least 0; got -1"),
        ("labels", "augmentation.flip", "2", "augmentation.flip is a number from 0 to 1"),
        ("labels", "training.epochs", "few", "training.epochs is a whole number, such as"),
        ("labels", "filters.patch_size", "3", "no setting is called 'filters.patch_size'"),
        ("report-2", "network.first", "zero", "network.first is one of centroids, random; got"),
        ("report-2", "network.kernel_size", "4", "network.kernel_size is odd; got 4"),
        ("report-3", "network.n_layers", "0", "network.n_layers is at least 1; got 0"),
        ("surrogate", "network.size", "huge", "network.size is one of small, medium, large; got"),
        ("surrogate", "network.dropout", "1", r"network.dropout is a part, in \[0, 1\); got 1"),
        ("consistency", "steps.epochs", "-1", "steps.epochs is at least 1, or 0 to fill"),
        ("consistency", "weak.flip", "2", "weak.flip is a number from 0 to 1"),
        ("consistency", "consistency.start", "x", "consistency.start is one of labels, filters,"),
        ("surrogate", "surrogate.merged_classes", "1", "at least 2, or 0 for no merging; got 1"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(name: str, key: str, text: str, message: str):
    with pytest.raises(ConfigError, match=message) as raised:
        recipes.named(name, {key: text})

    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("labels", {"training": None}, "recipe labels needs the part 'training'"),
        ("labels", {"head": HeadConfig()}, "recipe labels has no use for the part 'head'"),
        ("labels", {"network": ExemplarNetwork()}, "is a WhitenedNetwork or ReportNetwork; got"),
        ("labels", {"network": ReportNetwork()}, "needs the part 'filters' for its first layer"),
        ("surrogate", {"network": WhitenedNetwork()}, "is a ExemplarNetwork; got Whitened"),
        ("surrogate", {"labels": LabelsConfig()}, "from surrogates or from labels, not both"),
        ("consistency", {"steps": None}, "recipe consistency needs the part 'steps'"),
        ("consistency", {"consistency": None}, "has no use for the part 'rounds'"),
        ("labels", {"weak": Augmentation()}, "recipe labels has no use for the part 'weak'"),
        ("surrogate", {"surrogates": None}, "recipe surrogate needs the part 'surrogates'"),
        ("kmeans-1", {"filters": None}, "recipe kmeans-1 has no way to learn"),
        ("kmeans-1", {"head": None}, "recipe kmeans-1 needs the part 'head'"),
    ],
)
def test_a_recipe_whose_parts_do_not_fit_is_refused(name: str, changes: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        replace(recipes.named(name), **changes)


def test_a_recipe_answers_for_mirror_images_as_its_last_part_says():
    assert recipes.named("labels").flips and recipes.named("kmeans-1").flips
    assert not recipes.named("labels", {"labels.flips": "false"}).flips
    assert not recipes.named("surrogate", {"head.flips": "false"}).flips


# --- the machinery on dataclasses of the test's own


@dataclass(frozen=True)
class Layer:
    width: int
    rates: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class Part:
    layers: tuple[Layer, ...]
    deep: bool = False


@dataclass(frozen=True)
class Whole:
    name: str
    part: Part | None = None
    either: Layer | Part | None = None


WHOLE = Whole("w", Part((Layer(1), Layer(2, (0.5, 0.25)))), Layer(7))


def test_plain_data_is_the_one_written_by_hand_and_goes_back():
    by_hand = {
        "name": "w",
        "part": {
            "layers": [{"width": 1, "rates": [1.0]}, {"width": 2, "rates": [0.5, 0.25]}],
            "deep": False,
        },
        "either": {"width": 7, "rates": [1.0]},
    }

    assert by_hand == as_plain(WHOLE)
    assert WHOLE == from_plain(Whole, by_hand)
    assert Whole("w") == from_plain(Whole, {"name": "w"})
    assert {"name": "w"} == as_plain(Whole("w"))


def test_layers_are_settings_of_their_part():
    assert {
        "part.width": [1, 2],
        "part.rates": [(1.0,), (0.5, 0.25)],
        "part.deep": False,
        "either.width": 7,
        "either.rates": (1.0,),
    } == settings_of(WHOLE)
    assert (3, 4) == tuple(one.width for one in changed(WHOLE, "part.width", "3,4").part.layers)
    assert changed(WHOLE, "part.deep", "true").part.deep
    assert (0.1, 0.2) == changed(WHOLE, "either.rates", "0.1, 0.2").either.rates


@pytest.mark.parametrize(
    "described", [None, [], {"part": {}}, {"name": "w", "part": 3}, {"name": "w", "new": 1}]
)
def test_data_that_describes_something_else_is_refused(described):
    with pytest.raises(TypeError):
        from_plain(Whole, described)
