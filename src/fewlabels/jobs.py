"""One function per command: what it reads, learns and writes. It prints nothing and parses nothing.

Each gives back what the command shows, ready for JSON.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from fewlabels import (
    graph_files,
    learning,
    pictures_file,
    picturing,
    processes,
    runs,
    scores_file,
    showing,
    splits,
    unfinished,
)
from fewlabels.devices import resolve
from fewlabels.errors import ConfigError, DataError
from fewlabels.fitting import precision_of
from fewlabels.images import ImageSet
from fewlabels.learning import Learned
from fewlabels.live import LivePage
from fewlabels.model import Model
from fewlabels.options import Learning, Reading
from fewlabels.progress import Clock, watching
from fewlabels.protocol import evaluate
from fewlabels.report import page
from fewlabels.run_images import NAMED_SOURCES, check_classes, check_size, images_for
from fewlabels.sources import read
from fewlabels.sources.survey import survey
from fewlabels.sources.writing import Layout, convert
from fewlabels.torchrun import is_first


def read_source(source: str, reading: Reading, **how: Any) -> ImageSet:
    return read(source, size=reading.size, strict=reading.strict, seed=reading.seed, **how)


def look(source: str, reading: Reading) -> dict[str, Any]:
    """`fewlabels data`: what is in a set."""
    return survey(read_source(source, reading))


def refuse_inside(source: str, out: Path) -> None:
    """What is read is not written into: a run among class folders would be a class."""
    if source not in NAMED_SOURCES and Path(source).resolve() in out.resolve().parents:
        raise ConfigError(f"{out} lies inside {source}, which is only read: name a folder outside")


def convert_source(
    source: str, dest: Path, to: Layout, reading: Reading, *, overwrite: bool = False
) -> dict[str, Any]:
    """`fewlabels convert`: the set in another layout."""
    refuse_inside(source, dest)
    image_set = read_source(source, reading, largest=None)
    convert(image_set, dest, to, overwrite=overwrite)
    counts = {part: len(images) for part, images in image_set.parts().items()}
    return {"converted": str(dest), "layout": to, "images": counts}


def fit_run(
    source: str,
    asked: Learning,
    out: Path,
    *,
    fold: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    command: str | None = None,
    began: float | None = None,
) -> dict[str, Any]:
    """`fewlabels fit`: learn a model, score it where there are test labels, write the run.

    `resume` keeps the checkpoints of a run of the same `out` that was cut off; `began` is
    `time.monotonic()` when the command began, which the recipe `auto` counts its time from.
    """
    began = time.monotonic() if began is None else began
    learning.check(asked)
    refuse_inside(source, out)
    folds = None if fold is None else (fold,)
    with _run_folder(source, asked, out, overwrite, resume) as (folder, clock, asked):
        image_set, plan = _planned(source, asked, folds)
        if len(plan.folds) > 1:
            raise ConfigError(
                f"{plan.protocol} has {len(plan.folds)} folds and fit takes one: say which with "
                "--fold, or use fewlabels score"
            )
        learned = learning.learn(image_set, plan, asked, folder, resume, began)
        if is_first():
            _keep_pictures(folder, asked, learned, image_set)
        scores = scores_file.fold_scores(learned, 0, image_set.class_names)
        scores |= scores_file.facts(learned, asked.seed, asked.precision, clock)
        if is_first():
            info = _info(source, asked, image_set, learned, command)
            model = learned.outcome.models[0]
            replace(model, info={**model.info, **info}).write(folder)
            _write(folder, scores, learned, image_set)
    learning.say_time(learned, began)
    return {"run": str(out), "report": str(out / "report.html")} | scores


def score_run(
    source: str,
    asked: Learning,
    out: Path,
    *,
    folds: Sequence[int] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    command: str | None = None,
    began: float | None = None,
) -> dict[str, Any]:
    """`fewlabels score`: mean and standard deviation over folds, learned once without labels.

    A budget is that of each training, so of each fold where networks learn from labels; with the
    recipe `auto` of each fold, and all that belongs to it.
    """
    began = time.monotonic() if began is None else began
    learning.check(asked)
    refuse_inside(source, out)
    with _run_folder(source, asked, out, overwrite, resume) as (folder, clock, asked):
        image_set, plan = _planned(source, asked, folds, several=True)
        if image_set.test is None or image_set.test.labels is None:
            raise DataError(
                f"{image_set.name} has no labelled test images, so there is no score: add "
                "test/CLASS/*, or use fewlabels fit"
            )
        learned = learning.learn(image_set, plan, asked, folder, resume, began)
        if is_first():
            _keep_pictures(folder, asked, learned, image_set)
        scores = scores_file.mean_scores(learned, image_set.class_names)
        scores |= scores_file.facts(learned, asked.seed, asked.precision, clock)
        if is_first():
            info = _info(source, asked, image_set, learned, command)
            graph_files.save(learned.outcome.models[0].graph.to("cpu"), folder)
            runs.write_toml(folder / runs.CONFIG, info | {"recipe": learned.recipe.as_dict()})
            _write(folder, scores, learned, image_set)
    learning.say_time(learned, began)
    return {"run": str(out), "report": str(out / "report.html")} | scores


def evaluate_run(run: Path, source: str | None = None, device: str = "auto") -> dict[str, Any]:
    """`fewlabels evaluate`: the score of a model on the test part of its own or another source."""
    model = Model.load(run)
    command = f"fewlabels evaluate {run} SOURCE"
    image_set, given = images_for(model, run, source, command, ("test",))
    check_classes(model, image_set)
    assert image_set.test is not None
    check_size(model, run, image_set.test, image_set.name)
    scores = evaluate((model,), image_set.test, device=device)[0]
    return {"run": str(run), "source": given} | scores.as_dict(model.class_names)


def predict_run(
    run: Path, paths: Sequence[Path], device: str = "auto", none_below: float | None = None
) -> dict[str, Any]:
    """`fewlabels predict`: each image's class and probability, and whether it is of none."""
    model = Model.load(run)
    answered = model.predict(paths, device=device, none_below=none_below)
    columns = answered.names, answered.labels, answered.probability.tolist(), answered.none.tolist()
    return {
        "predictions": [
            {"path": path, "class": name, "probability": round(x, 6), "none_of_these": none}
            for path, name, x, none in zip(*columns, strict=True)
        ],
        "none_below": model.head.none_below if none_below is None else none_below,
        "n_damaged": len(answered.damaged),
        "damaged": [{"path": file.name, "reason": file.reason} for file in answered.damaged],
    }


