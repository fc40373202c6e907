"""A stack of layers each of which looks at all channels below, beside the layers of `ways.filters`.

Its first layer has few filters, which answer at every place. A layer above is a convolution with
filters of length 1, where `ways.filters` looks at groups of channels and compares by direction.
Between two layers the largest of 3 x 3 places stays, every 2, then come local contrast and square
roots (see `stack_layers`).

Shapes: N images, P patches, D values in a patch, E whitened values, K filters.
Source: Knyazev, Barth and Martinetz, "Recursive autoconvolution for unsupervised learning of
convolutional neural networks", IJCNN 2017 (the layers between, features of all layers joined);
docs/accuracy.md tells what is made otherwise, and what each part brings.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewlabels import filter_pictures, kmeans, patches
from fewlabels.errors import ConfigError
from fewlabels.graph import Graph, Node, node
from fewlabels.images import Images, as_float
from fewlabels.layers import Concat, GridFeatures, PatchEncoder
from fewlabels.precision import choose as choose_precision
from fewlabels.progress import stage
from fewlabels.stack_layers import FilterBank, LocalContrast, SharesRoot
from fewlabels.ways import filters
from fewlabels.ways.filters import FiltersConfig, LayerConfig

AXES_FROM = 10_000  # patches, at most, that the axes of whitening are found from
FIRST = ("cosine", "whitened")
WHITENED_FROM, PER_IMAGE = 20_000, 5  # images, and patches of each, that whitening is learned from
AROUND = 11  # side, in pixels, of what whitening looks at
PIXEL_EPSILON = 0.05  # added to the deviations of pixels in [0, 1]
AT_LEAST_ONE = (
    *("n_filters", "patch_size", "n_values", "features_grid", "n_images", "patches_per_image"),
)


@dataclass(frozen=True, kw_only=True)
class StackLayerConfig:
    """Settings of one layer of a stack.

    n_filters : K; patch_size : of them, an odd number of places of the maps below
    n_values : E, principal axes of the patches that k-means sees
    whitening_epsilon : part of the axes' mean deviation, added to their deviations
    features_grid : cells along a side of the features that the head sees, beside the whole map
    n_images, patches_per_image : how many images to learn from, at most, drawn by the seed, and
        how many patches to cut from each
    """

    n_filters: int
    patch_size: int = 5
    n_values: int = 1024
    whitening_epsilon: float = 3.0
    features_grid: int = 3
    n_images: int = 8000
    patches_per_image: int = 5

    def __post_init__(self) -> None:
        for name in AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise ConfigError(f"stack.{name} is at least 1; got {getattr(self, name)}")
        if self.patch_size % 2 == 0:
            raise ConfigError(f"stack.patch_size is odd; got {self.patch_size}")
        if self.whitening_epsilon < 0:
            raise ConfigError(
                f"stack.whitening_epsilon is at least 0; got {self.whitening_epsilon}"
            )


@dataclass(frozen=True, kw_only=True)
class StackConfig:
    """Settings of the stack.

    first : "cosine", the first layer compares whitened patches with its filters by direction and
        keeps what is over a threshold; "whitened", it filters whitened images and keeps what is
        over 0
    first_filters, first_patch_size : of the first layer
    layers : those above it
    iterations : of k-means
    """

    layers: tuple[StackLayerConfig, ...]
    first: str = "whitened"
    first_filters: int = 256
    first_patch_size: int = 5
    iterations: int = 15

    def __post_init__(self) -> None:
        if self.first not in FIRST:
            raise ConfigError(f"stack.first is one of {', '.join(FIRST)}; got {self.first!r}")
        if self.first_patch_size % 2 == 0:
            raise ConfigError(f"stack.first_patch_size is odd; got {self.first_patch_size}")
        for name in ("first_filters", "first_patch_size", "iterations"):
            if getattr(self, name) < 1:
                raise ConfigError(f"stack.{name} is at least 1; got {getattr(self, name)}")
        if not self.layers:
            raise ConfigError("stack.layers has at least one layer; got none")


def learn(
    unlabeled: Images,
    beside: Graph,
    config: StackConfig,
    *,
    seed: int,
    name: str = "stack",
    device: str = "cpu",
    precision: str = "auto",
) -> Graph:
    """Learn every layer from unlabelled images, and join their features to those of other layers.

    Parameters
    ----------
    beside : graph of other ways' layers, which ends in their joined "features"; they come first
    name : of the stack

    Returns
    -------
    frozen Graph from "image" (3, height, width) to "features" (n_features,), with a node "NAMEL"
    for each layer's maps, L from 1, and "NAME_featuresL" for what the head sees of those above the
    first

    Raises DataError if a patch is larger than the maps or there are fewer patches than filters.
    """
    draw = np.random.default_rng(seed)
    precision = choose_precision(precision, device)
    nodes: dict[str, Node] = {n: own for n, own in beside.nodes.items() if n != "features"}
    parts, setting = list(beside.sources["features"]), f"{name}.patch_size"
    nodes |= _first_nodes(unlabeled, config, draw, f"{name}_bank1", device, precision)
    nodes[f"{name}1"] = node(nn.MaxPool2d(3, stride=2, padding=1), f"{name}_bank1")
    for below, layer in enumerate(config.layers, start=1):
        contrast, shares = f"{name}_contrast{below}", f"{name}_shares{below}"
        nodes[contrast] = node(LocalContrast(), f"{name}{below}")
        nodes[shares] = node(SharesRoot(), contrast)
        graph = Graph(nodes, beside.inputs, (shares,))
        _, height, width = graph.shapes[shares]
        patches.check_fits(height, width, layer.patch_size, f"maps of {shares}", setting)
        learned = _learn_bank(unlabeled, graph, layer, draw, config.iterations, device, precision)
        own, bank, cells = (f"{name}{part}{below + 1}" for part in ("", "_bank", "_cells"))
        nodes[bank] = node(learned, shares)
        nodes[own] = node(nn.MaxPool2d(3, stride=2, padding=1), bank)
        nodes[cells] = node(GridFeatures((layer.features_grid, 1), "max", 1), own)
        parts.append(f"{name}_features{below + 1}")
        nodes[parts[-1]] = node(SharesRoot(), cells)
    nodes["features"] = node(Concat(), *parts)
    return Graph(nodes, beside.inputs, ("features",)).freeze()


def first_layer(config: StackConfig) -> LayerConfig:
    """Settings of the first layer, whose filters are learned as those of `ways.filters`."""
    return LayerConfig(
        n_filters=config.first_filters,
        patch_size=config.first_patch_size,
        padding=config.first_patch_size // 2,
        whitening_epsilon=0.3,
        activation="soft-threshold",
        threshold=0.2,
        features_shift=1,  # whose maps are not averaged where they are made
    )


def _first_nodes(
    images: Images,
    config: StackConfig,
    draw: np.random.Generator,
    name: str,
    device: str,
    precision: str,
) -> dict[str, Node]:
    """Nodes from the image to the first layer's answers, the last one called `name`."""
    size = config.first_patch_size
    only = FiltersConfig(layers=(first_layer(config),), iterations=config.iterations)
    seed = int(draw.integers(2**32))
    learned = filters.learn(images, only, seed=seed, device=device, precision=precision)
    encoder = learned.layers["layer1"]
    assert isinstance(encoder, PatchEncoder)
    if config.first == "cosine":
        return {name: node(encoder, "image")}
    bank = FilterBank(3, config.first_filters, size, "rectified")
    bank.filters_KCss.copy_(_bank_of(filter_pictures.pictures(encoder).flatten(1), size))
    white = f"{name}_white"
    return {white: node(_whitening_of_images(images, draw), "image"), name: node(bank, white)}


