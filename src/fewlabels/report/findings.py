"""What a report shows, and the numbers that are derived from it.

Shapes: K filters, L classes (row: true, column: answered), H W height and width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import numpy as np

from fewlabels.images import Damaged
from fewlabels.report.chart import History
from fewlabels.report.pictures import Pictures

Z_95 = 1.959963984540054  # a standard normal variable lies within +- Z_95 with probability 0.95


@dataclass(frozen=True, kw_only=True, eq=False)
class Mistake:
    """A test image that was answered wrongly.

    pixels : uint8 array of shape (3, height, width)
    truth, answer : class names; probability : of the answer, in [0, 1]
    """

    pixels: np.ndarray
    truth: str
    answer: str
    probability: float
    name: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Suggestion:
    """An image that is worth a label.

    pixels : uint8 array of shape (3, height, width)
    part : of the set, as in `report.pictures.PARTS`
    answer : class name, as far as the model can tell; probability : of the answer, in [0, 1]
    reason : in words, where there is more to say than that the answer is unsure
    """

    pixels: np.ndarray
    name: str
    part: str
    answer: str
    probability: float
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How a run that is not finished stands.

    stage : what it is doing; done of total units, None where the end is not known
    seconds : since the start; seconds_left : of the stage
    ended : stages that are through, with their seconds; said : sentences, the last ones
    at : when this was written, as a clock shows it
    """

    stage: str
    done: int = 0
    total: int | None = None
    unit: str = ""
    seconds: float = 0.0
    seconds_left: float | None = None
    ended: Mapping[str, float] = field(default_factory=dict)
    said: Sequence[str] = ()
    at: str = ""

    @property
    def share(self) -> float | None:
        return min(1.0, self.done / self.total) if self.total else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Findings:
    """All that a page shows. What a run lacks stays at its default, and the page says so.

    source, recipe : what was learned from, and how
    scores : as in `scores.json`; without `accuracy` there were no labelled test images
    n_labelled, n_unlabeled : images that were learned from
    filters : float array of shape (n_filters, 3, height, width)
    mistakes : any number, in any order; the page shows the most confident ones
    graph_svg, graph_text : the drawing of the network; the text where there is no drawing
    settings : of the recipe; sections may nest
    seconds : of each stage; those of `scores` if empty
    command : that makes the run again
    history : how it learned, training after training
    pictures : the images of the map and of the confusion matrix
    suggestions : images to label next, the first first
    surrogates : a WebP file, the gallery of the first surrogate classes
    progress : of a run that is not finished
    """

    source: str
    recipe: str
    class_names: Sequence[str]
    scores: Mapping[str, Any] = field(default_factory=dict)
    n_labelled: int | None = None
    n_unlabeled: int | None = None
    filters: np.ndarray | None = None
    mistakes: Sequence[Mistake] = ()
    graph_svg: str | None = None
    graph_text: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str | None = None
    notes: Sequence[str] = ()
    damaged: Sequence[Damaged] = ()
    history: History = field(default_factory=History)
    pictures: Pictures | None = None
    suggestions: Sequence[Suggestion] = ()
    surrogates: bytes | None = None
    progress: Progress | None = None

    def __post_init__(self) -> None:
        confusion, n = self.scores.get("confusion"), len(self.class_names)
        if confusion is not None and np.shape(confusion) != (n, n):
            raise ValueError(
                f"{n} classes need a confusion matrix of {n} x {n}; got {np.shape(confusion)}"
            )


@dataclass(frozen=True)
class ClassScore:
    """How many of the test images of a class were answered correctly."""

    name: str
    n_right: int
    n_images: int

    @property
    def accuracy(self) -> float:
        return self.n_right / self.n_images


@dataclass(frozen=True)
class Confusion:
    """How many test images of class `truth` were answered as `answer`."""

    truth: str
    answer: str
    n_images: int


def wilson_interval(n_right: int, n_images: int) -> tuple[float, float]:
    """The 95 % interval of an accuracy of `n_right` of `n_images`: (low, high), in [0, 1].

    Source: E. B. Wilson, J. Am. Stat. Assoc. 22, 209-212, 1927.
    """
    if not 0 <= n_right <= n_images or n_images == 0:
        raise ValueError(f"0 <= right <= images, and at least one image; got {n_right}, {n_images}")
    share, z2 = n_right / n_images, Z_95 * Z_95
    centre = (share + z2 / (2 * n_images)) / (1 + z2 / n_images)
    spread = share * (1 - share) / n_images + z2 / (4 * n_images * n_images)
    reach = Z_95 * sqrt(spread) / (1 + z2 / n_images)
    return max(0.0, centre - reach), min(1.0, centre + reach)


def class_scores(confusion_LL: np.ndarray, class_names: Sequence[str]) -> list[ClassScore]:
    """One for each class that has test images, the best first."""
    scores = [
        ClassScore(name, int(row[number]), int(row.sum()))
        for number, (name, row) in enumerate(zip(class_names, confusion_LL, strict=True))
        if row.sum()
    ]
    return sorted(scores, key=lambda score: -score.accuracy)


def worst_confusions(
    confusion_LL: np.ndarray, class_names: Sequence[str], n_shown: int = 5
) -> list[Confusion]:
    """The pairs (true, answered) that were confused most often, the most frequent first."""
    wrong_LL = np.array(confusion_LL)
    np.fill_diagonal(wrong_LL, 0)
    order = np.argsort(-wrong_LL, axis=None, kind="stable")[:n_shown]
    pairs = [divmod(int(place), len(class_names)) for place in order]
    return [
        Confusion(class_names[truth], class_names[answer], int(wrong_LL[truth, answer]))
        for truth, answer in pairs
        if wrong_LL[truth, answer]
    ]


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as `section.name` -> text, as `--set` takes them."""
    flat: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flat_settings(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = str(value)
    return flat


def unused(scores: Mapping[str, Any]) -> list[str]:
    """Where a network did not learn from answers to unlabelled images, as it was to: and why."""
    folds = scores.get("folds") or [scores]
    whys = [fold["why_none_used"] for fold in folds if fold.get("why_none_used")]
    if not whys:
        return []
    where = "" if len(folds) == 1 else f" in {len(whys)} of {len(folds)} folds"
    return [
        f"No answers to unlabelled images were learned from{where}: "
        f"{'; '.join(dict.fromkeys(whys))}."
    ]
