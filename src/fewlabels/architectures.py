"""Networks that learn by gradients, as functions that return Graphs with new weights.

The network for few labels is in `whitened`; what it is made by is here with the others.

Every graph reads "image" (3, height, width) and ends in "logits"; the seed alone draws weights.

Shapes: F filters of the first layer, k side of a filter, H W height and width.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from fewlabels.batch_norm import BatchNormActivation
from fewlabels.errors import ConfigError
from fewlabels.graph import Graph, Node, node
from fewlabels.layers import Scale

Convolution = TypeVar("Convolution", bound=nn.Module)
FIRST_LAYERS = ("centroids", "random")
MAP_SIDE = 40  # maps of the whitened first layer are about so wide, whatever the images

# of Dosovitskiy et al. 2014: filters of the convolutions, values of the fully connected layer
EXEMPLAR_SIZES = {
    "small": ((64, 64), 128),
    "medium": ((64, 128, 256), 512),
    "large": ((92, 256, 512), 1024),
}


@dataclass(frozen=True, kw_only=True)
class WhitenedNetwork:
    """A first layer of whitening filters that stays as it is, then stages with a shortcut each.

    widths : filters of each stage's convolutions; a stage halves the maps
    mirrored : half of the filters are mirror images of the others, so that an image and its mirror
        image are answered alike; false where left and right tell classes apart
    first_filters : at most so many, half of them the negatives of the others
    first_size, first_stride : in pixels; 0: 2 and 1, or more for maps about 40 wide
    """

    widths: tuple[int, ...] = (64, 128, 256)
    mirrored: bool = True
    first_filters: int = 64
    first_size: int = 0
    first_stride: int = 0

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1:
            raise ConfigError(f"network.widths are at least 1 each; got {self.widths}")
        if self.first_filters < 2:
            raise ConfigError(f"network.first_filters is at least 2; got {self.first_filters}")
        for name in ("first_size", "first_stride"):
            if getattr(self, name) < 0:
                raise ConfigError(f"network.{name} is at least 0; got {getattr(self, name)}")

    def check_pairs(self) -> None:
        """Raises ConfigError where filters are to come in pairs and are an odd number.

        Not asked of a model that was learned when there were no pairs.
        """
        if self.mirrored and any(width % 2 for width in self.widths):
            raise ConfigError(
                "network.widths are even, as half of the filters are mirror images of the others; "
                f"got {self.widths}: give even ones, or set network.mirrored=false"
            )

    def first_layer(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Side and stride of the first layer's filters for images of (height, width)."""
        stride = self.first_stride or max(1, round(min(image_size) / MAP_SIDE))
        return self.first_size or stride + 1, stride


@dataclass(frozen=True, kw_only=True)
class ReportNetwork:
    """Layers of filters one above the other, each with batch norm, ReLU and max pooling.

    n_layers : of filters; a linear layer over a grid of their answers gives the logits
    first : what the first layer starts from, "centroids" of k-means or "random". Its number, size
        and stride of filters are those of `filters` in both cases, so that the two compare
    width, kernel_size : of the layers above the first
    """

    n_layers: int = 2
    first: str = "centroids"
    width: int = 256
    kernel_size: int = 5

    def __post_init__(self) -> None:
        if self.first not in FIRST_LAYERS:
            raise ConfigError(
                f"network.first is one of {', '.join(FIRST_LAYERS)}; got {self.first!r}"
            )
        for name in ("n_layers", "width", "kernel_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"network.{name} is at least 1; got {getattr(self, name)}")
        if self.kernel_size % 2 == 0:
            raise ConfigError(f"network.kernel_size is odd; got {self.kernel_size}")


@dataclass(frozen=True, kw_only=True)
class ExemplarNetwork:
    """The networks of Exemplar-CNN, for surrogates of a fixed size.

    size : "small" 64c5-64c5-128f, "medium" 64c5-128c5-256c5-512f or "large"
        92c5-256c5-512c5-1024f: convolutions of 5 x 5, and a fully connected layer
    dropout : part of the fully connected layer's values that a step leaves out
    """

    size: str = "small"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.size not in EXEMPLAR_SIZES:
            raise ConfigError(
                f"network.size is one of {', '.join(EXEMPLAR_SIZES)}; got {self.size!r}"
            )
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"network.dropout is a part, in [0, 1); got {self.dropout}")


@dataclass(frozen=True, eq=False)
class FirstLayer:
    """What a first layer starts from: an answer is the product with a filter, plus its offset.

    filters_F3kk : float tensor of shape (n_filters, 3, k, k); offset_F : (n_filters,)
    """

    filters_F3kk: Tensor
    offset_F: Tensor


