"""Suggestions: what a person could do next about single images, and how each is told.

`suggesting` finds them, `suggest_job` writes them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fewlabels.images import Images

LABEL_NEXT, MISLABELLED = "label-next", "mislabelled"
NEAR_DUPLICATE, NO_CLASS = "near-duplicate", "no-class"
KINDS: Mapping[str, str] = {  # and what a person reads above them
    LABEL_NEXT: "Label these next: the model is unsure of them, and they differ from one another",
    MISLABELLED: "Look at these labels: they are probably wrong",
    NEAR_DUPLICATE: "Near-duplicates: two images of one picture",
    NO_CLASS: "These unlabelled images probably belong to none of the classes",
}


@dataclass(frozen=True)
class Place:
    """Where an image lies: its part (train, ...), its number there from 0, its name if any."""

    part: str
    number: int
    name: str | None = None

    def __str__(self) -> str:
        return self.name or f"{self.part} image {self.number}"


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """One image (or pair of images) and what is to be done about it.

    score : of the kind's own; the higher the more it matters. "label-next": unsureness times the
        probability that it is of a class; "mislabelled": 1 - probability of the given label;
        "near-duplicate": similarity; "no-class": probability that it is of none
    reason : in plain words
    predicted, probability : the model's answer; None where it was not asked (test images)
    label : the class that it has been given, if it has
    other : of a near-duplicate, the image that it is one of
    """

    kind: str
    place: Place
    score: float
    reason: str
    predicted: str | None = None
    probability: float | None = None
    label: str | None = None
    other: Place | None = None

    def row(self) -> dict[str, Any]:
        """As in `suggestions.json` and, column by column, in `suggestions.csv`."""
        other = self.other or Place("", -1)
        return {
            "kind": self.kind,
            **asdict(self.place),
            "score": round(self.score, 6),
            "reason": self.reason,
            "predicted": self.predicted,
            "probability": None if self.probability is None else round(self.probability, 6),
            "label": self.label,
            "other_part": other.part or None,
            "other_number": None if self.other is None else other.number,
            "other_name": other.name,
        }


COLUMNS = tuple(Suggestion(kind="", place=Place("", 0), score=0, reason="").row())


def place_in(parts: Mapping[str, Images], part: str, number: int) -> Place:
    """The place of an image of a set whose parts are given."""
    names: Sequence[str] = parts[part].names
    return Place(part, int(number), names[number] if names else None)
