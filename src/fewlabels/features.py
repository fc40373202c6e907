"""Features: a graph and images to one row of numbers per image, a batch at a time."""

import numpy as np
import torch
from torch import Tensor

from fewlabels.graph import Graph
from fewlabels.graph_checks import known
from fewlabels.images import Images, as_float
from fewlabels.progress import stage

BATCH = 64  # images


@torch.inference_mode()
def extract(
    graph: Graph,
    images: Images,
    *,
    flips: bool,
    device: str = "cpu",
    wanted: str | None = None,
    what: str = "features",
) -> Tensor:
    """The graph's output for every image, as one row each.

    Parameters
    ----------
    graph : moved to `device` and set to evaluation
    flips : average the output for each image and for its mirror image, which makes the features
        the same for both; it halves the work of a head that would else learn from both
    wanted : name of the node to read; the graph's output if None
    what : name of the stage, for the progress bar

    Returns
    -------
    features_ND : float32 tensor of shape (n_images, n_features), on the CPU

    Raises ConfigError if the graph has no node `wanted`, DataError if it is for another image size.
    """
    graph.to(device).eval()
    (name,) = known((wanted or graph.outputs[0],), graph.shapes, "the graph has no node or input")
    features_ND = torch.empty(len(images), int(np.prod(graph.shapes[name])))
    with stage(what, total=len(images), unit="images") as advance:
        for start in range(0, len(images), BATCH):
            pixels = as_float(images.pixels[start : start + BATCH]).to(device)
            features = graph(pixels, wanted=(name,))[name].flatten(1)
            if flips:
                features = (features + graph(pixels.flip(3), wanted=(name,))[name].flatten(1)) / 2
            features_ND[start : start + len(pixels)] = features.cpu()
            advance(len(pixels))
    return features_ND
