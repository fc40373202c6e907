"""The folder of a run that is not finished yet: `RUN.unfinished`, beside the name it will have.

    RUN.unfinished/.running       who holds a lock on it is writing the run
    RUN.unfinished/checkpoints/   a folder for each training; they outlive a kill
    RUN.unfinished/checkpoints.before/   those of the run that --overwrite replaces, until the new
                                  one has its own: a mistake in a setting must not lose them
    RUN.unfinished/...            the other files, made anew when the run is resumed

So what stands under a run's own name is always whole, and a run that was killed is in plain sight.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fewlabels.errors import CheckpointError, ConfigError
from fewlabels.progress import say

CHECKPOINTS, ASIDE = "checkpoints", "checkpoints.before"
MARKER = ".running"
CURVES = "tensorboard"  # a training writes them beside its checkpoints; a finished run has them


def place_of(run: Path) -> Path:
    """Where a run is made before it is finished."""
    return run.with_name(f"{run.name}.unfinished")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep every other process out of `folder`, which is there; a killed process lets go of it.

    Raises CheckpointError where another process is in it.
    """
    descriptor = os.open(folder / MARKER, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _lock(descriptor):
            raise CheckpointError(
                f"{folder} is being written by another process: wait for it, or give another --out"
            )
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Whether the file is this process's now; always so on Windows, which has no such lock."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a network disk without locks
        return True
    return True


def clear(folder: Path, *, overwrite: bool, resume: bool) -> None:
    """Make room in `folder`, which is held, for a run: all but what a resumed one goes on from.

    Checkpoints that are not gone on from are only set aside, see `settle`.

    Raises CheckpointError where checkpoints would be lost.
    """
    settle(folder)
    if has_checkpoints(folder) and not (overwrite or resume):
        raise CheckpointError(
            f"{folder} holds a run that was cut off: go on with --resume, or start anew with "
            "--overwrite"
        )
    if resume and not has_checkpoints(folder):
        say(f"{folder} has no checkpoint: starting from the beginning")
    for entry in folder.iterdir():
        if entry.name == MARKER or (resume and entry.name == CHECKPOINTS):
            continue
        if entry.name == CHECKPOINTS and has_checkpoints(folder):
            entry.rename(folder / ASIDE)
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def settle(folder: Path) -> None:
    """Where a run did not end: the checkpoints of its own, else those set aside, are those kept."""
    aside = folder / ASIDE
    if not aside.is_dir():
        return
    if has_checkpoints(folder):
        shutil.rmtree(aside)
    else:
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
        aside.rename(folder / CHECKPOINTS)


def tidy(run: Path) -> None:
    """Take out of a run that is complete what only an unfinished one needs.

    TensorBoard's curves of a training in `checkpoints/fold-0` move to `tensorboard/fold-0`.
    """
    for curves in sorted((run / CHECKPOINTS).glob(f"**/{CURVES}")):
        place = run / CURVES / curves.parent.relative_to(run / CHECKPOINTS)
        place.parent.mkdir(parents=True, exist_ok=True)
        curves.rename(place)
    for folder in (CHECKPOINTS, ASIDE):
        shutil.rmtree(run / folder, ignore_errors=True)
    (run / MARKER).unlink()


def check_ours(folder: Path) -> None:
    """Refuse a folder that no run has made.

    Raises ConfigError.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder.is_dir() and (folder / MARKER).exists()):
        raise ConfigError(
            f"{folder} is where the run would be made, and holds something else: move it away, or "
            "give another --out"
        )


def has_checkpoints(folder: Path) -> bool:
    """Whether a training has left something to go on from."""
    return any((folder / CHECKPOINTS).glob("**/*.safetensors"))
