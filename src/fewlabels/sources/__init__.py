"""Images in: one file per format, each with `matches(folder)` and `read(folder, options)`.

    stl10     train_X.bin, train_y.bin, test_X.bin, ...         STL-10's binaries
    torch7    train.t7b, val.t7b, extra.t7b, test.t7b           Torch 7 tables
    shards    train.tar, test.tar, unlabeled.tar, ...           tar archives, also sharded
    folders   train/CLASS/*.jpg, test/CLASS/*, unlabeled/*      class folders
    made      digits, shapes                                    made sets, by name
    download  stl10                                             fetched sets, by name

`pixels` holds the one conversion rule, `gathering` decodes many files, `beside` reads the text
files that lie beside them; `resizing` and `writing` change a set, `survey` says what is in one.
"""

from collections.abc import Callable, Collection
from pathlib import Path
from types import ModuleType

from fewlabels.errors import DataError
from fewlabels.images import PARTS, ImageSet
from fewlabels.sources import folders, shards, stl10, torch7
from fewlabels.sources.pixels import LARGEST_CHOSEN_SIZE, Options
from fewlabels.sources.resizing import resized

LAYOUTS = (
    "train/CLASS/*.jpg, train.tar (or train-000000.tar, .tar.gz, .tar.xz), train_X.bin (STL-10), "
    "train.t7b (Torch 7), or CLASS/*.jpg"
)


def read(
    source: str | Path,
    *,
    size: int | None = None,
    largest: int | None = LARGEST_CHOSEN_SIZE,
    strict: bool = False,
    seed: int = 0,
    parts: Collection[str] | None = None,
) -> ImageSet:
    """Read a set of images from a folder, whose layout tells its format, or by name.

    Parameters
    ----------
    source : a folder, or one of the names `stl10` (downloaded once), `digits`, `shapes`. A folder
        of such a name is meant only if written with a slash (`./stl10`) or given as a Path.
    size : height and width in pixels that every image is resized and centre-cropped to; None
        leaves a set of one size as it is, but for image files that are larger than `largest`, and
        lets a set of mixed sizes choose (see `gathering.gather`)
    largest : pixels of the shorter side; None for any
    strict : stop at the first damaged image, instead of naming, counting and skipping it
    seed : of made sets
    parts : the parts that are wanted, such as ("test",), so that no other is decoded; None for
        all. A set of mixed or large sizes then chooses its size from these alone: give `size`

    Raises DataError where there is no such folder, its layout is not understood, its content does
    not fit or it has none of the parts; ValueError for a part that cannot be.
    """
    wanted = None if parts is None else frozenset(parts)
    options = Options(size=size, largest=largest, strict=strict, seed=seed, parts=wanted)
    if isinstance(source, str) and source in _named():
        image_set = _named()[source](options)
    else:
        if not str(source):
            raise DataError(f"the name of the source is empty: give a folder of images ({LAYOUTS})")
        path = Path(source)
        try:
            image_set = _format_of(path).read(path, options)
        except OSError as error:
            advice = "mend its permissions" if isinstance(error, PermissionError) else "look at it"
            raise DataError(
                f"{error.filename or path} cannot be read ({error.strerror or error}): {advice}"
            ) from error
    if wanted is not None:
        image_set = _only(image_set, wanted)
    return image_set if size is None else resized(image_set, size)


def _only(image_set: ImageSet, wanted: frozenset[str]) -> ImageSet:
    left = image_set.only(wanted)
    if not left.parts():
        places = {"unlabeled": "unlabeled/*"} | {
            part: f"{part}/CLASS/*" for part in PARTS if part != "unlabeled"
        }
        named = [part for part in PARTS if part in wanted]
        raise DataError(
            f"{image_set.name} has no {' or '.join(named)} images: add "
            f"{' or '.join(places[part] for part in named)}"
        )
    return left


def _named() -> dict[str, Callable[[Options], ImageSet]]:
    # only here, as they load scikit-learn and pooch, which a folder does without
    from fewlabels.sources import download, made

    return {"stl10": download.stl10, "digits": made.digits, "shapes": made.shapes}


def _format_of(path: Path) -> ModuleType:
    if not path.exists():
        raise DataError(
            f"{path} does not exist: give a folder of images ({LAYOUTS}), "
            "or one of the names stl10, digits, shapes"
        )
    if not path.is_dir():
        raise DataError(f"{path} is a file, not a folder: give the folder that holds {LAYOUTS}")
    for format_ in (stl10, torch7, shards, folders):
        if format_.matches(path):
            return format_
    found = sorted(entry.name for entry in path.iterdir())
    if not found:
        raise DataError(f"{path} is empty: put images there as {LAYOUTS}")
    more = ", ..." if len(found) > 5 else ""
    raise DataError(
        f"{path} has no layout that is understood: expected {LAYOUTS}; found "
        f"{', '.join(found[:5])}{more}"
    )
