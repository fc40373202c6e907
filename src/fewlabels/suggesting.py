"""A model and a set -> suggestions: what to label next, what to look at again.

Shapes: N labelled images, M unlabelled ones, L classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fewlabels import choosing, judging, mislabelled, near_copies, splits, strangers
from fewlabels.images import Images, ImageSet
from fewlabels.joined import Joined
from fewlabels.model import Model
from fewlabels.model_views import features_of, sketches_of, view
from fewlabels.progress import stage
from fewlabels.suggestions import (
    LABEL_NEXT,
    MISLABELLED,
    NEAR_DUPLICATE,
    NO_CLASS,
    Place,
    Suggestion,
    place_in,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Sorted:
    """The images of a set by what is known of them.

    labelled : indices into the training images whose labels may be used; several classes, or none
    places : the part and number of each unlabelled image, in the order of `unlabelled`
    """

    labelled: np.ndarray
    unlabelled: Images | None
    places: Sequence[tuple[str, int]]


def sort(image_set: ImageSet, plan: splits.Plan | None) -> Sorted:
    """Which images count as labelled: those of the plan's first fold; without a plan, none.

    Training images that lost their label are unlabelled; those that the plan keeps apart are in
    neither part.
    """
    everything = np.arange(len(image_set.train))
    labelled = everything[:0] if plan is None else np.sort(plan.folds[0])
    rest = np.setdiff1d(everything, labelled)
    if plan is not None and plan.withheld is not None:
        rest = np.setdiff1d(rest, plan.withheld)
    places = [("train", number) for number in rest.tolist()]
    pixels, chosen = [image_set.train.pixels], rest
    if image_set.unlabeled is not None:
        n_unlabeled = len(image_set.unlabeled)
        places += [("unlabeled", number) for number in range(n_unlabeled)]
        pixels.append(image_set.unlabeled.pixels)
        chosen = np.concatenate([rest, len(everything) + np.arange(n_unlabeled)])
    unlabelled = Images(pixels=Joined(pixels, chosen)) if places else None
    return Sorted(labelled=labelled, unlabelled=unlabelled, places=places)


def find(
    model: Model, image_set: ImageSet, known: Sorted, *, top: int, seed: int, device: str = "cpu"
) -> tuple[list[Suggestion], list[str]]:
    """All suggestions, at most `top` of each kind, the most important first; and notes.

    A note says in a sentence why a kind could not be looked for.
    """
    found: list[Suggestion] = []
    notes: list[str] = []
    sketches_NK = None
    if len(known.labelled):
        assert image_set.train.labels is not None
        labelled = image_set.train.take(known.labelled)
        features_ND = features_of(
            model, labelled, device=device, what="features of labelled images"
        )
        sketches_NK = sketches_of(model, features_ND, seed=seed)
        if why := mislabelled.why_not():
            notes.append(f"No label is judged: {why}.")
        else:
            answers_NL = judging.answers(
                model, labelled, features_ND, known.unlabelled, seed=seed, device=device
            )
            found += _suspects(image_set, known, answers_NL, top)
        del features_ND  # gigabytes
    else:
        notes.append(
            "The set has other classes than the model, so its labels are not used: no label is "
            "judged, and what belongs to no class is told by the model's own answers alone."
        )
    if known.unlabelled is None:
        notes.append("There are no unlabelled images, so there is nothing to label next.")
    else:
        found += _unlabelled(model, image_set, known, sketches_NK, top, seed, device)
    found += _copies(image_set, known, top)
    return found, notes


def _suspects(
    image_set: ImageSet, known: Sorted, answers_NL: np.ndarray, top: int
) -> Iterator[Suggestion]:
    """Labelled images whose label is unlikely by answers that did not learn from it."""
    assert image_set.train.labels is not None
    names, labels_N = image_set.class_names, image_set.train.labels[known.labelled]
    suspects, probability = mislabelled.suspects(labels_N, answers_NL)
    for index, of_label in zip(suspects[:top].tolist(), probability[:top].tolist(), strict=True):
        answered = int(answers_NL[index].argmax())
        best, label = float(answers_NL[index, answered]), names[labels_N[index]]
        yield Suggestion(
            kind=MISLABELLED,
            place=place_in(image_set.parts(), "train", known.labelled[index]),
            score=1 - of_label,
            reason=f"labelled {label} ({_percent(of_label)}), but without this label it would be "
            f"answered {names[answered]} ({_percent(best)})",
            predicted=names[answered],
            probability=best,
            label=label,
        )


def _unlabelled(
    model: Model,
    image_set: ImageSet,
    known: Sorted,
    sketches_NK: np.ndarray | None,
    top: int,
    seed: int,
    device: str,
) -> Iterator[Suggestion]:
    """Which unlabelled images to label next, and which belong to no class."""
    assert known.unlabelled is not None
    names, parts = model.class_names, image_set.parts()
    seen = view(
        model, known.unlabelled, device=device, seed=seed, what="features of unlabelled images"
    )
    answers_ML = seen.probabilities_NL
    best_M = answers_ML.max(1)
    labelled = image_set.train.take(known.labelled)
    of_a_class_M = strangers.of_a_class(
        model, labelled, sketches_NK, known.unlabelled, seen, seed=seed, device=device
    )
    weights_M = choosing.uncertainty(answers_ML) * of_a_class_M
    with stage("choosing what to label next", total=1):
        likely_M = of_a_class_M >= min(0.5, np.sort(of_a_class_M)[-min(top, len(of_a_class_M))])
        # squared, as BADGE's lengths are: the unsure come before the merely unlike
        drawn = choosing.spread_out(
            seen.sketches_NK, np.where(likely_M, weights_M**2, 0), top, seed=seed
        )
    for index in drawn.tolist():
        first, second = np.argsort(-answers_ML[index], kind="stable")[:2]
        yield Suggestion(
            kind=LABEL_NEXT,
            place=place_in(parts, *known.places[index]),
            score=float(weights_M[index]),
            reason=f"unsure between {names[first]} ({_percent(best_M[index])}) and "
            f"{names[second]} ({_percent(answers_ML[index, second])}); of one of the classes with "
            f"{_percent(of_a_class_M[index])}",
            predicted=names[first],
            probability=float(best_M[index]),
        )
    for index in np.argsort(of_a_class_M, kind="stable")[:top].tolist():
        if of_a_class_M[index] >= 0.5:
            break
        answered = names[int(answers_ML[index].argmax())]
        yield Suggestion(
            kind=NO_CLASS,
            place=place_in(parts, *known.places[index]),
            score=float(1 - of_a_class_M[index]),
            reason=f"of one of the classes with {_percent(of_a_class_M[index])} alone; the nearest "
            f"is {answered}",
            predicted=answered,
            probability=float(best_M[index]),
        )


def _copies(image_set: ImageSet, known: Sorted, top: int) -> Iterator[Suggestion]:
    """Near-duplicates within and across labelled, test, validation and unlabelled images.

    Pairs with an image that is not an unlabelled one come first, as they touch what is learned or
    scored.
    """
    parts = image_set.parts()
    train = image_set.train
    labelled = set(known.labelled.tolist())
    pixels: list[np.ndarray | Joined] = [Joined([train.pixels], known.labelled)]
    places: list[tuple[str, int]] = [("train", number) for number in known.labelled.tolist()]
    for part in ("test", "validation"):
        if part in parts:
            pixels.append(parts[part].pixels)
            places += [(part, number) for number in range(len(parts[part]))]
    n_known = len(places)
    if known.unlabelled is not None:
        pixels.append(known.unlabelled.pixels)
        places += known.places
    found = sorted(near_copies.pairs(Joined(pixels)), key=lambda pair: pair.first >= n_known)
    for pair in found[:top]:
        first, second = places[pair.first], places[pair.second]
        given = [_label(image_set, labelled, place) for place in (first, second)]
        other = place_in(parts, *first)
        yield Suggestion(
            kind=NEAR_DUPLICATE,
            place=place_in(parts, *second),
            score=pair.similarity,
            reason=_why_alike(pair.similarity, other, first[0], second[0], given),
            label=given[1],
            other=other,
        )


def _why_alike(
    similarity: float, other: Place, first: str, second: str, given: Sequence[str | None]
) -> str:
    same = "byte for byte the same as" if similarity == 1 else "nearly the same picture as"
    reason = f"{same} {other} ({first})"
    if first != second and "test" in (first, second):
        reason += "; a test image should not lie among those that are learned from"
    if None not in given and given[0] != given[1]:
        reason += f"; their labels differ: {given[0]} and {given[1]}"
    return reason


def _label(image_set: ImageSet, labelled: set[int], place: tuple[str, int]) -> str | None:
    """The class of an image whose label may be used."""
    part, number = place
    if part != "train" or number not in labelled:
        return None
    assert image_set.train.labels is not None
    return image_set.class_names[image_set.train.labels[number]]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def counts(found: Sequence[Suggestion]) -> Mapping[str, int]:
    """How many of each kind there are."""
    kinds = (LABEL_NEXT, MISLABELLED, NEAR_DUPLICATE, NO_CLASS)
    return {kind: sum(one.kind == kind for one in found) for kind in kinds}
