"""How many labels that are wrong `fewlabels suggest` finds, and how long it takes.

    python benchmarks/suggest.py labels --budget 5m --out suggest-labels-5m.json
    python benchmarks/suggest.py kmeans-1 --out suggest-kmeans-1.json

A part of CIFAR-10's training labels is made wrong, any other class with the same probability, and
4,000 are drawn; the recipe learns from these, and `suggest` names the `--top` labels that it holds
for wrong. `precision` is the part of these that are, `recall` the part of the wrong ones that are
named; `chance` is how many are wrong. Images are read from ../shared/data or $FEWLABELS_DATA.
"""

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import fewlabels
from fewlabels import mislabelled, runs, splits, suggesting
from fewlabels.model import Model
from fewlabels.options import seconds_of, settings_of
from fewlabels.suggestions import MISLABELLED
from kmeans import REPOSITORY, processor

N_LABELLED = 4000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("--budget", help="of its trainings")
    parser.add_argument("--wrong", type=float, default=0.05, help="part of the labels")
    parser.add_argument("--top", type=int, default=100)
    parser.add_argument("--set", action="append", default=[], help="a setting, as for fewlabels")
    parser.add_argument("--model", type=Path, help="keeps the model, or is one kept by this call")
    parser.add_argument("--out", type=Path, help="where to write the JSON")
    asked = parser.parse_args()
    if why := mislabelled.why_not():
        parser.error(why)
    data = Path(os.environ.get("FEWLABELS_DATA", REPOSITORY.parent / "shared" / "data"))
    found = fewlabels.read(data / "cifar10")
    labels_N, n_classes = found.train.labels.copy(), len(found.class_names)
    draw = np.random.default_rng(0)
    is_wrong_N = draw.random(len(labels_N)) < asked.wrong
    labels_N = (labels_N + is_wrong_N * draw.integers(1, n_classes, len(labels_N))) % n_classes
    found = replace(found, train=replace(found.train, labels=labels_N))
    plan = splits.plan(found, labels=N_LABELLED, seed=0)
    if asked.model and asked.model.exists():
        model = Model.load(asked.model)
    else:
        model = fewlabels.fit(
            found,
            asked.recipe,
            labels=N_LABELLED,
            settings=settings_of(asked.set),
            budget_seconds=None if asked.budget is None else seconds_of(asked.budget),
        )
        if asked.model:
            model.save(asked.model)
    start = time.perf_counter()
    known = suggesting.sort(found, plan)
    suggestions, _ = suggesting.find(model, found, known, top=asked.top, seed=0)
    seconds = time.perf_counter() - start
    named = [one.place.number for one in suggestions if one.kind == MISLABELLED]
    n_wrong = int(is_wrong_N[known.labelled].sum())
    told = {
        "recipe": model.recipe.name,
        "budget": asked.budget,
        "settings": asked.set,
        "top": asked.top,
        "n_named": len(named),
        "precision": round(float(is_wrong_N[named].mean()), 4) if named else None,
        "recall": round(float(is_wrong_N[named].sum() / n_wrong), 4),
        "chance": round(n_wrong / N_LABELLED, 4),
        "seconds_of_suggest": round(seconds, 1),
        "machine": f"{os.cpu_count()} cores, {processor()}",
        "commit": runs.commit(),
    }
    text = json.dumps(told, indent=1)
    print(text)
    if asked.out:
        asked.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
