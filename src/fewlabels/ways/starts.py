"""What a network starts from: filters of k-means, or a body that was taught without labels.

Shapes: P patches, F filters, k their side.
"""

import numpy as np
import torch
from torch import Tensor

from fewlabels import patches
from fewlabels.architectures import FirstLayer, WhitenedNetwork
from fewlabels.graph import Graph
from fewlabels.images import Images, as_float
from fewlabels.progress import say
from fewlabels.surrogates import SurrogateConfig, surrogate_set
from fewlabels.training import cross_entropy
from fewlabels.ways import filters, first_layers, selfsupervised
from fewlabels.ways.consistency_config import ConsistencyParts
from fewlabels.ways.course import Course, body_of
from fewlabels.ways.filters import FiltersConfig, LayerConfig
from fewlabels.ways.selfsupervised import VIEWS, SelfSupervisedConfig, TwoViews
from fewlabels.whitened import whitened_network

ITERATIONS = 15  # of k-means
N_EACH = 10  # surrogates of a class in an epoch


def first_layer(
    images: Images,
    parts: ConsistencyParts,
    *,
    seed: int,
    device: str = "cpu",
    precision: str = "auto",
) -> FirstLayer | None:
    """What the first layer starts from, learned without labels.

    Returns
    -------
    centroids of k-means, scaled, where the start is "filters"; else as `first_layers.first_layer`

    Raises DataError if the filters are larger than the images.
    """
    how = {"seed": seed, "device": device, "precision": precision}
    if parts.consistency.start != "filters":
        return first_layers.first_layer(images, parts.network, parts.filters, **how)  # type: ignore[arg-type]
    assert isinstance(parts.network, WhitenedNetwork), "the parts check that"
    _, stride = parts.network.first_layer(images.size)
    # a whitened filter of 2 x 2 needs no clustering; edges and blobs are larger
    size = parts.network.first_size or 2 * stride + 3
    patches.check_fits(*images.size, size)
    layer = LayerConfig(n_filters=parts.network.first_filters, patch_size=size, stride=stride)
    config = FiltersConfig(layers=(layer,), iterations=ITERATIONS)
    graph = filters.learn(images, config, **how)  # type: ignore[arg-type]
    return standardised(first_layers.centroid_filters(graph), images, seed)


def standardised(first: FirstLayer, images: Images, seed: int) -> FirstLayer:
    """The same filters, whose answers to patches of these images have mean 0 and deviation 1.

    Nothing normalises the answers of the whitened network's first layer, which is fixed.
    """
    draw = np.random.default_rng(seed)
    chosen = np.sort(draw.permutation(len(images))[: first_layers.N_IMAGES])
    cut_PD = patches.cut(
        images.pixels[chosen],
        first.filters_F3kk.shape[-1],
        first_layers.PATCHES_PER_IMAGE,
        draw,
    )
    answers_PF = as_float(cut_PD).flatten(1) @ first.filters_F3kk.flatten(1).T + first.offset_F
    deviation_F, mean_F = torch.std_mean(answers_PF, 0)
    deviation_F = deviation_F.clamp(min=1e-6)
    return FirstLayer(
        first.filters_F3kk / deviation_F[:, None, None, None],
        (first.offset_F - mean_F) / deviation_F,
    )


def body(course: Course, unlabelled: Images) -> dict[str, Tensor]:
    """Weights that every network of a course starts from; {} where they are new.

    A linear layer for the course's own classes comes in place of what was above them.
    """
    start = course.parts.consistency.start
    if start not in ("surrogate", "selfsupervised"):
        return {}
    if len(unlabelled) < 2:
        say("there are too few unlabelled images to tell apart: the network starts anew")
        return {}
    if start == "surrogate":
        return body_of(_of_surrogates(course, unlabelled))
    return body_of(_of_two_views(course, unlabelled))


def _of_two_views(course: Course, unlabelled: Images) -> Graph:
    """A network that has learned that two views of an unlabelled image agree."""
    parts, config = course.parts, SelfSupervisedConfig()
    graph = selfsupervised.projected(course.new_network(), config.projector, course.seed)
    course.train(
        "selfsupervised",
        graph,
        TwoViews(pixels=unlabelled.pixels, augmentation=VIEWS, seed=course.seed),
        course.epochs(
            selfsupervised.at_its_rates(parts.training), parts.consistency.selfsupervised_epochs
        ),
        course.time.part(parts.consistency.selfsupervised_part),
        selfsupervised.step(config),
        measured=False,
    )
    return graph


def _of_surrogates(course: Course, unlabelled: Images) -> Graph:
    """A network that has told whole unlabelled images apart, each in many transformed copies."""
    parts = course.parts
    assert isinstance(parts.network, WhitenedNetwork) and course.first is not None
    side = min(course.image_size)
    n_classes = min(parts.consistency.surrogate_classes, len(unlabelled))
    config = SurrogateConfig(n_classes=n_classes, n_each=N_EACH, size=side, patch_size=side)
    _, stride = parts.network.first_layer(course.image_size)
    graph = whitened_network(
        parts.network,
        course.first,
        stride=stride,
        n_classes=n_classes,
        image_size=(side, side),
        seed=course.seed,
    )
    course.train(
        "surrogate",
        graph,
        surrogate_set(unlabelled, config, course.seed),
        course.epochs(parts.training, parts.consistency.surrogate_epochs),
        course.time.part(parts.consistency.surrogate_part),
        cross_entropy(parts.training.label_smoothing, "accuracy_surrogate"),
        measured=False,
    )
    return graph
