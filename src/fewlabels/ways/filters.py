"""The first way to fill a network: k-means on patches, layer by layer; no labels, no gradients.

Shapes: N images, P patches, D values in a patch, E whitened values, K filters, T channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fewlabels import filter_pictures, groups, kmeans, patches
from fewlabels.errors import ConfigError
from fewlabels.graph import Graph, Node, node
from fewlabels.images import Images, as_float
from fewlabels.layers import ACTIVATIONS, STATISTICS, Concat, GridFeatures, PatchEncoder, SquareRoot
from fewlabels.precision import choose as choose_precision

CHUNK = 16384  # patches made float together


AT_LEAST_ZERO = (
    *("padding", "channels_per_group", "max_values", "whitening_epsilon"),
    *("features_coarse_grid", "features_shift"),
)
AT_LEAST_ONE = (
    *("n_filters", "patch_size", "stride", "n_groups", "pool", "features_grid"),
    *("n_images", "patches_per_image"),
)


@dataclass(frozen=True, kw_only=True)
class LayerConfig:
    """Settings of one layer of filters.

    n_filters : K, in each group
    patch_size, stride : in pixels of the maps below
    n_groups, channels_per_group : 0 channels means all of them
    activation, threshold : see `layers.PatchEncoder`
    whitening_epsilon : part of the patches' mean variance, added to the eigenvalues
    kept_variance, max_values : how many axes whitening keeps; 0 values means no other bound
    padding : mirrored pixels on each side; pool : the largest of pool x pool answers stays
    features_grid : cells along a side of the features that the head sees
    features_coarse_grid : of a second, coarser grid beside it; 0 for none
    features_statistic : "mean" or "max" of a cell
    features_shift : features are the mean over grids moved by so many places, see `GridFeatures`
    roots : the next layer looks at square roots of the answers
    n_images, patches_per_image : how many images to learn from, at most, drawn by the seed, and
        how many patches to cut from each
    """

    n_filters: int
    patch_size: int
    stride: int = 1
    n_groups: int = 1
    channels_per_group: int = 0
    activation: str = "triangle"
    threshold: float = 0.0
    whitening_epsilon: float = 0.1
    kept_variance: float = 1.0
    max_values: int = 0
    padding: int = 0
    pool: int = 1
    features_grid: int = 3
    features_coarse_grid: int = 0
    features_statistic: str = "mean"
    features_shift: int = 0
    roots: bool = False
    n_images: int = 20_000
    patches_per_image: int = 8

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ConfigError(
                f"filters.activation is one of {', '.join(ACTIVATIONS)}; got {self.activation!r}"
            )
        if self.features_statistic not in STATISTICS:
            raise ConfigError(
                f"filters.features_statistic is one of {', '.join(STATISTICS)}; "
                f"got {self.features_statistic!r}"
            )
        for name in AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise ConfigError(f"filters.{name} is at least 1; got {getattr(self, name)}")
        for name in AT_LEAST_ZERO:
            if getattr(self, name) < 0:
                raise ConfigError(f"filters.{name} is at least 0; got {getattr(self, name)}")
        if not 0 < self.kept_variance <= 1:
            raise ConfigError(f"filters.kept_variance is in (0, 1]; got {self.kept_variance}")


def sharp_layer(n_filters: int, patch_size: int) -> LayerConfig:
    """A first layer whose few largest answers count, as `kmeans-1` has it (docs/accuracy.md)."""
    return LayerConfig(
        n_filters=n_filters,
        patch_size=patch_size,
        padding=(patch_size - 1) // 2,
        whitening_epsilon=0.3,
        activation="soft-threshold",
        threshold=0.2,
        pool=3,
        features_grid=5,
        features_coarse_grid=2,
        features_shift=1,
        features_statistic="max",
    )


@dataclass(frozen=True, kw_only=True)
class FiltersConfig:
    """Settings of the way: its layers; start and number of iterations of k-means."""

    layers: tuple[LayerConfig, ...]
    start: str = "sampled"
    iterations: int = 25

    def __post_init__(self) -> None:
        if self.start not in kmeans.STARTS:
            raise ConfigError(
                f"filters.start is one of {', '.join(kmeans.STARTS)}; got {self.start!r}"
            )
        if self.iterations < 1:
            raise ConfigError(f"filters.iterations is at least 1; got {self.iterations}")
        if not self.layers:
            raise ConfigError("filters.layers has at least one layer; got none")


def learn(
    unlabeled: Images,
    config: FiltersConfig,
    *,
    seed: int,
    device: str = "cpu",
    precision: str = "auto",
) -> Graph:
    """Learn every layer from unlabelled images, and join the features of all of them.

    Returns
    -------
    frozen Graph from "image" (3, height, width) to "features" (n_features,), with a node
    "layerL" for each layer's maps and "featuresL" for what the head sees of it

    Raises DataError if a patch is larger than the images or there are fewer patches than filters,
    ConfigError if several groups look at all channels.
    """
    for layer in config.layers:
        if layer.n_groups > 1 and not layer.channels_per_group:
            raise ConfigError(
                f"{layer.n_groups} groups of all channels would be equal: say how many channels a "
                "group has (--set filters.channels_per_group=...)"
            )
    draw = np.random.default_rng(seed)
    chosen_precision = choose_precision(precision, device)
    inputs = {"image": (3, *unlabeled.size)}
    nodes: dict[str, Node] = {}
    below = "image"
    for number, layer in enumerate(config.layers, start=1):
        cut_PCs = _cut(unlabeled, Graph(nodes, inputs, (below,)), below, layer, draw, device)
        grids = tuple(g for g in (layer.features_grid, layer.features_coarse_grid) if g)
        # maps that neither a next layer nor a second grid reads are averaged where they are made
        alone = number == len(config.layers) and len(grids) == 1 and not layer.features_shift
        grid = grids[0] if alone and layer.features_statistic == "mean" else 0
        encoder = _learn_layer(cut_PCs, layer, config, draw, chosen_precision, grid)
        name = f"layer{number}"
        nodes[name] = node(encoder, below)
        features = GridFeatures(grids, layer.features_statistic, layer.features_shift)
        nodes[f"features{number}"] = node(features, name)
        below = name
        if layer.roots and number < len(config.layers):
            below = f"roots{number}"
            nodes[below] = node(SquareRoot(), name)
    parts = [name for name in nodes if name.startswith("features")]
    nodes["features"] = node(Concat(), *parts)
    return Graph(nodes, inputs, ("features",)).freeze()


@torch.inference_mode()
def _cut(
    images: Images,
    graph: Graph,
    below: str,
    layer: LayerConfig,
    draw: np.random.Generator,
    device: str,
) -> np.ndarray:
    """Patches of the maps `below`: (P, channels, values), uint8 of images, float32 of maps."""
    chosen = np.sort(draw.permutation(len(images))[: layer.n_images])
    channels, height, width = graph.shapes[below]
    what = "images" if below == "image" else f"maps of {below}"
    patches.check_fits(height, width, layer.patch_size, what)
    shape = (len(chosen) * layer.patches_per_image, channels * layer.patch_size**2)
    cut_PD = np.empty(shape, np.uint8 if below == "image" else np.float32)
    first = 0
    size, per_image = layer.patch_size, layer.patches_per_image
    for own_PD in patches.of_maps(images, chosen, graph, size, per_image, draw, device):
        cut_PD[first : first + len(own_PD)] = own_PD
        first += len(own_PD)
    return cut_PD.reshape(-1, channels, layer.patch_size**2)


def _learn_layer(
    cut_PCs: np.ndarray,
    layer: LayerConfig,
    config: FiltersConfig,
    draw: np.random.Generator,
    chosen_precision: str,
    grid: int,
) -> PatchEncoder:
    """Whitening and centroids of every group of channels, in an encoder."""
    channels = cut_PCs.shape[1]
    generator = torch.Generator().manual_seed(int(draw.integers(2**62)))
    per_group = layer.channels_per_group or channels
    if layer.n_groups > 1 or per_group != channels:
        middle = torch.from_numpy(cut_PCs[:, :, cut_PCs.shape[2] // 2]).float()
        members_GT = groups.choose(middle, layer.n_groups, per_group, generator)
    else:
        members_GT = torch.arange(channels)[None]
    learned = []
    for members_T in members_GT:
        own_PD = cut_PCs if per_group == channels else cut_PCs[:, members_T.numpy()]
        own_PD = own_PD.reshape(len(own_PD), -1)
        learned.append(_learn_group(own_PD, layer, config, generator, chosen_precision))
    n_values = max(whitening.project_DE.shape[1] for _, whitening, _ in learned)
    encoder = PatchEncoder(
        channels,
        layer.patch_size,
        n_values,
        layer.n_filters,
        stride=layer.stride,
        padding=layer.padding,
        pool=layer.pool,
        grid=grid,
        groups=layer.n_groups,
        channels_per_group=per_group,
        activation=layer.activation,
        threshold=layer.threshold,
        precision=chosen_precision,
    )
    for group, (epsilon, whitening, centroids_KE) in enumerate(learned):
        # groups that keep fewer axes are filled up with zeros, which change no distance
        extra = n_values - centroids_KE.shape[1]
        project_DE = F.pad(whitening.project_DE, (0, extra))
        centroids_KE = F.pad(centroids_KE, (0, extra))
        encoder.set_group(
            group, members_GT[group], epsilon, whitening.mean_D, project_DE, centroids_KE
        )
    return encoder


def _learn_group(
    cut_PD: np.ndarray,
    layer: LayerConfig,
    config: FiltersConfig,
    generator: torch.Generator,
    chosen_precision: str,
) -> tuple[float, patches.Whitening, Tensor]:
    """Contrast epsilon, whitening and centroids (K, E) of one group's patches."""
    epsilon = patches.CONTRAST_EPSILON
    if cut_PD.dtype != np.uint8:
        # maps have no scale of their own: a hundredth of their patches' typical variance
        epsilon = 0.01 * float(cut_PD[:CHUNK].var(axis=1).mean()) + 1e-12

    def chunks() -> Iterator[Tensor]:
        for start in range(0, len(cut_PD), CHUNK):
            chunk_PD = cut_PD[start : start + CHUNK]
            values_PD = as_float(chunk_PD) if chunk_PD.dtype == np.uint8 else torch.tensor(chunk_PD)
            yield patches.normalise_contrast(values_PD, epsilon)

    whitening = patches.whitening_of(
        *patches.moments(chunks()),
        epsilon=layer.whitening_epsilon,
        kept_variance=layer.kept_variance,
        max_values=layer.max_values or None,
    )
    whitened_PE = torch.empty(len(cut_PD), whitening.project_DE.shape[1])
    for start, chunk_PD in zip(range(0, len(cut_PD), CHUNK), chunks(), strict=True):
        whitened_PE[start : start + CHUNK] = whitening(chunk_PD)
    if layer.activation != "triangle":
        # filters are compared by direction, so they are learned from directions
        whitened_PE = F.normalize(whitened_PE, dim=1)
    dtype = torch.bfloat16 if chosen_precision == "bf16" else torch.float32
    centroids_KE = kmeans.STARTS[config.start](whitened_PE, layer.n_filters, generator)
    found = kmeans.fit(whitened_PE, centroids_KE, iterations=config.iterations, dtype=dtype)
    return epsilon, whitening, found.centroids_KD


def gallery(graph: Graph) -> Tensor:
    """The filters of the first layer as pictures: (n_filters, 3, patch_size, patch_size).

    See `filter_pictures.pictures`.
    """
    encoder = graph.layers["layer1"]
    assert isinstance(encoder, PatchEncoder), "the first layer of filters is an encoder"
    return filter_pictures.pictures(encoder)
