"""Layers that answer an image's mirror image with the mirror images of their maps.

Their maps come in pairs: what channel C + c says of an image, channel c says of its mirror image,
at the mirrored place. So a network of such layers that ends in the means of its pairs answers an
image and its mirror image alike, learns from both where it is shown one of them, and needs half of
the weights.

Shapes: N images, C pairs, so 2 C channels, I channels of an input, H W height and width of maps,
F filters, k their side.
Source: Cohen and Welling, Group equivariant convolutional networks, ICML 2016, for reflections;
Weiler and Cesa, General E(2)-equivariant steerable CNNs, NeurIPS 2019.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewlabels.batch_norm import BatchNormActivation
from fewlabels.graph import Graph
from fewlabels.graph_files import register

ALIKE = 1e-3  # of a filter's length: mirror images of learned filters differ by their rounding


@register
class MirroredConv2d(nn.Module):
    """A convolution of C filters and of their mirror images: (N, I, H, W) to (N, 2 C, H, W).

    Parameters
    ----------
    mirrored : for each channel of the input the one that is its mirror image, see `swapped`
    n_pairs : C; only these filters are weights
    kernel_size : odd; borders are filled with zeros, so that maps keep their size

    Raises ValueError if `mirrored` twice does not lead back, or the size is even.
    """

    def __init__(self, mirrored: Sequence[int], n_pairs: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.mirrored, self.n_pairs, self.kernel_size = tuple(mirrored), n_pairs, kernel_size
        order = list(self.mirrored)
        if sorted(order) != list(range(len(order))) or any(
            order[j] != i for i, j in enumerate(order)
        ):
            raise ValueError(
                f"the mirror image of a mirror image is the channel itself; got {order}"
            )
        if kernel_size % 2 == 0:
            raise ValueError(
                f"filters that keep the size of maps have an odd side; got {kernel_size}"
            )
        drawn = nn.Conv2d(len(order), n_pairs, kernel_size, bias=False)
        self.weight = drawn.weight

    def extra_repr(self) -> str:
        side = self.kernel_size
        return f"{len(self.mirrored)}, {self.n_pairs} pairs, {side}x{side}"

    def forward(self, maps: Tensor) -> Tensor:
        mirror_images = self.weight[:, self.mirrored].flip(3)
        both = torch.cat([self.weight, mirror_images])
        return F.conv2d(maps, both, padding=self.kernel_size // 2)


@register
class MirroredNorm(BatchNormActivation):
    """`BatchNormActivation` of C pairs of maps, both of a pair by the same statistics and weights.

    Parameters
    ----------
    n_channels : C; the input is of shape (N, 2 C, H, W), the output of the same
    """

    def forward(self, maps: Tensor) -> Tensor:
        n_images, n_channels, height, width = maps.shape
        # side by side, where the channels of a place are neighbours in memory: a view
        beside = maps.permute(0, 2, 3, 1).reshape(n_images, height, 2 * width, n_channels // 2)
        normed = super().forward(beside.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return normed.reshape(n_images, height, width, n_channels).permute(0, 3, 1, 2)


@register
class PairMean(nn.Module):
    """Means of both values of each pair: (N, 2 C, ...) to (N, C, ...).

    exact : whether maps below are mirrored to the pixel, as strides fit the width of the images
    """

    def __init__(self, exact: bool = True) -> None:
        super().__init__()
        self.exact = exact

    def extra_repr(self) -> str:
        return "" if self.exact else "nearly mirrored"

    def forward(self, values: Tensor) -> Tensor:
        first, second = values.chunk(2, dim=1)
        return (first + second) / 2


def answers_alike(graph: Graph, name: str) -> bool:
    """Whether the value called `name` is the same for an image and its mirror image.

    It is where it is made of nothing but means of pairs that are exact.
    """
    if name in graph.inputs:
        return False
    module = graph.layers[name]
    if isinstance(module, PairMean):
        return module.exact
    return all(answers_alike(graph, source) for source in graph.sources[name])


def swapped(n_pairs: int) -> tuple[int, ...]:
    """The mirror images of the channels of a `MirroredConv2d`: the other half of them."""
    return (*range(n_pairs, 2 * n_pairs), *range(n_pairs))


def even_and_odd(n_channels: int, size: int) -> tuple[Tensor, Tensor]:
    """Bases of the patches that are their own mirror images, and of those that are its negatives.

    Returns
    -------
    float64 tensors of shape (n_even, D) and (n_odd, D), D = n_channels * size ** 2 values of a
    patch channel by channel, row by row; orthonormal together
    """
    one_DD = torch.eye(n_channels * size**2, dtype=torch.float64)
    mirrored_DD = one_DD.view(-1, n_channels, size, size).flip(3).flatten(1)
    place_D, image_D = torch.arange(len(one_DD)), mirrored_DD.argmax(1)
    even = (one_DD + mirrored_DD)[place_D <= image_D]
    odd = (one_DD - mirrored_DD)[place_D < image_D]
    return F.normalize(even), F.normalize(odd)


def order(filters_F3kk: Tensor, offset_F: Tensor) -> tuple[int, ...] | None:
    """For each filter the one that is its mirror image; None where one of these is not there."""
    known_FD = torch.cat([filters_F3kk.flatten(1), offset_F[:, None]], 1)
    mirrored_FD = torch.cat([filters_F3kk.flip(3).flatten(1), offset_F[:, None]], 1)
    distances_FF = torch.cdist(mirrored_FD, known_FD)
    nearest = distances_FF.min(1)
    near = nearest.values <= ALIKE * known_FD.norm(dim=1)
    found = nearest.indices.tolist()
    is_order = bool(near.all()) and all(found[j] == i for i, j in enumerate(found))
    return tuple(found) if is_order else None
