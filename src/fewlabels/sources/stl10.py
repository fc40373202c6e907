"""STL-10 in its official binary layout -> ImageSet, memory-mapped.

A folder holds `train_X.bin` and `train_y.bin`, and where they exist `test_X.bin` and
`test_y.bin`, `unlabeled_X.bin`, `class_names.txt` (a name per line) and `fold_indices.txt` (a
fold per line: indices into train, from 0, separated by blanks). In `*_X.bin` an image is 27,648
bytes: three channels of 96 columns of 96 values; in `*_y.bin` a label is one byte, from 1.

Source: Coates, Ng, Lee, AISTATS 2011; https://cs.stanford.edu/~acoates/stl10/
"""

from pathlib import Path

import numpy as np

from fewlabels.errors import DataError
from fewlabels.images import Images, ImageSet
from fewlabels.sources import beside
from fewlabels.sources.pixels import Options

SIDE = 96  # pixels
IMAGE_BYTES = 3 * SIDE * SIDE
OFFICIAL_NAMES = tuple("airplane bird car cat deer dog horse monkey ship truck".split())
AGAIN = "the download or copy may have stopped early, so fetch it again"


def matches(path: Path) -> bool:
    """Whether `path` is a folder of STL-10 binaries (one of the two training files is enough)."""
    return any((path / name).is_file() for name in ("train_X.bin", "train_y.bin"))


def read(path: Path, options: Options) -> ImageSet:
    """The set in folder `path`, its pixels mapped from the files and read only when used.

    Parameters
    ----------
    path : folder of the binaries
    options : change nothing here; `sources.read` brings a set to `options.size`

    Returns
    -------
    ImageSet with pixels of shape (n_images, 3, 96, 96), views of read-only memory maps

    Raises
    ------
    DataError : a file is missing, truncated or damaged, or does not fit the others
    """
    train_labels = _labels(path / "train_y.bin", path / "train_X.bin")
    names, notes = class_names(path, int(train_labels.max()))
    train = _part(path, "train", train_labels, len(names))
    test = None
    if (path / "test_X.bin").exists() or (path / "test_y.bin").exists():
        test_labels = _labels(path / "test_y.bin", path / "test_X.bin")
        test = _part(path, "test", test_labels, len(names))
    unlabeled = path / "unlabeled_X.bin"
    return ImageSet(
        name=path.resolve().name,
        class_names=names,
        train=train,
        test=test,
        unlabeled=Images(pixels=_pixels(unlabeled)) if unlabeled.exists() else None,
        folds=beside.read_folds(path, len(train)),
        notes=notes,
    )


def class_names(folder: Path, n_seen: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names from `class_names.txt`; without it STL-10's own ten, or numbers from 1.

    Parameters
    ----------
    folder : where `class_names.txt` may lie
    n_seen : the highest training label, from 1: without the file it is the number of classes

    Returns
    -------
    names, notes : the names, and a sentence where they had to be assumed
    """
    names = beside.read_class_names(folder)
    if names is not None:
        return names, ()
    if n_seen == len(OFFICIAL_NAMES):
        return OFFICIAL_NAMES, ("no class_names.txt: the official names of STL-10 are taken",)
    numbers = tuple(str(number) for number in range(1, n_seen + 1))
    return numbers, (f"no class_names.txt: the classes are called 1 to {n_seen}",)


def _part(folder: Path, part: str, labels: np.ndarray, n_classes: int) -> Images:
    pixels = _pixels(folder / f"{part}_X.bin")
    path = folder / f"{part}_y.bin"
    if len(labels) != len(pixels):
        raise DataError(
            f"{path} needs a label for each of the {len(pixels):,} images of {part}_X.bin; it has "
            f"{len(labels):,}: {AGAIN}"
        )
    if labels.max() > n_classes:
        place = int(labels.argmax())
        raise DataError(
            f"labels in {path} are 1 to {n_classes} (the number of classes); image {place} has "
            f"{labels[place]}: mend the label, or add its class to {beside.CLASS_NAMES}"
        )
    return Images(pixels=pixels, labels=labels - 1)


def _labels(path: Path, pixels: Path) -> np.ndarray:
    """The labels as they stand in the file, from 1, as int64."""
    if not path.exists():
        raise DataError(
            f"{pixels.name} needs its labels in {path} (a byte per image, from 1); there is no "
            "such file: put it there"
        )
    try:
        labels = np.frombuffer(path.read_bytes(), np.uint8).astype(np.int64)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(labels) == 0:
        raise DataError(f"{path} needs a label byte per image; it is empty: {AGAIN}")
    if labels.min() == 0:
        raise DataError(
            f"labels in {path} are counted from 1; image {labels.argmin()} has 0: mend it, or add "
            "1 to each label if they were counted from 0"
        )
    return labels


def _pixels(path: Path) -> np.ndarray:
    """(n_images, 3, 96, 96): the file, mapped; it goes down the columns, so two axes swap."""
    try:
        n_bytes = path.stat().st_size
        whole, rest = divmod(n_bytes, IMAGE_BYTES)
        if rest or not whole:
            raise DataError(
                f"{path} needs {(whole + 1) * IMAGE_BYTES:,} bytes, or another multiple of the "
                f"{IMAGE_BYTES:,} of an image (3 x {SIDE} x {SIDE}); it has {n_bytes:,}, which is "
                f"{whole:,} images and {rest:,} bytes: {AGAIN}"
            )
        by_columns = np.memmap(path, np.uint8, mode="r", shape=(whole, 3, SIDE, SIDE))
    except OSError as error:
        raise _unreadable(path, error) from error
    return by_columns.transpose(0, 1, 3, 2)


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path} must be a file that can be read; got: {error.strerror or error}: put it there"
    )
