"""Modules that torch lacks: the patch encoder, square roots, grids of features, joining.

Shapes: N images, G groups of channels, T channels in a group, E whitened values of a patch,
K filters of a group, B patches of a block. Every constructor argument is kept under its own name,
so that `graph_files` can write a module down and make it again.
"""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fewlabels import filter_pictures
from fewlabels.graph_files import register

ACTIVATIONS = ("triangle", "soft-threshold", "absolute")
STATISTICS = ("mean", "max")
BLOCK_VALUES = 2_000_000  # responses at a time: 8 MB, which a processor's cache holds


@register
class PatchEncoder(nn.Module):
    """Answer of every filter at every place of the image, pooled.

    Each patch is normalised in contrast, whitened, and compared with the centroids of its group:

    triangle        f_k = max(0, mean_j(z_j) - z_k),  z_k the distance to centroid k
    soft-threshold  f_k = max(0, cos(w, c_k) - threshold),  w the whitened patch
    absolute        f_k = |cos(w, c_k)|: an edge and its negative are one

    Whitening runs as a convolution (the patch's mean is folded into its weights, its deviation
    divides the result), and a block of images at a time goes through all steps, so that the
    answers at every place, a hundred times the size of the result, never leave the cache.

    Parameters
    ----------
    channels : of the input maps, of shape (N, channels, height, width)
    patch_size, stride, padding : in pixels of the input maps; borders are mirrored
    n_values : E, values that whitening keeps
    n_filters : K, in each group
    pool : the largest answer of each pool x pool places stays; smaller windows at the far border
    grid : then answers are averaged over the cells of a grid x grid grid, see `average_cells`;
        0 for no grid
    groups, channels_per_group : each group looks at some of the channels alone (`members_GT`)
    precision : "fp32" or "bf16", of the product with the centroids

    The result is (N, groups * n_filters, rows, columns).

    Source: Coates, Ng and Lee, AISTATS 2011, equation 2 (triangle); Coates and Ng, ICML 2011,
    equation 6 (soft threshold, here of patches of unit length); Knyazev, Barth and Martinetz 2017
    (absolute answers, largest of a window).
    """

    def __init__(
        self,
        channels: int,
        patch_size: int,
        n_values: int,
        n_filters: int,
        stride: int = 1,
        padding: int = 0,
        pool: int = 1,
        grid: int = 0,
        groups: int = 1,
        channels_per_group: int | None = None,
        activation: str = "triangle",
        threshold: float = 0.0,
        precision: str = "fp32",
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is one of {', '.join(ACTIVATIONS)}; got {activation!r}")
        self.channels, self.patch_size = channels, patch_size
        self.stride, self.padding = stride, padding
        self.n_values, self.n_filters, self.pool, self.grid = n_values, n_filters, pool, grid
        self.groups = groups
        self.channels_per_group = channels_per_group or channels
        self.activation, self.threshold, self.precision = activation, threshold, precision
        per_group, side = self.channels_per_group, (patch_size, patch_size)
        self.members_GT: Tensor
        self.contrast_epsilon_G: Tensor
        self.project_GETss: Tensor
        self.offset_GE: Tensor
        self.centroids_GKE: Tensor
        self.register_buffer("members_GT", torch.arange(per_group).repeat(groups, 1))
        self.register_buffer("contrast_epsilon_G", torch.zeros(groups))
        self.register_buffer("project_GETss", torch.zeros(groups, n_values, per_group, *side))
        self.register_buffer("offset_GE", torch.zeros(groups, n_values))
        self.register_buffer("centroids_GKE", torch.zeros(groups, n_filters, n_values))

    def extra_repr(self) -> str:
        groups = f", {self.groups} groups of {self.channels_per_group}" if self.groups > 1 else ""
        return (
            f"{self.n_filters} filters, {self.patch_size}x{self.patch_size}{groups}, "
            f"{self.activation}, pool {self.pool}, grid {self.grid}"
        )

    def _repr_html_(self) -> str:
        return filter_pictures.as_html(self)

    @torch.no_grad()
    def set_group(
        self,
        group: int,
        members_T: Tensor,
        contrast_epsilon: float,
        mean_D: Tensor,
        project_DE: Tensor,
        centroids_KE: Tensor,
    ) -> None:
        """Take over what was learned of one group: see `patches.Whitening` and `kmeans.fit`."""
        # (x - mean(x)) project == x (project - column means of project)
        centred_DE = project_DE - project_DE.mean(0, keepdim=True)
        self.members_GT[group] = members_T
        self.contrast_epsilon_G[group] = contrast_epsilon
        self.project_GETss[group] = centred_DE.T.reshape(self.project_GETss.shape[1:])
        self.offset_GE[group] = mean_D @ project_DE
        self.centroids_GKE[group] = centroids_KE

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        if self.padding:
            maps_NCHW = F.pad(maps_NCHW, (self.padding,) * 4, mode="reflect")
        rows, columns = (
            (side - self.patch_size) // self.stride + 1 for side in maps_NCHW.shape[2:]
        )
        block = max(1, BLOCK_VALUES // max(1, rows * columns * self.n_filters))
        if torch.is_grad_enabled() and maps_NCHW.requires_grad:
            # answers at every place are made again on the way back: kept, they would fill gigabytes
            encoded = [
                checkpoint(self._encode_groups, maps, use_reentrant=False)
                for maps in maps_NCHW.split(block)
            ]
        else:
            encoded = [self._encode_groups(maps) for maps in maps_NCHW.split(block)]
        return torch.cat(encoded)

    def _encode_groups(self, maps_NCHW: Tensor) -> Tensor:
        return torch.cat([self._encode(maps_NCHW, group) for group in range(self.groups)], dim=1)

    def _encode(self, maps_NCHW: Tensor, group: int) -> Tensor:
        """Answers of one group for one block of images, pooled: (N, K, rows, columns)."""
        maps_NTHW = maps_NCHW
        if self.channels_per_group < self.channels:
            maps_NTHW = maps_NCHW[:, self.members_GT[group]]
        whitened = self._whiten(maps_NTHW, group)
        n_images, _, height, width = whitened.shape
        whitened_BE = whitened.permute(0, 2, 3, 1).reshape(-1, self.n_values)
        answers_BK = self._answers(whitened_BE, self.centroids_GKE[group])
        answers = answers_BK.view(n_images, height, width, -1).permute(0, 3, 1, 2)
        if self.pool > 1:
            answers = F.max_pool2d(answers, self.pool, ceil_mode=True)
        return average_cells(answers, self.grid) if self.grid else answers

    def _whiten(self, maps_NTHW: Tensor, group: int) -> Tensor:
        size, stride = self.patch_size, self.stride
        mean = F.avg_pool2d(maps_NTHW.mean(1, keepdim=True), size, stride)
        square = F.avg_pool2d(maps_NTHW.square().mean(1, keepdim=True), size, stride)
        variance = (square - mean.square()).clamp_(min=0) + self.contrast_epsilon_G[group]
        projected = F.conv2d(
            maps_NTHW.contiguous(memory_format=torch.channels_last),
            self.project_GETss[group],
            stride=stride,
        )
        return projected * variance.rsqrt_() - self.offset_GE[group][:, None, None]

    def _answers(self, whitened_BE: Tensor, centroids_KE: Tensor) -> Tensor:
        if self.activation != "triangle":
            directions_KE = F.normalize(centroids_KE, dim=1)
            threshold = self.threshold if self.activation == "soft-threshold" else 0.0
            added_K = directions_KE.new_full((self.n_filters,), -threshold)
            cosines_BK = self._product(F.normalize(whitened_BE, dim=1), directions_KE, 1.0, added_K)
            return cosines_BK.relu_() if self.activation == "soft-threshold" else cosines_BK.abs_()
        distances_BK = self._product(whitened_BE, centroids_KE, -2.0, centroids_KE.square().sum(1))
        learning = distances_BK.requires_grad
        # the root has no slope at 0, where a patch is a centroid
        least = torch.finfo(distances_BK.dtype).tiny if learning else 0
        distances_BK.add_(whitened_BE.square().sum(1, keepdim=True)).clamp_(min=least).sqrt_()
        mean_B1 = distances_BK.mean(1, keepdim=True)
        return torch.sub(mean_B1, distances_BK, out=None if learning else distances_BK).relu_()

    def _product(
        self, whitened_BE: Tensor, centroids_KE: Tensor, factor: float, added_K: Tensor
    ) -> Tensor:
        """factor * whitened @ centroids.T + added, in float32."""
        if self.precision == "bf16":
            columns_EK = (factor * centroids_KE).T.bfloat16()
            return (whitened_BE.bfloat16() @ columns_EK).float().add_(added_K)
        return torch.addmm(added_K, whitened_BE, centroids_KE.T, alpha=factor)


def average_cells(maps_NKHW: Tensor, grid: int) -> Tensor:
    """Average over the cells of a grid: (N, K, grid, grid), as `F.adaptive_avg_pool2d`.

    Two matrix products, one along each side, read every answer once; torch's own pooling of
    channels-last maps took longer than the product with the filters.
    """
    n_images, n_filters, height, width = maps_NKHW.shape
    answers_NHX = maps_NKHW.permute(0, 2, 3, 1).reshape(n_images, height, width * n_filters)
    rows = _cells(height, grid, maps_NKHW) @ answers_NHX
    pooled = _cells(width, grid, maps_NKHW) @ rows.view(n_images * grid, width, n_filters)
    return pooled.view(n_images, grid, grid, n_filters).permute(0, 3, 1, 2)


def _cells(n_places: int, grid: int, like: Tensor) -> Tensor:
    """(grid, n_places): row i averages the places of cell i, from floor to ceiling."""
    cells = torch.zeros(grid, n_places, dtype=like.dtype, device=like.device)
    for cell in range(grid):
        start, end = cell * n_places // grid, -(-(cell + 1) * n_places // grid)
        cells[cell, start:end] = 1 / (end - start)
    return cells


@register
class SquareRoot(nn.Module):
    """Square roots of answers that are 0 or more: a strong one outweighs weak ones less."""

    def forward(self, maps_NKHW: Tensor) -> Tensor:
        return maps_NKHW.sqrt()


@register
class GridFeatures(nn.Module):
    """Maps to one row an image: a value for each channel and each cell of each grid.

    grids : sides of the grids, such as (4, 2), which are joined (a spatial pyramid)
    statistic : "mean" or "max" of a cell; cells as in `nn.AdaptiveAvgPool2d`
    shift : the mean over five grids, the plain one and those moved by so many places along either
        diagonal (borders are repeated), so that an object that moves a little changes the values
        less; 0 for the plain grid alone

    Source: the mean over shifts is the local average pooling of Li et al., 2019, "Enhanced
    convolutional neural tangent kernels".
    """

    def __init__(self, grids: Sequence[int], statistic: str = "mean", shift: int = 0) -> None:
        super().__init__()
        if statistic not in STATISTICS:
            raise ValueError(f"statistic is one of {', '.join(STATISTICS)}; got {statistic!r}")
        self.grids, self.statistic, self.shift = tuple(grids), statistic, shift

    def extra_repr(self) -> str:
        shifted = f", shifts of {self.shift}" if self.shift else ""
        return f"{self.statistic} over grids {', '.join(map(str, self.grids))}{shifted}"

    def forward(self, maps_NKHW: Tensor) -> Tensor:
        if not self.shift:
            return self._cells(maps_NKHW)
        shift, (height, width) = self.shift, maps_NKHW.shape[2:]
        padded = F.pad(maps_NKHW, (shift,) * 4, mode="replicate")
        moves = [(shift, shift), *itertools.product((0, 2 * shift), repeat=2)]
        views = (padded[:, :, top : top + height, left : left + width] for top, left in moves)
        return sum(map(self._cells, views), start=maps_NKHW.new_zeros(())) / len(moves)

    def _cells(self, maps_NKHW: Tensor) -> Tensor:
        pool = F.adaptive_max_pool2d if self.statistic == "max" else average_cells
        return torch.cat([pool(maps_NKHW, grid).flatten(1) for grid in self.grids], dim=1)


@register
class Concat(nn.Module):
    """Join the values of several nodes of shape (N, values) into one of shape (N, all values)."""

    def forward(self, *values: Tensor) -> Tensor:
        return torch.cat(values, dim=1)


@register
class Add(nn.Module):
    """The sum of values of one shape: where a shortcut meets what it goes around."""

    def forward(self, first: Tensor, *others: Tensor) -> Tensor:
        total = first
        for value in others:
            total = total + value
        return total


@register
class Scale(nn.Module):
    """Values times a fixed factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def extra_repr(self) -> str:
        return f"{self.factor:g}"

    def forward(self, values: Tensor) -> Tensor:
        return values * self.factor
