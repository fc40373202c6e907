"""Accuracy with few and with many labels: one table and one figure, for several recipes.

    python benchmarks/label_efficiency.py --budget 15m --out label-efficiency
    python benchmarks/label_efficiency.py --budget 15m --recipes labels,consistency --out ...

Every cell is one call of `fewlabels fit` on CIFAR-10: so many labels per class drawn with the seed,
the other training images unlabelled, all test images; `--budget` of its training where it learns by
gradients. A finished cell is kept in `OUT/cells.json` and not measured again, so that a call that
was stopped goes on; cells of another budget, seed or settings are others. `OUT/table.md` and
`OUT/figure.png` are drawn anew after each cell. Images are read from ../shared/data or
$FEWLABELS_DATA, or from `--source`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path

from fewlabels import figures, recipes
from fewlabels.curves import Curve, Line, accuracy_curves
from kmeans import REPOSITORY, processor

RECIPES = "labels,kmeans-1,surrogate,consistency"
NAME_LENGTH = 24  # in the figure; the table has it whole
KEPT = ("accuracy", "accuracy_clean", "n_test", "calibration_error", "protocol", "commit", "auto")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", required=True, help="of each training, such as 15m")
    parser.add_argument("--recipes", default=RECIPES)
    parser.add_argument("--per-class", default="10,25,100,400", help="labels")
    parser.add_argument("--seeds", default="0", help="draws of labels, such as 0,1,2")
    parser.add_argument("--source", help="in place of CIFAR-10")
    parser.add_argument("--set", action="append", default=[], help="of those that have the setting")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    path = asked.out / "cells.json"
    cells = json.loads(path.read_text()) if path.exists() else []
    # few labels first: their cells are as long, and say more
    for n_each in map(int, asked.per_class.split(",")):
        for recipe in asked.recipes.split(","):
            for seed in map(int, asked.seeds.split(",")):
                wanted = cell(recipe, n_each, seed, asked)
                if any(wanted.items() <= one.items() for one in cells):
                    print(f"{recipe}, {n_each} labels a class, seed {seed}: kept", file=sys.stderr)
                    continue
                cells.append(wanted | measured(wanted, asked))
                path.write_text(json.dumps(cells, indent=1) + "\n")
                show(cells, asked.out)
    show(cells, asked.out)
    print((asked.out / "table.md").read_text())


def cell(recipe: str, n_each: int, seed: int, asked: Namespace) -> dict:
    """What tells a cell from the others."""
    known = recipes.settings_of(recipes.named(recipe))
    learns = recipes.named(recipe).training is not None
    return {
        "recipe": recipe,
        "labels_per_class": n_each,
        "seed": seed,
        "budget": asked.budget if learns else None,
        "settings": [one for one in asked.set if one.partition("=")[0] in known],
        "source": Path(source(asked)).name,
    }


def source(asked: Namespace) -> str:
    data = Path(os.environ.get("FEWLABELS_DATA", REPOSITORY.parent / "shared" / "data"))
    return asked.source or str(data / "cifar10")


def measured(wanted: dict, asked: Namespace) -> dict:
    """Run one cell by the command line."""
    n_classes = len(class_names(asked))
    with tempfile.TemporaryDirectory() as folder:
        line = [
            *(sys.executable, "-m", "fewlabels", "fit", source(asked)),
            *("--recipe", wanted["recipe"], "--seed", str(wanted["seed"])),
            *("--labels", str(n_classes * wanted["labels_per_class"])),
            *(("--budget", wanted["budget"]) if wanted["budget"] else ()),
            *(word for setting in wanted["settings"] for word in ("--set", setting)),
            *("--out", str(Path(folder) / "run"), "--json"),
        ]
        start = time.perf_counter()
        done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
        seconds = time.perf_counter() - start
    found = json.loads(done.stdout)
    return {
        **{name: found[name] for name in KEPT if name in found},
        "seconds_in_all": round(seconds, 1),
        "peak_memory_mib": found["peak_memory_mib"],
        "machine": f"{os.cpu_count()} cores, {processor()}",
    }


def class_names(asked: Namespace) -> list[str]:
    """Those of the source, asked once."""
    if not hasattr(class_names, "found"):
        line = [sys.executable, "-m", "fewlabels", "data", source(asked), "--json"]
        done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
        class_names.found = json.loads(done.stdout)["class_names"]
    return class_names.found


def show(cells: list[dict], out: Path) -> None:
    """The table and the figure of what is there."""
    (out / "table.md").write_text(table(cells))
    (out / "figure.png").write_bytes(figures.to_png(figure(cells)))


def means(cells: list[dict]) -> dict[str, dict[int, list[float]]]:
    """Recipe and budget -> labels per class -> accuracies of the draws."""
    found: dict[str, dict[int, list[float]]] = {}
    for one in cells:
        name = one["recipe"] + (f" {one['budget']}" if one["budget"] else "")
        name += "".join(f" {setting}" for setting in one["settings"])
        found.setdefault(name, {}).setdefault(one["labels_per_class"], []).append(one["accuracy"])
    return found


def table(cells: list[dict]) -> str:
    """Markdown: a row per recipe, a column per number of labels."""
    columns = sorted({one["labels_per_class"] for one in cells})
    lines = ["| recipe | " + " | ".join(f"{n} labels a class" for n in columns) + " |"]
    lines += ["|---" * (1 + len(columns)) + "|"]
    for name, row in means(cells).items():
        texts = [text(row.get(n, [])) for n in columns]
        lines.append(f"| `{name}` | " + " | ".join(texts) + " |")
    return "\n".join(lines) + "\n"


def text(accuracies: list[float]) -> str:
    if not accuracies:
        return ""
    mean = sum(accuracies) / len(accuracies)
    several = f" ({len(accuracies)} draws)" if len(accuracies) > 1 else ""
    return f"{mean:.3f}{several}"


def figure(cells: list[dict]):
    """Accuracy against labels per class, a line per recipe."""
    lines = []
    for name, row in means(cells).items():
        x = tuple(float(n) for n in sorted(row))
        y = tuple(sum(row[int(n)]) / len(row[int(n)]) for n in x)
        curve = Curve(name="test_accuracy", epochs=x, seconds=x, accuracy=y)
        lines.append(Line(label=figures.shortened(name, NAME_LENGTH), curves={"test": (curve,)}))
    drawn = accuracy_curves(lines, axes=("epochs",))
    panel = drawn.axes[0]
    panel.set_xlabel("labels per class")
    least = min(one["labels_per_class"] for one in cells)
    panel.set_xlim(left=0.8 * least)
    panel.set_xscale("log")
    ticks = sorted({one["labels_per_class"] for one in cells})
    panel.set_xticks(ticks, [str(n) for n in ticks])
    panel.minorticks_off()
    return drawn


if __name__ == "__main__":
    main()
