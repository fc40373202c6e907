"""A run folder: claimed before the work, written whole, and described so that it can be repeated.

    config.toml          every setting, the seed, versions, the command
    graph.json, weights.safetensors, head.safetensors, mistakes.safetensors,
    pictures.safetensors
    metrics.jsonl        a line per epoch and per stage
    scores.json, report.html
    trace.svg, trace.json   where `fewlabels trace` was asked
    tensorboard/         curves of its trainings, where asked
    suggestions.csv, .json, .html   where `fewlabels suggest` was

The folder is made as `RUN.unfinished` and renamed when it is complete, so a run that is interrupted
or fails leaves what was there as it was. Where a training has left a checkpoint, the unfinished
folder stays, with `checkpoints/` in it, for `--resume`; a complete run has none.
"""

import json
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import tomli_w

from fewlabels import unfinished
from fewlabels.errors import CheckpointError, ConfigError, FewlabelsError
from fewlabels.whole_files import FULL, is_full, write_file

CONFIG = "config.toml"
OURS = frozenset(
    f"{CONFIG} graph.json weights.safetensors head.safetensors mistakes.safetensors "
    "pictures.safetensors metrics.jsonl scores.json report.html trace.svg trace.json "
    "suggestions.csv suggestions.json suggestions.html".split()
) | {unfinished.CHECKPOINTS, unfinished.ASIDE, unfinished.MARKER, unfinished.CURVES}


@contextmanager
def claim(out: str | Path, overwrite: bool = False, resume: bool = False) -> Iterator[Path]:
    """A folder to write a run into; it becomes `out` at the end of the block.

    A block that fails leaves nothing, or `RUN.unfinished` where there are checkpoints in it.

    Parameters
    ----------
    overwrite : replace `out` where it holds a run; anything else is never replaced. Without
        `resume`, the checkpoints of an unfinished run are dropped too, once there are new ones
    resume : keep the checkpoints of an unfinished run; all else is made anew

    Raises CheckpointError where `out` holds another run, or an unfinished one that is not resumed,
    or another process is writing it, or the disk fills up; ConfigError where `out` holds something
    else or cannot be made. In each case `out` is as it was.
    """
    final = Path(out).resolve()
    working = unfinished.place_of(final)
    _check_free(final, overwrite, goes_on=resume and unfinished.has_checkpoints(working))
    unfinished.check_ours(working)
    # a number of its own, not the process's: two containers on one disk may both be process 7
    replaced = final.with_name(f".{final.name}.replaced-{uuid4().hex[:8]}")
    _make(working)
    with unfinished.held(working):
        unfinished.clear(working, overwrite=overwrite, resume=resume)
        try:
            with disk_full_is_said(final), _what_is_kept_is_said(working):
                yield working
                _check_free(final, overwrite)  # somebody may have put something there meanwhile
                if final.exists():
                    final.rename(replaced)
                working.rename(final)
                unfinished.tidy(final)
        finally:
            if replaced.exists() and not final.exists():
                replaced.rename(final)
            shutil.rmtree(replaced, ignore_errors=True)
            unfinished.settle(working)
            if not unfinished.has_checkpoints(working):
                shutil.rmtree(working, ignore_errors=True)


