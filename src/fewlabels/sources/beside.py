"""The two text files that may lie beside images: `class_names.txt` and `fold_indices.txt`.

`class_names.txt` has one name a line, in the order of the labels. `fold_indices.txt` has one fold
a line: indices into the training images, counted from 0 and separated by spaces.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fewlabels.errors import DataError

CLASS_NAMES = "class_names.txt"
FOLD_INDICES = "fold_indices.txt"


def read_class_names(folder: Path) -> tuple[str, ...] | None:
    """The names of the classes in label order, or None where there is no such file."""
    path = folder / CLASS_NAMES
    if not path.is_file():
        return None
    names = tuple(line.strip() for line in _text(path).splitlines() if line.strip())
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        found = f"{twice[0]!r} twice" if twice else "no name"
        raise DataError(f"{path} needs one class name a line; it has {found}: mend it")
    return names


def read_folds(
    folder: Path, n_train: int, kept: np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    """The given folds; none where there is no such file.

    Parameters
    ----------
    n_train : training images that the source holds, the damaged ones included
    kept : increasing positions (among those n_train) of the images that could be read, or None if
        all could; the folds then count in these, without the damaged ones

    Returns
    -------
    folds : int64 arrays of indices into the training images
    """
    path = folder / FOLD_INDICES
    if not path.is_file():
        return ()
    lines = [line for line in _text(path).splitlines() if line.strip()]
    folds = tuple(_indices(path, number, line, n_train) for number, line in enumerate(lines))
    if kept is None or len(kept) == n_train:
        return folds
    index_of = np.full(n_train, -1)
    index_of[kept] = np.arange(len(kept))
    moved = (index_of[fold] for fold in folds)
    return tuple(fold[fold >= 0] for fold in moved)


def _indices(path: Path, number: int, line: str, n_train: int) -> np.ndarray:
    try:
        indices = np.array([int(word) for word in line.split()], np.int64)
    except (ValueError, OverflowError):
        raise DataError(
            f"line {number + 1} of {path} needs whole numbers separated by spaces; "
            f"it starts with {line[:40]!r}: mend or remove the file"
        ) from None
    wrong = indices[(indices < 0) | (indices >= n_train)]
    if len(wrong):
        raise DataError(
            f"line {number + 1} of {path} needs indices from 0 to {n_train - 1} (the training "
            f"images); it has {wrong[0]}: mend or remove the file"
        )
    return indices


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path} is no text in UTF-8: save it again as plain text") from None


def write_beside(folder: Path, class_names: Sequence[str], folds: Sequence[np.ndarray]) -> None:
    """Write both files (folds only where there are some)."""
    text = "".join(f"{name}\n" for name in class_names)
    (folder / CLASS_NAMES).write_text(text, encoding="utf-8")
    if folds:
        lines = "".join(" ".join(map(str, fold.tolist())) + "\n" for fold in folds)
        (folder / FOLD_INDICES).write_text(lines, encoding="utf-8")
