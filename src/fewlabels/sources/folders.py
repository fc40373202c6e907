"""Class folders: `train/CLASS/*.jpg`, `test/CLASS/*`, `validation/CLASS/*`, `unlabeled/*`.

Without a folder `train` the class folders lie directly in the source. Images may lie deeper in a
class folder. The order of the images of a part is that of their paths inside the class folders,
then of the classes; files that `convert` numbered thus come back in their old order.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath

from fewlabels.errors import DataError
from fewlabels.images import PARTS, ImageSet
from fewlabels.sources.beside import read_class_names
from fewlabels.sources.gathering import Entry, gather, given_folds, readable, sorted_names
from fewlabels.sources.pixels import Options

FOLDER_NAMES = {
    "train": ("train",),
    "validation": ("validation", "val"),
    "test": ("test",),
    "unlabeled": ("unlabeled", "unlabelled"),
}
RESERVED = {name for names in FOLDER_NAMES.values() for name in names}
SUFFIXES = set(
    ".jpg .jpeg .jpe .jfif .png .bmp .gif .tif .tiff .webp .avif .jp2 .ppm .pgm .pbm .pnm".split()
)


def matches(path: Path) -> bool:
    """Whether there is a folder `train`, or some class folder with an image."""
    if (path / "train").is_dir():
        return True
    folders = _folders(path) if path.is_dir() else []
    return any(
        is_image(name)
        for folder in folders
        if folder.name not in RESERVED
        for _, names in _walk(folder)
        for name in names
    )


def read(path: Path, options: Options) -> ImageSet:
    """Read class folders.

    Class names are sorted (as numbers if all are numbers), or in the order of `class_names.txt`
    where it lies beside them; `fold_indices.txt` beside them gives the folds. Files that are no
    images by their suffix, and hidden ones, are ignored and counted in a note.

    Raises DataError where a class has no images, a test class is not among the training classes,
    or images lie outside class folders; and as `gathering.gather` does.
    """
    ignored: Counter[str] = Counter()
    train = path / "train" if (path / "train").is_dir() else path
    class_names = _class_names(path, train)
    parts = {}
    for part in filter(options.wants, PARTS):
        folder = train if part == "train" else _part_folder(path, part)
        if folder is None:
            continue
        if part == "unlabeled":
            parts[part] = [_entry(path, file, None) for _, file in _images(folder, ignored)]
        else:
            parts[part] = _labelled(path, folder, class_names, ignored)
    gathered = gather(parts, options, class_names)
    return ImageSet(
        name=path.resolve().name,
        class_names=class_names,
        **gathered.parts,
        folds=given_folds(path, gathered),
        damaged=gathered.damaged,
        left_out=options.left_out,
        notes=(*gathered.notes, *ignored_note(ignored)),
    )


def is_image(name: str) -> bool:
    """Whether a file is an image by its name: a known suffix, and not hidden."""
    return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES


def ignored_note(ignored: Counter[str]) -> tuple[str, ...]:
    """What was ignored, as a note: at most one sentence.

    Parameters
    ----------
    ignored : how many files of each kind (`kind_of`)
    """
    if not ignored:
        return ()
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in ignored.most_common(5))
    more = ", ..." if len(ignored) > 5 else ""
    return (f"{ignored.total():,} files that are no images were ignored ({kinds}{more})",)


def _part_folder(path: Path, part: str) -> Path | None:
    found = [path / name for name in FOLDER_NAMES[part] if (path / name).is_dir()]
    if len(found) > 1:
        named = " and ".join(folder.name for folder in found)
        raise DataError(f"{path} has both {named}, which mean the same part: keep one")
    return found[0] if found else None


def _class_names(path: Path, train: Path) -> tuple[str, ...]:
    folders = {folder.name for folder in _folders(train)} - (RESERVED if train == path else set())
    if not folders:
        raise DataError(f"{train} needs one folder of images for each class; it has none")
    given = read_class_names(path)
    if given is None:
        return sorted_names(folders)
    if set(given) != folders:
        differing = sorted(set(given) ^ folders)[0]
        where = "class_names.txt only" if differing in given else "the folders only"
        raise DataError(
            f"class_names.txt in {path} needs the names of the class folders; {differing!r} is in "
            f"{where}: mend or remove the file"
        )
    return given


def _labelled(
    path: Path, folder: Path, class_names: tuple[str, ...], ignored: Counter[str]
) -> list[Entry]:
    """The entries of a part with class folders, in order."""
    _refuse_loose(folder, class_names, ignored)
    found: list[tuple[str, str, Path]] = []
    for class_folder in _folders(folder):
        if folder == path and class_folder.name in RESERVED:
            continue
        if class_folder.name not in class_names:
            raise DataError(
                f"{class_folder} is a class without training images; the classes are "
                f"{', '.join(class_names[:10])}: add training images or remove it"
            )
        others: Counter[str] = Counter()
        images = [
            (inside, class_folder.name, file) for inside, file in _images(class_folder, others)
        ]
        if not images:
            kinds = ", ".join(f"{kind} {count:,}" for kind, count in others.most_common(5))
            raise DataError(
                f"the class folder {class_folder} has no images"
                f"{f', only files of other kinds ({kinds})' if others else ''}: add some or remove "
                "it"
            )
        found += images
        ignored.update(others)
    return [_entry(path, file, class_name) for _, class_name, file in sorted(found)]


def _refuse_loose(folder: Path, class_names: tuple[str, ...], ignored: Counter[str]) -> None:
    """Images that lie in no class folder have no label; other files there are ignored."""
    for file in sorted(folder.iterdir()):
        if file.is_dir() or file.name in ("class_names.txt", "fold_indices.txt"):
            continue
        if is_image(file.name):
            raise DataError(
                f"{file} lies in no class folder: move it into one of {', '.join(class_names[:5])}"
                ", ... or into unlabeled/"
            )
        ignored[kind_of(file)] += 1


def _folders(path: Path) -> list[Path]:
    return sorted(
        entry
        for entry in path.iterdir()
        if entry.is_dir() and not entry.name.startswith((".", "__MACOSX"))
    )


def _walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder at and under `folder` that is not hidden, with its file names."""
    seen: set[str] = set()
    for root, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        # a link that leads back up would be walked for ever
        seen.add(os.path.realpath(root))
        folders[:] = [
            name
            for name in folders
            if not name.startswith((".", "__MACOSX"))
            and os.path.realpath(Path(root, name)) not in seen
        ]
        yield Path(root), names


def _refuse(error: OSError) -> None:
    raise error  # a folder that cannot be read is said, never left out


def _images(folder: Path, ignored: Counter[str]) -> list[tuple[str, Path]]:
    """The image files at any depth, sorted by their path inside `folder`, which comes first."""
    found = []
    for root, names in _walk(folder):
        for name in names:
            if is_image(name):
                found.append(((root / name).relative_to(folder).as_posix(), root / name))
            else:
                ignored[kind_of(root / name)] += 1
    return sorted(found)


def kind_of(file: PurePath) -> str:
    """What an ignored file is called in a note: its suffix, or its name where it has none."""
    if file.name.startswith("."):
        return "hidden"
    return file.suffix.lower() or file.name


def _entry(path: Path, file: Path, class_name: str | None) -> Entry:
    return Entry(readable(file.relative_to(path).as_posix()), file.read_bytes, class_name)