@contextmanager
def _what_is_kept_is_said(working: Path) -> Iterator[None]:
    """An interrupt between two trainings tells of the checkpoints, as one inside of one does."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if str(interrupt) or not unfinished.has_checkpoints(working):
            raise
        raise KeyboardInterrupt(
            f"{working} keeps what was trained: go on with --resume"
        ) from interrupt


def _check_free(folder: Path, overwrite: bool, goes_on: bool = False) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file, and a run is a folder: give another --out")
    if folder.is_mount():
        raise ConfigError(
            f"{folder} is a mount point, which no run can replace: give a folder inside it"
        )
    found = sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []
    foreign = [name for name in found if name not in OURS]
    if foreign or (found and CONFIG not in found):
        raise ConfigError(
            f"{folder} holds something that is no run ({(foreign or found)[0]}), and is left as "
            "it is: give another --out"
        )
    if found and goes_on and not overwrite:
        raise CheckpointError(
            f"{folder} holds another run, which {unfinished.place_of(folder).name} was to replace: "
            "go on with --resume --overwrite"
        )
    if found and not overwrite:
        raise CheckpointError(
            f"{folder} holds another run: give another --out, or replace it with --overwrite"
        )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in FULL:
            raise _full(folder.parent) from error
        raise ConfigError(
            f"a run cannot be written into {folder.parent} ({error.strerror}): give another --out"
        ) from error


@contextmanager
def disk_full_is_said(place: Path) -> Iterator[None]:
    """A full disk (also as safetensors or torch put it) becomes one line of CheckpointError."""
    try:
        yield
    except Exception as error:
        # a writer may have made a line of its own of it, that names the unfinished folder
        if not is_full(error.__cause__ if isinstance(error, FewlabelsError) else error):
            raise
        raise _full(place) from error


def _full(place: Path) -> CheckpointError:
    return CheckpointError(
        f"the disk is full, so nothing was written to {place}: free some space, or give a folder "
        "on another disk"
    )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_file(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_toml(path: Path, content: Mapping[str, Any]) -> None:
    """TOML has no null: what is None is left out."""
    write_file(path, tomli_w.dumps(_without_none(content)))


def _without_none(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _without_none(v) for key, v in content.items() if v is not None}
    if isinstance(content, list | tuple):
        return [_without_none(value) for value in content if value is not None]
    return content


def read_config(run: str | Path) -> dict[str, Any]:
    """The content of a run's `config.toml`.

    Raises CheckpointError where there is no such run, or the file is damaged.
    """
    run = Path(run)
    path = run / CONFIG
    if not path.is_file():
        raise CheckpointError(
            f"{run} {'holds no run' if run.is_dir() else 'is no folder'}: expected a folder "
            f"with {CONFIG}, as `fewlabels fit ... --out {run}` writes it"
        )
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read ({_one_line(error)}): fit again") from error


def read_scores(run: str | Path) -> dict[str, Any]:
    """The content of a run's `scores.json`.

    Raises CheckpointError where there is none, or it is damaged.
    """
    path = Path(run) / "scores.json"
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(scores, dict):
            raise ValueError(f"it is a {type(scores).__name__}, not a table")
        return scores
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({_one_line(error)}): fit again") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split())


class Diary:
    """A watcher that writes a line per note and per finished stage into `metrics.jsonl`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts: dict[str, int] = {}

    def started(self, stage: str, total: int | None, unit: str) -> None:
        self.counts[stage] = 0

    def advanced(self, stage: str, count: int) -> None:
        self.counts[stage] = self.counts.get(stage, 0) + count

    def ended(self, stage: str, seconds: float) -> None:
        self._write(
            {"stage": stage, "seconds": round(seconds, 4), "count": self.counts.get(stage, 0)}
        )

    def stands(self, stage: str, facts: Mapping[str, float]) -> None: ...

    def noted(self, stage: str, facts: Mapping[str, float]) -> None:
        self._write({"stage": stage, **facts})

    def _write(self, line: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def said(self, message: str) -> None: ...


def versions() -> dict[str, str]:
    """Of Python, this package and those that numbers depend on."""
    named = ("fewlabels", "torch", "numpy", "scikit-learn", "pillow")
    return {"python": platform.python_version()} | {name: version(name) for name in named}


def commit() -> str | None:
    """The commit of the package's own checkout (with -dirty if changed); None if there is none."""
    package = Path(__file__).resolve().parent
    try:
        top = _git(package, "rev-parse", "--show-toplevel")
        if Path(top).resolve() / "src" / "fewlabels" != package:
            return None  # installed inside somebody else's repository
        return _git(package, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ("git", "-C", str(folder), *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def peak_memory_mib() -> float | None:
    """The most memory this process has held so far (resident set), in MiB; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
