"""Streams of images in bounded memory: stored in memory, or in a file.

An array over 64 MiB lies in a temporary file (already unlinked; TMPDIR says on which disk) that is
mapped, so memory does not grow with the number of images.
"""

import tempfile
from collections.abc import Iterable

import numpy as np

from fewlabels.errors import DataError
from fewlabels.whole_files import is_full

IN_MEMORY = 64 * 2**20  # bytes; an array over this lies in a temporary file


def store(images: Iterable[np.ndarray]) -> np.ndarray:
    """Images of one shape as one uint8 array (n_images, *shape); of shape (0,) without images.

    Up to 64 MiB it is in memory. A larger one is a memory map of an unlinked temporary file, in
    copy-on-write mode: whoever writes to it by mistake changes a private copy.

    Raises DataError where the disk is full.
    """
    count = 0
    shape: tuple[int, ...] = ()
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as file:
        try:
            for image in images:
                file.write(np.ascontiguousarray(image).data)
                count, shape = count + 1, image.shape
            file.flush()
        except OSError as error:
            if not is_full(error):
                raise
            raise DataError(
                f"the disk of temporary files ({tempfile.gettempdir()}) is full after {count:,} "
                f"images of {shape}: free some space, let TMPDIR name a folder on another disk, "
                "or read with a smaller --size"
            ) from None
        if file.tell() > IN_MEMORY:
            return np.memmap(file, np.uint8, mode="c", shape=(count, *shape))
        file.seek(0)
        return np.frombuffer(bytearray(file.read()), np.uint8).reshape(count, *shape)
