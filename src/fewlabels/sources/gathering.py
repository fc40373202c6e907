"""Many image files -> arrays: decoded by a few threads, in bounded memory, damaged ones named.

A format gives each part (train, test, ...) as entries that can be iterated over again; `gather`
decodes them into one array a part, all of one size.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fewlabels.errors import DataError
from fewlabels.images import Damaged, Images, no_images
from fewlabels.progress import say, stage
from fewlabels.sources.beside import read_folds
from fewlabels.sources.pixels import (
    LARGEST_CHOSEN_SIZE,
    DamagedImageError,
    Options,
    decode,
    fit_to_size,
    shorter_side,
)
from fewlabels.sources.storing import store
from fewlabels.threads import in_threads


class Entry(NamedTuple):
    """One image file: its name, its content (or how to read it) and its class name, if any."""

    name: str
    data: bytes | Callable[[], bytes]
    class_name: str | None = None


def readable(name: str) -> str:
    """A file name whose bytes are no UTF-8 with these bytes spelled out, so that it can be written.

    >>> readable("photo\\udce9.jpg")
    'photo\\\\xe9.jpg'
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """What `gather` read.

    parts : the images of each part, all of one size, labels as indices into `class_names`; `train`
        is there without an image if it was not given
    class_names : as given, or those of the training images, sorted (as numbers if all are)
    kept : for each part, the positions (int64, increasing) of these images among its entries;
        where images were damaged, folds must be moved (`beside.read_folds`)
    n_entries : for each part, how many entries there were
    """

    parts: dict[str, Images]
    class_names: tuple[str, ...]
    kept: dict[str, np.ndarray]
    n_entries: dict[str, int]
    damaged: tuple[Damaged, ...]
    notes: tuple[str, ...]


class _NoSizeError(Exception):
    """No size was asked, and the images have none that all can stay at: that, as a clause."""


def gather(
    parts: Mapping[str, Iterable[Entry]],
    options: Options,
    class_names: tuple[str, ...] | None = None,
) -> Gathered:
    """Decode parts of a set; the part `train` gives the classes where no names are given.

    With `options.size` every image is fitted to it. Without, images of one size (square or not)
    whose shorter side has up to `options.largest` pixels stay as they are; if sizes are mixed or
    larger, all are fitted to the most common shorter side (of equally common ones the smallest) or
    to 96 pixels if that is less, and a note says so.

    Parameters
    ----------
    parts : the entries of each part; iterated over once, or up to three times if a size is chosen

    Raises DataError where a part has no image, none that can be decoded, classes on some images
    only or outside the class names, or with `options.strict` a damaged one; and where the disk of
    temporary files is full.
    """
    try:
        return _gather(parts, options, class_names)
    except _NoSizeError as error:
        why, size = str(error), _choose_size(parts)
    note = (
        f"the images {why}: each was resized and centre-cropped to {size} x {size} "
        "(ask for another size with --size)"
    )
    say(note)
    gathered = _gather(parts, replace(options, size=size), class_names)
    return replace(gathered, notes=(note, *gathered.notes))


def _gather(
    parts: Mapping[str, Iterable[Entry]], options: Options, class_names: tuple[str, ...] | None
) -> Gathered:
    reader = _Reader(options, class_names)
    images = {part: reader.read(part, entries) for part, entries in parts.items()}
    if "train" not in images:
        height, width = (reader.shape or (3, 0, 0))[1:]
        images["train"] = no_images((height, width))
    for damaged in reader.damaged[:5]:
        say(f"skipped a damaged image: {damaged.name} {damaged.reason}")
    if len(reader.damaged) > 5:
        say(f"skipped {len(reader.damaged):,} damaged images in all")
    return Gathered(
        parts=images,
        class_names=reader.class_names or (),
        kept=reader.kept,
        n_entries=reader.n_entries,
        damaged=tuple(reader.damaged),
        notes=(),
    )


