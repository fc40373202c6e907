"""Backpropagation through the DAG, node by node, so that it can be seen.

    outputs = graph.record(images)                # forward; every node stands alone
    gradients = graph.backward(outputs - target)  # of half the squared distance, say
    gradients.edges["stem", "left", 0]            # what "left" sends back to "stem"
    gradients.values["stem"]                      # the sum of what its readers send back
    gradients.parameters["layers.stem.weight"]

With g(v) the gradient of the loss with respect to the value v, and J(n, i) the Jacobian of node n
with respect to its input i, the nodes are taken in reverse order of execution:

    g(edge v -> n at i) = J(n, i)^T g(n)
    g(v) = the loss gradient, if v is an output, + the sum over the edges that leave v
    g(p) = the sum over the nodes that use the parameter p of J(n, p)^T g(n)

PyTorch gives the products J^T g of one module at a time; the walk and the sums are made here.
What no gradient reaches (a node that leads to no output, a whole number, a frozen parameter) has
no entry. Source: Rumelhart, Hinton and Williams, Nature 323, 1986; over a DAG, Werbos 1974.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fewlabels.errors import DataError
from fewlabels.graph_checks import known
from fewlabels.graph_plans import needed

LossGradient = Tensor | Sequence[Tensor] | Mapping[str, Tensor]


class Edge(NamedTuple):
    """That `target` reads `source`, as the input at `position` (from 0) among those it reads."""

    source: str
    target: str
    position: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Gradients:
    """Gradients of the loss, each of the shape of what it is the gradient of.

    edges : one for each time that a node reads a value, in order of execution
    values : of inputs and nodes by name: the sum over its edges, and the loss gradient of an output
    inputs : those of `values` that are inputs of the graph
    parameters : by their names in `named_parameters`

    Tensors may be shared among the entries: change a copy.
    """

    edges: dict[Edge, Tensor]
    values: dict[str, Tensor]
    inputs: dict[str, Tensor]
    parameters: dict[str, Tensor]


class Ran(NamedTuple):
    """A node that has run; only `inputs` and `output` know of each other."""

    name: str
    module: nn.Module
    sources: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    output: Tensor


@dataclass(kw_only=True, eq=False)
class Recording:
    """What a forward left behind for one backward: nodes that ran, and the values of outputs."""

    ran: list[Ran]
    outputs: dict[str, Tensor]

    def __reduce__(self) -> tuple[type, tuple[()]]:
        # PyTorch copies no tensor that has a history: a copied graph starts without a recording
        return type(None), ()


class Sent(NamedTuple):
    """What a node sends back: along its edges, and to the parameters of its module."""

    name: str
    edges: dict[Edge, Tensor]
    parameters: dict[nn.Parameter, Tensor]


def run_nodes(
    order: Sequence[str],
    sources: Mapping[str, tuple[str, ...]],
    layers: Mapping[str, nn.Module],
    inputs: Mapping[str, Tensor],
) -> Iterator[Ran]:
    """Run each node of `order`, when it is asked for, on values that know of no history."""
    values = dict(inputs)
    for name in order:
        with torch.inference_mode(False), torch.enable_grad():
            # the same value read twice is two inputs, each with a gradient of its own
            read = tuple(_without_history(values[source]) for source in sources[name])
            output = layers[name](*read)
        values[name] = output.detach()
        yield Ran(name, layers[name], sources[name], read, output)


def _without_history(value: Tensor) -> Tensor:
    """The same numbers as the start of a history, where numbers have a gradient."""
    start = value.clone() if value.is_inference() else value.detach()
    return start.requires_grad_() if start.is_floating_point() or start.is_complex() else start


def record(
    sources: Mapping[str, tuple[str, ...]],
    layers: Mapping[str, nn.Module],
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
) -> Recording:
    """Run the nodes that `outputs` need, and keep what `walk_back` does."""
    ran = list(run_nodes(needed(outputs, sources), sources, layers, inputs))
    values = {**inputs, **{one.name: one.output for one in ran}}
    return Recording(ran=ran, outputs={name: values[name].detach() for name in outputs})


def add_up(
    walk: Iterator[Sent],
    values: dict[str, Tensor],
    order: Iterable[str],
    inputs: Iterable[str],
    parameters: Mapping[str, nn.Parameter],
) -> Gradients:
    """Take the whole walk, of which `values` are the gradients; add up at parameters, and name."""
    sent = list(walk)
    sums: dict[nn.Parameter, Tensor] = {}
    for parameter, gradient in (pair for one in sent for pair in one.parameters.items()):
        _add(sums, parameter, gradient)
    return Gradients(
        edges={edge: g for one in reversed(sent) for edge, g in one.edges.items()},
        values={name: values[name] for name in order if name in values},
        inputs={name: values[name] for name in inputs if name in values},
        parameters={name: sums[one] for name, one in parameters.items() if one in sums},
    )


def gradients_of_outputs(
    values: Mapping[str, Tensor], outputs: Sequence[str], loss_gradient: LossGradient
) -> dict[str, Tensor]:
    """The loss gradient by name of output, where it fits `values`.

    Raises DataError for another number or shape, ConfigError for a name that is no output.
    """
    if isinstance(loss_gradient, Mapping):
        known(list(loss_gradient), values, "the graph has no output")
        pairs: Iterable[tuple[str, Tensor]] = loss_gradient.items()
    else:
        given = [loss_gradient] if isinstance(loss_gradient, Tensor) else list(loss_gradient)
        if len(given) != len(outputs):
            raise DataError(
                f"the loss has a gradient for each output, {', '.join(outputs)}; got {len(given)}: "
                "give a tuple of them in this order, or a dict by name"
            )
        pairs = zip(outputs, given, strict=True)
    arriving: dict[str, Tensor] = {}
    for name, gradient in pairs:
        if not isinstance(gradient, Tensor):
            raise TypeError(f"a gradient is a tensor; got {type(gradient).__name__} for {name!r}")
        if gradient.shape != values[name].shape:
            raise DataError(
                f"output {name!r} is of shape {tuple(values[name].shape)}, and so is its gradient; "
                f"got {tuple(gradient.shape)}: give the gradient of the loss for every value of it"
            )
        _add(arriving, name, gradient.detach().to(values[name]))
    return arriving


def walk_back(ran: list[Ran], values: dict[str, Tensor]) -> Iterator[Sent]:
    """Take the nodes from the end of `ran`, and yield what each sends back when it is asked for.

    values : name -> gradient, of the outputs at the start; what is sent along edges is added
    """
    while ran:
        one = ran.pop()  # its memory is free when it has sent
        if one.name not in values or not one.output.requires_grad:
            continue
        places = [i for i, given in enumerate(one.inputs) if given.requires_grad]
        parameters = [p for p in one.module.parameters() if p.requires_grad]
        found = torch.autograd.grad(
            one.output,
            [*(one.inputs[i] for i in places), *parameters],
            values[one.name],
            allow_unused=True,
        )
        edges = {
            Edge(one.sources[i], one.name, i): gradient
            for i, gradient in zip(places, found, strict=False)
            if gradient is not None
        }
        for edge, gradient in edges.items():
            _add(values, edge.source, gradient)
        of_parameters = zip(parameters, found[len(places) :], strict=True)
        yield Sent(one.name, edges, {p: g for p, g in of_parameters if g is not None})


def _add(sums: dict[Any, Tensor], key: object, gradient: Tensor) -> None:
    # never in place: PyTorch may hand out one tensor twice, or a view of one number
    sums[key] = sums[key] + gradient if key in sums else gradient
