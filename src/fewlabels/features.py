"""Features: a graph and images to one row of numbers per image, a batch at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from fewlabels import mirrors
from fewlabels.graph import Graph
from fewlabels.graph_checks import known
from fewlabels.images import Images, as_float
from fewlabels.progress import stage
from fewlabels.threads import in_threads

BATCH = 32  # images that go through the graph together
ROWS = 1024  # images whose features are in memory together, in `blocks`


def extract(
    graph: Graph,
    images: Images,
    *,
    flips: bool,
    device: str = "cpu",
    wanted: str | None = None,
    what: str = "features",
    precision: str = "fp32",
    batch_size: int = BATCH,
) -> Tensor:
    """The graph's output for every image, as one row each.

    Parameters
    ----------
    graph : moved to `device` and set to evaluation
    flips : average the output for each image and for its mirror image, which makes the features
        the same for both; it halves the work of a head that would else learn from both. What is
        the same for both as it is, see `mirrors`, is computed once
    wanted : name of the node to read; the graph's output if None
    what : name of the stage, for the progress bar
    precision : "bf16" is for a network that learned in it
    batch_size : images that go through the graph together

    Returns
    -------
    features_ND : float32 tensor of shape (n_images, n_features), on the CPU

    Raises ConfigError if the graph has no node `wanted`, DataError if it is for another image size.
    """
    (name,) = known((wanted or graph.outputs[0],), graph.shapes, "the graph has no node or input")
    features_ND = torch.empty(len(images), int(np.prod(graph.shapes[name])))
    how = device, what, precision, batch_size
    for start, rows_BD in _batches(graph, images, name, flips, *how):
        features_ND[start : start + len(rows_BD)] = rows_BD
    return features_ND


def blocks(
    graph: Graph,
    images: Images,
    *,
    flips: bool,
    device: str = "cpu",
    wanted: str | None = None,
    what: str = "features",
) -> Iterator[Tensor]:
    """What `extract` gives, some rows at a time: all rows of a large set need gigabytes."""
    (name,) = known((wanted or graph.outputs[0],), graph.shapes, "the graph has no node or input")
    waiting: list[Tensor] = []
    for start, rows_BD in _batches(graph, images, name, flips, device, what, "fp32", BATCH):
        waiting.append(rows_BD)
        if len(waiting) * BATCH >= ROWS or start + len(rows_BD) == len(images):
            yield torch.cat(waiting)
            waiting.clear()


def _batches(
    graph: Graph,
    images: Images,
    name: str,
    flips: bool,
    device: str,
    what: str,
    precision: str,
    batch_size: int,
) -> Iterator[tuple[int, Tensor]]:
    """The place of the first image and the rows of each batch, in order."""
    graph.to(device).eval()
    kind, low = torch.device(device).type, precision == "bf16"
    flips = flips and not mirrors.answers_alike(graph, name)

    def rows_of(pixels: Tensor) -> Tensor:
        return graph(pixels, wanted=(name,))[name].flatten(1).float()

    def encode(start: int) -> Tensor:
        # both hold for a thread, so each says it
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=low):
            pixels = as_float(images.pixels[start : start + batch_size]).to(device)
            rows_BD = rows_of(pixels)
            if flips:
                rows_BD = (rows_BD + rows_of(pixels.flip(3))) / 2
            return rows_BD.cpu()

    starts = range(0, len(images), batch_size)
    with (
        stage(what, total=len(images), unit="images") as advance,
        one_batch_a_core(device) as cores,
    ):
        for start, rows_BD in in_threads(encode, starts, n_threads=cores, prepare=single_threaded):
            yield start, rows_BD
            advance(len(rows_BD))


def single_threaded() -> None:
    """Let this thread's operations run on one core."""
    torch.set_num_threads(1)


@contextmanager
def one_batch_a_core(device: str) -> Iterator[int]:
    """How many batches to run side by side: as many as PyTorch may use cores, one on a GPU.

    A hundred small operations in a row, each split over the cores, wait for one another most of
    the time; whole batches side by side do not.
    """
    n_threads = torch.get_num_threads()
    try:
        yield n_threads if device == "cpu" else 1
    finally:
        torch.set_num_threads(n_threads)
