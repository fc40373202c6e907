"""`fewlabels compare`: several runs side by side, as rows of a table and as one picture."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fewlabels import curves, figures, made_files, runs
from fewlabels.comparing import differences, labels_of, read_run
from fewlabels.curves import Curve
from fewlabels.errors import ConfigError, DataError
from fewlabels.progress import say

PNG, SVG, JSON = "comparison.png", "comparison.svg", "comparison.json"
MADE_BY = "fewlabels compare"  # in the JSON, so that our own files are known again
MOST_RUNS = 35  # colours and styles repeat after them
DOTS_PER_INCH = 200  # twice 800 pixels across, so that it is sharp at 800


def compare_runs(run_folders: Sequence[Path], out: Path = Path()) -> dict[str, Any]:
    """Compare runs: draw their accuracies and put what they tell side by side.

    Parameters
    ----------
    run_folders : at least two, each written by `fewlabels fit` or `score`
    out : folder of `comparison.png`, `.svg` and `.json`; an earlier comparison is replaced

    Returns
    -------
    what `comparison.json` holds ("runs": rows and their curves, "warnings": what is not alike),
    and where the pictures are

    Raises CheckpointError where one is no finished run, ConfigError where fewer than two or one
    twice are named or `out` holds something else, DataError where no run has an accuracy.
    """
    _check_asked(run_folders)
    if (out / runs.CONFIG).exists():
        raise ConfigError(f"{out} is the folder of a run: give another --out")
    made_files.check_free(out, (JSON, PNG, SVG), MADE_BY, "comparisons")
    labels = labels_of(run_folders)
    found = [read_run(run, label) for run, label in zip(run_folders, labels, strict=True)]
    lines = [run.line() for run in found]
    if not curves.rows(lines):
        raise DataError(
            "none of these runs has an accuracy to draw: learn from a source with labelled test "
            "images (test/CLASS/*), or for more than 0 epochs"
        )
    unlike = differences(found)
    for warning in unlike:
        say(f"warning: {warning}")
    compared = {
        "made_by": MADE_BY,
        "runs": [run.row() | {"curves": _as_dicts(run.curves)} for run in found],
        "warnings": unlike,
    }
    picture = curves.accuracy_curves(lines, " ".join(map(_sentence, unlike)))
    files: dict[str, bytes | str] = {
        PNG: figures.to_png(picture, dots_per_inch=DOTS_PER_INCH),
        SVG: figures.to_svg(picture),
        JSON: json.dumps(compared, indent=2, ensure_ascii=False) + "\n",
    }
    made_files.write(out, files, "comparisons")
    return compared | {"png": str(out / PNG), "svg": str(out / SVG), "json": str(out / JSON)}


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def _check_asked(run_folders: Sequence[Path]) -> None:
    if not 2 <= len(run_folders) <= MOST_RUNS:
        raise ConfigError(
            f"compare takes 2 to {MOST_RUNS} runs, and got {len(run_folders)}: "
            "fewlabels compare RUN RUN..."
        )
    places = [folder.resolve() for folder in run_folders]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise ConfigError(f"{run_folders[number]} is named twice: name each run once")


def _as_dicts(found: Mapping[str, Sequence[Curve]]) -> dict[str, list[dict[str, Any]]]:
    return {part: [vars(curve) for curve in trainings] for part, trainings in found.items()}