class _Reader:
    """Reads part after part; remembers the classes, the first image's size, what was damaged."""

    def __init__(self, options: Options, class_names: tuple[str, ...] | None) -> None:
        self.options = options
        self.class_names = class_names
        self.shape: tuple[int, ...] | None = None
        self.damaged: list[Damaged] = []
        self.kept: dict[str, np.ndarray] = {}
        self.n_entries: dict[str, int] = {}

    def read(self, part: str, entries: Iterable[Entry]) -> Images:
        good: list[Entry] = []
        kept: list[int] = []
        n_damaged = len(self.damaged)
        total = len(entries) if isinstance(entries, Sized) else None
        with stage(f"reading {part}", total=total, unit="images") as advance:
            pixels = store(self._good(entries, good, kept, advance))
        if len(pixels) == 0:
            raise _nothing_read(part, self.damaged[n_damaged:])
        self.kept[part] = np.array(kept, np.int64)
        self.n_entries[part] = len(kept) + len(self.damaged) - n_damaged
        if self.class_names is None and part == "train":
            self.class_names = sorted_names({entry.class_name or "" for entry in good})
        labels = _labels(part, good, self.class_names or ())
        return Images(pixels=pixels, labels=labels, names=tuple(entry.name for entry in good))

    def _good(
        self,
        entries: Iterable[Entry],
        good: list[Entry],
        kept: list[int],
        advance: Callable[[int], None],
    ) -> Iterator[np.ndarray]:
        """The pixels of the images that can be decoded; `good` and `kept` are filled alongside."""
        decode_one = partial(_decode_entry, size=self.options.size)
        decoded = in_threads(decode_one, entries, worth=_takes_long)
        for position, (entry, pixels) in enumerate(decoded):
            advance(1)
            if isinstance(pixels, str):
                self._skip(Damaged(entry.name, pixels))
                continue
            self.shape = self.shape or pixels.shape
            if pixels.shape != self.shape:
                raise _NoSizeError("have mixed sizes")
            largest = self.options.largest if self.options.size is None else None
            if largest is not None and min(pixels.shape[1:]) > largest:
                # photographs of a camera would fill the disk, and take hours to learn from
                raise _NoSizeError(f"are larger than {largest} pixels, or of mixed sizes")
            good.append(entry._replace(data=b""))  # the content is not needed any more
            kept.append(position)
            yield pixels

    def _skip(self, damaged: Damaged) -> None:
        if self.options.strict:
            raise DataError(
                f"{damaged.name} {damaged.reason}: mend or remove it, or read without --strict "
                "to skip damaged images"
            )
        self.damaged.append(damaged)


def _takes_long(entry: Entry) -> bool:
    """Pillow holds the interpreter's lock for most of the time that a tiny image takes."""
    return callable(entry.data) or len(entry.data) > 16_384


def _decode_entry(entry: Entry, size: int | None) -> np.ndarray | str:
    """The pixels, or the reason why there are none."""
    try:
        # twice the asked side, so that the resizing has pixels to average over
        pixels = decode(_content(entry), at_least=None if size is None else 2 * size)
    except DamagedImageError as error:
        return str(error)
    return pixels if size is None else fit_to_size(pixels, size)


def _content(entry: Entry) -> bytes:
    if isinstance(entry.data, bytes):
        return entry.data
    try:
        return entry.data()
    except OSError as error:
        raise DamagedImageError(f"cannot be read ({error.strerror or error})") from error


def _choose_size(parts: Mapping[str, Iterable[Entry]]) -> int:
    """The most common shorter side, the smallest of equally common ones; at most 96 pixels."""
    sides: Counter[int] = Counter()
    for part, entries in parts.items():
        with stage(f"measuring {part}", unit="images") as advance:
            for _, side in in_threads(_shorter_side, entries):
                advance(1)
                if side is not None:
                    sides[side] += 1
    most_common = min(sides, key=lambda side: (-sides[side], side))
    return min(most_common, LARGEST_CHOSEN_SIZE)


def _shorter_side(entry: Entry) -> int | None:
    try:
        return shorter_side(_content(entry))
    except DamagedImageError:
        return None


def _nothing_read(part: str, damaged: list[Damaged]) -> DataError:
    if not damaged:
        return DataError(f"the part {part!r} holds no images: add some or remove it")
    first = damaged[0]
    return DataError(
        f"none of the {len(damaged):,} images of {part!r} can be read; the first, {first.name}, "
        f"{first.reason}: fetch or save them again"
    )


def given_folds(folder: Path, gathered: Gathered) -> tuple[np.ndarray, ...]:
    """The folds that lie beside the images; none where the training images were not read."""
    if "train" not in gathered.kept:
        return ()
    return read_folds(folder, gathered.n_entries["train"], gathered.kept["train"])


def sorted_names(names: Iterable[str]) -> tuple[str, ...]:
    """Class names in order: as numbers if all are numbers, else as text."""
    found = sorted(names)
    return tuple(sorted(found, key=int) if all(name.isdecimal() for name in found) else found)


def _labels(part: str, entries: list[Entry], class_names: tuple[str, ...]) -> np.ndarray | None:
    """The label of each entry, None where none has a class."""
    if all(entry.class_name is None for entry in entries):
        return None
    label_of: dict[str | None, int] = {name: label for label, name in enumerate(class_names)}
    for entry in entries:
        if entry.class_name is None:
            raise DataError(
                f"{entry.name} has no label, others of {part!r} have one: "
                "label it, or move it to the unlabeled images"
            )
        if entry.class_name not in label_of:
            raise DataError(
                f"{entry.name} ({part}) is of class {entry.class_name!r}, which is none of the "
                f"{len(class_names)} classes ({', '.join(class_names[:10])}): add training images "
                "of that class and its name, or remove it"
            )
    return np.array([label_of[entry.class_name] for entry in entries], np.int64)
