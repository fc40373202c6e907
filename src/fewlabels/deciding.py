"""The recipe `auto` for a set: what is measured, what `auto.choose` makes of it, what is promised.

A run that was cut off keeps what was decided beside its checkpoints, so that it goes on with that.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fewlabels import auto, checkpoints, machine, processes, promise, recipes, splits
from fewlabels.architectures import WhitenedNetwork
from fewlabels.auto import Choice, Facts
from fewlabels.errors import CheckpointError, ConfigError
from fewlabels.images import ImageSet
from fewlabels.precision import choose as choose_precision
from fewlabels.progress import say
from fewlabels.promise import spoken
from fewlabels.recipe import Recipe
from fewlabels.whole_files import write_file

FILE = "auto.json"  # beside the checkpoints
NO_TIME_FOR_BOTH = "half of the time, beside a baseline, is too short for unlabelled images"
HELD = 20  # labelled images of a class that a model answers some three times


@dataclass(frozen=True, kw_only=True)
class Decided:
    """A recipe, the seconds that each training has, and what to keep of how it came to that.

    whole : seconds promised for the whole command
    record : ready for JSON and TOML
    """

    recipe: Recipe
    seconds: float | None
    whole: float
    record: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a person asked `auto` for.

    settings : that are changed whatever is chosen
    budget_seconds : of the whole command, of a score for each fold; None leaves it to `auto`
    baseline : whether what labels alone teach is learned too, inside that time
    """

    settings: Mapping[str, str]
    budget_seconds: float | None
    baseline: bool = False


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What a command does beside learning each fold once.

    writing : seconds for the files and the report
    n_times : how often each fold is learned, but for the baseline
    n_answered : images that each model answers when it has learned
    """

    writing: float
    n_times: int = 1
    n_answered: int = 0


def decide(
    image_set: ImageSet,
    plan: splits.Plan,
    asked: Asked,
    *,
    began: float,
    beside: Beside,
    seed: int = 0,
    device: str = "cpu",
    precision: str = "auto",
    folder: Path | None = None,
    resume: bool = False,
) -> Decided:
    """Choose a recipe and say why; what is left of the time is for its trainings.

    Parameters
    ----------
    began : `promise.now()` when the command began
    device : "cpu" or "cuda"
    folder : of the checkpoints, where it is kept; resume : take what is kept there, if anything is

    Raises ConfigError where the time is too short, or a setting does not fit what was chosen;
    CheckpointError where what is kept there was decided for something else.
    """
    kept = _kept(folder, asked) if resume else None
    if kept is None:
        _check_free(folder, resume)
        measured = _measured(image_set, asked, seed, device, choose_precision(precision, device))
        gone = promise.now() - began
        agreed = processes.agreed_means([*measured, gone], device, precision)
        kept = _decided(image_set, plan, asked, beside, device, precision, agreed)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            write_file(folder / FILE, json.dumps({"asked": asdict(asked), "decided": kept}))
    for line in kept["said"]:
        say(line)
    return Decided(
        recipe=_recipe(kept["recipe"], kept["settings"], asked),
        seconds=kept.get("training_seconds"),
        whole=kept["promised_seconds"],
        record={name: value for name, value in kept.items() if name != "said"},
    )


def _measured(
    image_set: ImageSet, asked: Asked, seed: int, device: str, precision: str
) -> tuple[float, float, float, float]:
    """Images a second that a network learns from, that it answers and that filters do; products.

    For images that are too small for the filters, 0 of these.
    """
    known = recipes.settings_of(recipes.named("consistency"))
    recipe = recipes.named("consistency", {k: v for k, v in asked.settings.items() if k in known})
    network = recipe.network
    assert isinstance(network, WhitenedNetwork)
    if "network.widths" not in asked.settings:
        network = replace(network, widths=auto.NARROW)
    how: dict[str, Any] = {"flips": recipe.flips, "device": device, "precision": precision}
    how |= {"seed": seed}
    n_classes = len(image_set.class_names)
    speeds = promise.measure_speeds(network, image_set.train, n_classes=n_classes, **how)
    config = recipes.named("kmeans-1").filters
    assert config is not None
    encoding = promise.measure_encoding(config, image_set.train, **how) or 0.0
    return speeds.learning, speeds.answering, encoding, machine.products_per_second(device)


def _decided(
    image_set: ImageSet,
    plan: splits.Plan,
    asked: Asked,
    beside: Beside,
    device: str,
    precision: str,
    measured: Sequence[float],
) -> dict[str, Any]:
    """What `decide` gives, as it is kept, with what it says."""
    assert image_set.train.labels is not None
    learning, answering, encoding, products, gone = measured
    smallest, n_folds = min(plan.folds, key=len), len(plan.folds)
    n_pool, n_classes = len(splits.pool(image_set, plan.withheld)), len(image_set.class_names)
    n_held = min(HELD * n_classes, len(smallest) // 10)
    narrow = (beside.n_answered + 3 * n_held) / answering  # seconds of a narrow network's answers
    of_class_L = np.bincount(image_set.train.labels[smallest], minlength=n_classes)
    of_kmeans = promise.kmeans_seconds(len(smallest), beside.n_answered, encoding, products)

    def time_for(n_each: int) -> tuple[float, float]:
        """Seconds of the whole, and of each training where a fold has so many."""
        if asked.budget_seconds is not None:
            whole = n_folds * asked.budget_seconds
        else:
            each = n_each * (auto.usual_seconds(n_pool, learning) + narrow)
            usual = each + promise.FILTERS + beside.writing + gone
            whole = n_folds * min(auto.USUAL_SECONDS, usual)
        return whole, promise.for_each(whole, gone, n_folds * n_each, narrow, beside.writing)

    def chosen(n_each: int) -> tuple[Facts, Choice, Recipe]:
        facts = Facts(
            n_labelled=len(smallest),
            n_unlabelled=n_pool - len(smallest),
            n_classes=n_classes,
            least_per_class=int(of_class_L.min()),
            image_size=image_set.train.size,
            seconds=time_for(n_each)[1],
            images_per_second=learning,
            answers_per_second=answering,
            kmeans_seconds=of_kmeans,
            cores=machine.cores(),
            bf16=choose_precision(precision, device) == "bf16",
            gpu=machine.gpu_name(device),
            memory_gib=machine.memory_gib(),
        )
        choice = auto.choose(facts)
        return facts, choice, _recipe(choice.recipe, choice.settings, asked)

    n_baselines = int(asked.baseline)
    facts, choice, recipe = chosen(beside.n_times + n_baselines)
    if n_baselines and recipe.is_of_labels_alone:  # no baseline takes a part of its time
        n_baselines = 0
        facts, otherwise, alone = chosen(beside.n_times)
        if alone.is_of_labels_alone:
            choice, recipe = otherwise, alone
        else:
            choice = replace(choice, reasons=(NO_TIME_FOR_BOTH, *choice.reasons[1:]))
    n_each = beside.n_times + n_baselines
    whole, _ = time_for(n_each)
    n_narrow = beside.n_times * recipe.n_networks + n_baselines * recipe.n_alone
    answers = narrow * _width(recipe, asked) * n_narrow / n_each
    seconds = promise.for_each(whole, gone, n_folds * n_each, answers, beside.writing)
    settings = {k: v for k, v in choice.settings.items() if k not in asked.settings}
    record: dict[str, Any] = {
        "recipe": choice.recipe,
        "settings": settings,
        "reasons": list(choice.reasons),
        "promised_seconds": round(whole, 1),
        "facts": {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(facts).items()
            if value is not None
        },
    }
    if recipe.training is not None:
        record["training_seconds"] = round(seconds, 3)
    return record | {"said": _said(record, choice, facts, asked, n_folds)}


def _width(recipe: Recipe, asked: Asked) -> float:
    """How many times as long a network of the recipe takes as the one that was measured."""
    chosen = "network.widths" not in asked.settings
    network = recipe.network if chosen and recipe.labels is not None else None
    wide = isinstance(network, WhitenedNetwork) and network.widths != auto.NARROW
    return auto.WIDE_TAKES if wide else 1.0


def _said(
    record: Mapping[str, Any], choice: Choice, facts: Facts, asked: Asked, n_folds: int
) -> list[str]:
    """Two lines: what was chosen and why; what else there is to know, and the time."""
    changed = "".join(f", {name}={value}" for name, value in record["settings"].items())
    first, *others = choice.reasons
    whole = record["promised_seconds"]
    time = f"all of it is to take {spoken(whole)}"
    if n_folds > 1:
        time += f", {spoken(whole / n_folds)} for each of {n_folds} folds"
    if "training_seconds" not in record and facts.kmeans_seconds is not None:
        time = f"it takes about {spoken(facts.kmeans_seconds)} of the {spoken(whole)}"
    if asked.budget_seconds is None:
        time += " (--budget for another time)"
    return [
        f"{auto.NAME} takes the recipe {choice.recipe}{changed}: {first}",
        "; ".join([*others, time]),
    ]


def _recipe(name: str, chosen: Mapping[str, str], asked: Asked) -> Recipe:
    """What was chosen with what was asked for, which goes before the chosen settings."""
    try:
        recipe = recipes.named(name, {**chosen, **asked.settings})
    except ConfigError as error:
        raise ConfigError(
            f"{auto.NAME} takes the recipe {name} for these images, and {error}: leave the setting "
            "out, or name another --recipe"
        ) from None
    if recipe.training is None:
        return recipe
    return recipes.within(recipe, auto.USUAL_SECONDS, asked.settings)


def _check_free(folder: Path | None, resume: bool) -> None:
    """Raises CheckpointError where what was decided for a run that was cut off would be lost."""
    if folder is not None and not resume and any(folder.glob(f"**/{checkpoints.FILE}")):
        raise CheckpointError(
            f"{folder} holds checkpoints of another run: go on with --resume, or {checkpoints.ANEW}"
        )


def _kept(folder: Path | None, asked: Asked) -> dict[str, Any] | None:
    """What a run that was cut off had decided."""
    if folder is None or not (folder / FILE).exists():
        return None
    path = folder / FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        before, decided = Asked(**found["asked"]), found["decided"]
        decided["recipe"], decided["settings"], decided["promised_seconds"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(
            f"{path} is damaged ({type(error).__name__}): {checkpoints.ANEW}"
        ) from error
    if before != asked:
        names = [k for k, v in asdict(asked).items() if v != asdict(before)[k]]
        raise CheckpointError(
            f"{path} was decided for {_told(before, names)}, not {_told(asked, names)}: give the "
            f"same, or {checkpoints.ANEW}"
        )
    return dict(decided)


def _told(asked: Asked, names: Sequence[str]) -> str:
    """Those of its fields as a person typed them."""
    words = []
    if "budget_seconds" in names:
        seconds = asked.budget_seconds
        words.append("no --budget" if seconds is None else f"--budget {spoken(seconds)}")
    if "baseline" in names:
        words.append("--baseline" if asked.baseline else "no --baseline")
    if "settings" in names:
        words += [f"--set {name}={value}" for name, value in asked.settings.items()] or ["no --set"]
    return " and ".join(words)
