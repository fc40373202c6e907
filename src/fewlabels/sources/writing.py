"""A set -> files in one of three layouts, from which `read` gives back the same pixels.

Everything is written into a folder beside the destination and renamed when it is whole.
"""

import io
import re
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from PIL import Image

from fewlabels.errors import ConfigError, DataError
from fewlabels.images import Images, ImageSet
from fewlabels.progress import stage
from fewlabels.sources.beside import write_beside
from fewlabels.threads import in_threads
from fewlabels.whole_files import is_full, whole_folder

STL10_SIZE = (96, 96)  # pixels; the binaries have no header that could say another size
SHARD_LENGTH = 1000  # images
CHUNK = 256  # images written at once to a binary file
SAFE_STEM = re.compile(r"\w[\w \-]*")
OURS = re.compile(r"(train|validation|test|unlabeled)([-_.].*)?|class_names.txt|fold_indices.txt")

Layout = Literal["stl10", "folder", "shards"]


def convert(image_set: ImageSet, dest: Path, to: Layout, *, overwrite: bool = False) -> None:
    """Write a set into the folder `dest`; reading it gives the same images, labels and folds.

    Parameters
    ----------
    to : `stl10` (binaries of 96 x 96 images), `folder` (PNG in class folders) or `shards` (tar
        archives of 1,000 members KEY.png with KEY.cls). The names of images are kept where they
        are plain, unique and (in folders) in order; else their position is put before them.
    overwrite : replace `dest` where it holds a converted set; anything else is never replaced

    Raises ConfigError for another layout; DataError where `dest` is taken, the layout cannot hold
    the set or the disk is full. Nothing is left half-written.
    """
    if to not in _WRITERS:
        raise ConfigError(f"a layout is one of {', '.join(_WRITERS)}; got {to!r}: choose one")
    dest = Path(dest).absolute()
    _check_free(dest, overwrite)
    _check_class_names(image_set.class_names, to)
    with _whole_folder(dest) as folder:
        for part, images in image_set.parts().items():
            if part == "unlabeled":
                images = replace(images, labels=None)
            elif images.labels is None and to != "shards":
                raise DataError(f"the images of {part!r} have no labels: convert to shards")
            with stage(f"writing {part}", total=len(images), unit="images") as advance:
                _WRITERS[to](folder, part, images, image_set.class_names, advance)
        write_beside(folder, image_set.class_names, image_set.folds)


def _check_free(dest: Path, overwrite: bool) -> None:
    if dest.exists() and not dest.is_dir():
        raise DataError(f"{dest} is a file, and a converted set is a folder: name another")
    found = sorted(entry.name for entry in dest.iterdir()) if dest.exists() else []
    if found and not overwrite:
        raise DataError(
            f"{dest} is not empty (it has {found[0]}): name another folder, or replace the set "
            "there with --overwrite"
        )
    foreign = [name for name in found if not OURS.fullmatch(name)]
    if foreign:
        raise DataError(
            f"--overwrite replaces only a converted set, and {dest} also has {foreign[0]}: move "
            "that away or name another folder"
        )


def _check_class_names(class_names: tuple[str, ...], to: Layout) -> None:
    """They become lines of a file, and names of folders, also where a and A are one name."""
    for name in class_names:
        if not name.isprintable() or name != name.strip() or not name:
            raise DataError(
                f"the class name {name!r} cannot be a line of class_names.txt: use printed letters"
            )
        if to == "folder" and set(name) & set('/\\:*?"<>|'):
            raise DataError(
                f"the class name {name!r} cannot name a folder everywhere: use letters, digits, "
                "- and _, or convert to shards"
            )
        if to == "folder" and name.startswith("."):
            raise DataError(f"the class name {name!r} would name a hidden folder: change it")
    if to == "folder" and len({name.lower() for name in class_names}) < len(class_names):
        raise DataError("class names that differ only in case cannot name folders: change one")


