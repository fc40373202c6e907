"""What a network that is taught by its average sees: labelled images, and two views of others.

Shapes: G groups of a batch, N labelled images, U unlabelled ones, S showings, H W height and
width.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from fewlabels.augment import Augmentation, augment
from fewlabels.draws import image_keys
from fewlabels.joined import Pixels

LABELLED, WEAK, STRONG = 0, 1, 2  # streams of keys, so that no two pictures share their numbers


@dataclass(frozen=True, kw_only=True, eq=False)
class Views:
    """Groups of one labelled image and `ratio` unlabelled ones; see `batches.Examples`.

    Labelled and unlabelled images are two endless streams, each all images in one order, then all
    in another, and so on. Group g of epoch e takes the next ones of both: which, and how they are
    changed, is a function of the seed and of the place in the stream alone.

    pixels, labels : of the labelled images, uint8 (n_images, 3, height, width), int64 (n_images,)
    unlabelled : uint8 pixels of shape (n_unlabelled, 3, height, width); only what is shown is read
    weights : float32 (n_unlabelled,), how much each counts
    n_groups : of an epoch
    """

    pixels: np.ndarray
    labels: np.ndarray
    unlabelled: Pixels
    weights: np.ndarray
    ratio: int
    n_groups: int
    strong: Augmentation
    weak: Augmentation
    seed: int

    def __len__(self) -> int:
        return self.n_groups

    def batch(self, indices_G: np.ndarray, epoch: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The groups of these numbers.

        Returns
        -------
        pictures : float (N + U, 3, H, W) in [0, 1], strong views of labelled images, then of
            unlabelled ones
        labels_N : int64
        weak_U3HW : weak views of the same unlabelled images
        weights_U : float32
        """
        places_N = epoch * self.n_groups + np.asarray(indices_G, np.int64)
        places_U = (places_N[:, None] * self.ratio + np.arange(self.ratio)).ravel()
        labelled_N = shown(places_N, len(self.labels), self.seed, LABELLED)
        unlabelled_U = shown(places_U, len(self.unlabelled), self.seed, STRONG)
        pixels_U3HW = np.asarray(self.unlabelled[unlabelled_U])
        keys_N = image_keys(self.seed, LABELLED, places_N)
        pictures = augment(
            np.concatenate([self.pixels[labelled_N], pixels_U3HW]),
            self.strong,
            np.concatenate([keys_N, image_keys(self.seed, STRONG, places_U)]),
        )
        weak_U3HW = augment(pixels_U3HW, self.weak, image_keys(self.seed, WEAK, places_U))
        labels_N = torch.from_numpy(self.labels[labelled_N])
        weights_U = torch.from_numpy(self.weights[unlabelled_U])
        return pictures, labels_N, weak_U3HW, weights_U


def shown(places_S: np.ndarray, n_images: int, seed: int, stream: int) -> np.ndarray:
    """Which images stand at these places of a stream that shows each of n once, then again.

    >>> shown(np.arange(4), 2, seed=0, stream=0)  # each of the two, and each again
    """
    indices_S = np.empty(len(places_S), np.int64)
    passes_S, within_S = np.divmod(places_S, n_images)
    for one in np.unique(passes_S):
        here = passes_S == one
        indices_S[here] = _order(n_images, seed, stream, int(one))[within_S[here]]
    return indices_S


@lru_cache(maxsize=8)
def _order(n_images: int, seed: int, stream: int, one: int) -> np.ndarray:
    """The order of that pass over the images; steps that follow one another share it."""
    return np.random.default_rng([seed, stream, one]).permutation(n_images)
