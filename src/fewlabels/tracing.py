"""A graph run forwards and backwards once, and measured: where time, memory and gradients go.

Sizes are root mean squares (RMS) over all values of a tensor: of values on their way forwards, of
gradients on their way back, so that a person sees where they vanish.
"""

import math
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from fewlabels.errors import DataError
from fewlabels.graph import Graph
from fewlabels.graph_backward import (
    Edge,
    Ran,
    Sent,
    add_up,
    gradients_of_outputs,
    run_nodes,
    walk_back,
)
from fewlabels.graph_plans import needed
from fewlabels.progress import stage
from fewlabels.trace_losses import Loss

REPEATS = 3
ROWS = 8  # of a tensor, that are squared at a time
Key = TypeVar("Key")
Part = TypeVar("Part", Ran, Sent)


@dataclass(frozen=True, kw_only=True)
class NodeTrace:
    """A node or an input of the graph. None stands for what there is not: no gradient arrives, or
    the node leads to no output and was not run.

    shape : of its value, without the batch; parameters of a shared module count at its first node
    output_mib : memory of its value, for the whole batch, in MiB
    """

    name: str
    shape: tuple[int, ...]
    n_parameters: int
    frozen: bool
    forward_seconds: float | None
    backward_seconds: float | None
    output_mib: float | None
    value_rms: float | None
    gradient_rms: float | None


@dataclass(frozen=True, kw_only=True)
class EdgeTrace:
    """What goes along an edge: the value forwards, its gradient backwards."""

    source: str
    target: str
    position: int
    value_rms: float
    gradient_rms: float | None


@dataclass(frozen=True, kw_only=True)
class ParameterTrace:
    """A parameter; `frozen` ones have no gradient."""

    name: str
    node: str
    shape: tuple[int, ...]
    frozen: bool
    value_rms: float
    gradient_rms: float | None


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What one batch did in a graph; seconds are medians over repeats."""

    loss: str
    n_images: int
    nodes: tuple[NodeTrace, ...]
    edges: tuple[EdgeTrace, ...]
    parameters: tuple[ParameterTrace, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which has no word for what is not finite: that is a string, such as "nan"."""
        return _for_json(asdict(self))


