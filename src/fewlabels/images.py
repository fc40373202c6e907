"""Images in memory: what every source gives and every other room trusts.

Pixels are uint8, RGB, of shape (n_images, 3, height, width); they may be a memory map, or several
that are joined, so take slices, not the whole. Modules that compute turn a slice into float32 in
[0, 1] with `as_float`. Every check is made here, once; later rooms do not check again.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fewlabels.errors import DataError
from fewlabels.joined import Pixels

PARTS = ("train", "validation", "test", "unlabeled")


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """One part of a set (train, test, ...).

    pixels : uint8 array, memory map or `Joined` of shape (n_images, 3, height, width)
    labels : int64 array of shape (n_images,), each in [0, n_classes), or None where there are none
    names : file or member name of each image; empty where the format has no names
    """

    pixels: Pixels
    labels: np.ndarray | None = None
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 4 or self.pixels.shape[1] != 3:
            raise DataError(
                f"images are uint8 of shape (n_images, 3, height, width); got {self.pixels.dtype} "
                f"of shape {self.pixels.shape}: convert them first"
            )
        for what, values in (("labels", self.labels), ("names", self.names or None)):
            if values is not None and len(values) != len(self.pixels):
                raise DataError(
                    f"{len(self.pixels):,} images need as many {what}; got {len(values):,}"
                )

    def __len__(self) -> int:
        return len(self.pixels)

    def __repr__(self) -> str:
        """In a line, as a set has many thousands of names and pixels."""
        height, width = self.size
        labels = "without labels" if self.labels is None else "labelled"
        return f"<Images: {len(self):,} of {height} x {width} pixels, {labels}>"

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[2], self.pixels.shape[3]

    def take(self, indices: np.ndarray) -> "Images":
        """The images at `indices` (copied), in that order."""
        return Images(
            pixels=self.pixels[indices],
            labels=None if self.labels is None else self.labels[indices],
            names=tuple(self.names[i] for i in indices) if self.names else (),
        )


@dataclass(frozen=True)
class Damaged:
    """A file that could not be read as an image: its name and the reason, in words."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet:
    """A whole set: labelled images to learn from, unlabelled ones, and test images to score on.

    folds : each an int64 array of indices into `train`: a given labelled subset (STL-10 has ten)
    validation : labelled images kept apart by the source (the report's 1,000), never trained on
    damaged : files that were skipped, named; notes : conversions made, in sentences
    left_out : parts that nobody asked for; `train` is empty, and there are no folds, if it is one
    """

    name: str
    class_names: tuple[str, ...]
    train: Images
    test: Images | None = None
    validation: Images | None = None
    unlabeled: Images | None = None
    folds: tuple[np.ndarray, ...] = ()
    damaged: tuple[Damaged, ...] = ()
    notes: tuple[str, ...] = ()
    left_out: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        n_classes = len(self.class_names)
        if self.train.labels is None:
            raise DataError(
                f"{self.name} has no labels for its training images: label some of them"
            )
        if n_classes < 2:
            raise DataError(
                f"{self.name} has {n_classes} class, and a recogniser needs at least 2: "
                "add images of another class"
            )
        for class_name in self.class_names:
            if class_name != class_name.encode("utf-8", "replace").decode():
                raise DataError(
                    f"class names are UTF-8 text; got {class_name!a}: rename the class folder"
                )
        for part, images in self.parts().items():
            self._check_part(part, images, n_classes)
        if "train" not in self.left_out:
            self._check_learnable(n_classes)

    def _check_learnable(self, n_classes: int) -> None:
        assert self.train.labels is not None
        absent = sorted(set(range(n_classes)) - set(self.train.labels.tolist()))
        if absent:
            named = ", ".join(self.class_names[i] for i in absent[:5])
            raise DataError(
                f"every class needs training images; {self.name} has none of: {named}. "
                "Add some, or remove the class"
            )
        for number, fold in enumerate(self.folds):
            if len(fold) == 0 or fold.min() < 0 or fold.max() >= len(self.train):
                raise DataError(
                    f"fold {number} of {self.name} has indices outside 0 to "
                    f"{len(self.train) - 1} (the training images): mend fold_indices.txt"
                )

    def _check_part(self, part: str, images: Images, n_classes: int) -> None:
        if len(images) == 0:
            raise DataError(f"{self.name} has an empty part {part!r}: add images or remove it")
        if images.size != self.train.size:
            raise DataError(
                f"all images of a set have one size; in {self.name} {part} has {images.size} and "
                f"train {self.train.size}: read it with a size (--size)"
            )
        labels = images.labels
        if labels is not None and (labels.min() < 0 or labels.max() >= n_classes):
            wrong = int(labels.min() if labels.min() < 0 else labels.max())
            raise DataError(
                f"labels of {self.name} ({part}) are classes 0 to {n_classes - 1}; got {wrong}: "
                "mend the label or add the class name"
            )

    def __repr__(self) -> str:
        """In a line; the parts, `damaged` and `notes` are there to be asked for."""
        height, width = self.train.size
        counts = ", ".join(f"{part} {len(images):,}" for part, images in self.parts().items())
        facts = [f"{len(self.class_names)} classes", f"{height} x {width} pixels", counts]
        facts += [f"folds {len(self.folds)}"] * bool(self.folds)
        facts += [f"damaged {len(self.damaged)}"] * bool(self.damaged)
        return f"<ImageSet {self.name!r}: {'; '.join(facts)}>"

    def parts(self) -> dict[str, Images]:
        """The parts that are there, by name, in the order train, validation, test, unlabeled."""
        named = (self.train, self.validation, self.test, self.unlabeled)
        return {
            part: images
            for part, images in zip(PARTS, named, strict=True)
            if images is not None and part not in self.left_out
        }

    def only(self, parts: Collection[str]) -> "ImageSet":
        """The set without its other parts."""
        kept = self.parts()
        return replace(
            self,
            train=self.train if "train" in parts else no_images(self.train.size),
            validation=kept.get("validation") if "validation" in parts else None,
            test=kept.get("test") if "test" in parts else None,
            unlabeled=kept.get("unlabeled") if "unlabeled" in parts else None,
            folds=self.folds if "train" in parts else (),
            left_out=self.left_out | (frozenset(PARTS) - frozenset(parts)),
        )


def no_images(size: tuple[int, int]) -> Images:
    """Labelled images of (height, width), none of them."""
    return Images(pixels=np.empty((0, 3, *size), np.uint8), labels=np.empty(0, np.int64))


def as_float(pixels: np.ndarray) -> Tensor:
    """A slice of uint8 pixels as a float32 tensor in [0, 1], of the same shape, contiguous."""
    # torch.tensor copies, and so takes read-only memory maps without a warning
    return torch.tensor(np.ascontiguousarray(pixels)).float().div_(255.0)
