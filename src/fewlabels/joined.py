"""Arrays of images laid end to end without a copy: what is read is copied, and nothing else.

STL-10's unlabelled and training images are 2.9 GB in two mapped files; the pool that filters are
learned from is all of them, and reads a few thousand.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np


class Joined:
    """Some images of several arrays, in order; it is indexed along its first axis as an array is.

    Parameters
    ----------
    arrays : of shapes (n_images, ...) that differ in n_images alone, and of one type; joined
        ones too
    chosen : int64 indices into all of them laid end to end, in the order wanted; None for all

    Raises ValueError where shapes or types differ.
    """

    def __init__(
        self, arrays: Sequence["np.ndarray | Joined"], chosen: np.ndarray | None = None
    ) -> None:
        kinds = {(array.shape[1:], array.dtype) for array in arrays}
        if len(kinds) != 1:
            raise ValueError(f"arrays of one shape and one type can be joined; got {kinds}")
        ((inner, dtype),) = kinds
        self.dtype: np.dtype = dtype
        self.arrays = tuple(arrays)
        self.starts = np.cumsum([0, *(len(array) for array in arrays)])
        self.chosen = np.arange(self.starts[-1]) if chosen is None else np.asarray(chosen)
        self.shape: tuple[int, ...] = (len(self.chosen), *inner)
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, which: Any) -> np.ndarray:
        """A copy of one image, or of those that a slice, indices or a mask choose."""
        places = self.chosen[which]
        part_of = np.searchsorted(self.starts, places, side="right") - 1
        if np.ndim(places) == 0:
            return np.array(self.arrays[part_of][places - self.starts[part_of]])
        found = np.empty((*places.shape, *self.shape[1:]), self.dtype)
        for part in np.unique(part_of):
            here = part_of == part
            found[here] = self.arrays[part][places[here] - self.starts[part]]
        return found

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))


Pixels = np.ndarray | Joined  # what images may lie in
