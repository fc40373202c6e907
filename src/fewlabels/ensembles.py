"""Networks of one kind that answer together, as one graph: its logits are the mean of theirs.

Networks that learned the same labels err on different images where they learned differently, and
their mean is right more often than any of them (Hansen and Salamon, 1990).

Shapes: K networks, D values below each one's last layer, L classes.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from fewlabels.architectures import drawn_by
from fewlabels.augment import Augmentation
from fewlabels.graph import Graph, Node, node
from fewlabels.layers import Concat, Scale

LABEL_FREE = ("first", "first_gelu")  # what all networks share where it is frozen
LAST = ("flat", "linear", "logits")


def joined(networks: Sequence[Graph]) -> Graph:
    """One graph of networks of the same nodes, which ends in one last layer over all of them.

    With W_k and f_k the last weights and values of network k, and s the scale of its logits,

        mean over k of s W_k f_k = s / K [W_1 ... W_K] [f_1; ...; f_K]

    so the last layer reads all K D values. Nodes of network k are called "network{k}_...". A
    single network is given back as it is.

    Source: Hansen and Salamon, Neural network ensembles, IEEE TPAMI 12, 1990.
    """
    if len(networks) == 1:
        return networks[0]
    before = networks[0]
    shared = LABEL_FREE if LABEL_FREE[0] in before.frozen else ()
    nodes: dict[str, Node] = {name: before.nodes[name] for name in shared}
    flat = []
    for number, network in enumerate(networks, start=1):
        names = {name: f"network{number}_{name}" for name in network.nodes if name not in shared}
        for name, one in network.nodes.items():
            if name not in (*shared, *LAST[1:]):
                inputs = [names.get(source, source) for source in one.inputs]
                nodes[names[name]] = node(one.module, *inputs)
        flat.append(names[LAST[0]])
    scale, last = before.layers["logits"], [network.layers["linear"] for network in networks]
    assert isinstance(scale, Scale), "networks end in scaled logits"
    whole_LE = torch.cat([one.get_parameter("weight") for one in last], 1)
    with drawn_by(0):  # what is drawn is written over
        linear = nn.Linear(whole_LE.shape[1], whole_LE.shape[0], bias=False).to(whole_LE.device)
    with torch.no_grad():
        linear.weight.copy_(whole_LE)
    nodes |= {
        "flat": node(Concat(), *flat),
        "linear": node(linear, "flat"),
        "logits": node(Scale(scale.factor / len(networks)), "linear"),
    }
    return Graph(nodes, before.inputs, ("logits",)).freeze(*shared[:1]).eval()


def variants(augmentation: Augmentation, n_networks: int) -> list[Augmentation]:
    """How the images of each network are changed: as told for one, for several in unlike tones.

    From never to twice as often as told: networks of the same changes err so much alike that two
    together gained a third of what two of unlike ones did (docs/accuracy.md).
    """
    if n_networks == 1:
        return [augmentation]
    often = np.linspace(0, min(1.0, 2 * augmentation.tones), n_networks)
    return [replace(augmentation, tones=float(tones)) for tones in often]
