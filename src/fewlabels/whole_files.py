"""Files that are whole or not there: written under another name, then renamed.

Who reads a file meanwhile finds the old one or the new one, never a half; where the disk fills up
or the writing is interrupted, what was there stays. Errors are the system's own (OSError), as the
caller knows what its user can do; `is_full` tells a full disk from the other reasons.
"""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

FULL = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: BaseException | None) -> bool:
    """Whether an error says that the disk, or the user's share of it, is full."""
    # safetensors and torch turn the system's error into one of their own, with its text
    text = str(error).lower()
    return getattr(error, "errno", None) in FULL or any(
        words in text for words in ("no space left", "os error 28", "disk quota", "os error 122")
    )


def write_file(path: Path, content: bytes | str) -> None:
    """Write one file; text is written as UTF-8.  Raises OSError; what was there stays."""
    write_files({path: content})


def write_files(files: Mapping[Path, bytes | str]) -> None:
    """Write files that belong together: none takes its name before all are on the disk.

    Raises OSError where one cannot be written; all that were there stay as they were.
    """
    partial = {path: _beside(path, "partial") for path in files}
    try:
        for path, content in files.items():
            with partial[path].open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())  # a disk that is full may say so only here
        for path in files:
            partial[path].replace(path)
    finally:
        for leftover in partial.values():
            with suppress(OSError):
                leftover.unlink(missing_ok=True)


@contextmanager
def whole_folder(final: Path) -> Iterator[Path]:
    """A new, empty folder beside `final`: at the end of the block it replaces it, or vanishes.

    Raises OSError where it cannot be made or renamed; `final` stays as it was.
    """
    partial, replaced = _beside(final, "partial"), _beside(final, "replaced")
    try:
        partial.mkdir(parents=True)
        yield partial
        if final.exists():
            final.rename(replaced)
        partial.rename(final)
    finally:
        if replaced.exists() and not final.exists():
            replaced.rename(final)
        for leftover in (partial, replaced):
            shutil.rmtree(leftover, ignore_errors=True)


def is_made_by(path: Path, maker: str) -> bool:
    """Whether the file is JSON of which `made_by` names this maker: one of ours, to be replaced."""
    try:
        return bool(json.loads(path.read_text(encoding="utf-8"))["made_by"] == maker)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _beside(path: Path, what: str) -> Path:
    # a number of its own, not the process's: two containers on one disk may both be process 7
    return path.with_name(f".{path.name}.{what}-{uuid4().hex[:8]}")
