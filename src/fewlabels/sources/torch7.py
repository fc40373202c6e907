"""Torch 7 files (`train.t7b`, `val.t7b`, `extra.t7b`, `test.t7b`) -> ImageSet.

The course's tables were never seen here; their form is taken from its students' code, which reads
`data[class][i]` (`result.lua` of github.com/zw1074/stl-10_kmeans): `data` is a table per class of
tables of 3 x H x W tensors, the place of the class being the label; `extra` has one such class.
Read too: one table of such tensors, or one tensor N x 3 x H x W, with `labels` from 1 beside it;
C x H x W tensors with C = 1 (gray) get three equal channels.

Values: of bytes and other integers, taken as they are (0 to 255); of floats, v -> round(255 v) if
none in the file is over 1, else round(v). Negative, larger or undefined values are refused.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fewlabels.errors import DataError
from fewlabels.images import Images, ImageSet
from fewlabels.progress import stage
from fewlabels.sources import beside
from fewlabels.sources.pixels import Options
from fewlabels.sources.stl10 import class_names
from fewlabels.sources.storing import store
from fewlabels.sources.torch7_objects import AGAIN, load

PARTS = {"train": "train", "validation": "val", "unlabeled": "extra", "test": "test"}
SUFFIXES = (".t7b", ".t7")


def matches(path: Path) -> bool:
    """Whether `path` is a folder with a Torch 7 training file."""
    return _file(path, "train") is not None


def read(path: Path, options: Options) -> ImageSet:
    """The set in folder `path`; large uint8 tensors are mapped, other images lie as `store` says.

    Parameters
    ----------
    path : folder of `train.t7b` and, where they exist, `val.t7b`, `extra.t7b`, `test.t7b` (`.t7`
        will do); `class_names.txt` and `fold_indices.txt` may lie beside them
    options : change nothing here; `sources.read` brings a set to `options.size`

    Raises
    ------
    DataError : a file is truncated, damaged, holds what is not read, or does not fit the others
    """
    files = {part: _file(path, stem) for part, stem in PARTS.items()}
    if files["train"] is None:
        raise DataError(f"{path} needs a file train.t7b; there is none: put it there")
    notes: list[str] = []
    parts = {
        part: _part(part, file, notes)
        for part, file in files.items()
        if file is not None and (part == "train" or options.wants(part))  # it has the classes
    }
    train = parts["train"]
    assert train.labels is not None  # `_part` asks for them
    n_classes = int(train.labels.max()) + 1
    if n_classes > len(train):
        raise DataError(
            f"{files['train']} needs an image of every class; it has labels up to {n_classes} and "
            f"{len(train)} images: mend the labels"
        )
    names, name_notes = class_names(path, n_classes)
    return ImageSet(
        name=path.resolve().name,
        class_names=names,
        train=train,
        validation=parts.get("validation"),
        test=parts.get("test"),
        unlabeled=parts.get("unlabeled"),
        folds=beside.read_folds(path, len(train)),
        notes=(*name_notes, *notes),
    )


def _file(path: Path, stem: str) -> Path | None:
    found = [path / f"{stem}{suffix}" for suffix in SUFFIXES]
    return next((file for file in found if file.is_file()), None)


def _part(part: str, path: Path, notes: list[str]) -> Images:
    root = load(path)
    table = root if isinstance(root, dict) else {"data": root}
    classes = _classes(table.get("data"), path)
    pixels = _pixels([block for blocks in classes for block in blocks], path, notes)
    if part == "unlabeled":
        return Images(pixels=pixels)
    labels = _labels(classes, table.get("labels", table.get("label")), path)
    if labels is None and part != "test":
        raise DataError(
            f"{path} needs labels (a table of images per class, of two or more, or `labels` beside "
            "`data`); it has none: save them with the images"
        )
    return Images(pixels=pixels, labels=labels)


def _classes(data: Any, path: Path) -> list[list[np.ndarray]]:
    """For each class its blocks of images, (n, C, H, W); one class where the data has none."""
    if isinstance(data, np.ndarray):
        return [[_block(data, path)]]
    items = _listed(data, path, "`data`")
    if len({id(item) for item in items}) < len(items):
        raise DataError(f"{path} should hold each image once; it refers to one twice: {AGAIN}")
    if all(isinstance(item, np.ndarray) and item.ndim == 3 for item in items):
        return [[_block(item, path) for item in items]]
    return [
        [_block(item, path)]
        if isinstance(item, np.ndarray)
        else [_block(image, path) for image in _listed(item, path, "a class in `data`")]
        for item in items
    ]


def _block(tensor: Any, path: Path) -> np.ndarray:
    if isinstance(tensor, np.ndarray):
        block = tensor[None] if tensor.ndim == 3 else tensor
        if block.ndim == 4 and block.shape[1] in (1, 3):
            return block
    got = f"shape {tensor.shape}" if isinstance(tensor, np.ndarray) else type(tensor).__name__
    raise DataError(
        f"images in {path} are tensors of 3 x height x width, or N of them in one; got {got}: save "
        "them in that shape"
    )


def _listed(table: Any, path: Path, what: str) -> list[Any]:
    """The values of a table whose keys are 1, 2, ..., n."""
    if not isinstance(table, dict) or not all(i in table for i in range(1, len(table) + 1)):
        got = "a table with other keys" if isinstance(table, dict) else type(table).__name__
        raise DataError(
            f"{path} needs {what} as a tensor or a table with keys 1, 2, 3, ...; got {got}: save "
            "it as the course's files are, {data = {class 1, class 2, ...}}"
        )
    return [table[i] for i in range(1, len(table) + 1)]


def _labels(classes: list[list[np.ndarray]], given: Any, path: Path) -> np.ndarray | None:
    """From 0: the place of the class, or where the data has no classes the labels given."""
    counts = [sum(map(len, blocks)) for blocks in classes]
    if len(classes) > 1:
        return np.repeat(np.arange(len(classes)), counts)
    if given is None:
        return None
    values = given if isinstance(given, np.ndarray) else _listed(given, path, "`labels`")
    try:
        labels = np.asarray(values, np.float64).reshape(-1)
    except (TypeError, ValueError):
        raise DataError(f"`labels` in {path} must be numbers: save them as a ByteTensor") from None
    if len(labels) != counts[0]:
        raise DataError(
            f"{path} needs a label for each of its {counts[0]:,} images; it has {len(labels):,}: "
            "save as many"
        )
    wrong = labels[~((labels >= 1) & (labels < 2**31) & (labels == np.floor(labels)))]
    if len(wrong):
        raise DataError(
            f"labels in {path} are whole numbers from 1, as Lua counts; got {wrong[0]:g}: mend them"
        )
    return labels.astype(np.int64) - 1


def _pixels(blocks: list[np.ndarray], path: Path, notes: list[str]) -> np.ndarray:
    """(n_images, 3, H, W), by the rule at the top of this file."""
    shapes = {block.shape[1:] for block in blocks}
    dtypes = {block.dtype for block in blocks}
    if len(shapes) != 1 or len(dtypes) != 1:
        got = " and ".join(sorted(map(str, shapes if len(shapes) > 1 else dtypes))[:2]) or "none"
        raise DataError(f"images in {path} need one size and one type; got {got}: save them alike")
    if sum(block.nbytes for block in blocks) > path.stat().st_size:
        raise DataError(f"{path} should hold each image once; it refers to some again: {AGAIN}")
    (dtype,), ((channels, _, _),) = dtypes, shapes
    if channels == 1:
        notes.append(f"{path.name}: gray images were given three equal channels")
    if dtype == np.uint8 and channels == 3 and len(blocks) == 1:
        return blocks[0]
    factor = 255 if _highest(blocks, path) <= 1 and dtype.kind == "f" else 1
    if dtype.kind == "f":
        rule = "round(255 v)" if factor == 255 else "round(v)"
        notes.append(f"{path.name}: a value v of a float image became {rule}")
    with stage(f"reading {path.name}", total=sum(map(len, blocks)), unit="images") as advance:

        def images() -> Iterator[np.ndarray]:
            for image in (image for block in blocks for image in block):
                scaled = image if image.dtype.kind != "f" else np.rint(image.astype(float) * factor)
                yield np.broadcast_to(scaled.astype(np.uint8), (3, *image.shape[1:]))
                advance(1)

        return store(images())


def _highest(blocks: list[np.ndarray], path: Path) -> float:
    """The highest value of all; refuses values that are no pixels."""
    highest = 0.0
    with np.errstate(invalid="ignore"):
        for block in blocks:
            low, high = float(block.min()), float(block.max())
            if not (low >= 0 and high <= 255):  # so that NaN is refused too
                raise DataError(
                    f"values in {path} go from 0 to 255, or from 0 to 1 in floats; got {low:g} to "
                    f"{high:g}: save the images before they are normalised"
                )
            highest = max(highest, high)
    return highest