@contextmanager
def _run_folder(
    source: str,
    asked: Learning,
    out: Path,
    overwrite: bool,
    resume: bool = False,
) -> Iterator[tuple[Path, Clock, Learning]]:
    """The run's folder, its seconds, and what was asked with the precision that it has.

    Of several processes the first one claims the folder and writes it; the others wait until it is
    claimed, and read checkpoints there.
    """
    device = resolve(asked.device)  # before any work
    clock = Clock()
    with ExitStack() as around:
        around.enter_context(watching(clock))
        folder, precision = unfinished.place_of(out.resolve()), asked.precision
        if is_first():
            folder = around.enter_context(runs.claim(out, overwrite, resume))
            around.enter_context(watching(runs.Diary(folder / "metrics.jsonl")))
            around.enter_context(watching(LivePage(folder, source, asked.recipe)))
            place = folder / unfinished.CHECKPOINTS
            precision = precision_of(asked.precision, device, place, resume)  # type: ignore[assignment]
        precision = processes.agreed(precision, device)  # type: ignore[assignment]
        yield folder, clock, replace(asked, precision=precision)


def _planned(
    source: str, asked: Learning, folds: Sequence[int] | None, several: bool = False
) -> tuple[ImageSet, splits.Plan]:
    image_set = read_source(source, asked)
    if several and folds is None:
        folds = splits.all_folds(image_set, asked.labels, asked.protocol, asked.seed)
    plan = splits.plan(
        image_set, labels=asked.labels, folds=folds, protocol=asked.protocol, seed=asked.seed
    )
    return image_set, plan


def _info(
    source: str, asked: Learning, image_set: ImageSet, learned: Learned, command: str | None
) -> dict[str, Any]:
    """What `config.toml` tells beside the model and the recipe."""
    plan = learned.plan
    # absolute, so that the run can be evaluated from any folder
    place = source if source in NAMED_SOURCES else str(Path(source).resolve())
    n_labelled = len(plan.folds[0])
    n_withheld = 0 if plan.withheld is None else len(plan.withheld)
    n_unlabeled = 0 if image_set.unlabeled is None else len(image_set.unlabeled)
    run = {
        "source": place,
        "protocol": plan.protocol,
        "folds": list(plan.numbers),
        "labels": asked.labels,
        "settings": list(asked.settings),
        "seed": asked.seed,
        "size": asked.size,
        "strict": asked.strict,
        "device": asked.device,
        "precision": asked.precision,
        "budget": asked.budget,
        "baseline": asked.baseline,
        "command": command,
        "commit": runs.commit(),
    }
    data = {
        "name": image_set.name,
        "class_names": list(image_set.class_names),
        "n_labelled": n_labelled,
        "n_unlabeled": n_unlabeled + len(image_set.train) - n_labelled - n_withheld,
        "notes": list(image_set.notes),
        "damaged": [{"name": file.name, "reason": file.reason} for file in image_set.damaged],
    }
    auto = {} if learned.auto is None else {"auto": learned.auto}
    return {"run": run, "data": data, **auto, "versions": runs.versions()}


def _keep_pictures(folder: Path, asked: Learning, learned: Learned, image_set: ImageSet) -> None:
    """What the page shows of the images, by the model of the first fold."""
    outcome = learned.outcome
    kept = picturing.kept_of(
        outcome.models[0],
        image_set,
        learned.plan,
        asked.n_mapped,
        scores=outcome.scores[0] if outcome.scores else None,
        device=asked.device,
        seed=asked.seed,
    )
    pictures_file.save(folder, kept)


def _write(folder: Path, scores: dict[str, Any], learned: Learned, image_set: ImageSet) -> None:
    runs.write_json(folder / "scores.json", scores)
    if learned.outcome.scores and image_set.test is not None:
        showing.save_mistakes(folder, learned.outcome.scores[0].mistakes, image_set)
    page.write(showing.findings_of(folder), folder / showing.PAGE)
