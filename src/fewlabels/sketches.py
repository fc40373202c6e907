"""Few numbers for each image, to compare images by: what a graph sees of them, projected.

Shapes: N images, B in a block, D features, K values of a sketch.
"""

import numpy as np
import torch
from torch import Tensor, nn

from fewlabels import features
from fewlabels.graph import Graph
from fewlabels.images import Images
from fewlabels.layers import Scale

N_VALUES = 512  # of a sketch


def last_features(graph: Graph) -> tuple[str, tuple[nn.Module, ...]]:
    """The node that the last linear layer of a network reads, and the modules from there on.

    Where the graph does not end in a linear layer, its output and no modules.
    """
    name, modules = graph.outputs[0], list[nn.Module]()
    while len(graph.sources.get(name, ())) == 1:
        module = graph.layers[name]
        if not isinstance(module, nn.Linear | Scale | nn.Identity):
            break
        modules.insert(0, module)
        (name,) = graph.sources[name]
        if isinstance(module, nn.Linear):
            return name, tuple(modules)
    return graph.outputs[0], ()


def projection(n_features: int, seed: int) -> Tensor | None:
    """A random (n_features, 512) that keeps distances; None where there are so few features.

    Source: Johnson and Lindenstrauss, Contemp. Math. 26, 1984.
    """
    if n_features <= N_VALUES:
        return None
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(n_features, N_VALUES, generator=draw) / N_VALUES**0.5


def sketches_by(
    graph: Graph, images: Images, *, flips: bool, device: str = "cpu", seed: int, what: str
) -> np.ndarray:
    """Of a graph's output: float32 (n_images, at most 512), block by block.

    device : "cpu" or "cuda"
    """
    project_DK = projection(int(np.prod(graph.shapes[graph.outputs[0]])), seed)
    rows = features.blocks(graph, images, flips=flips, device=device, what=what)
    sketches = [rows_BD if project_DK is None else rows_BD @ project_DK for rows_BD in rows]
    return torch.cat(sketches).numpy()
