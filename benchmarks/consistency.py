"""Accuracy and time of learning from unlabelled images, beside labels alone with the same minutes.

    python benchmarks/consistency.py cifar10 --budget 30m --out cifar10-consistency-30m.json
    python benchmarks/consistency.py cifar10 --budget 60m --recipes auto --out cifar10-auto-60m.json
    python benchmarks/consistency.py nette96 --budget 60m --out nette96-consistency-60m.json
    python benchmarks/consistency.py nette96 --budget 60m --folds 0 --recipes consistency \\
        --set consistency.schedule=rounds --out ...-rounds.json

Each recipe of `--recipes` is one call of the command line with the whole budget: of each training,
and with `auto` of everything, for each fold. `cifar10` and `nette96` are as in training.py.
`seconds_in_all` is of the whole command. Where `labels` is among the recipes, `gains` has the
difference to it for each fold: here each has all the minutes, while `--baseline` parts them. It
is one network there, and three teach `consistency`: `--baseline` has as many.
`promise_kept` tells which part of the promised time `auto` took.
"""

import argparse
import json
import os
from argparse import Namespace
from pathlib import Path

import torch

from fewlabels.options import seconds_of
from kmeans import PROTOCOLS, processor
from training import measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", choices=PROTOCOLS)
    parser.add_argument("--budget", required=True, help="such as 30m; of each fold")
    parser.add_argument("--recipes", default="consistency,labels", help="each with all the budget")
    parser.add_argument("--baseline", action="store_true", help="in half of the budget, too")
    parser.add_argument("--folds", help="of nette96, in place of 0-2")
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"])
    parser.add_argument("--seed", default="0")
    parser.add_argument("--set", action="append", default=[], help="of those that have the setting")
    parser.add_argument("--out", type=Path, help="where to write the JSON, after every recipe")
    asked = parser.parse_args()
    result = {
        "images": asked.images,
        "budget": asked.budget,
        "machine": f"{os.cpu_count()} cores, {processor()}",
        "torch": torch.__version__,
        "load_before": round(os.getloadavg()[0], 1),
        "runs": {},
    }
    for recipe in asked.recipes.split(","):
        run = one(recipe, asked)
        result["runs"][recipe] = run
        result["gains"] = gains(result["runs"])
        text = json.dumps(result, indent=1)
        if asked.out:
            asked.out.write_text(text + "\n")
    print(text)


def one(recipe: str, asked: Namespace) -> dict:
    """A recipe with all of the budget."""
    found = measured(
        Namespace(
            images=asked.images,
            recipe=recipe,
            budget=asked.budget,
            epochs=None,
            precision=asked.precision,
            seed=asked.seed,
            set=[setting for setting in asked.set if has(recipe, setting)],
            folds=asked.folds,
            baseline=asked.baseline and recipe != "labels",
        )
    )
    if "auto" in found:
        whole = seconds_of(asked.budget) * max(1, len(found.get("folds", ())))
        found["promise_kept"] = round(found["seconds_in_all"] / whole, 3)
    return found


def has(recipe: str, setting: str) -> bool:
    """Whether a recipe has that setting; `auto` says so itself."""
    from fewlabels import recipes

    name = setting.partition("=")[0]
    return recipe == "auto" or name in recipes.settings_of(recipes.named(recipe))


def accuracies(run: dict) -> list[float]:
    """Of each fold; of a single fit one."""
    return [fold["accuracy"] for fold in run.get("folds", [run])]


def gains(runs: dict[str, dict]) -> dict[str, list[float]]:
    """Accuracy of each fold less that of `labels`, for the other recipes."""
    if "labels" not in runs:
        return {}
    alone = accuracies(runs["labels"])
    return {
        recipe: [round(a - b, 4) for a, b in zip(accuracies(run), alone, strict=True)]
        for recipe, run in runs.items()
        if recipe != "labels"
    }


if __name__ == "__main__":
    main()
