"""`fewlabels demo`: the whole way on made images, small enough for two cores and two minutes."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fewlabels.jobs import fit_run
from fewlabels.options import Learning
from fewlabels.runs import CONFIG, read_config
from fewlabels.terminal import scores_text

COMMAND = "fewlabels demo"
RECIPE = "kmeans-1"
SETTINGS = ("filters.n_filters=256",)  # of 1,600: a sixth of the time


def run_demo(out: Path, *, overwrite: bool = False) -> dict[str, Any]:
    """Fit the made set `shapes` and write the run; an earlier demo there is replaced."""
    asked = Learning(recipe=RECIPE, settings=SETTINGS)
    command = f"{COMMAND} --out {shlex.quote(str(out))}"
    replaced = overwrite or _holds_demo(out)
    return fit_run("shapes", asked, out, overwrite=replaced, command=command)


def _holds_demo(out: Path) -> bool:
    if not (out / CONFIG).is_file():
        return False
    return str(read_config(out).get("run", {}).get("command", "")).startswith(COMMAND)


def demo_text(result: Mapping[str, Any]) -> str:
    run = result["run"]
    return (
        f"{scores_text(result)}\n\n"
        f"Open {result['report']} in a browser: what was learned, and where it errs. Then try:\n"
        f"  fewlabels evaluate {run}\n"
        "  fewlabels data YOUR_FOLDER          (with train/CLASS/*.jpg, and unlabeled/*)\n"
        "  fewlabels fit YOUR_FOLDER --out runs/mine"
    )
