"""What a person may ask for on the command line, in one place; nothing here loads torch."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter, validators

from fewlabels.errors import ConfigError

NotNegative = validators.Number(gte=0)
Positive = validators.Number(gte=1)
Probability = validators.Number(gte=0, lte=1)
Seed = validators.Number(gte=0, lte=2**32 - 1)  # scikit-learn takes no other
MOST_FOLDS = 10_000
NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
DURATION = re.compile(rf"(?:{NUMBER}h)?(?:{NUMBER}m)?(?:{NUMBER}s?)?", re.ASCII)

Json = Annotated[
    bool,
    Parameter(
        name="--json",
        negative="",
        show_default=False,
        help="Print one JSON object and nothing else.",
    ),
]
Overwrite = Annotated[
    bool,
    Parameter(negative="", show_default=False, help="Replace what an earlier call wrote there."),
]
Resume = Annotated[
    bool,
    Parameter(
        negative="",
        show_default=False,
        help="Go on with the trainings of a run that was cut off.",
    ),
]
Device = Literal["auto", "cpu", "cuda"]
FigureName = Literal[
    "surrogates", "filters", "deeper-filters", "networks", "map-of-pixels", "map-of-features"
]
N_MAPPED = 1000  # images on the map of a report
Mapped = Annotated[int, Parameter(name="--map", validator=NotNegative)]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the images are read."""

    size: Annotated[int | None, Parameter(validator=Positive)] = None
    "Height and width in pixels that images are brought to; larger ones go to 96 if not given."
    strict: Annotated[bool, Parameter(negative="", show_default=False)] = False
    "Stop at the first damaged image, instead of naming, counting and skipping it."
    seed: Annotated[int, Parameter(validator=Seed)] = 0
    "Of made sets, of drawn labels and of learning."


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Learning(Reading):
    """How it is learned."""

    recipe: str = "auto"
    "How it learns; auto picks by images, machine and time, and says why; a wrong name lists all."
    settings: Annotated[
        tuple[str, ...], Parameter(name="--set", negative="", show_default=False)
    ] = ()
    "Change one setting, such as filters.patch_size=22; may be given again."
    labels: Annotated[int | None, Parameter(validator=Positive)] = None
    "Use so many labels in all, drawn evenly over the classes with the seed."
    protocol: Literal["cifar10-400", "folds-1000", "report-split"] | None = None
    "A named choice of labels; every score names it."
    budget: str | None = None
    "Time, such as 10m: auto's for all of a fold, up to 30m if not given; else for trainings alone."
    baseline: Annotated[bool, Parameter(negative="", show_default=False)] = False
    "Learn from the labels alone too, in as much of the time, and tell what the other images gain."
    device: Device = "auto"
    "Where to compute."
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    "Of matrix products; auto takes bf16 only where the processor has it."
    n_mapped: Mapped = N_MAPPED
    "So many images on the report's map; 0 for none."


def settings_of(pairs: Sequence[str]) -> dict[str, str]:
    """`("filters.patch_size=22", ...)` -> {"filters.patch_size": "22", ...}.

    Raises ConfigError for a pair without a name or an equals sign.
    """
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name.strip() and equals):
            raise ConfigError(f"--set takes NAME=VALUE, such as filters.patch_size=8; got {pair!r}")
        settings[name.strip()] = value.strip()
    return settings


def seconds_of(text: str) -> float:
    """`10m` -> 600.0; `1h30m` -> 5400.0; `90s` or `90` -> 90.0.

    Raises ConfigError for anything else, and for no time at all.
    """
    found = DURATION.fullmatch(text.strip().lower())
    parts = [float(part or 0) for part in found.groups()] if found else []
    if not any(parts):
        raise ConfigError(f"--budget is a time such as 10m, 90s or 1h30m; got {text!r}")
    hours, minutes, seconds = parts
    return 3600 * hours + 60 * minutes + seconds


def fold_numbers(text: str) -> tuple[int, ...] | None:
    """`0-4` -> (0, 1, 2, 3, 4); `0,2` -> (0, 2); `all` -> None.

    Raises ConfigError for anything else.
    """
    if text.strip().lower() == "all":
        return None
    numbers: list[int] = []
    for piece in text.split(","):
        first, _, last = piece.partition("-")
        last = last or first
        if not (first.strip().isdecimal() and last.strip().isdecimal()) or int(last) < int(first):
            raise ConfigError(f"--folds takes all, a range 0-4 or a list 0,2; got {text!r}")
        if int(last) - int(first) >= MOST_FOLDS:
            raise ConfigError(f"--folds names at most {MOST_FOLDS:,} folds; got {text!r}")
        numbers += range(int(first), int(last) + 1)
    if len(set(numbers)) < len(numbers):
        raise ConfigError(f"--folds names a fold twice; got {text!r}")
    return tuple(numbers)
