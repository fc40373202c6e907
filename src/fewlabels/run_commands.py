"""Commands on runs that are there: evaluate, predict, report, trace, suggest, compare."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fewlabels import streams, terminal
from fewlabels.errors import ConfigError
from fewlabels.options import Device, Json, Mapped, Positive, Probability


def evaluate(
    run: Path, source: str | None = None, /, *, device: Device = "auto", as_json: Json = False
) -> None:
    """Score a model on the test images of the source it learned from, or of another.

    Parameters
    ----------
    run
        Folder of a fit.
    source
        Another source with the same classes, in place of the one that the run remembers.
    device
        Where to compute.
    """
    from fewlabels import jobs

    with terminal.shown():
        result = jobs.evaluate_run(run, source, device)
    streams.print_result(result, terminal.scores_text, as_json)


def predict(
    run: Path,
    /,
    *paths: Path,
    none_below: Annotated[float | None, Parameter(validator=Probability)] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Name the class of images: a line each with path, class and probability, parted by tabs.

    A fourth column says "none of these" where the image probably belongs to none of the classes.

    Parameters
    ----------
    run
        Folder of a fit.
    paths
        Image files, or folders of them.
    none_below
        Say "none of these" where the class has a probability under this, in place of the one under
        which one in 20 images of the classes fell.
    device
        Where to compute.
    """
    from fewlabels import jobs

    if not paths:
        raise ConfigError("predict needs at least one PATH: image files, or folders of them")
    with terminal.shown():
        result = jobs.predict_run(run, paths, device, none_below)
    streams.print_result(result, terminal.predictions_text, as_json)


def report(
    run: Path,
    /,
    *,
    n_mapped: Mapped | None = None,
    images: str | None = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Write the report of a run again.

    Parameters
    ----------
    run
        Folder of a fit or score.
    n_mapped
        Make the map again, with so many images; 0 for none. As it was if not given.
    images
        With --map, another source of the images than the one it learned from.
    device
        Where to compute.
    """
    from fewlabels import report_job

    with terminal.shown():
        result = report_job.report_run(run, n_mapped, images, device)
    streams.print_result(result, lambda result: result["report"], as_json)


def trace(
    run: Path,
    /,
    *,
    images: str | None = None,
    out: Path | None = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Draw a run's network with its time, memory, and the gradients on every edge.

    Parameters
    ----------
    run
        Folder of a fit.
    images
        Another source of images than the one it learned from.
    out
        Folder of trace.svg and trace.json; the run's if not given.
    device
        Where to compute.
    """
    from fewlabels import trace_job, trace_pictures

    with terminal.shown():
        result = trace_job.trace_run(run, images, out, device)
    streams.print_result(result, trace_pictures.text, as_json)


def suggest(
    run: Path,
    source: str | None = None,
    /,
    *,
    top: Annotated[int, Parameter(validator=Positive)] = 100,
    out: Path | None = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Say which images to label next, which labels look wrong, what is double or of no class.

    Parameters
    ----------
    run
        Folder of a fit.
    source
        Another set of images than the one that the run learned from.
    top
        At most so many of each kind.
    out
        Folder of suggestions.csv, .json and .html; the run's if not given.
    device
        Where to compute.
    """
    from fewlabels import suggest_job

    with terminal.shown():
        result = suggest_job.suggest_run(run, source, top=top, out=out, device=device)
    streams.print_result(result, suggest_job.text, as_json)


def compare(*runs: Path, out: Path = Path(), as_json: Json = False) -> None:
    """Draw training and test accuracy of runs against epochs and seconds, and print a table.

    Parameters
    ----------
    runs
        Folders of fits or scores, at least two.
    out
        Folder of comparison.png, .svg and .json.
    """
    from fewlabels.compare_job import compare_runs

    with terminal.shown():
        result = compare_runs(runs, out)
    streams.print_result(result, terminal.comparison_text, as_json)
