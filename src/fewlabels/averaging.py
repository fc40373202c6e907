"""A moving average of a network's weights and running statistics, which answers better than they.

Source: Polyak and Juditsky, SIAM J. Control Optim. 30(4), 1992; with the running statistics of
batch norm averaged as well, Tarvainen and Valpola, NeurIPS 2017.
"""

import copy
from itertools import chain

import torch

from fewlabels.graph import Graph


class Averaged:
    """A copy of a graph, moved a little towards it after every step.

    Attributes
    ----------
    graph : the average, in evaluation mode
    from_new : whether the first weights are new ones, soon to be forgotten
    """

    def __init__(self, graph: Graph, keep: float, *, from_new: bool = True) -> None:
        self.from_new = from_new
        self.graph = copy.deepcopy(graph).requires_grad_(False).eval()
        self.keep = keep
        pairs = list(
            zip(
                chain(self.graph.parameters(), self.graph.buffers()),
                chain((p.detach() for p in graph.parameters()), graph.buffers()),
                strict=True,
            )
        )
        # counts of whole numbers have no average: they are taken over
        self.means, self.values = _columns([pair for pair in pairs if pair[0].is_floating_point()])
        self.counts, self.now = _columns(
            [pair for pair in pairs if not pair[0].is_floating_point()]
        )

    @torch.no_grad()
    def update(self, n_steps: int) -> None:
        """Take in the weights of the graph as they are; `n_steps` went before this step."""
        keep = keeping(self.keep, n_steps) if self.from_new else self.keep
        torch._foreach_lerp_(self.means, self.values, 1 - keep)
        if self.counts:
            torch._foreach_copy_(self.counts, self.now)

    @torch.no_grad()
    def give_back(self) -> None:
        """Put the average into the graph itself."""
        torch._foreach_copy_(self.values, self.means)


def keeping(keep: float, n_steps: int) -> float:
    """The part that the average keeps: less in the first steps, whose weights are soon forgotten.

    Source: `num_updates` of TensorFlow's ExponentialMovingAverage, min(keep, (1 + n) / (10 + n)).
    """
    return min(keep, (1 + n_steps) / (10 + n_steps))


def _columns(
    pairs: list[tuple[torch.Tensor, torch.Tensor]],
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    return [first for first, _ in pairs], [second for _, second in pairs]
