"""Which training images keep their labels: all, a class-balanced draw, or a given fold.

The label-free part of a recipe learns from one pool, whatever was drawn: the unlabelled images
and all training images without their labels. So it is learned once for all folds, and a fold of
`score` is the same as that fold alone in `fit`. Test and validation images are in no pool.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fewlabels.errors import ConfigError, DataError
from fewlabels.images import Images, ImageSet
from fewlabels.joined import Joined
from fewlabels.progress import say

N_DRAWS = 5  # that a score of drawn labels is the mean of
PROTOCOLS = ("cifar10-400", "folds-1000", "report-split")


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """What is learned from in a run.

    protocol : a name such as `labels-100`, `fold-3`, `cifar10-400`, to stand beside every score
    numbers : of the folds, as the user counts them
    folds : for each an int64 array of indices into the training images that keep their labels
    validation : labelled images that are kept apart, and only scored on
    withheld : indices into the training images that are in no pool (those of `validation`)
    """

    protocol: str
    numbers: tuple[int, ...]
    folds: tuple[np.ndarray, ...]
    validation: Images | None = None
    withheld: np.ndarray | None = None


def plan(
    image_set: ImageSet,
    *,
    labels: int | None = None,
    folds: Sequence[int] | None = None,
    protocol: str | None = None,
    seed: int = 0,
) -> Plan:
    """The plan of a run; every training label is used where nothing is asked.

    Parameters
    ----------
    labels : how many labels in all, drawn evenly over the classes with the seed
    folds : numbers of given folds; with `labels` or `cifar10-400` fold k is the draw with seed + k
    protocol : `cifar10-400` (400 labels per class drawn), `folds-1000` (given folds of 1,000) or
        `report-split` (the source's validation images; else 400 + 100 per class drawn)

    Raises ConfigError where options exclude one another, DataError where the set lacks what is
    asked.
    """
    n_classes = len(image_set.class_names)
    if "train" in image_set.left_out:
        raise DataError(
            f"{image_set.name} was read without its training images: read it again with all parts"
        )
    if protocol not in (None, *PROTOCOLS):
        raise ConfigError(f"a protocol is one of {', '.join(PROTOCOLS)}; got {protocol!r}")
    if folds is not None and min(folds, default=0) < 0:
        raise ConfigError(f"folds are numbered from 0; got {min(folds)}")
    if protocol is not None and labels is not None:
        raise ConfigError(f"{protocol} says how many labels there are: leave --labels out")
    if protocol == "report-split":
        if folds is not None:
            raise ConfigError("report-split has no folds: leave --fold and --folds out")
        return _report_split(image_set, seed)
    if protocol == "cifar10-400":
        labels = 400 * n_classes
    if labels is not None:
        name = protocol or f"labels-{labels}"
        numbers = tuple(folds) if folds is not None else (0,)
        drawn = tuple(draw_from(image_set, labels, seed + number) for number in numbers)
        return Plan(protocol=name, numbers=numbers, folds=drawn)
    if folds is None and protocol is None:
        everything = np.arange(len(image_set.train))
        return Plan(protocol="all-labels", numbers=(0,), folds=(everything,))
    return _given(image_set, folds, protocol)


def again(image_set: ImageSet, run: Mapping[str, Any]) -> Plan:
    """The plan of a run, from what its `config.toml` says in the section "run".

    Raises what `plan` raises, where the set has changed.
    """
    labels, protocol = run.get("labels"), run.get("protocol")
    named = protocol if protocol in PROTOCOLS else None
    everything = named is None and labels is None and protocol in (None, "all-labels")
    return plan(
        image_set,
        labels=labels,
        folds=None if everything or named == "report-split" else tuple(run.get("folds", (0,))),
        protocol=named,
        seed=int(run.get("seed", 0)),
    )


def all_folds(
    image_set: ImageSet, labels: int | None, protocol: str | None, seed: int
) -> Sequence[int] | None:
    """The numbers of the folds that a mean is taken over where none are named.

    All that are given; of draws, which have no end, five. None where the protocol tells.
    """
    if labels is not None or protocol == "cifar10-400":
        last = seed + N_DRAWS - 1
        say(f"the mean of {N_DRAWS} draws, with seeds {seed} to {last} (--folds 0 for one)")
        return range(N_DRAWS)
    return range(len(image_set.folds)) if protocol is None else None


def _given(image_set: ImageSet, asked: Sequence[int] | None, protocol: str | None) -> Plan:
    n_folds = len(image_set.folds)
    if n_folds == 0:
        raise DataError(
            f"{image_set.name} has no folds: add fold_indices.txt, or draw labels with --labels"
        )
    if protocol == "folds-1000" and max(map(len, image_set.folds)) != 1000:
        raise DataError(
            f"folds-1000 needs folds of 1,000 images; those of {image_set.name} have "
            f"{max(map(len, image_set.folds)):,}: leave --protocol out"
        )
    numbers = tuple(range(n_folds)) if asked is None else tuple(asked)
    wrong = [number for number in numbers if not 0 <= number < n_folds]
    if wrong:
        raise DataError(
            f"{image_set.name} has folds 0 to {n_folds - 1}; got {wrong[0]}: ask for one of them"
        )
    folds = tuple(image_set.folds[number] for number in numbers)
    for number, fold in zip(numbers, folds, strict=True):
        _check_every_class(image_set, fold, f"fold {number}")
    if protocol is None:
        protocol = f"fold-{numbers[0]}" if len(numbers) == 1 else "given-folds"
    return Plan(protocol=protocol, numbers=numbers, folds=folds)


def _report_split(image_set: ImageSet, seed: int) -> Plan:
    """4,000 labelled and 1,000 validation images, as the source gives them or drawn."""
    if image_set.validation is not None:
        everything = np.arange(len(image_set.train))
        return Plan(
            protocol="report-split",
            numbers=(0,),
            folds=(everything,),
            validation=image_set.validation,
        )
    n_classes = len(image_set.class_names)
    both = draw_from(image_set, 500 * n_classes, seed)
    assert image_set.train.labels is not None
    inside = draw(image_set.train.labels[both], 400 * n_classes, seed, image_set.class_names)
    rest = np.setdiff1d(both, both[inside])
    return Plan(
        protocol="report-split",
        numbers=(0,),
        folds=(both[inside],),
        validation=image_set.train.take(rest),
        withheld=rest,
    )


def _check_every_class(image_set: ImageSet, fold: np.ndarray, name: str) -> None:
    assert image_set.train.labels is not None
    present = np.unique(image_set.train.labels[fold])
    absent = np.setdiff1d(np.arange(len(image_set.class_names)), present)
    if len(absent):
        raise DataError(
            f"{name} of {image_set.name} has no image of class "
            f"{image_set.class_names[absent[0]]!r}: mend fold_indices.txt"
        )


def draw_from(image_set: ImageSet, n_labels: int, seed: int) -> np.ndarray:
    """A class-balanced draw from the training images of a set, see `draw`."""
    assert image_set.train.labels is not None
    return draw(image_set.train.labels, n_labels, seed, image_set.class_names)


def draw(labels: np.ndarray, n_labels: int, seed: int, class_names: Sequence[str]) -> np.ndarray:
    """Draw images as evenly over the classes as can be.

    Parameters
    ----------
    labels : int64 array of shape (n_images,), each in [0, n_classes)
    n_labels : images to draw in all; where the classes do not divide it, the seed says which
        classes get one more

    Returns
    -------
    int64 array of shape (n_labels,), increasing indices into `labels`

    Raises DataError where a class has fewer images than its share, or a share is 0.
    """
    n_classes = len(class_names)
    if n_labels < n_classes:
        raise DataError(
            f"each of the {n_classes} classes needs a label; got --labels {n_labels}: ask for more"
        )
    generator = np.random.default_rng(seed)
    shares = np.full(n_classes, n_labels // n_classes)
    shares[generator.permutation(n_classes)[: n_labels % n_classes]] += 1
    drawn = []
    for label, share in enumerate(shares):
        of_class = np.flatnonzero(labels == label)
        if len(of_class) < share:
            raise DataError(
                f"{n_labels:,} labels need {share:,} images of class {class_names[label]!r}, which "
                f"has {len(of_class):,} training images: ask for fewer labels, or add images"
            )
        drawn.append(generator.permutation(of_class)[:share])
    return np.sort(np.concatenate(drawn))


def pool(image_set: ImageSet, withheld: np.ndarray | None = None) -> Images:
    """What the label-free part learns from: unlabelled and training images, without labels.

    Nothing is copied: of a large set few images are read.
    """
    kept = np.ones(len(image_set.train), bool)
    if withheld is not None:
        kept[withheld] = False
    parts = [part.pixels for part in (image_set.unlabeled, image_set.train) if part is not None]
    if image_set.unlabeled is not None:
        kept = np.concatenate([np.ones(len(image_set.unlabeled), bool), kept])
    return Images(pixels=Joined(parts, np.flatnonzero(kept)))


def without(images: Images, left_out: np.ndarray) -> Images:
    """The images at which the bool array `left_out` of shape (n_images,) is False."""
    if isinstance(images.pixels, Joined):
        kept = images.pixels.chosen[~left_out]
        return Images(pixels=Joined(images.pixels.arrays, kept))
    return Images(pixels=Joined([images.pixels], np.flatnonzero(~left_out)))


def unlabelled(image_set: ImageSet, images: Images, fold: np.ndarray) -> Images:
    """The images of a `pool` of this set without the labelled ones of a fold."""
    assert isinstance(images.pixels, Joined), "a pool is joined of its parts"
    n_before = 0 if image_set.unlabeled is None else len(image_set.unlabeled)
    return without(images, np.isin(images.pixels.chosen, n_before + fold))


def without_labelled(plan: Plan, left_out: np.ndarray) -> Plan:
    """The plan without the training images at which the bool array `left_out` is True.

    Raises DataError where nothing is left of a fold.
    """
    folds = tuple(fold[~left_out[fold]] for fold in plan.folds)
    if not all(len(fold) for fold in folds):
        raise DataError("all labelled images of a fold are copies of test images: give others")
    return replace(plan, folds=folds)
