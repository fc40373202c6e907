"""What the first layer of a network that learns labels starts from, learned without labels.

Shapes: P patches, D values in a patch, E axes, F filters of the first layer, k their side.
"""

import numpy as np
import torch

from fewlabels import mirrors, patches
from fewlabels.architectures import FirstLayer, ReportNetwork, WhitenedNetwork
from fewlabels.errors import DataError
from fewlabels.graph import Graph
from fewlabels.images import Images, as_float
from fewlabels.layers import PatchEncoder
from fewlabels.progress import stage
from fewlabels.ways import filters
from fewlabels.ways.filters import FiltersConfig

N_IMAGES, PATCHES_PER_IMAGE = 5000, 20  # whitened filters have few values, and need no more
WHITENING_EPSILON = 5e-4  # part of the mean variance, as in airbench94

Network = WhitenedNetwork | ReportNetwork


def first_layer(
    unlabeled: Images,
    network: Network,
    filters_config: FiltersConfig | None,
    *,
    seed: int,
    device: str = "cpu",
    precision: str = "auto",
) -> FirstLayer | None:
    """The label-free part: what the first layer starts from, learned from unlabelled images.

    Returns
    -------
    whitening filters, or centroids of k-means brought back to pixels; None where the network draws
    its own

    Raises DataError if the filters are larger than the images.
    """
    if isinstance(network, WhitenedNetwork):
        size, _ = network.first_layer(unlabeled.size)
        return whitening_filters(unlabeled, size, network.first_filters, seed)
    assert filters_config is not None, "a recipe with a ReportNetwork has filters"
    patches.check_fits(*unlabeled.size, filters_config.layers[0].patch_size)
    if network.first == "random":
        return None
    graph = filters.learn(unlabeled, filters_config, seed=seed, device=device, precision=precision)
    return centroid_filters(graph)


def whitening_filters(images: Images, size: int, n_filters: int, seed: int) -> FirstLayer:
    """Filters whose answers to patches of these images have mean 0 and variance 1, uncorrelated.

    They are the axes of the covariance of patches and their mirror images, the strongest first,
    each divided by the deviation along it; then their negatives, so that an activation keeps both
    signs. An axis is its own mirror image or its negative's, so all mirror images are there.

    Parameters
    ----------
    size : side of a patch in pixels; n_filters : at most so many, of 2 x 3 x size x size

    Source: Page, How to train your ResNet 8, 2019; the negatives, Jordan, arXiv:2404.00498.
    """
    draw = np.random.default_rng(seed)
    chosen = np.sort(draw.permutation(len(images))[:N_IMAGES])
    check_first_layer(images.size, size)
    with stage("whitening", total=1):
        cut_PD = as_float(patches.cut(images.pixels[chosen], size, PATCHES_PER_IMAGE, draw))
        mirrored_PD = cut_PD.view(-1, 3, size, size).flip(3).flatten(1)
        whitening = patches.fit_whitening(
            torch.cat([cut_PD, mirrored_PD]),
            epsilon=WHITENING_EPSILON,
            max_values=max(1, n_filters // 2),
            bases=mirrors.even_and_odd(3, size),  # which do not correlate in patches of both kinds
        )
    axes_E3kk = whitening.project_DE.T.reshape(-1, 3, size, size)
    offset_E = -(whitening.mean_D @ whitening.project_DE)
    return FirstLayer(torch.cat([axes_E3kk, -axes_E3kk]), torch.cat([offset_E, -offset_E]))


def check_first_layer(image_size: tuple[int, int], size: int) -> None:
    """Raises DataError if filters of size x size are larger than images of (height, width)."""
    if size > min(image_size):
        raise DataError(
            f"a first layer of {size} x {size} filters needs images at least as large; these are "
            f"{image_size[0]} x {image_size[1]}: use larger images (--size) or a smaller "
            "network.first_size"
        )


def centroid_filters(graph: Graph) -> FirstLayer:
    """The first layer of a network of k-means filters as filters over pixels.

    A filter answers a patch with the product of its whitened values and the centroid; the division
    by the patch's contrast is left to batch norm.
    """
    encoder = graph.layers["layer1"]
    assert isinstance(encoder, PatchEncoder), "the first layer of filters is an encoder"
    project_ED = encoder.project_GETss[0].flatten(1)
    filters_FD = encoder.centroids_GKE[0] @ project_ED
    offset_F = -(encoder.centroids_GKE[0] @ encoder.offset_GE[0])
    return FirstLayer(filters_FD.view(-1, *encoder.project_GETss.shape[2:]), offset_F)