def _for_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _for_json(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_for_json(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def trace(
    graph: Graph, images_NCHW: Tensor, loss: Loss, *, repeats: int = REPEATS, seed: int = 0
) -> Trace:
    """Run a batch through the graph in training mode, forwards and back, and measure.

    Frozen nodes stay in evaluation mode. Afterwards weights, running statistics, modes and the
    state of random generators are as they were; `seed` fixes what dropout draws.

    Parameters
    ----------
    graph : of one input, on the device of the images
    repeats : the first run's numbers are told; its seconds are not, as it warms up

    Raises DataError if images are of another shape, or fewer than 2, which batch norm cannot take.
    """
    (name,) = graph.inputs
    if images_NCHW.shape[1:] != graph.inputs[name]:
        expected = " x ".join(map(str, graph.inputs[name]))
        raise DataError(
            f"the network takes images of {expected}; got "
            f"{' x '.join(map(str, images_NCHW.shape[1:]))}: resize them"
        )
    if len(images_NCHW) < 2:
        raise DataError(f"a trace takes at least 2 images; got {len(images_NCHW)}: give more")
    inputs = {name: images_NCHW}
    with stage("tracing", total=1 + repeats, unit="runs") as advance, _as_it_was(graph):
        runs = []
        for _ in range(1 + repeats):
            runs.append(_run(graph, inputs, loss, seed))
            advance(1)
    return _told(graph, loss, len(images_NCHW), runs[0], runs[1:])


class _Run(NamedTuple):
    """Numbers by name of input, node or parameter; seconds of nodes that ran."""

    value_rms: dict[str, float]
    output_mib: dict[str, float]
    edges: dict[Edge, float]
    gradient_rms: dict[str, float]
    parameters: dict[str, float]
    forward: dict[str, float]
    backward: dict[str, float]


@contextmanager
def _as_it_was(graph: Graph) -> Iterator[None]:
    """Training mode inside the block; after it, buffers and modes are what they were."""
    kept = [(buffer, buffer.clone()) for buffer in graph.buffers()]
    modes = [(module, module.training) for module in graph.modules()]
    try:
        graph.train()
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        with torch.no_grad():
            for buffer, before in kept:
                buffer.copy_(before)


def _run(graph: Graph, inputs: dict[str, Tensor], loss: Loss, seed: int) -> _Run:
    device = next(iter(inputs.values())).device
    layers, order = dict(graph.layers.items()), needed(graph.outputs, graph.sources)
    forward: dict[str, float] = {}
    backward: dict[str, float] = {}
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)  # of dropout, in this block alone
        ran = list(_timed(run_nodes(order, graph.sources, layers, inputs), forward, device))
    values = {**inputs, **{one.name: one.output.detach() for one in ran}}
    pulls = loss.gradient({name: values[name] for name in graph.outputs})
    arriving = gradients_of_outputs(values, graph.outputs, pulls)
    gradients = add_up(
        _timed(walk_back(ran, arriving), backward, device),
        arriving,
        graph.shapes,
        graph.inputs,
        dict(graph.named_parameters()),
    )
    return _Run(
        value_rms=_sizes(values),
        output_mib={n: v.numel() * v.element_size() / 2**20 for n, v in values.items()},
        edges=_sizes(gradients.edges),
        gradient_rms=_sizes(gradients.values),
        parameters=_sizes(gradients.parameters),
        forward=forward,
        backward=backward,
    )


def _timed(
    parts: Iterator[Part], seconds: dict[str, float], device: torch.device
) -> Iterator[Part]:
    """The same parts, with the seconds that each took to come, by its name."""
    start = time.perf_counter()
    for part in parts:
        if device.type == "cuda":  # which only notes down what it shall do
            torch.cuda.synchronize(device)
        seconds[part.name] = time.perf_counter() - start
        yield part
        start = time.perf_counter()


def _sizes(tensors: Mapping[Key, Tensor]) -> dict[Key, float]:
    return {key: root_mean_square(tensor) for key, tensor in tensors.items()}


def root_mean_square(tensor: Tensor) -> float:
    """The size of a typical value of the tensor, in float64."""
    # some rows at a time: all of the values in float64 may be too many
    rows = tensor.detach().reshape(1, -1) if tensor.ndim < 2 else tensor.detach()
    squares = sum(part.double().square().sum().item() for part in rows.split(ROWS))
    return math.sqrt(squares / tensor.numel())


def _told(graph: Graph, loss: Loss, n_images: int, first: _Run, timed: list[_Run]) -> Trace:
    def seconds(which: str, name: str) -> float | None:
        took = [getattr(run, which)[name] for run in timed if name in getattr(run, which)]
        return statistics.median(took) if took else None

    facts = {fact.name: fact for fact in graph.describe()}
    nodes = []
    for name, shape in graph.shapes.items():
        fact = facts.get(name)
        owns = fact is not None and fact.shared_with is None
        nodes.append(
            NodeTrace(
                name=name,
                shape=shape,
                n_parameters=fact.n_parameters if fact is not None and owns else 0,
                frozen=fact is not None and fact.frozen,
                forward_seconds=seconds("forward", name),
                backward_seconds=seconds("backward", name),
                output_mib=first.output_mib.get(name),
                value_rms=first.value_rms.get(name),
                gradient_rms=first.gradient_rms.get(name),
            )
        )
    edges = [
        EdgeTrace(
            source=source,
            target=target,
            position=position,
            value_rms=first.value_rms[source],
            gradient_rms=first.edges.get(Edge(source, target, position)),
        )
        for target, sources in graph.sources.items()
        if target in first.value_rms
        for position, source in enumerate(sources)
    ]
    parameters = [
        ParameterTrace(
            name=name,
            node=name.split(".")[1],
            shape=tuple(parameter.shape),
            frozen=not parameter.requires_grad,
            value_rms=root_mean_square(parameter),
            gradient_rms=first.parameters.get(name),
        )
        for name, parameter in graph.named_parameters()
    ]
    return Trace(
        loss=loss.words,
        n_images=n_images,
        nodes=tuple(nodes),
        edges=tuple(edges),
        parameters=tuple(parameters),
    )
