"""A batch in parts side by side, a core each.

An operation that is split over the cores waits for the slowest at its end, and a step has hundreds:
two cores did 1.3 times the work of one. Parts of a batch wait for one another twice a step.

Shapes: N images of a batch.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from fewlabels.batch_statistics import of_each_batch
from fewlabels.features import single_threaded
from fewlabels.graph import Graph

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LEAST = 32  # images of a part: batch norm takes the statistics of each part


@contextmanager
def in_parts(graph: Graph, fabric: "Fabric") -> Iterator[nn.Module]:
    """The graph in the precision of the training, as a module that shares its batches out.

    Batches are whole on a GPU, under `torchrun`, on one core, and where the graph draws (dropout),
    as threads would take turns at the draws.

    The weights are the graph's own. Where batch norm takes the statistics of a batch it takes those
    of each part, and the graph's running statistics follow the first one.
    """
    draws = any(isinstance(layer, _DropoutNd) and layer.p > 0 for layer in graph.modules())
    whole = fabric.device.type != "cpu" or fabric.world_size > 1 or draws
    n_parts = 1 if whole else torch.get_num_threads()
    if n_parts == 1 and any(weight.requires_grad for weight in graph.parameters()):
        yield fabric.setup_module(graph)  # which averages the gradients of several processes
        return
    with ThreadPoolExecutor(n_parts, initializer=single_threaded) as pool:
        yield InParts([graph, *(sharing(graph) for _ in range(n_parts - 1))], pool, fabric.autocast)


@contextmanager
def teacher(graph: Graph, fabric: "Fabric") -> Iterator[nn.Module]:
    """A graph that does not learn, as it answers when it normalises each batch by its statistics.

    Those of an average of a network in training are of images that were changed more.
    """
    with of_each_batch(graph):
        answering = sharing(graph)  # which stays so when the graph itself is put back
    with in_parts(answering, fabric) as network:
        yield network


def sharing(graph: Graph) -> Graph:
    """A graph of the same weights, with running statistics of its own where they move."""
    shared: list[Tensor] = list(graph.parameters())
    for module in graph.modules():
        if not module.training:
            shared += module.buffers(recurse=False)
    return copy.deepcopy(graph, {id(tensor): tensor for tensor in shared})


class InParts(nn.Module):
    """Graphs of the same weights, each of which takes a part of every batch.

    Output, and gradients of the weights, are those of the parts one after another; the gradients
    are added up in the order of the parts, so a step is the same bit for bit every time.

    precision : gives a context for the forward pass
    """

    def __init__(
        self,
        graphs: Sequence[Graph],
        pool: ThreadPoolExecutor,
        precision: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        super().__init__()
        self.graphs, self.pool, self.precision = nn.ModuleList(graphs), pool, precision

    def forward(self, images: Tensor, wanted: Sequence[str] | None = None) -> Any:
        """As `Graph.forward`; what is `wanted` by name is computed of whole batches."""
        if wanted is not None:
            with self.precision():
                return self.graphs[0](images, wanted=wanted)
        n_parts = min(len(self.graphs), len(images) // LEAST)
        if n_parts < 2:
            return self.answers(self.graphs[0], images)
        weights = [weight for weight in self.graphs[0].parameters() if weight.requires_grad]
        if not torch.is_grad_enabled():
            weights = []
        return _SideBySide.apply(self, images.chunk(n_parts), *weights)

    def answers(self, graph: nn.Module, images: Tensor) -> Tensor:
        with self.precision():
            answers: Tensor = graph(images)
        return answers.float()


class _SideBySide(torch.autograd.Function):
    """Each part has a graph of autograd of its own, which ends in the same weights."""

    @staticmethod
    def forward(
        ctx: Any,
        network: InParts,
        parts: Sequence[Tensor],
        *weights: Tensor,
    ) -> Tensor:
        def answer(graph: nn.Module, part: Tensor) -> Tensor:
            with torch.set_grad_enabled(bool(weights)):  # a thread has a mode of its own
                return network.answers(graph, part)

        ctx.run, ctx.weights = network.pool.map, weights
        ctx.answers = list(network.pool.map(answer, network.graphs, parts))
        return torch.cat([answers.detach() for answers in ctx.answers])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        def backward(answers: Tensor, gradient: Tensor) -> tuple[Tensor | None, ...]:
            return torch.autograd.grad(answers, ctx.weights, gradient, allow_unused=True)

        (gradient,) = gradients
        of_parts = gradient.split([len(answers) for answers in ctx.answers])
        found = ctx.run(backward, ctx.answers, of_parts)
        return None, None, *(_added_up(some) for some in zip(*found, strict=True))


def _added_up(gradients: Sequence[Tensor | None]) -> Tensor | None:
    there = [gradient for gradient in gradients if gradient is not None]
    return sum(there[1:], there[0]) if there else None