def _whitening_of_images(images: Images, draw: np.random.Generator) -> nn.Conv2d:
    """ZCA whitening of the pixels around each pixel, of which that pixel's own values are kept.

    Pixels in [0, 1] of shape (N, 3, height, width) -> the same shape, whatever the size: whitening
    a whole image at once, as Knyazev, Barth and Martinetz do, takes as many weights as the square
    of its pixels. Source: Bell and Sejnowski 1997 (ZCA).
    """
    chosen = np.sort(draw.permutation(len(images))[:WHITENED_FROM])
    side = min(AROUND, *(edge - 1 + edge % 2 for edge in images.size))
    cut_PD = as_float(patches.cut(images.pixels[chosen], side, PER_IMAGE, draw))
    mean_D, covariance_DD = patches.moments(cut_PD.split(16384))
    values_D, vectors_DD = torch.linalg.eigh(covariance_DD)
    scale_D = 1 / (values_D.clamp(min=0).sqrt() + PIXEL_EPSILON)
    middle = [colour * side**2 + side**2 // 2 for colour in range(3)]
    rows_3D = (vectors_DD * scale_D)[middle] @ vectors_DD.T
    # without weights that are drawn first: the state of torch's generator is the caller's
    module = nn.utils.skip_init(nn.Conv2d, 3, 3, side, padding=side // 2, padding_mode="reflect")
    with torch.no_grad():
        module.weight.copy_(rows_3D.view(module.weight.shape))
        module.bias.copy_(-rows_3D @ mean_D)
    return module


@torch.inference_mode()
def _learn_bank(
    images: Images,
    graph: Graph,
    layer: StackLayerConfig,
    draw: np.random.Generator,
    iterations: int,
    device: str,
    precision: str,
) -> FilterBank:
    """Filters of the maps that the graph ends in: centroids, brought back through the whitening."""
    generator = torch.Generator().manual_seed(int(draw.integers(2**62)))
    chosen = draw.permutation(len(images))[: layer.n_images]
    size, per_image = layer.patch_size, layer.patches_per_image
    cut = (
        # maps have no scale of their own: only a patch without any contrast is left alone
        patches.normalise_contrast(torch.from_numpy(cut_PD), 1e-20)
        for cut_PD in patches.of_maps(images, chosen, graph, size, per_image, draw, device)
    )
    first_PD = _first(cut, min(len(chosen) * per_image, AXES_FROM))
    mean_D = first_PD.mean(0)
    project_DE = _whitening(first_PD.sub_(mean_D), layer, generator)
    rows = [first_PD @ project_DE]
    del first_PD
    rows += [(patches_PD - mean_D) @ project_DE for patches_PD in cut]
    whitened_PE = torch.cat(rows)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    start_KE = kmeans.start_sampled(whitened_PE, layer.n_filters, generator)
    found = kmeans.fit(whitened_PE, start_KE, iterations=iterations, dtype=dtype)
    channels = graph.shapes[graph.outputs[0]][0]
    bank = FilterBank(channels, layer.n_filters, size, "absolute", precision)
    bank.filters_KCss.copy_(_bank_of(found.centroids_KD @ project_DE.T, size))
    return bank


def _bank_of(filters_KD: Tensor, patch_size: int) -> Tensor:
    """(K, C, s, s): each filter brought to length 1."""
    return F.normalize(filters_KD, dim=1).view(len(filters_KD), -1, patch_size, patch_size)


def _first(cut: Iterator[Tensor], n_patches: int) -> Tensor:
    """The first patches in one tensor, which needs gigabytes: they are never in memory twice."""
    first_PD, n_filled = torch.empty(0), 0
    while n_filled < n_patches:
        patches_PD = next(cut)
        if not n_filled:
            first_PD = patches_PD.new_empty(n_patches, patches_PD.shape[1])
        room = first_PD[n_filled : n_filled + len(patches_PD)]
        room.copy_(patches_PD[: len(room)])
        n_filled += len(room)
    return first_PD


def _whitening(centred_PD: Tensor, layer: StackLayerConfig, generator: torch.Generator) -> Tensor:
    """(D, E): principal axes, each divided by its deviation and a part of the mean deviation.

    Source of the axes: Halko, Martinsson and Tropp, SIAM Review 53, 2011, algorithm 5.1.
    """
    n_values = min(layer.n_values, *centred_PD.shape)
    with stage("finding axes", total=1), torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        _, sizes_E, axes_DE = torch.svd_lowrank(centred_PD, q=n_values, niter=2)
    deviations_E = sizes_E / len(centred_PD) ** 0.5
    return axes_DE / (deviations_E + layer.whitening_epsilon * deviations_E.mean())
