"""The rules of the recipe `auto`: which recipe, with which settings, for these images here.

`choose` looks through `RULES` from the top and takes the first that holds; then `TUNINGS` change
settings of what was taken, and `DOUBTS` say what is not sure of it. To change a rule, change its
line here. What the numbers below come from is told beside each of them: docs/accuracy.md has what
was measured, and "not measured" is a guess that waits for a measurement.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fewlabels import recipes
from fewlabels.auto_facts import LABELS_LEAST
from fewlabels.auto_facts import Facts as Facts
from fewlabels.errors import ConfigError
from fewlabels.recipes import RECIPES, named
from fewlabels.settings import near, settings_of
from fewlabels.ways.consistency_config import ConsistencyConfig

NAME = recipes.AUTO

# The time where none is given: half an hour, and less for a few images, which need no more.
USUAL_SECONDS, LEAST_SECONDS = 1800.0, 60.0
ENOUGH_LOOKS = 300  # at every image (not measured)
# A network of half the filters sees 2.7 times as many images; the whole one is better from some 40
# epochs of the labels on ("What was tried for labels" in docs/accuracy.md).
NARROW, WIDE_TAKES = (32, 64, 128), 2.7
# Of the labels alone: where there is time for one wide network, three of half the filters know more
# ("Several networks together"); from two on they were not compared.
WIDE_ALONE = 2
# Fewer unlabelled images than labelled ones have little to tell (not measured).
UNLABELLED_FOR_LABELLED = 1.0
# The part of the time that the recipe gives the labels alone, at most.
LABELS_PART = ConsistencyConfig().labels_part
# Networks that learn the labels and answer together: three were right on 1.4 points more images
# than the best of them, which saw the labels 76 times, and a fourth brought nothing ("Several
# networks together" in docs/accuracy.md); how it is with 40 is not measured. As teachers they all
# answer the unlabelled images, which may take a part of the time.
ANSWERS_PART = 0.1
MOST_NETWORKS = ConsistencyConfig().n_teachers
# Two students that saw each unlabelled image 10 times, and 4 more in each later round, learned more
# than three that saw each 7 times ("Several students" and "Rounds of the same students" in
# docs/accuracy.md); one has nobody to learn from in a later round. What auto expects is about half
# of what comes true on a quiet machine.
STUDENT_LOOKS = 8
# A tenth of a class is held out to watch: with fewer labels there is nothing to watch with.
FEW_LABELS = 10
# k-means takes the time it takes, and the estimate of it is rough.
ROOM_OF_KMEANS = 0.8
LITTLE_MEMORY = 3.0  # GiB; trainings hold up to about 2 (not measured)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A recipe by its name, settings of it that are changed, and why, a clause for each reason."""

    recipe: str
    settings: Mapping[str, str]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Rule:
    """Where it holds, the recipe is taken, for the reason."""

    recipe: str
    holds: Callable[[Facts], bool]
    reason: Callable[[Facts], str]


@dataclass(frozen=True)
class Tuning:
    """A setting of some recipes, its value where one is needed, and the reason."""

    recipes: tuple[str, ...]
    setting: str
    value: Callable[[Facts], str | None]
    reason: Callable[[Facts], str]


@dataclass(frozen=True)
class Doubt:
    """What is not sure of some recipes."""

    recipes: tuple[str, ...]
    holds: Callable[[Facts], bool]
    text: Callable[[Facts], str]


RULES: tuple[Rule, ...] = (
    Rule(
        "kmeans-1",
        lambda facts: facts.n_seen < LABELS_LEAST and facts.has_time_for_kmeans(ROOM_OF_KMEANS),
        lambda facts: f"{facts.seen}, too few to train one, and filters of k-means fit in",
    ),
    Rule(
        "labels",
        lambda facts: facts.n_unlabelled == 0,
        lambda facts: f"there are no unlabelled images, and {facts.seen}",
    ),
    Rule(
        "labels",
        lambda facts: facts.n_unlabelled < UNLABELLED_FOR_LABELLED * facts.n_labelled,
        lambda facts: (
            f"{facts.n_unlabelled:,} unlabelled images are few beside {facts.n_labelled:,} "
            f"labelled ones, and {facts.seen}"
        ),
    ),
    Rule(
        "labels",
        lambda facts: facts.n_seen < facts.unlabelled_need,
        lambda facts: f"{facts.seen}, and unlabelled ones pay from {facts.unlabelled_need:,} on",
    ),
    Rule(
        "consistency",
        lambda facts: True,
        lambda facts: (
            f"there are {facts.n_unlabelled:,} unlabelled images beside {facts.least_per_class:,} "
            f"labels of each class, and {facts.seen}"
        ),
    ),
)


def _with_little_memory(
    names: tuple[str, ...], setting: str, value: str, reason: str = ""
) -> Tuning:
    return Tuning(
        names,
        setting,
        lambda facts: value if facts.memory_gib < LITTLE_MEMORY else None,
        lambda facts: reason.format(facts.memory_gib),
    )


