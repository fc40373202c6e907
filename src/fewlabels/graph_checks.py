"""What a graph is checked for when it is built: names, an order, shapes; and a node's facts.

Shapes are without the batch dimension, which comes first in every tensor.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter

import torch
from torch import Tensor, nn

from fewlabels.errors import ConfigError

Shape = tuple[int, ...]
PROBE_BATCH = 2  # not 1: a module that mixes images of a batch would not be noticed


@dataclass(frozen=True, kw_only=True)
class NodeFacts:
    """What `Graph.describe` tells of a node; `shape` is its output's, without the batch.

    shared_with : the first node with the very same module (whose values are counted there)
    """

    name: str
    module: nn.Module
    inputs: tuple[str, ...]
    shape: Shape
    n_parameters: int
    n_buffer_values: int
    frozen: bool
    is_output: bool
    shared_with: str | None


def known(names: str | Sequence[str], there: Iterable[str], what: str) -> tuple[str, ...]:
    """`names` as a tuple; ConfigError, `what` and the nearest name, if one is not `there`."""
    names, there = (names,) if isinstance(names, str) else tuple(names), list(there)
    for name in names:
        if name not in there:
            close = get_close_matches(str(name), there, 1)
            advice = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(there)}"
            raise ConfigError(f"{what} {name!r}: {advice}")
    return names


def check_inputs(inputs: Mapping[str, Sequence[int]]) -> dict[str, Shape]:
    """The shape of each input as a tuple, all of positive integers."""
    for name, shape in inputs.items():
        if not all(isinstance(size, int) and size > 0 for size in shape):
            raise ConfigError(f"input {name!r} needs a shape of positive integers; got {shape}")
    return {name: tuple(shape) for name, shape in inputs.items()}


def check_names(names: Sequence[str], sources: Mapping[str, Sequence[str]]) -> None:
    """Refuse clashes among `names` (of inputs and nodes) and nodes that read what is not there."""
    for name in names:
        if not isinstance(name, str) or not name.isprintable():
            raise ConfigError(f"a name is a string of printable characters; got {name!r}")
        if names.count(name) > 1:
            raise ConfigError(
                f"two nodes, or a node and an input, are named {name!r}: rename one of them"
            )
    for name, read in sources.items():
        known(read, names, f"node {name!r} reads what is not there,")


def execution_order(inputs: Iterable[str], sources: Mapping[str, Sequence[str]]) -> list[str]:
    """The order of declaration where it can be run, else a sorted one; ConfigError at a cycle."""
    ready = set(inputs)
    for name, read in sources.items():
        if not ready.issuperset(read):
            break
        ready.add(name)
    else:
        return list(sources)
    try:
        return [name for name in TopologicalSorter(sources).static_order() if name in sources]
    except CycleError as error:
        raise ConfigError(
            f"the nodes form a cycle: {' -> '.join(error.args[1])}: "
            "a node can read only what does not depend on it"
        ) from None


def infer_shapes(
    modules: Mapping[str, nn.Module],
    sources: Mapping[str, Sequence[str]],
    inputs: Mapping[str, Shape],
) -> dict[str, Shape]:
    """The shape of every input and of every node's output, found without computing.

    Each module runs in evaluation mode on tensors of the meta device, which have a shape and no
    values; one that needs values (or makes tensors of its own on a device) runs on zeros instead.
    Weights, buffers, training flags and the state of random generators stay as they are.

    Raises ConfigError with the node, its module, its input shapes and PyTorch's reason.
    """
    with torch.inference_mode(False), torch.no_grad():
        probes = _probes(modules, sources, inputs)
    return {name: tuple(probe.shape[1:]) for name, probe in probes.items()}


def _probes(
    modules: Mapping[str, nn.Module],
    sources: Mapping[str, Sequence[str]],
    inputs: Mapping[str, Shape],
) -> dict[str, Tensor]:
    """A tensor on the meta device for every input and every node's output."""
    dtype = next((p.dtype for m in modules.values() for p in m.parameters()), None)
    dtype = dtype if dtype is not None and dtype.is_floating_point else torch.get_default_dtype()
    probes = {
        name: torch.empty(PROBE_BATCH, *shape, dtype=dtype, device="meta")
        for name, shape in inputs.items()
    }
    for name, module in modules.items():
        read = [probes[source] for source in sources[name]]
        got = ", ".join(
            f"{source!r} of shape {tuple(probe.shape[1:])}"
            for source, probe in zip(sources[name], read, strict=True)
        )
        try:
            probes[name] = _probe(module, read)
        except Exception as error:
            # one line of PyTorch's reason; the whole of it stays in the chained error
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(
                "."
            )
            raise ConfigError(
                f"node {name!r}, {_in_one_line(module)}, cannot take {got}: {reason}. "
                "Change the module or what it reads"
            ) from error
    return probes


def _probe(module: nn.Module, read: list[Tensor]) -> Tensor:
    """A tensor on the meta device of the shape and dtype that `module` gives for such inputs."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    device = next((tensor.device for tensor in tensors.values()), torch.device("cpu"))
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            try:
                meta = {key: tensor.detach().to("meta") for key, tensor in tensors.items()}
                given = tuple(torch.empty_like(tensor) for tensor in read)
                output = torch.func.functional_call(module, meta, given)
            except Exception:
                copied = {key: buffer.clone() for key, buffer in module.named_buffers()}
                given = tuple(torch.zeros_like(tensor, device=device) for tensor in read)
                output = torch.func.functional_call(module, copied, given)
    finally:
        for part, mode in modes:
            part.training = mode
    if any(tensor._version > 0 for tensor in given):  # a count of the writes to its memory
        raise ValueError("it writes into its input, which others may ask for: use inplace=False")
    if not isinstance(output, Tensor):
        raise ValueError(f"it gives a {type(output).__name__}, and a node gives one tensor")
    if output.ndim == 0 or output.shape[0] != PROBE_BATCH:
        raise ValueError(
            f"for {PROBE_BATCH} images it gives shape {tuple(output.shape)}, and a node keeps "
            "the batch dimension first"
        )
    return output.to("meta")


def _in_one_line(module: nn.Module) -> str:
    return " ".join(str(module).split())[:120]
