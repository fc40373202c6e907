"""Patches: cut them from images, normalise their contrast, whiten them.

Shapes: N images, P patches, D values in a patch (channels x rows x columns), E values kept by
whitening. Everything here is plain functions.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fewlabels.errors import DataError
from fewlabels.graph import Graph
from fewlabels.images import Images, as_float
from fewlabels.progress import stage

BATCH = 128  # images whose maps are in memory together
# of a variance of pixels in [0, 1]; Coates et al. 2011 add 10 to that of pixels in [0, 255]
CONTRAST_EPSILON = 10 / 255**2


def check_fits(
    height: int,
    width: int,
    patch_size: int,
    what: str = "images",
    setting: str = "filters.patch_size",
) -> None:
    """Raises DataError if a patch of `patch_size` pixels a side, set by `setting`, is too large."""
    if patch_size > min(height, width):
        raise DataError(
            f"patches of {patch_size} x {patch_size} need {what} at least as large; these are "
            f"{height} x {width}: use larger images (--size) or a smaller patch "
            f"(--set {setting}=...)"
        )


def cut(
    maps_NCHW: np.ndarray, patch_size: int, per_image: int, generator: np.random.Generator
) -> np.ndarray:
    """Cut `per_image` patches from each image, each place equally likely.

    Parameters
    ----------
    maps_NCHW : array of any type and shape (n_images, channels, height, width)
    patch_size : side of a patch, in pixels

    Returns
    -------
    patches_PD : same type, shape (n_images * per_image, channels * patch_size ** 2), the patches
        of an image together, values channel by channel, row by row

    Raises DataError if the images are smaller than a patch.
    """
    n_images, _, height, width = maps_NCHW.shape
    check_fits(height, width, patch_size)
    windows = np.lib.stride_tricks.sliding_window_view(
        maps_NCHW, (patch_size, patch_size), axis=(2, 3)
    )
    image = np.repeat(np.arange(n_images), per_image)
    top = generator.integers(0, height - patch_size + 1, n_images * per_image)
    left = generator.integers(0, width - patch_size + 1, n_images * per_image)
    return windows[image, :, top, left].reshape(n_images * per_image, -1)


def of_maps(
    images: Images,
    chosen: np.ndarray,
    graph: Graph,
    patch_size: int,
    per_image: int,
    draw: np.random.Generator,
    device: str,
) -> Iterator[np.ndarray]:
    """Patches (P, D) of the maps that the graph ends in, of some images at a time.

    Parameters
    ----------
    chosen : int64 indices of the images, in the order in which they are cut
    graph : of one output; where that is the image itself, patches are of its uint8 pixels
    """
    (below,) = graph.outputs
    graph.to(device).eval()
    with stage(f"cutting patches of {below}", total=len(chosen), unit="images") as advance:
        for start in range(0, len(chosen), BATCH):
            pixels = images.pixels[chosen[start : start + BATCH]]
            maps = pixels if below == "image" else graph(as_float(pixels).to(device)).cpu().numpy()
            yield cut(maps, patch_size, per_image, draw)
            advance(len(pixels))


def normalise_contrast(patches_PD: Tensor, epsilon: float = CONTRAST_EPSILON) -> Tensor:
    """Take from each patch its mean, and divide by its standard deviation.

    `epsilon` is added to the variance, so that flat patches are not blown up to noise.
    Source: Coates, Ng and Lee, AISTATS 2011, section 3.1.1.
    """
    variance, mean = torch.var_mean(patches_PD, dim=1, keepdim=True, correction=0)
    return (patches_PD - mean) / (variance + epsilon).sqrt()


@dataclass(frozen=True, eq=False)
class Whitening:
    """ZCA whitening in its own axes: w = (x - mean) project.

    mean_D, project_DE : take a patch to its E whitened values; the columns of project, brought to
        length 1, are the axes V, and w V^T is the picture that ZCA whitening would show

    Distances among whitened patches are those of ZCA, which differs by a rotation alone; so
    k-means here finds ZCA's clusters, at E values a patch in place of D.
    """

    mean_D: Tensor
    project_DE: Tensor

    def __call__(self, patches_PD: Tensor) -> Tensor:
        return (patches_PD - self.mean_D) @ self.project_DE


def fit_whitening(
    patches_PD: Tensor,
    *,
    epsilon: float,
    kept_variance: float = 1.0,
    max_values: int | None = None,
    bases: Sequence[Tensor] = (),
) -> Whitening:
    """Learn the whitening of patches: V (diag(eigenvalues) + epsilon)^-1/2, V the eigenvectors.

    Parameters
    ----------
    patches_PD : float tensor of shape (n_patches, n_values)
    epsilon : added to the eigenvalues, as a fraction of their mean (1 / D of the variance)
    kept_variance : in (0, 1]: the fewest leading axes that hold this part of the variance stay
    max_values : at most so many axes stay
    bases : of parts of the space that do not correlate, float64 tensors of shape (n_axes, D) that
        are orthonormal together; each axis is then of one part, also where eigenvalues are equal

    Source: Coates, Ng and Lee, AISTATS 2011, section 3.1.2; ZCA of Bell and Sejnowski 1997.
    """
    return whitening_of(
        *moments(patches_PD.split(16384)),
        epsilon=epsilon,
        kept_variance=kept_variance,
        max_values=max_values,
        bases=bases,
    )


def moments(chunks: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and covariance of patches that come in chunks, and need not fit in memory together.

    Parameters
    ----------
    chunks : float tensors of shape (n_patches, n_values)

    Returns
    -------
    mean_D, covariance_DD : float64

    Raises DataError if there is no patch.
    """
    full = (chunk_PD for chunk_PD in chunks if len(chunk_PD))
    first_PD = next(full, None)
    if first_PD is None:
        raise DataError("whitening needs at least one patch; got none: give it images")
    # near the mean, so that a mean far from 0 does not drown the covariance in rounding
    origin_D = first_PD.mean(0)
    count = 0
    total_D = torch.zeros_like(origin_D, dtype=torch.float64)
    square_DD = total_D.new_zeros(len(total_D), len(total_D))
    for chunk_PD in itertools.chain((first_PD,), full):
        # products in float32 are exact enough within a chunk; sums over chunks are not
        moved_PD = chunk_PD - origin_D
        total_D += moved_PD.sum(0)
        square_DD += moved_PD.T @ moved_PD
        count += len(moved_PD)
    offset_D = total_D / count
    covariance_DD = square_DD / count - torch.outer(offset_D, offset_D)
    return origin_D + offset_D, covariance_DD


