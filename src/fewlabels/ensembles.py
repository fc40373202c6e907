"""Networks of one kind that answer together, as one graph: its logits are the mean of theirs.

Networks that learned the same labels err on different images where they learned differently, and
their mean is right more often than any of them (Hansen and Salamon, 1990).

Shapes: K networks, D values below each one's last layer, L classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from fewlabels.architectures import drawn_by
from fewlabels.augment import Augmentation
from fewlabels.colours import LUMA
from fewlabels.graph import Graph, Node, node
from fewlabels.layers import Concat, Scale

LABEL_FREE = ("first", "first_gelu")  # what all networks share where it is frozen
LAST = ("flat", "linear", "logits")
GRAY = "gray"


@dataclass(frozen=True, kw_only=True)
class Member:
    """What one of several networks learns from: how its images are changed, and without colours?"""

    changes: Augmentation
    gray: bool = False

    def network(self, new: Graph) -> Graph:
        """The new network as this member sees images."""
        return without_colours(new) if self.gray else new


def members(augmentation: Augmentation, n_networks: int) -> list[Member]:
    """As told for one network; several in turns without tones, without colours, and twice as told.

    Networks of the same changes err so much alike that two together gained half of what one
    without tones and one without colours did (docs/accuracy.md).
    """
    told = Member(changes=augmentation)
    if n_networks == 1:
        return [told]
    plain = Member(changes=replace(augmentation, tones=0.0))
    turns = (plain, replace(told, gray=True), told, told)
    return [turns[number % len(turns)] for number in range(n_networks)]


def without_colours(network: Graph) -> Graph:
    """The network, with the same weights, of images as a gray photograph has them.

    Each of the three channels is 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), after all changes.
    """
    with drawn_by(0):  # what is drawn is written over
        gray = nn.Conv2d(3, 3, 1, bias=False)
    with torch.no_grad():
        gray.weight.copy_(torch.tensor(LUMA).view(1, 3, 1, 1))
    (image,) = network.inputs
    nodes = {GRAY: node(gray, image)}
    for name, one in network.nodes.items():
        inputs = [GRAY if source == image else source for source in one.inputs]
        nodes[name] = node(one.module, *inputs)
    return Graph(nodes, network.inputs, network.outputs).freeze(GRAY, *network.frozen)


def joined(networks: Sequence[Graph], weights: Sequence[float] | None = None) -> Graph:
    """One graph of networks of the same nodes, which ends in one last layer over all of them.

    With W_k and f_k the last weights and values of network k, s the scale of its logits, and p_k
    what these weigh,

        sum over k of p_k s W_k f_k = s / K [K p_1 W_1 ... K p_K W_K] [f_1; ...; f_K]

    so the last layer reads all K D values. Nodes of network k are called "network{k}_...". A
    single network is given back as it is.

    Parameters
    ----------
    weights : p_k of several networks; 1 / K each if None, so that the logits are the mean of theirs

    Source: Hansen and Salamon, Neural network ensembles, IEEE TPAMI 12, 1990.
    """
    if len(networks) == 1:
        return networks[0]
    nodes: dict[str, Node] = {}
    flat, frozen = [], []
    for number, network in enumerate(networks, start=1):
        sees_colours = GRAY not in network.nodes
        shared = LABEL_FREE if sees_colours and LABEL_FREE[0] in network.frozen else ()
        names = {
            name: name if name in shared else f"network{number}_{name}" for name in network.nodes
        }
        for name, one in network.nodes.items():
            if name not in LAST[1:]:
                inputs = [names.get(source, source) for source in one.inputs]
                nodes.setdefault(names[name], node(one.module, *inputs))
        flat.append(names[LAST[0]])
        frozen += [names[name] for name in network.frozen if names[name] not in frozen]
    before = networks[0]
    scale, last = before.layers["logits"], [network.layers["linear"] for network in networks]
    assert isinstance(scale, Scale), "networks end in scaled logits"
    weights = weights or [1 / len(networks)] * len(networks)
    whole_LE = torch.cat(
        [
            len(networks) * weight * one.get_parameter("weight")
            for weight, one in zip(weights, last, strict=True)
        ],
        1,
    )
    with drawn_by(0):  # what is drawn is written over
        linear = nn.Linear(whole_LE.shape[1], whole_LE.shape[0], bias=False).to(whole_LE.device)
    with torch.no_grad():
        linear.weight.copy_(whole_LE)
    nodes |= {
        "flat": node(Concat(), *flat),
        "linear": node(linear, "flat"),
        "logits": node(Scale(scale.factor / len(networks)), "linear"),
    }
    graph = Graph(nodes, before.inputs, ("logits",)).eval()
    return graph.freeze(*frozen) if frozen else graph