TUNINGS: tuple[Tuning, ...] = (
    Tuning(
        ("labels", "consistency"),
        "network.widths",
        lambda facts: None if _is_wide(facts) else ",".join(map(str, NARROW)),
        lambda facts: "wide ones would see too few",
    ),
    Tuning(
        ("consistency",),
        "consistency.n_teachers",
        lambda facts: None if _n_networks(facts) == MOST_NETWORKS else str(_n_networks(facts)),
        lambda facts: "",
    ),
    Tuning(
        ("consistency",),
        "consistency.n_students",
        lambda facts: None if _n_students(facts) == MOST_NETWORKS else str(_n_students(facts)),
        lambda facts: "",
    ),
    Tuning(
        ("labels",),
        "labels.n_networks",
        lambda facts: None if _n_networks(facts) == 1 else str(_n_networks(facts)),
        lambda facts: "several networks that answer together know more than one with all the time",
    ),
    _with_little_memory(
        ("labels", "consistency"), "training.batch_size", "128", "there are {:.1f} GiB of memory"
    ),
    _with_little_memory(("consistency",), "rounds.batch_size", "128"),
    _with_little_memory(("consistency",), "steps.batch_size", "32"),
)

DOUBTS: tuple[Doubt, ...] = (
    Doubt(
        ("labels", "consistency", "kmeans-1"),
        lambda facts: facts.least_per_class < FEW_LABELS,
        lambda facts: (
            f"uncertain: a class has {facts.least_per_class} "
            f"label{'' if facts.least_per_class == 1 else 's'}, and with under {FEW_LABELS} the "
            "accuracy depends much on which images they are"
        ),
    ),
    Doubt(
        ("consistency",),
        lambda facts: facts.least_per_class < FEW_LABELS,
        lambda facts: "none can be held out to watch that the unlabelled images help",
    ),
    Doubt(
        ("labels",),
        lambda facts: facts.n_seen < LABELS_LEAST,
        lambda facts: "uncertain: the time is short for a training, more of it would help",
    ),
)


def choose(facts: Facts) -> Choice:
    """The recipe, its settings and the reasons, by the tables above."""
    rule = next(rule for rule in RULES if rule.holds(facts))
    settings, reasons = recipes.of_size(rule.recipe, facts.image_size), [rule.reason(facts)]
    if settings:
        reasons.append(recipes.BEAR_MORE)
    for tuning in TUNINGS:
        value = tuning.value(facts) if rule.recipe in tuning.recipes else None
        if value is not None:
            settings[tuning.setting] = value
            reasons.append(tuning.reason(facts))
    for doubt in DOUBTS:
        if rule.recipe in doubt.recipes and doubt.holds(facts):
            reasons.append(doubt.text(facts))
    return Choice(recipe=rule.recipe, settings=settings, reasons=tuple(filter(None, reasons)))


def _is_wide(facts: Facts) -> bool:
    """Whether wide networks see as much of the labels as they need: `WIDE_ALONE` or one teacher."""
    n_wide = 1 if _uses_unlabelled(facts) else WIDE_ALONE
    return _of_labels(facts) >= n_wide * WIDE_TAKES * facts.labels_need


def _n_networks(facts: Facts) -> int:
    """As many as see as much of the labels as each needs, from 1 to `MOST_NETWORKS`."""
    takes = WIDE_TAKES if _is_wide(facts) else 1.0
    enough = _of_labels(facts) / (takes * facts.labels_need)
    if _uses_unlabelled(facts):
        answers = ANSWERS_PART * facts.seconds * facts.answers_per_second / takes
        enough = min(enough, answers / facts.n_unlabelled)
    return min(MOST_NETWORKS, max(1, int(enough)))


def _n_students(facts: Facts) -> int:
    """About as many as see enough of the unlabelled images each, from 1 to `MOST_NETWORKS`."""
    takes = WIDE_TAKES if _is_wide(facts) else 1.0
    need = takes * max(STUDENT_LOOKS * facts.n_unlabelled, LABELS_LEAST)
    return min(MOST_NETWORKS, max(1, round((1 - LABELS_PART) * facts.n_seen / need)))


def _of_labels(facts: Facts) -> float:
    """Labelled images that a narrow network sees in the time for the labels alone."""
    return (LABELS_PART if _uses_unlabelled(facts) else 1.0) * facts.n_seen


def _uses_unlabelled(facts: Facts) -> bool:
    few = facts.n_unlabelled < UNLABELLED_FOR_LABELLED * facts.n_labelled
    return facts.n_unlabelled > 0 and not few and facts.n_seen >= facts.unlabelled_need


def usual_seconds(n_images: int, images_per_second: float) -> float:
    """The time where none is given, for so many images to learn from: up to half an hour.

    A network then sees every image 300 times, and twice the least that a training needs.
    """
    n_seen = max(ENOUGH_LOOKS * n_images, 2 * LABELS_LEAST)
    seconds = n_seen / images_per_second
    return min(USUAL_SECONDS, max(LEAST_SECONDS, 10.0 * -(-seconds // 10)))


def candidates() -> Sequence[str]:
    """The recipes that may be taken."""
    return tuple(dict.fromkeys(rule.recipe for rule in RULES))


def check_settings(settings: Mapping[str, str]) -> None:
    """Whether each changes a recipe that may be taken, to a value that fits.

    Raises ConfigError.
    """
    taken = [RECIPES[name]() for name in candidates()]
    known = {key: None for recipe in taken for key in settings_of(recipe)}
    for key, text in settings.items():
        having = [recipe.name for recipe in taken if key in settings_of(recipe)]
        if not having:
            raise ConfigError(f"no setting is called {key!r}{near(key, known)}")
        for name in having:
            named(name, {key: text})
