"""The network for few labels: whitening filters, and stages whose filters are mirror images.

Shapes: F filters of the first layer, k their side.
"""

from collections.abc import Sequence

import torch
from torch import nn

from fewlabels import mirrors
from fewlabels.architectures import (
    FirstLayer,
    WhitenedNetwork,
    convolution,
    drawn_by,
    handing_on,
    logits,
)
from fewlabels.batch_norm import BatchNormActivation
from fewlabels.graph import Graph, Node, node
from fewlabels.layers import Add
from fewlabels.mirrors import MirroredConv2d, MirroredNorm, PairMean


def whitened_network(
    config: WhitenedNetwork,
    start: FirstLayer,
    *,
    stride: int,
    n_classes: int,
    image_size: tuple[int, int],
    seed: int,
) -> Graph:
    """Whitening filters, then stages of three 3 x 3 convolutions, the last two with a shortcut.

    A stage is convolution - pooling - norm and GELU, and around the next two convolutions with
    their norms and GELU goes a shortcut. Pooling takes the largest of 2 x 2 at every place, then
    means of 2 x 2 at every second one: what moves by a pixel changes the maps less than if every
    second largest were dropped ("Pooling" in docs/accuracy.md). The first layer, `start`, is
    frozen: its answers are white as they are, and no gradient need go that far. Where the network
    is mirrored, mirror images of its filters that are not among them are joined to them, and the
    network ends in the mean of what each map and its mirror image say ("Mirror images", there too).

    Source: Page, How to train your ResNet 8, 2019 (whitening filters, both signs; the shortcuts);
    Jordan, arXiv:2404.00498 (GELU, identity at the start, the scale of the logits); Zhang, Making
    convolutional networks shift-invariant again, ICML 2019, section 3.2 (MaxBlurPool, Rect-2);
    `mirrors` has those of mirror images.

    Raises ConfigError where it is mirrored and a width is odd.
    """
    config.check_pairs()
    mirrored = config.mirrored
    order = None
    if mirrored:
        start, order = _with_mirror_images(start)
    channels, size = len(start.offset_F), start.filters_F3kk.shape[-1]
    side = (min(image_size) - size) // stride + 1
    width, left_over = divmod(image_size[1] - size, stride)
    width, exact = width + 1, left_over == 0
    with drawn_by(seed):
        first = nn.Conv2d(3, channels, size, stride=stride)
        nodes: dict[str, Node] = {
            "first": node(first, "image"),
            "first_gelu": node(nn.GELU(), "first"),
        }
        below = "first_gelu"
        for number, n_filters in enumerate(config.widths, start=1):
            name = f"stage{number}"
            nodes[f"{name}_conv1"] = node(_filters(channels, n_filters, order), below)
            before, channels = f"{name}_conv1", n_filters
            order = mirrors.swapped(n_filters // 2) if mirrored else None
            if side > 1:  # the maps of tiny images are halved while they can be
                nodes[f"{name}_largest"] = node(nn.MaxPool2d(2, 1), before)
                half = nn.AvgPool2d(2, ceil_mode=True)  # to side // 2, whether it is even or odd
                nodes[f"{name}_pool"] = node(half, f"{name}_largest")
                exact = exact and width % 2 == 1  # else the last means are of one column alone
                before, side, width = f"{name}_pool", side // 2, width // 2
            nodes |= {
                f"{name}_norm1": node(_norm(n_filters, mirrored), before),
                f"{name}_conv2": node(_filters(n_filters, n_filters, order), f"{name}_norm1"),
                f"{name}_norm2": node(_norm(n_filters, mirrored), f"{name}_conv2"),
                f"{name}_conv3": node(_filters(n_filters, n_filters, order), f"{name}_norm2"),
                f"{name}_norm3": node(_norm(n_filters, mirrored), f"{name}_conv3"),
                name: node(Add(), f"{name}_norm1", f"{name}_norm3"),
            }
            below = name
        nodes["pool"] = node(nn.AdaptiveMaxPool2d(1), below)
        below = "pool"
        if mirrored:
            nodes["pairs"] = node(PairMean(exact), "pool")
            below, channels = "pairs", channels // 2
        nodes |= logits(below, channels, n_classes)
        graph = Graph(nodes, {"image": (3, *image_size)}, ("logits",))
    with torch.no_grad():
        first.weight.copy_(start.filters_F3kk)
        first.bias.copy_(start.offset_F)  # type: ignore[union-attr]
    return graph.freeze("first")


def _with_mirror_images(start: FirstLayer) -> tuple[FirstLayer, tuple[int, ...]]:
    """The filters with all their mirror images, and for each filter which one is its own."""
    order = mirrors.order(start.filters_F3kk, start.offset_F)
    if order is not None:
        return start, order
    both = torch.cat([start.filters_F3kk, start.filters_F3kk.flip(3)])
    return FirstLayer(both, start.offset_F.repeat(2)), mirrors.swapped(len(start.offset_F))


def _filters(n_inputs: int, n_filters: int, order: Sequence[int] | None) -> nn.Module:
    if order is None:
        return convolution(n_inputs, n_filters)
    return handing_on(MirroredConv2d(order, n_filters // 2))


def _norm(n_channels: int, mirrored: bool) -> nn.Module:
    return MirroredNorm(n_channels // 2) if mirrored else BatchNormActivation(n_channels)
