"""Near-duplicates: the same picture scaled, compressed again, a little moved, lighter or darker.

Shapes: N images, B in a block, D values of a thumbnail.
Images are compared by small thumbnails, block by block, so memory grows with N and not with N^2.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fewlabels.copies import digests
from fewlabels.images import as_float
from fewlabels.joined import Pixels
from fewlabels.progress import stage

COARSE, FINE = 8, 32  # pixels: sides of the thumbnails that find and that confirm
LEAST_COARSE, LEAST_FINE = 0.96, 0.7  # correlations from which two images are the same picture
BLOCK = 1024  # images compared with as many others together


@dataclass(frozen=True)
class Pair:
    """Two images that are the same picture, `first` < `second`; similarity 1 is byte-identical."""

    first: int
    second: int
    similarity: float


def pairs(pixels: Pixels) -> list[Pair]:
    """For each image the most alike of those before it, where that is the same picture.

    So a group of k near-duplicates gives k - 1 pairs. Flat images, which have no picture in them,
    are alike only if byte-identical; mirror images are not alike.

    Parameters
    ----------
    pixels : uint8 array, memory map or `Joined` of shape (n_images, 3, height, width)

    Returns
    -------
    pairs, the most alike first; similarity is the correlation of the images' details, in [0, 1]
    """
    found = _identical(pixels)
    same = {pair.second for pair in found}
    firsts_N, correlation_N = _most_alike_before(_coarse_of_all(pixels))
    seconds = [
        second
        for second in np.flatnonzero(correlation_N >= LEAST_COARSE).tolist()
        if second not in same
    ]
    with stage("confirming near-duplicates", total=len(seconds), unit="images") as advance:
        for start in range(0, len(seconds), BATCH):
            second_B = np.array(seconds[start : start + BATCH])
            first_B = firsts_N[second_B]
            details = [_fine(as_float(pixels[which_B])) for which_B in (first_B, second_B)]
            alike_B = (details[0] * details[1]).sum(1).clamp(0, 1)
            for first, second, alike in zip(first_B, second_B, alike_B.tolist(), strict=True):
                if alike >= LEAST_FINE:
                    found.append(Pair(int(first), int(second), alike))
            advance(len(second_B))
    return sorted(found, key=lambda pair: (-pair.similarity, pair.second))


BATCH = 256  # images whose thumbnails are made together


def _identical(pixels: Pixels) -> list[Pair]:
    """Each image that is byte-identical to an earlier one, with the first such one."""
    _, first_G, group_N = np.unique(digests(pixels), return_index=True, return_inverse=True)
    first_N = first_G[group_N]
    copied = np.flatnonzero(first_N < np.arange(len(first_N)))
    return [Pair(int(first_N[second]), int(second), 1.0) for second in copied]


def _coarse_of_all(pixels: Pixels) -> Tensor:
    n_images = len(pixels)
    found_ND = torch.empty(n_images, 3 * COARSE**2)
    with stage("thumbnails", total=n_images, unit="images") as advance:
        for start in range(0, n_images, BATCH):
            images_B = as_float(pixels[start : start + BATCH])
            small_BD = F.adaptive_avg_pool2d(images_B, COARSE).flatten(1)
            found_ND[start : start + len(images_B)] = _unit(small_BD)
            advance(len(images_B))
    return found_ND


def _fine(images_B: Tensor) -> Tensor:
    """What a thumbnail of FINE x FINE has beyond one of COARSE x COARSE, as (B, D) of length 1."""
    small = F.adaptive_avg_pool2d(images_B, min(FINE, *images_B.shape[2:]))
    blurred = F.adaptive_avg_pool2d(small, COARSE)
    smooth = F.interpolate(blurred, size=small.shape[2:], mode="bilinear", align_corners=False)
    return _unit((small - smooth).flatten(1))


def _unit(values_BD: Tensor) -> Tensor:
    """Less their mean and of length 1; nearly flat ones are shorter, so they are like none."""
    centred_BD = values_BD - values_BD.mean(1, keepdim=True)
    length_B1 = centred_BD.norm(dim=1, keepdim=True)
    flat = 0.004 * values_BD.shape[1] ** 0.5  # a deviation of one of 256 levels
    return centred_BD / (length_B1 + 0.05 * flat) * (length_B1 > flat)


def _most_alike_before(thumbnails_ND: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """For each image the earlier one of the highest correlation, and that; -1 for the first."""
    n_images = len(thumbnails_ND)
    best_N, first_N = torch.full((n_images,), -1.0), torch.zeros(n_images, dtype=torch.int64)
    with stage("looking for near-duplicates", total=n_images, unit="images") as advance:
        for start in range(0, n_images, BLOCK):
            rows_BD = thumbnails_ND[start : start + BLOCK]
            here = slice(start, start + len(rows_BD))
            for before in range(0, start + 1, BLOCK):
                columns_BD = thumbnails_ND[before : before + BLOCK]
                alike_BB = rows_BD @ columns_BD.T
                if before == start:  # only with those before it
                    alike_BB = alike_BB.tril(-1) - torch.ones_like(alike_BB).triu()
                alike_B, place_B = alike_BB.max(1)
                better_B = alike_B > best_N[here]
                first_N[here] = torch.where(better_B, before + place_B, first_N[here])
                best_N[here] = torch.maximum(alike_B, best_N[here])
            advance(len(rows_BD))
    return first_N.numpy(), best_N.numpy()
