"""A set that was read -> the same set with every image of one size."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from fewlabels.images import Images, ImageSet, no_images
from fewlabels.progress import say, stage
from fewlabels.sources.pixels import fit_to_size
from fewlabels.sources.storing import store
from fewlabels.threads import in_threads


def resized(image_set: ImageSet, size: int) -> ImageSet:
    """The set with every image fitted to `size`; the same set where it has that size already."""
    if image_set.train.size == (size, size):
        return image_set
    height, width = image_set.train.size
    note = f"each image was resized and centre-cropped from {height} x {width} to {size} x {size}"
    say(note)
    parts = {part: _resized(part, images, size) for part, images in image_set.parts().items()}
    return replace(
        image_set,
        train=parts.get("train", no_images((size, size))),
        validation=parts.get("validation"),
        test=parts.get("test"),
        unlabeled=parts.get("unlabeled"),
        notes=(*image_set.notes, note),
    )


def _resized(part: str, images: Images, size: int) -> Images:
    with stage(f"resizing {part}", total=len(images), unit="images") as advance:

        def fitted() -> Iterator[np.ndarray]:
            for _, pixels in in_threads(lambda image: fit_to_size(image, size), images.pixels):
                advance(1)
                yield pixels

        return replace(images, pixels=store(fitted()))
