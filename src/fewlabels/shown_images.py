"""Which images of a set a page shows: labelled, unlabelled and test ones, spread evenly.

Nothing is read here: pixels stay where they lie until they are looked at.
Shapes: N images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from fewlabels import splits
from fewlabels.images import Images, ImageSet
from fewlabels.joined import Joined
from fewlabels.protocol import Scores
from fewlabels.report.pictures import PARTS

SHARES = {"labelled": 0.25, "unlabelled": 0.25, "test": 0.5}  # of the images of a map
N_OF_CELL, N_BEHIND = 8, 500  # wrong answers that cells can open though they are not on the map


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """Images to show, every one with a name.

    part_N : index into `report.pictures.PARTS`; index_N : of each in its own part of the set
    truth_N : classes, -1 where the label is not known, or was not used
    answer_N, confidence_N : of the model; -1 and NaN before it was asked
    """

    images: Images
    part_N: np.ndarray
    index_N: np.ndarray
    truth_N: np.ndarray
    answer_N: np.ndarray
    confidence_N: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def answered(self, answer_N: np.ndarray, confidence_N: np.ndarray) -> Self:
        return replace(self, answer_N=answer_N, confidence_N=confidence_N)

    def take(self, order_N: np.ndarray) -> "Shown":
        """Those at these places, in that order; their pixels are not read."""
        images = Images(
            pixels=Joined([self.images.pixels], order_N),
            names=tuple(self.images.names[i] for i in order_N),
        )
        return Shown(images=images, **{name: getattr(self, name)[order_N] for name in ARRAYS})

    def followed_by(self, others: "Shown") -> "Shown":
        return end_to_end([self, others])


ARRAYS = ("part_N", "index_N", "truth_N", "answer_N", "confidence_N")


def end_to_end(parts: Sequence[Shown]) -> Shown:
    images = Images(
        pixels=Joined([part.images.pixels for part in parts]),
        names=tuple(name for part in parts for name in part.images.names),
    )
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS}
    return Shown(images=images, **joined)


def mapped_images(image_set: ImageSet, plan: splits.Plan, n_images: int) -> Shown:
    """At most so many images: half of them test images, a quarter labelled, a quarter unlabelled.

    Where a part has too few, the others have more. Within a part they are spread evenly.
    """
    parts = parts_of(image_set, plan)
    shares = shares_of({part: len(images) for part, images in parts.items()}, n_images)
    return end_to_end(
        [parts[part].take(evenly(len(parts[part]), share)) for part, share in shares.items()]
    )


def parts_of(image_set: ImageSet, plan: splits.Plan) -> dict[str, Shown]:
    """The parts of the set as the first fold of the plan has them; without unlabelled images, the
    training images that kept no label stand in their place."""
    fold = plan.folds[0]
    parts = {"labelled": _part(image_set.train, "labelled", fold)}
    if image_set.unlabeled is not None:
        parts["unlabelled"] = _part(image_set.unlabeled, "unlabelled", labels=False)
    else:
        withheld = np.empty(0, np.int64) if plan.withheld is None else plan.withheld
        rest = np.setdiff1d(np.arange(len(image_set.train)), np.concatenate([fold, withheld]))
        if len(rest):
            parts["unlabelled"] = _part(image_set.train, "unlabelled", rest, labels=False)
    if image_set.test is not None:
        parts["test"] = _part(image_set.test, "test")
    return parts


def _part(
    images: Images, part: str, indices: np.ndarray | None = None, *, labels: bool = True
) -> Shown:
    if indices is None:
        indices = np.arange(len(images))
    kind = "training" if part == "labelled" else part
    known = labels and images.labels is not None
    return Shown(
        images=Images(
            pixels=Joined([images.pixels], indices),
            names=tuple(images.names[i] if images.names else f"{kind} image {i}" for i in indices),
        ),
        part_N=np.full(len(indices), PARTS.index(part)),
        index_N=indices,
        truth_N=images.labels[indices] if known else np.full(len(indices), -1),  # type: ignore[index]
        answer_N=np.full(len(indices), -1),
        confidence_N=np.full(len(indices), np.nan, np.float32),
    )


def shares_of(counts: Mapping[str, int], n_images: int) -> dict[str, int]:
    """How many images of each part: by SHARES, what one lacks going to the others."""
    shares = dict.fromkeys(counts, 0)
    left = min(n_images, sum(counts.values()))
    while left:
        open_parts = [part for part in counts if shares[part] < counts[part]]
        weight = sum(SHARES[part] for part in open_parts)
        before = left
        for part in open_parts:
            more = min(int(before * SHARES[part] / weight), counts[part] - shares[part], left)
            shares[part] += more
            left -= more
        if left == before:  # fewer are left than there are parts
            shares[open_parts[0]] += 1
            left -= 1
    return shares


def evenly(n_images: int, n_chosen: int) -> np.ndarray:
    """So many increasing indices, from the first image to the last."""
    return np.linspace(0, n_images - 1, n_chosen).astype(np.int64) if n_chosen else np.arange(0)


def behind_cells(scores: Scores, image_set: ImageSet, mapped: Shown) -> Shown:
    """Test images that were answered wrongly and are not on the map, some for each pair of classes.

    The most confident answers first, at most 8 of a pair and 500 in all.
    """
    test = image_set.test
    assert test is not None and test.labels is not None
    on_map = mapped.index_N[mapped.part_N == PARTS.index("test")]
    wrong = np.setdiff1d(np.flatnonzero(scores.answered_N != test.labels), on_map)
    wrong = wrong[np.argsort(-scores.confidence_N[wrong], kind="stable")]
    of_cell: dict[tuple[int, int], list[int]] = {}
    for i in wrong.tolist():
        of_cell.setdefault((int(test.labels[i]), int(scores.answered_N[i])), []).append(i)
    ranked = sorted(
        (rank, place, i)
        for place, indices in enumerate(of_cell.values())
        for rank, i in enumerate(indices[:N_OF_CELL])
    )
    chosen = np.array([i for _, _, i in ranked[:N_BEHIND]], np.int64)
    part = _part(test, "test", chosen)
    return part.answered(scores.answered_N[chosen], scores.confidence_N[chosen])


def least_sure(shown: Shown, n_images: int) -> np.ndarray:
    """Places of the images with the least confident answers, the least first.

    Of the unlabelled images where there are some, else of the test images.
    """
    for part in ("unlabelled", "test"):
        # NaN: an answer that is no number is none
        known_N = np.isfinite(shown.confidence_N)
        places = np.flatnonzero((shown.part_N == PARTS.index(part)) & known_N)
        if len(places):
            return places[np.argsort(shown.confidence_N[places], kind="stable")[:n_images]]
    return np.empty(0, np.int64)
