"""Modules of a stack whose filters look at all channels below: filters, contrast, roots.

Shapes: N images, C channels, K filters, s side of a filter. Every constructor argument is kept
under its own name, so that `graph_files` can write a module down and make it again.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewlabels.graph_files import register

ANSWERS = {"absolute": torch.abs, "rectified": torch.relu}


@register
class FilterBank(nn.Module):
    """Answers of K filters over all channels, as many places as there were.

    Parameters
    ----------
    channels : of the input maps, of shape (N, channels, height, width)
    n_filters, patch_size : K and s; s is odd
    activation : "absolute" values of the products, or "rectified", with 0 for negative ones
    precision : "fp32" or "bf16", of the filters and of the convolution

    Beyond the border are zeros. The result is (N, n_filters, height, width), float32.

    Source: Knyazev, Barth and Martinetz 2017 (absolute answers to filters of k-means).
    """

    def __init__(
        self,
        channels: int,
        n_filters: int,
        patch_size: int,
        activation: str = "absolute",
        precision: str = "fp32",
    ) -> None:
        super().__init__()
        if activation not in ANSWERS:
            raise ValueError(f"activation is one of {', '.join(ANSWERS)}; got {activation!r}")
        self.channels, self.n_filters, self.patch_size = channels, n_filters, patch_size
        self.activation, self.precision = activation, precision
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.filters_KCss: Tensor
        shape = (n_filters, channels, patch_size, patch_size)
        self.register_buffer("filters_KCss", torch.zeros(shape, dtype=dtype))

    def extra_repr(self) -> str:
        return f"{self.n_filters} filters, {self.patch_size}x{self.patch_size}, {self.activation}"

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        maps_NCHW = maps_NCHW.to(self.filters_KCss.dtype, memory_format=torch.channels_last)
        answers = F.conv2d(maps_NCHW, self.filters_KCss, padding=self.patch_size // 2)
        return ANSWERS[self.activation](answers).float()


@register
class LocalContrast(nn.Module):
    """Maps of local mean 0, and of local deviation about 1 where there is any contrast.

    Means and deviations are over all channels and a Gaussian window: a fourth of the map and a
    place more wide, its deviation an eighth of the map. Where the local deviation is under the
    image's mean one, the mean one divides, so that flat places are not blown up to noise.

    Source: Jarrett et al., ICCV 2009, section 2 (local contrast normalisation); the window,
    Knyazev, Barth and Martinetz 2017 (autocnn_unsup).
    """

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        height, width = maps_NCHW.shape[2:]
        window = _window(height, width, maps_NCHW)
        size = window.shape[-2:]
        # a window that reaches over the border has what lies within alone
        pad = (size[0] // 2, size[1] // 2)
        inside = F.conv2d(maps_NCHW.new_ones(1, 1, height, width), window, padding=pad)
        local = F.conv2d(maps_NCHW.mean(1, keepdim=True), window, padding=pad) / inside
        centred = maps_NCHW - local
        variance = F.conv2d(centred.square().mean(1, keepdim=True), window, padding=pad) / inside
        deviation = variance.sqrt()
        return centred / torch.maximum(deviation, deviation.mean((1, 2, 3), keepdim=True) + 1e-12)


def _window(height: int, width: int, like: Tensor) -> Tensor:
    """(1, 1, rows, columns), odd sides, adding up to 1."""

    def side(n_places: int) -> Tensor:
        half = n_places // 8
        places = torch.arange(-half, half + 1, dtype=like.dtype, device=like.device)
        return torch.exp(-0.5 * (places / (n_places / 8)).square())

    window = side(height)[:, None] * side(width)
    return (window / window.sum())[None, None]


@register
class SharesRoot(nn.Module):
    """Square roots, with their signs, of an image's values as shares of the sum of their sizes.

    Then every image has values of length 1, and products of two images are those of Hellinger.
    """

    def forward(self, values: Tensor) -> Tensor:
        sizes = values.abs()
        total = sizes.flatten(1).sum(1).clamp(min=1e-12)
        shares = sizes / total.view(-1, *[1] * (values.dim() - 1))
        return shares.sqrt_().copysign(values)