@contextmanager
def _whole_folder(dest: Path) -> Iterator[Path]:
    """A folder to write into that becomes `dest` at the end of the block, or vanishes."""
    try:
        with whole_folder(dest) as folder:
            yield folder
    except OSError as error:
        if not is_full(error):
            raise DataError(
                f"{dest} cannot be written ({error.strerror or error}): name another folder"
            ) from error
        raise DataError(
            f"the disk is full, so nothing was written to {dest}: free some space or name a "
            "folder on another disk"
        ) from error


def _write_stl10(
    folder: Path, part: str, images: Images, class_names: tuple[str, ...], advance: Callable
) -> None:
    """Binaries as on the STL-10 page: uint8, each channel column by column; labels from 1."""
    if images.size != STL10_SIZE:
        height, width = images.size
        raise DataError(
            f"STL-10's binaries hold images of 96 x 96, these are {height} x {width}: "
            "add --size 96, or convert to folder or shards"
        )
    if part == "validation":
        raise DataError("STL-10's binaries have no validation part: convert to folder or shards")
    if images.labels is not None:
        if len(class_names) > 255:
            raise DataError(
                f"STL-10's binaries hold up to 255 classes; these are {len(class_names)}: "
                "convert to folder or shards"
            )
        (images.labels + 1).astype(np.uint8).tofile(folder / f"{part}_y.bin")
    with (folder / f"{part}_X.bin").open("wb") as file:
        for start in range(0, len(images), CHUNK):
            chunk = images.pixels[start : start + CHUNK]
            file.write(np.ascontiguousarray(chunk.transpose(0, 1, 3, 2)).data)
            advance(len(chunk))


def _write_folder(
    folder: Path, part: str, images: Images, class_names: tuple[str, ...], advance: Callable
) -> None:
    for index, stem, png in _pngs(images, class_names, in_order=True):
        class_folder = folder / part
        if images.labels is not None:
            class_folder /= class_names[images.labels[index]]
        class_folder.mkdir(parents=True, exist_ok=True)
        (class_folder / f"{stem}.png").write_bytes(png)
        advance(1)


def _write_shards(
    folder: Path, part: str, images: Images, class_names: tuple[str, ...], advance: Callable
) -> None:
    pngs = _pngs(images, class_names, in_order=False)
    for number in range(-(-len(images) // SHARD_LENGTH)):
        with tarfile.open(folder / f"{part}-{number:06d}.tar", "w") as archive:
            for _, (index, stem, png) in zip(range(SHARD_LENGTH), pngs, strict=False):
                _add(archive, f"{stem}.png", png)
                if images.labels is not None:
                    _add(archive, f"{stem}.cls", str(images.labels[index]).encode())
                advance(1)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # of no date and no owner, so that equal sets give equal files
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
    archive.members.clear()  # type: ignore[attr-defined]


def _pngs(
    images: Images, class_names: tuple[str, ...], *, in_order: bool
) -> Iterator[tuple[int, str, bytes]]:
    """Index, file name without suffix and PNG of each image."""
    stems = _stems(images, class_names, in_order=in_order)
    numbered = enumerate(images.pixels)
    for (index, _), png in in_threads(lambda numbered: _png(numbered[1]), numbered):
        yield index, stems[index], png


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(file, "PNG")
    return file.getvalue()


def _stems(images: Images, class_names: tuple[str, ...], *, in_order: bool) -> list[str]:
    """The images' own names if they are plain and unique (and read back in this order), else
    numbered ones."""
    n_digits = max(6, len(str(len(images))))
    positions = [f"{index:0{n_digits}d}" for index in range(len(images))]
    own = [PurePosixPath(name).stem for name in images.names]
    if not own:
        return positions
    plain = all(SAFE_STEM.fullmatch(stem) and len(stem) <= 100 for stem in own)
    if plain and len({stem.lower() for stem in own}) == len(own):
        names = [f"{stem}.png" for stem in own]
        if not in_order or names == sorted(names):
            return own
    return [
        f"{position}-{stem[:100]}" if SAFE_STEM.fullmatch(stem) else position
        for position, stem in zip(positions, own, strict=True)
    ]


_WRITERS: dict[str, Callable[..., None]] = {
    "stl10": _write_stl10,
    "folder": _write_folder,
    "shards": _write_shards,
}
