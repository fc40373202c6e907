"""Running statistics of batch norm, taken anew from images as they are answered.

A network that learns from changed images keeps the statistics of changed images. What turns and
scales them smooths them a little, and each layer then expects less than an image as it is gives:
on CIFAR-10 that cost 2 to 4 points (docs/accuracy.md).

Source: `torch.optim.swa_utils.update_bn`, for the weights of an average; for the change between
the images of training and of use, Touvron et al., NeurIPS 2019 (FixRes), section 4.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from fewlabels.batch_norm import BatchNormActivation
from fewlabels.graph import Graph
from fewlabels.images import as_float
from fewlabels.joined import Pixels

N_IMAGES = 2000  # 4,000 give the same accuracy
BATCH = 250  # images of a batch at most; each batch counts the same


def _norms(graph: Graph) -> list[BatchNormActivation]:
    """Those that are not frozen: of frozen nodes the statistics are to stay."""
    frozen = set(graph.frozen)
    return [
        module
        for name, module in graph.layers.items()
        if name not in frozen and isinstance(module, BatchNormActivation)
    ]


@contextmanager
def of_each_batch(graph: Graph) -> Iterator[None]:
    """Inside the block a graph in evaluation mode normalises each batch by its own statistics.

    The running ones follow them.
    """
    norms = _norms(graph)
    for norm in norms:
        norm.train()
    try:
        yield
    finally:
        for norm in norms:
            norm.eval()


@torch.no_grad()
def settle(graph: Graph, pixels: Pixels) -> None:
    """Take the running statistics from these images; the graph is then in evaluation mode.

    Parameters
    ----------
    pixels : uint8 of shape (n_images, 3, height, width); up to 2,000 of them, evenly spread over
        all, are looked at
    """
    graph.eval()
    norms = _norms(graph)
    if not norms or not len(pixels):
        return
    n_images = min(N_IMAGES, len(pixels))
    chosen = np.linspace(0, len(pixels) - 1, n_images).round().astype(np.int64)
    chosen = np.random.default_rng(0).permutation(chosen)  # batches of all classes alike
    device = next(graph.parameters()).device
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = None  # the mean over all batches
        norm.num_batches_tracked.zero_()
    with of_each_batch(graph):
        for part in np.array_split(chosen, -(-n_images // BATCH)):
            pictures = as_float(pixels[part]).to(device)
            graph(pictures.contiguous(memory_format=torch.channels_last))
    for norm, (momentum, n_tracked) in zip(norms, before, strict=True):
        norm.momentum = momentum
        norm.num_batches_tracked.copy_(n_tracked)
