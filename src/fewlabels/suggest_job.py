"""`fewlabels suggest`: which images of a set a person should look at; a table, and thumbnails."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fewlabels import made_files, splits, suggesting
from fewlabels.devices import resolve
from fewlabels.images import PARTS, ImageSet
from fewlabels.model import Model
from fewlabels.report import suggested
from fewlabels.run_images import NAMED_SOURCES, check_size, images_for
from fewlabels.suggestions import COLUMNS, KINDS, Suggestion

CSV, JSON, HTML = "suggestions.csv", "suggestions.json", "suggestions.html"
FILES = (JSON, CSV, HTML)
MADE_BY = "fewlabels suggest"  # in the JSON, so that our own files are known again
SHOWN = 3  # of each kind, where results are printed


def suggest_run(
    run: Path,
    source: str | None = None,
    *,
    top: int = 100,
    out: Path | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Suggest what to label next and what to look at again.

    Parameters
    ----------
    source : what the run learned from, or another set; the one that the run remembers if None
    top : at most so many of each kind
    out : folder of `suggestions.csv`, `.json` and `.html`; the run's if None

    Returns
    -------
    what `suggestions.json` holds, and where the files are

    Raises CheckpointError where there is no such run, DataError where images do not fit,
    ConfigError where the files cannot be written.
    """
    resolve(device)
    model = Model.load(run)
    folder = run if out is None else out
    made_files.check_free(folder, FILES, MADE_BY, "suggestions")
    image_set, given = images_for(model, run, source, f"fewlabels suggest {run} SOURCE", PARTS)
    check_size(model, run, image_set.train, image_set.name)
    known = suggesting.sort(image_set, _plan(model, image_set, given))
    seed = int(model.info.get("run", {}).get("seed", 0))
    found, notes = suggesting.find(model, image_set, known, top=top, seed=seed, device=device)
    told: dict[str, Any] = {
        "made_by": MADE_BY,
        "run": str(run),
        "source": given,
        "top": top,
        "n_labelled": len(known.labelled),
        "n_unlabelled": len(known.places),
        "counts": suggesting.counts(found),
        "notes": notes,
        "suggestions": [one.row() for one in found],
    }
    files = {
        CSV: _table(found),
        JSON: json.dumps(told, indent=2, ensure_ascii=False) + "\n",
        HTML: suggested.render(found, image_set, told["run"], told["notes"]),
    }
    made_files.write(folder, files, "suggestions")
    places = {"csv": CSV, "json": JSON, "html": HTML}
    return told | {name: str(folder / file) for name, file in places.items()}


def _plan(model: Model, image_set: ImageSet, given: str) -> splits.Plan | None:
    """Which labels may be used: those that the run used, all of another set, or none."""
    if image_set.class_names != model.class_names:
        return None
    remembered = dict(model.info.get("run", {}))
    own = remembered.get("source")
    if own is not None and (own == given or _place(own) == _place(given)):
        return splits.again(image_set, remembered)
    return splits.plan(image_set)


def _place(source: str) -> str:
    return source if source in NAMED_SOURCES else str(Path(source).resolve())


def _table(found: Sequence[Suggestion]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(one.row() for one in found)
    return text.getvalue()


def text(told: Mapping[str, Any]) -> str:
    """What `fewlabels suggest` prints: how many of each kind, the first of them, and the files."""
    lines = list(told["notes"])
    for kind, title in KINDS.items():
        rows = [row for row in told["suggestions"] if row["kind"] == kind]
        count = f"{len(rows):,}" + (" or more" if len(rows) == told["top"] else "")
        lines.append(f"{title}: {count}" + ("" if not rows else ", such as"))
        for row in rows[:SHOWN]:
            name = row["name"] or f"{row['part']} image {row['number']}"
            lines.append(f"  {name}: {row['reason']}")
    return "\n".join([*lines, "", f"{told['html']}  {told['csv']}"])
