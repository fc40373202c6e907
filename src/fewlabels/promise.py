"""A time for a whole command: what is left of it for the trainings, by measuring what follows.

Shapes: N images.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from fewlabels import features, processes
from fewlabels.architectures import FirstLayer, WhitenedNetwork
from fewlabels.errors import ConfigError
from fewlabels.images import Images, as_float
from fewlabels.progress import stage, unwatched
from fewlabels.side_by_side import in_parts
from fewlabels.ways import filters, first_layers
from fewlabels.ways import labels as labels_way
from fewlabels.ways.filters import FiltersConfig, LayerConfig

if TYPE_CHECKING:
    from lightning_fabric import Fabric

BATCH = 128  # images
SIDE = 32  # in pixels, of what is encoded to measure how fast that is
LEARNING = 0.7  # of the speed of both passes alone: views, the optimizer and the teacher take time
# seconds, on two cores that had other work too: the first layer's filters; files and the report
FILTERS, WRITING = 2.0, 6.0
MAPPED = 0.002  # more for each image on the map beyond the usual ("Maps and pages")
ROOM = 0.02  # of the time, for what is not foreseen
LEAST = 1.0  # seconds that a training needs at least
# operations of `kmeans-1` for an entry of the kernel, and for clustering, about the same for all
# sets. They took 0.8 times as long as products of that many, or 1.7 times (docs/measured, its rows
# of two processors)
OF_ENTRY, OF_CLUSTERING, TIMES = 2 * 46_400, 1.7e12, 1.5

now = time.monotonic


@dataclass(frozen=True)
class Speeds:
    """Images a second, of a network that learns, and of one that answers as a model does."""

    learning: float
    answering: float


def measure_speeds(
    network: WhitenedNetwork,
    images: Images,
    *,
    n_classes: int,
    flips: bool,
    device: str,
    precision: str,
    seed: int,
) -> Speeds:
    """Let a new network of this kind learn from and answer a few batches, and drop it.

    Parameters
    ----------
    images : of which some are taken; precision : "fp32" or "bf16"

    Raises DataError if the network is not for images so small.
    """
    size, _ = network.first_layer(images.size)
    first_layers.check_first_layer(images.size, size)
    draw = torch.Generator().manual_seed(seed)
    n_filters = min(network.first_filters, 6 * size * size)
    start = FirstLayer(
        torch.randn(n_filters, 3, size, size, generator=draw), torch.zeros(n_filters)
    )
    graph = labels_way.build(network, start, None, n_classes, images.size, seed)
    n_answered = 2 * features.BATCH * (torch.get_num_threads() if device == "cpu" else 1)
    some = _some(images, n_answered)
    graph.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    fabric = processes.join(device, precision)
    with (
        stage("measuring how fast a network learns here", total=1),
        in_parts(graph, fabric) as learner,
    ):
        learning = BATCH / _best(_both_passes(learner, images, n_classes, fabric), 3)
    what = "measuring how fast it answers"
    answering = n_answered / _best(
        lambda: features.extract(graph, some, flips=flips, device=device, what=what), 2
    )
    return Speeds(LEARNING * learning, answering)


def measure_encoding(
    config: FiltersConfig, images: Images, *, flips: bool, device: str, precision: str, seed: int
) -> float | None:
    """Images a second that filters of k-means make features of; None for images too small for them.

    The filters are learned from few patches, in one iteration, and dropped. Of large images a part
    is encoded: the time goes with the number of places.
    """
    (layer,) = config.layers
    if min(images.size) < layer.patch_size:
        return None
    n_images = -(-layer.n_filters // layer.patches_per_image)
    n_encoded = features.BATCH * (torch.get_num_threads() if device == "cpu" else 1)
    pixels = _some(images, max(n_images, n_encoded)).pixels[:, :, :SIDE, :SIDE]
    quick = replace(config, layers=(replace(layer, n_images=n_images),), iterations=1)
    how: dict[str, Any] = {"seed": seed, "device": device, "precision": precision}
    some = Images(pixels=pixels[:n_encoded])
    with stage("measuring how fast filters answer", total=1), unwatched():
        graph = filters.learn(Images(pixels=pixels), quick, **how)
        seconds = _best(lambda: features.extract(graph, some, flips=flips, device=device), 1)
    return n_encoded / seconds * _places(some.size, layer) / _places(images.size, layer)


def _places(image_size: tuple[int, int], layer: LayerConfig) -> int:
    """Where a filter answers, with stride 1."""
    height, width = (side + 2 * layer.padding - layer.patch_size + 1 for side in image_size)
    return height * width


def kmeans_seconds(
    n_labelled: int, n_answered: int, encoded_per_second: float, products_per_second: float
) -> float | None:
    """About how long `kmeans-1` takes: its encoder for every image, its kernel, its clustering.

    None where no image can be encoded.
    """
    if not encoded_per_second:
        return None
    n_images = n_labelled + n_answered
    kernel = n_images * n_labelled * OF_ENTRY
    return n_images / encoded_per_second + TIMES * (kernel + OF_CLUSTERING) / products_per_second


def _both_passes(
    network: nn.Module, images: Images, n_classes: int, fabric: "Fabric"
) -> Callable[[], object]:
    pictures = as_float(_some(images, BATCH).pixels[:]).to(fabric.device)
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    labels_N = torch.arange(BATCH, device=fabric.device) % n_classes

    def passes() -> float:
        network.train()
        loss = F.cross_entropy(network(pictures), labels_N)
        fabric.backward(loss)
        network.zero_grad()
        return loss.item()  # waits for a GPU

    return passes


def _some(images: Images, n_images: int) -> Images:
    """So many of them, over and over where there are fewer."""
    return Images(pixels=images.pixels[np.arange(n_images) % len(images)])


def _best(work: Callable[[], object], rounds: int) -> float:
    """Seconds of the fastest of some rounds, after one that makes the libraries ready."""
    taken = []
    for _ in range(1 + rounds):
        began = now()
        work()
        taken.append(now() - began)
    return max(1e-6, min(taken[1:]))


def for_each(whole: float, gone: float, n_models: int, answering: float, writing: float) -> float:
    """Seconds for learning each of `n_models`, so that the command ends in time.

    each = (whole - gone - rest - ROOM * whole) / n_models - answering

    Parameters
    ----------
    whole : of the command; gone : since it began
    answering : seconds that a model answers images when it has learned; writing : of all files

    Raises ConfigError where nothing is left.
    """
    rest = FILTERS + writing
    each = (whole - gone - rest - ROOM * whole) / n_models - answering
    if each < LEAST:
        needed = (gone + rest + n_models * (answering + LEAST)) / (1 - ROOM)
        raise ConfigError(
            f"a budget of {spoken(whole)} in all is too short: reading took {spoken(gone)}, and "
            f"answering images and writing take about {spoken(n_models * answering + rest)}: "
            f"give more than {spoken(needed)}"
        )
    return each


def spoken(seconds: float) -> str:
    """(45.2) -> "45 seconds"; (90) -> "1 minute 30 seconds"; (3900) -> "1 hour 5 minutes"."""
    whole = max(1, round(seconds))
    if whole >= 3600:
        whole = 60 * round(whole / 60)
    parts = [(whole // 3600, "hour"), (whole % 3600 // 60, "minute"), (whole % 60, "second")]
    return " ".join(f"{n} {unit}{'' if n == 1 else 's'}" for n, unit in parts if n)
