"""Sets that are not as one would wish: is learning from unlabelled images ever worse than not to?

    python benchmarks/odd_sets.py --budget 340s --set network.widths=32,64,128 --out odd-sets.json
    python benchmarks/odd_sets.py --budget 340s --cases "a class absent,labels wrong" --out ...

CIFAR-10 with `--per-class` labels of each class, changed as `CASES` tells; all test images (those
of the labelled classes) are answered, by what `consistency` comes to in the budget and by the
networks of labels alone that it begins with, at most in half of it: `accuracy_of_teachers`. Images
are read from ../shared/data or $FEWLABELS_DATA.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

import fewlabels
from fewlabels import protocol, recipes, runs, splits
from fewlabels.graph import Graph
from fewlabels.images import Images, ImageSet
from fewlabels.options import seconds_of, settings_of
from fewlabels.ways import consistency
from fewlabels.ways.watching import Watch
from kmeans import REPOSITORY, processor

ABSENT, WRONG = 3, 0.2  # the class (cat), and the part of the labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", required=True, help="of the trainings of each case")
    parser.add_argument("--per-class", type=int, default=100, help="labels")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--set", action="append", default=[], help="a setting, as for fewlabels")
    parser.add_argument("--out", type=Path, help="where to write the JSON, after every case")
    asked = parser.parse_args()
    data = Path(os.environ.get("FEWLABELS_DATA", REPOSITORY.parent / "shared" / "data"))
    whole = fewlabels.read(data / "cifar10")
    told = {
        "budget": asked.budget,
        "settings": asked.set,
        "labels_per_class": asked.per_class,
        "machine": f"{os.cpu_count()} cores, {processor()}",
        "commit": runs.commit(),
        "cases": {},
    }
    for name in asked.cases.split(","):
        n_each = 1 if name == "one label" else asked.per_class
        told["cases"][name] = measured(CASES[name](drawn(whole, n_each)), asked)
        print(name, json.dumps(told["cases"][name]), flush=True)
        if asked.out:
            asked.out.write_text(json.dumps(told, indent=1) + "\n")


def drawn(whole: ImageSet, n_each: int) -> ImageSet:
    """So many labels of each class, drawn with seed 0.

    All other training images, labels and all, are the unlabelled part, which a case takes from.
    """
    (chosen,) = splits.plan(whole, labels=n_each * len(whole.class_names), seed=0).folds
    rest = np.setdiff1d(np.arange(len(whole.train)), chosen)
    return replace(whole, train=whole.train.take(chosen), unlabeled=whole.train.take(rest))


def as_it_is(found: ImageSet) -> ImageSet:
    return replace(found, unlabeled=without_labels(found.unlabeled))


def none(found: ImageSet) -> ImageSet:
    """No unlabelled images."""
    return replace(found, unlabeled=None)


def of_no_class(found: ImageSet) -> ImageSet:
    """The first half of the classes is labelled, and all unlabelled images are of the others."""
    half = len(found.class_names) // 2
    known, others = (np.flatnonzero(part.labels < half) for part in (found.train, found.test))
    strange = found.unlabeled.take(np.flatnonzero(found.unlabeled.labels >= half))
    return replace(
        found,
        class_names=found.class_names[:half],
        train=found.train.take(known),
        test=found.test.take(others),
        unlabeled=without_labels(strange),
    )


def absent(found: ImageSet) -> ImageSet:
    """No unlabelled image is of one of the classes."""
    kept = found.unlabeled.take(np.flatnonzero(found.unlabeled.labels != ABSENT))
    return replace(found, unlabeled=without_labels(kept))


def wrong(found: ImageSet) -> ImageSet:
    """A part of the labels is of another class, any of them."""
    draw = np.random.default_rng(0)
    labels_N, n_classes = found.train.labels.copy(), len(found.class_names)
    spoiled = draw.permutation(len(labels_N))[: round(WRONG * len(labels_N))]
    labels_N[spoiled] = (labels_N[spoiled] + draw.integers(1, n_classes, len(spoiled))) % n_classes
    return replace(as_it_is(found), train=replace(found.train, labels=labels_N))


def without_labels(images: Images) -> Images:
    return replace(images, labels=None)


CASES: dict[str, Callable[[ImageSet], ImageSet]] = {
    "as it is": as_it_is,
    "none unlabelled": none,
    "all of no class": of_no_class,
    "one label": as_it_is,
    "a class absent": absent,
    "labels wrong": wrong,
}


def measured(found: ImageSet, asked: argparse.Namespace) -> dict:
    """Accuracy with and without the unlabelled images, and what the recipe says of their use."""
    teachers: list[float] = []
    better = consistency.better

    def watched(alone: Graph, graph: Graph, watch: Watch) -> tuple:
        whole = replace(watch, held=found.test)
        teachers.append(float(whole.right(alone).mean()))
        return better(alone, graph, watch)

    seconds, settings = seconds_of(asked.budget), settings_of(asked.set)
    recipe = recipes.within(recipes.as_recipe("consistency", settings), seconds, settings)
    plan = splits.plan(found)
    start = time.perf_counter()
    consistency.better = watched
    outcome = protocol.score(found, recipe, plan, budget_seconds=seconds, seed=0)
    consistency.better = better
    scores = outcome.scores[0]
    return {
        "n_labelled": len(found.train),
        "n_unlabelled": 0 if found.unlabeled is None else len(found.unlabeled),
        "accuracy_of_teachers": teachers[0] if teachers else None,
        "accuracy": scores.accuracy,
        "accuracy_per_class": [round(float(one), 3) for one in scores.accuracy_per_class],
        **outcome.models[0].info.get("learned", {}),
        "seconds_in_all": round(time.perf_counter() - start, 1),
    }


if __name__ == "__main__":
    main()
