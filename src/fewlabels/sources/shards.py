"""Tar archives: `train.tar`, `test.tar`, `unlabeled.tar`, `validation.tar`.

Each may be `.tar`, `.tar.gz` or `.tar.xz`, and may be cut into shards `train-000000.tar`, ... .
Members are `KEY.jpg` beside `KEY.cls` (the label as text, counted from 0; WebDataset's layout) or
`CLASS/NAME.jpg`. Archives are streamed: read once from front to end, never unpacked to disk.
"""

import gzip
import lzma
import os
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from fewlabels.errors import DataError
from fewlabels.images import ImageSet
from fewlabels.sources.beside import read_class_names
from fewlabels.sources.folders import FOLDER_NAMES, ignored_note, is_image, kind_of
from fewlabels.sources.gathering import Entry, gather, given_folds, readable, sorted_names
from fewlabels.sources.pixels import Options

ARCHIVE = re.compile(r"(?P<part>[a-z]+)(-(?P<number>\d+))?\.(tar|tar\.gz|tgz|tar\.xz)")
OPENERS: dict[str, Callable] = {".gz": gzip.open, ".tgz": gzip.open, ".xz": lzma.open}


class Member(NamedTuple):
    """A file in an archive, or a link, which has no content of its own."""

    name: PurePosixPath
    data: bytes | None


def matches(path: Path) -> bool:
    """Whether there is an archive, or a shard, of training images."""
    return path.is_dir() and bool(_archives(path).get("train"))


def read(path: Path, options: Options) -> ImageSet:
    """Read tar archives.

    `class_names.txt` beside them names the classes in label order. Without it the classes of
    `KEY.cls` are called "0", "1", ... and those of `CLASS/NAME.jpg` by their names, sorted.
    `fold_indices.txt` gives the folds, in the order of the training images. Labels of unlabelled
    images are ignored, other members are ignored and counted in a note.

    Raises DataError where an archive is cut off or damaged, a shard of a sequence is missing, an
    image has no label or one outside the classes; and as `gathering.gather` does.
    """
    class_names = read_class_names(path)
    parts = {
        part: _Members(part, _whole_sequence(path, part, archives), class_names)
        for part, archives in _archives(path).items()
        if part == "train" or options.wants(part)
    }
    if not options.wants("train"):
        train = parts.pop("train")
        class_names = class_names or sorted_names({entry.class_name or "" for entry in train})
    gathered = gather(parts, options, class_names)
    ignored: Counter[str] = sum((members.ignored for members in parts.values()), Counter())
    return ImageSet(
        name=path.resolve().name,
        class_names=gathered.class_names,
        **gathered.parts,
        folds=given_folds(path, gathered),
        damaged=gathered.damaged,
        left_out=options.left_out,
        notes=(*gathered.notes, *ignored_note(ignored)),
    )


def _archives(path: Path) -> dict[str, list[tuple[int | None, Path]]]:
    """The archives of each part, each with its shard number; parts in the order of ImageSet."""
    part_of = {name: part for part, names in FOLDER_NAMES.items() for name in names}
    found: dict[str, list[tuple[int | None, Path]]] = {part: [] for part in FOLDER_NAMES}
    for file in sorted(path.iterdir()):
        name = ARCHIVE.fullmatch(file.name)
        if name and name["part"] in part_of and file.is_file():
            number = None if name["number"] is None else int(name["number"])
            found[part_of[name["part"]]].append((number, file))
    return {part: archives for part, archives in found.items() if archives}


def _whole_sequence(path: Path, part: str, archives: list[tuple[int | None, Path]]) -> list[Path]:
    """The files of a part: one archive, or shards numbered from 0 without a gap."""
    numbers = [number for number, _ in archives]
    if numbers == [None]:
        return [archives[0][1]]
    numbered = sorted(number for number in numbers if number is not None)
    if None in numbers or len(set(numbered)) < len(numbered):
        named = ", ".join(file.name for _, file in archives[:4])
        raise DataError(
            f"{path} has {part!r} more than once ({named}): keep one archive, or one sequence of "
            "shards"
        )
    missing = sorted(set(range(numbered[-1] + 1)) - set(numbered))
    if missing:
        raise DataError(
            f"the shards of {part!r} in {path} run from 0 to {numbered[-1]}, and "
            f"{len(missing)} of them are missing, first number {missing[0]}: fetch them again"
        )
    return [file for _, file in sorted(archives, key=lambda found: found[0] or 0)]


@dataclass
class _Members:
    """The images of a part's archives, in order, as entries; can be iterated over again."""

    part: str
    archives: list[Path]
    class_names: tuple[str, ...] | None
    ignored: Counter[str] = field(default_factory=Counter)

    def __iter__(self) -> Iterator[Entry]:
        self.ignored.clear()
        for archive in self.archives:
            for _, sample in groupby(_members(archive), key=_key):
                yield from self._entries(archive, list(sample))

    def _entries(self, archive: Path, sample: list[Member]) -> Iterator[Entry]:
        """The images among neighbouring members of one key, with the class that is theirs."""
        labels = [member for member in sample if member.name.suffix == ".cls" and member.data]
        for member in sample:
            if member.data is None:
                self.ignored["links"] += 1
            elif is_image(member.name.name):
                class_name = None if self.part == "unlabeled" else self._class_name(member, labels)
                name = readable(f"{archive.name}/{member.name}")
                yield Entry(name, member.data, class_name)
            elif member not in labels:
                self.ignored[kind_of(member.name)] += 1

    def _class_name(self, image: Member, labels: list[Member]) -> str | None:
        folders = [name for name in image.name.parent.parts if name not in FOLDER_NAMES[self.part]]
        if not labels:
            return folders[0] if folders else None
        text = (labels[0].data or b"").decode(errors="replace").strip()
        n_classes = 10**9 if self.class_names is None else len(self.class_names)
        if not re.fullmatch("[0-9]{1,9}", text) or int(text) >= n_classes:
            allowed = "from 0" if self.class_names is None else f"from 0 to {n_classes - 1}"
            raise DataError(
                f"the label in {labels[0].name} ({self.part}) is a whole number {allowed}; got "
                f"{text[:20]!r}: mend the label, or class_names.txt if it lacks the class"
            )
        return str(int(text)) if self.class_names is None else self.class_names[int(text)]


def _key(member: Member) -> PurePosixPath:
    return member.name.with_suffix("")


def _members(archive: Path) -> Iterator[Member]:
    """The files and links of an archive, streamed."""
    try:
        with (
            OPENERS.get(archive.suffix, open)(archive, "rb") as file,
            tarfile.open(fileobj=file, mode="r|") as members,
        ):
            while (info := members.next()) is not None:
                # tarfile keeps every header it has read: memory that grows with the archive
                members.members.clear()  # type: ignore[attr-defined]
                content = members.extractfile(info) if info.isfile() else None
                if content or info.issym() or info.islnk():
                    yield Member(PurePosixPath(info.name), content.read() if content else None)
            while file.read(tarfile.RECORDSIZE):
                pass  # a compressed file's checksum is compared when all of it is read
        _check_end(archive)
    except (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{archive} is cut off or damaged ({error}): fetch or make it again"
        ) from error


def _check_end(archive: Path) -> None:
    """Refuse a plain archive that ends between two members, which tarfile takes for its end."""
    if archive.suffix == ".tar":
        with archive.open("rb") as file:
            file.seek(-tarfile.BLOCKSIZE, os.SEEK_END)
            if any(file.read()):
                raise tarfile.ReadError("the zero blocks that close an archive are missing")
