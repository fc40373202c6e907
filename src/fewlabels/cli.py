"""The command line: parse, call the job, print. Progress goes to stderr, results to stdout.

Exit 0 done, 2 something the user can mend (one line on stderr), 130 interrupted, 141 nobody reads
the output any more (as in `... | head`; 128 and the number of the signal in both). The jobs are
imported where they are called, as torch takes seconds to load and `--help` does not need it.
"""

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from fewlabels import run_commands, streams, terminal
from fewlabels.errors import FewlabelsError
from fewlabels.options import (
    Device,
    FigureName,
    Json,
    Learning,
    NotNegative,
    Overwrite,
    Reading,
    Resume,
    fold_numbers,
)

USER_CAN_MEND, INTERRUPTED = 2, 130


def _version() -> str:
    from importlib.metadata import version

    return version("fewlabels")


app = App(
    name="fewlabels",
    help="Learn to recognise images from a few labelled and many unlabelled ones.",
    version=_version,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,  # `main` gives the exit code, not cyclopts
)


@app.command
def demo(
    *, out: Path = Path("runs/demo"), overwrite: Overwrite = False, as_json: Json = False
) -> None:
    """Learn from made images and write a report: every stage, in under two minutes.

    Parameters
    ----------
    out
        Folder of the run.
    """
    from fewlabels.demo import demo_text, run_demo

    with terminal.shown():
        result = run_demo(out, overwrite=overwrite)
    streams.print_result(result, demo_text, as_json)


@app.command
def data(source: str, /, *, reading: Reading | None = None, as_json: Json = False) -> None:
    """Say what is in a set: counts, sizes, classes, damaged and duplicate images, leaks.

    Parameters
    ----------
    source
        A folder of images, or stl10, digits, shapes.
    """
    from fewlabels import jobs

    with terminal.shown():
        result = jobs.look(source, reading or Reading())
    streams.print_result(result, terminal.survey_text, as_json)


@app.command
def convert(
    source: str,
    dest: Path,
    /,
    *,
    to: Literal["stl10", "folder", "shards"],
    overwrite: Overwrite = False,
    reading: Reading | None = None,
    as_json: Json = False,
) -> None:
    """Write a set in another layout.

    Parameters
    ----------
    source
        A folder of images, or stl10, digits, shapes.
    dest
        Folder of the converted set.
    to
        Its layout.
    """
    from fewlabels import jobs

    with terminal.shown():
        result = jobs.convert_source(source, dest, to, reading or Reading(), overwrite=overwrite)
    streams.print_result(
        result, lambda result: f"{result['converted']}: {result['layout']}", as_json
    )


@app.command
def fit(
    source: str,
    /,
    *,
    out: Path,
    fold: Annotated[int | None, Parameter(validator=NotNegative)] = None,
    learning: Learning | None = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Learn a model, score it where there are labelled test images, and write the run.

    Parameters
    ----------
    source
        A folder of images, or stl10, digits, shapes.
    out
        Folder of the run.
    fold
        Use only the labels of this given fold.
    """
    from fewlabels import jobs

    asked = learning or Learning()
    with terminal.shown():
        result = jobs.fit_run(
            source,
            asked,
            out,
            fold=fold,
            overwrite=overwrite,
            resume=resume,
            command=_command(),
            began=_began,
        )
    streams.print_result(result, terminal.scores_text, as_json)


@app.command
def score(
    source: str,
    /,
    *,
    out: Path,
    folds: str = "all",
    learning: Learning | None = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Score a recipe: mean and deviation over folds; what needs no labels is learned once for all.

    Parameters
    ----------
    source
        A folder of images, or stl10, digits, shapes.
    out
        Folder of the scores.
    folds
        All, a range 0-4 or a list 0,2; with --labels, draws: all are 0-4, k has seed + k.
    """
    from fewlabels import jobs

    numbers = fold_numbers(folds)
    asked = learning or Learning()
    with terminal.shown():
        result = jobs.score_run(
            source,
            asked,
            out,
            folds=numbers,
            overwrite=overwrite,
            resume=resume,
            command=_command(),
            began=_began,
        )
    streams.print_result(result, terminal.scores_text, as_json)


@app.command
def figures(
    source: str,
    /,
    *,
    out: Path,
    grid: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    only: Annotated[
        tuple[FigureName, ...],
        Parameter(negative="", show_default=False, consume_multiple=True),
    ] = (),
    settings: Annotated[
        tuple[str, ...], Parameter(name="--set", negative="", show_default=False)
    ] = (),
    reading: Reading | None = None,
    device: Device = "auto",
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    as_json: Json = False,
) -> None:
    """Draw the figures of the report that this grew from, with its numbers: PNG, SVG, captions.

    Parameters
    ----------
    source
        A folder of images, or stl10, digits, shapes.
    out
        Folder of the figures and of index.html.
    grid
        Snap the images of the maps to a grid, so that none covers another.
    only
        Draw these figures alone; the networks take longest.
    settings
        Change one setting, such as map.perplexity=50 or gallery.contrast=shared; may be given
        again.
    device
        Where to compute.
    precision
        Of matrix products; auto takes bf16 only where the processor has it.
    """
    from fewlabels import figures_job

    with terminal.shown():
        result = figures_job.draw_figures(
            source,
            out,
            reading or Reading(),
            only=only,
            changes=settings,
            grid=grid,
            device=device,
            precision=precision,
            command=_command(),
        )
    streams.print_result(result, figures_job.text, as_json)


for command in (
    run_commands.evaluate,
    run_commands.predict,
    run_commands.report,
    run_commands.trace,
    run_commands.suggest,
    run_commands.compare,
):
    app.command(command)


_arguments: tuple[str, ...] = ()  # of this call, for `config.toml`
_began: float | None = None  # when it began


def _command() -> str:
    return shlex.join(("fewlabels", *_arguments))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code. What is no user's to mend keeps its traceback."""
    return streams.quiet_when_unread(lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    global _arguments, _began
    _began = time.monotonic()
    if hasattr(sys.stdout, "reconfigure"):  # a terminal that lacks a letter still gets the result
        sys.stdout.reconfigure(errors="backslashreplace")
    _arguments = tuple(sys.argv[1:] if arguments is None else arguments)
    try:
        with streams.of_the_first():
            app(_arguments, exit_on_error=False, print_error=False, result_action="return_none")
    except (CycloptsError, FewlabelsError) as error:
        print(f"fewlabels: {' '.join(str(error).split())}", file=sys.stderr)
        return USER_CAN_MEND
    except KeyboardInterrupt as interrupt:
        # a training says what it saved
        said = str(interrupt) or "no run was written"
        print(f"fewlabels: interrupted; {said}", file=sys.stderr)
        return INTERRUPTED
    return 0
