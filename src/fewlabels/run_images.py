"""Images for a run that is there: of what it learned from, or of another source that fits it."""

from collections.abc import Collection, Sequence
from pathlib import Path

from fewlabels.errors import CheckpointError, DataError
from fewlabels.images import Images, ImageSet
from fewlabels.model import Model
from fewlabels.sources import read

NAMED_SOURCES = ("stl10", "digits", "shapes")


def images_for(
    model: Model, run: Path, source: str | None, command: str, parts: Collection[str]
) -> tuple[ImageSet, str]:
    """Parts of the set that a run learned from, or of `source`, in the model's size; and its name.

    command : what a person types to name another source, for the message where it is needed
    """
    remembered = dict(model.info.get("run", {}))
    given = source or remembered.get("source")
    if given is None:
        raise CheckpointError(
            f"{run} does not say what it learned from: name the SOURCE too ({command})"
        )
    height, width = model.image_size
    try:
        image_set = read(
            given,
            size=height if height == width else None,
            largest=None,  # what is not square was learned from as it is
            strict=bool(remembered.get("strict", False)),
            seed=int(remembered.get("seed", 0)),
            parts=parts,
        )
    except DataError as error:
        if source is None and not Path(given).exists() and given not in NAMED_SOURCES:
            raise DataError(
                f"{run} learned from {given}, which is not there any more: name the SOURCE too "
                f"({command})"
            ) from error
        raise
    return image_set, given


def check_size(model: Model, run: Path, images: Images, name: str) -> None:
    """Raises DataError if images are not of the size that the model takes."""
    if images.size != model.image_size:
        (height, width), (rows, columns) = model.image_size, images.size
        raise DataError(
            f"{run} takes images of {height} x {width}, those of {name} are {rows} x {columns}: "
            "resize them"
        )


def check_classes(model: Model, image_set: ImageSet) -> None:
    """Raises DataError if the set has other classes than the model, or another order."""
    if image_set.class_names != model.class_names:
        raise DataError(
            f"the model knows the classes {_some(model.class_names)}, and {image_set.name} has "
            f"{_some(image_set.class_names)}: evaluate on a source with the same classes in order"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f", ... ({len(names)} in all)" if len(names) > 4 else "")