def report_network(
    config: ReportNetwork,
    start: FirstLayer | None,
    *,
    n_first: int,
    first_size: int,
    stride: int,
    n_classes: int,
    image_size: tuple[int, int],
    seed: int,
) -> Graph:
    """The report's network of `config.n_layers` layers of filters and a linear one.

    Parameters
    ----------
    start : of the first layer, (n_first, 3, first_size, first_size), whose offsets batch norm would
        take away; drawn at random if None. All layers learn
    """
    with drawn_by(seed):
        first = nn.Conv2d(3, n_first, first_size, stride=stride, bias=False)
        nodes: dict[str, Node] = {}
        below, channels = "image", 3
        side = (min(image_size) - first_size) // stride + 1
        for number in range(1, config.n_layers + 1):
            name = f"layer{number}"
            width = n_first if number == 1 else config.width
            conv = first if number == 1 else convolution(channels, width, config.kernel_size)
            nodes[f"{name}_conv"] = node(conv, below)
            nodes[f"{name}_norm"] = node(BatchNormActivation(width, "relu"), f"{name}_conv")
            below, channels = f"{name}_norm", width
            if side > 1:
                nodes[f"{name}_pool"] = node(nn.MaxPool2d(2), below)
                below, side = f"{name}_pool", side // 2
        grid = min(2, side)
        nodes |= {
            "pool": node(nn.AdaptiveAvgPool2d(grid), below),
            **logits("pool", channels * grid**2, n_classes),
        }
        graph = Graph(nodes, {"image": (3, *image_size)}, ("logits",))
    if start is not None:
        with torch.no_grad():
            # the length that torch's own draw has in the mean: only the directions are learned
            length = first.weight.flatten(1).norm(dim=1).mean()
            lengths_F = start.filters_F3kk.flatten(1).norm(dim=1).clamp(min=1e-12)
            first.weight.copy_(start.filters_F3kk * (length / lengths_F)[:, None, None, None])
    return graph


def exemplar_network(config: ExemplarNetwork, *, n_classes: int, size: int, seed: int) -> Graph:
    """A network that tells surrogates of `size` x `size` apart; see `trained_features` for after.

    Nodes "conv1", "norm1", "pool1", ... and "full", a convolution as large as the maps below it,
    so that it can be laid over larger images. Batch norm, which the paper of 2014 did not have,
    lets it learn in an hour. Raises ConfigError if the surrogates are smaller than 4 x 4.

    Source: Dosovitskiy et al., NIPS 2014, section 3.2 (2 x 2 max pooling after the first two).
    """
    if size < 4:
        raise ConfigError(f"surrogates.size is at least 4 for this network; got {size}")
    widths, n_full = EXEMPLAR_SIZES[config.size]
    with drawn_by(seed):
        nodes: dict[str, Node] = {}
        below, channels = "image", 3
        for number, width in enumerate(widths, start=1):
            norm = BatchNormActivation(width, "relu")
            nodes[f"conv{number}"] = node(convolution(channels, width, 5), below)
            nodes[f"norm{number}"] = node(norm, f"conv{number}")
            below, channels = f"norm{number}", width
            if number <= 2:
                nodes[f"pool{number}"] = node(nn.MaxPool2d(2), below)
                below = f"pool{number}"
        full = nn.Conv2d(channels, n_full, size // 4, bias=False)
        nodes |= {
            "full": node(full, below),
            "full_norm": node(BatchNormActivation(n_full, "relu"), "full"),
            "dropout": node(nn.Dropout(config.dropout), "full_norm"),
            **logits("dropout", n_full, n_classes),
        }
        return Graph(nodes, {"image": (3, size, size)}, ("logits",))


def convolution(n_inputs: int, n_filters: int, kernel_size: int = 3) -> nn.Conv2d:
    """Without a bias, as batch norm has one; the first filters hand their inputs on."""
    padding = kernel_size // 2
    return handing_on(nn.Conv2d(n_inputs, n_filters, kernel_size, padding=padding, bias=False))


def handing_on(conv: Convolution) -> Convolution:
    """The convolution, whose first filters, as many as it has inputs, hand these on."""
    weight = conv.get_parameter("weight")
    nn.init.dirac_(weight.data[: weight.shape[1]])
    return conv


def logits(below: str, n_values: int, n_classes: int) -> dict[str, Node]:
    """A linear layer, scaled so that one rate of SGD does for any number of values and classes."""
    return {
        "flat": node(nn.Flatten(), below),
        "linear": node(nn.Linear(n_values, n_classes, bias=False), "flat"),
        "logits": node(Scale((n_classes / 10 / n_values) ** 0.5), "linear"),
    }


@contextmanager
def drawn_by(seed: int) -> Iterator[None]:
    """Inside the block modules draw their weights by `seed`; torch's generator stays as it was."""
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(seed)
        yield
