"""Trained layers over whole images, without what was above them: images -> features for a head.

Every graph reads "image" (3, height, width) and ends in "features", with a node "featuresN" for
each layer; it shares the weights of the trained one, and so freezes them.
"""

from collections.abc import Mapping, Sequence

from fewlabels.graph import Graph, Node, node
from fewlabels.layers import Concat, GridFeatures


def exemplar_features(network: Graph, image_size: tuple[int, int]) -> Graph:
    """Of an Exemplar-CNN over images at least as large as its surrogates.

    Source: Dosovitskiy et al., NIPS 2014, section 4.1 (4-quadrant max pooling of all layers).
    """
    nodes = {
        name: one
        for name, one in network.nodes.items()
        if name.startswith(("conv", "norm", "pool", "full"))
    }
    layers = [name for name in nodes if name.startswith("norm") or name == "full_norm"]
    return _in_quarters(nodes, layers, image_size)


def whitened_features(network: Graph, image_size: tuple[int, int]) -> Graph:
    """Of the whitened network: what each of its stages ends in."""
    nodes = {
        name: one for name, one in network.nodes.items() if name.startswith(("first", "stage"))
    }
    return _in_quarters(nodes, [name for name in nodes if _is_stage(name)], image_size)


def _is_stage(name: str) -> bool:
    return name.startswith("stage") and "_" not in name


def _in_quarters(
    nodes: Mapping[str, Node], layers: Sequence[str], image_size: tuple[int, int]
) -> Graph:
    """The highest answer in each quarter, of every layer; in the whole where it is one place."""
    inputs = {"image": (3, *image_size)}
    shapes = Graph(nodes, inputs, (layers[-1],)).shapes
    parts: dict[str, Node] = {}
    for number, name in enumerate(layers, start=1):
        grid = 2 if min(shapes[name][1:]) > 1 else 1
        parts[f"features{number}"] = node(GridFeatures((grid,), "max"), name)
    whole = {**nodes, **parts, "features": node(Concat(), *parts)}
    return Graph(whole, inputs, ("features",)).freeze()
