"""A committee of two: a network that learned from labels, and a head on features learned without.

They err on different images, so that both together are right more often than either. Each gives
calibrated probabilities, and the committee's are their product, brought to add up to 1:

    answers = logits / t1 + w * head's answers / t2

with the temperatures t1 and t2 of the two and a weight w under 1, as what both know would count
twice and the network knows more; docs/accuracy.md tells what several weights gave. It is one graph
and one head, as every other model.

Shapes: N images, D features, L classes.
Source: Hinton, Training products of experts, Neural Computation 14, 2002; with weights, Heskes,
Selecting weighting factors in logarithmic opinion pools, NIPS 1997; committees of k-means networks,
Miclut 2014.
"""

from dataclasses import replace

import torch
from torch import Tensor

from fewlabels import heads
from fewlabels.calibration import fit_temperature
from fewlabels.errors import ConfigError
from fewlabels.graph import Graph, node
from fewlabels.heads import Head
from fewlabels.layers import Concat

WEIGHT = 0.3  # of the head on features, where the network has 1
OUTPUT = "committee"  # the node of what both members tell: logits (L,), then features (D,)


def joined_graph(network: Graph, features: Graph) -> Graph:
    """The frozen graph of both, over one image: a network's logits, then features, in one row.

    It shares the modules of both. Raises ConfigError where they name nodes alike.
    """
    alike = sorted(set(network.layers) & set(features.layers))
    if alike:
        raise ConfigError(f"both members of a committee have nodes called {', '.join(alike)}")
    (logits,), (rows,) = network.outputs, features.outputs
    nodes = {**features.nodes, **network.nodes, OUTPUT: node(Concat(), logits, rows)}
    return Graph(nodes, network.inputs, (OUTPUT,)).freeze()


def joined_head(network: Head, other: Head) -> Head:
    """The head of both: it reads logits and then features, and multiplies the probabilities.

    Parameters
    ----------
    network : a linear head, as that of a network's logits; other : of any kind

    Returns
    -------
    Head of the kind of `other`, of temperature 1 and without `none_below`: see `calibrated`
    """
    first, second = network.tensors, other.tensors
    t1, t2 = network.temperature, other.temperature / WEIGHT
    told = {"bias": first["bias"] / t1 + second["bias"] / t2}
    if other.kind == "kernel":
        told |= {"duals": second["duals"] / t2, "direct": first["weights"] / t1}
    else:
        told["weights"] = torch.cat([first["weights"] / t1, second["weights"] / t2])
    for name in ("mean", "scale"):
        told[name] = torch.cat([first[name], second[name]])
    return replace(other, tensors={**second, **told}, temperature=1.0, none_below=0.0)


def calibrated(head: Head, rows_ND: Tensor, labels_N: Tensor) -> Head:
    """The head with the temperature, and the bound for none of the classes, that fit these images.

    Parameters
    ----------
    rows_ND : what the head reads of images, at least one, that neither member learned from
    """
    answers_NL = head.answers(rows_ND)
    temperature = fit_temperature(answers_NL, labels_N)
    none_below = heads.none_threshold((answers_NL / temperature).softmax(1))
    return replace(head, temperature=temperature, none_below=none_below)