def whitening_of(
    mean_D: Tensor,
    covariance_DD: Tensor,
    *,
    epsilon: float,
    kept_variance: float = 1.0,
    max_values: int | None = None,
    bases: Sequence[Tensor] = (),
) -> Whitening:
    """The whitening that belongs to a mean and a covariance; see `fit_whitening`."""
    if not 0 < kept_variance <= 1:
        raise ValueError(f"kept_variance is a part of the variance, in (0, 1]; got {kept_variance}")
    covariance_DD = covariance_DD.double()
    bases = bases or (torch.eye(len(covariance_DD), dtype=torch.float64),)
    parts = [torch.linalg.eigh(basis @ covariance_DD @ basis.T) for basis in bases]
    eigenvalues, order = torch.cat([values.flip(0) for values, _ in parts]).sort(
        descending=True, stable=True
    )
    axes = [basis.T @ vectors.flip(1) for basis, (_, vectors) in zip(bases, parts, strict=True)]
    eigenvalues, vectors = eigenvalues.clamp(min=0), torch.cat(axes, 1)[:, order]
    n_kept = len(eigenvalues)
    if kept_variance < 1:
        part = eigenvalues.cumsum(0) / eigenvalues.sum().clamp(min=1e-30)
        n_kept = int((part < kept_variance).sum()) + 1
    n_kept = min(n_kept, max_values or n_kept)
    scale = (eigenvalues + epsilon * eigenvalues.mean() + 1e-12).rsqrt()[:n_kept]
    return Whitening(mean_D.float(), (vectors[:, :n_kept] * scale).float().contiguous())
