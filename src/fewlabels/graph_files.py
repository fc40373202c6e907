"""A graph on disk: `graph.json` (the DAG as data) and `weights.safetensors`. No pickle, no code.

A module is written as its kind and constructor arguments, which are read back from attributes of
the same names, and made again from a table of kinds; a file can name nothing outside that table.

    {"format": 1,
     "inputs": {"image": [3, 96, 96]}, "outputs": ["head"], "frozen": ["stem"],
     "nodes": [{"name": "stem", "module": 1, "inputs": ["image"]}, ...],
     "modules": [{"kind": "Conv2d", "arguments": {"in_channels": 3, ...}},
                 {"kind": "Sequential", "children": {"0": 0}}, ...],
     "tied": {"layers.head.weight": "layers.stem.0.weight"},
     "memory_order": {"layers.stem.0.weight": [0, 2, 3, 1]}}

Numbers in `nodes` and `children` are places in `modules`, so a shared module stands there once.
`tied` names each weight that is another one. `memory_order` has the dimensions of a weight that
does not lie in memory in the order of its dimensions (channels_last, a transposed matrix), the
slowest first: another order would give sums that differ in the last bit.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from fewlabels.errors import CheckpointError, ConfigError
from fewlabels.graph import Graph, node
from fewlabels.module_kinds import enter, module_at, modules_of
from fewlabels.module_kinds import register as register  # the door for classes of one's own
from fewlabels.whole_files import is_full, write_files

FORMAT = 1
DESCRIPTION, WEIGHTS = "graph.json", "weights.safetensors"


def save(graph: Graph, folder: Path) -> None:
    """Write `graph.json` and `weights.safetensors` into `folder`, made where it is absent.

    Both are written whole under other names before either takes its place.

    Raises
    ------
    ConfigError : a module of a kind that is not registered
    CheckpointError : the files cannot be written; those that were there stay as they were
    """
    described, weights = _describe(graph)
    files = {
        WEIGHTS: safetensors.torch.save(weights, {"graph": _fingerprint(described)}),
        DESCRIPTION: (json.dumps(described, indent=1) + "\n").encode(),
    }
    write_whole(Path(folder), files)


def load(folder: Path) -> Graph:
    """The graph that `save` wrote into `folder`: same outputs bit for bit, in evaluation mode.

    Raises CheckpointError if a file is missing, damaged, of a newer version, or of another graph.
    """
    path = Path(folder) / DESCRIPTION
    described = _read_description(path)
    try:
        with torch.random.fork_rng([]):  # constructors draw weights, which are replaced below
            graph = _build(described)
        tied, orders = _tied_and_orders(described, graph.state_dict())
    except (ConfigError, CheckpointError) as error:
        raise CheckpointError(f"{path} cannot be used: {error}") from error
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise CheckpointError(
            f"{path} does not describe a graph ({reason}): save the graph again"
        ) from error
    weights, fingerprint = _read_weights(path.with_name(WEIGHTS))
    expected = {k: value for k, value in graph.state_dict().items() if k not in tied}
    _check_fit(path.with_name(WEIGHTS), expected, weights)
    if fingerprint not in (None, _fingerprint(described)):
        raise CheckpointError(
            f"{path.with_name(WEIGHTS)} is of another graph than {path.name}: "
            "take both files from one save"
        )
    for key, order in orders.items():
        back = sorted(range(len(order)), key=order.__getitem__)
        weights[key] = weights[key].permute(order).contiguous().permute(back)
    graph.load_state_dict(weights, strict=False, assign=True)  # complete, but for the tied
    for key, first in tied.items():
        _place(graph, key, _find(graph, first))
    return graph.eval()


def fingerprint(graph: Graph) -> str:
    """A digest of the DAG and its modules, whatever their weights.

    Raises ConfigError for a module of a kind that is not registered.
    """
    return _fingerprint(_describe(graph)[0])


def _describe(graph: Graph) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The graph as data for JSON, and its weights by name, each once."""
    entries: list[dict[str, Any]] = []
    places: dict[nn.Module, int] = {}
    nodes = [
        {"name": name, "module": enter(module, name, entries, places), "inputs": sources}
        for (name, module), sources in zip(
            graph.layers.items(), graph.sources.values(), strict=True
        )
    ]
    first_key: dict[Tensor, str] = {}
    values = graph.state_dict(keep_vars=True)  # the very tensors: tied ones are recognised
    tied = {
        k: first for k, value in values.items() if (first := first_key.setdefault(value, k)) != k
    }
    described = {
        "format": FORMAT,
        "inputs": graph.inputs,
        "outputs": graph.outputs,
        "frozen": graph.frozen,
        "nodes": nodes,
        "modules": entries,
        "tied": tied,
        "memory_order": {
            key: _memory_order(values[key])
            for key in first_key.values()
            if not values[key].is_contiguous()
        },
    }
    # copies, as safetensors refuses tensors that lie in one memory
    copies = {k: values[k].detach().to("cpu", copy=True).contiguous() for k in first_key.values()}
    return described, copies


def _tied_and_orders(
    described: Mapping[str, Any], expected: Mapping[str, Tensor]
) -> tuple[dict[str, str], dict[str, list[int]]]:
    """Which weights are other ones, and how others lie in memory, where that fits the graph."""
    tied, orders = dict(described["tied"]), dict(described["memory_order"])
    for key, first in tied.items():
        if expected[key].shape != expected[first].shape:
            raise CheckpointError(f"it ties weights of unlike shapes, {key!r} and {first!r}")
    for key, order in orders.items():
        if key in tied or sorted(order) != list(range(expected[key].ndim)):
            raise CheckpointError(f"{order} is no order of the dimensions of {key!r}")
    return tied, orders


def _memory_order(value: Tensor) -> list[int]:
    """The dimensions, the one with the longest steps in memory first."""
    return sorted(range(value.ndim), key=lambda dimension: -value.stride()[dimension])


def _build(described: Mapping[str, Any]) -> Graph:
    modules = modules_of(described["modules"])
    graph = Graph(
        [
            (n["name"], node(module_at(modules, n["module"]), *n["inputs"]))
            for n in described["nodes"]
        ],
        inputs=described["inputs"],
        outputs=described["outputs"],
    )
    return graph.freeze(*described["frozen"]) if described["frozen"] else graph


def _find(graph: Graph, key: str) -> Tensor:
    parent, _, name = key.rpartition(".")
    return getattr(graph.get_submodule(parent), name)


def _place(graph: Graph, key: str, value: Tensor) -> None:
    parent, _, name = key.rpartition(".")
    setattr(graph.get_submodule(parent), name, value)


def _fingerprint(described: Mapping[str, Any]) -> str:
    """A digest of the DAG and its modules, kept with the weights to know their graph again."""
    kept = {key: described[key] for key in ("inputs", "outputs", "nodes", "modules", "tied")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _read_description(path: Path) -> dict[str, Any]:
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _unreadable(path, error) from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON ({error}): save the graph again") from error
    version = described.get("format") if isinstance(described, dict) else None
    if not isinstance(version, int) or version < 1:
        raise CheckpointError(f"{path} is not a graph's description: save the graph again")
    if version > FORMAT:
        raise CheckpointError(
            f"{path} has format {version}, and this version reads up to {FORMAT}: update fewlabels"
        )
    return described


def _read_weights(path: Path) -> tuple[dict[str, Tensor], str | None]:
    """The tensors by name, and the fingerprint of their graph if there is one."""
    try:
        with safe_open(path, framework="pt") as file:
            weights = {key: file.get_tensor(key) for key in file.keys()}
            return weights, (file.metadata() or {}).get("graph")
    except OSError as error:
        raise _unreadable(path, error) from error
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} was cut short or is damaged ({error}): copy it again, or save the graph again"
        ) from error


def _unreadable(path: Path, error: OSError) -> CheckpointError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return CheckpointError(
            f"{path} is missing: a saved graph is a folder with {DESCRIPTION} and {WEIGHTS}"
        )
    return CheckpointError(
        f"{path} cannot be read ({error}): mend its permissions or copy it again"
    )


def _check_fit(path: Path, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Refuse weights that lack a key of the graph, have one more, or another shape."""
    advice = "take both files from one save"
    for key in [*expected, *found]:
        if key not in found:
            raise CheckpointError(f"{path} lacks {key!r}, which its graph has: {advice}")
        if key not in expected:
            raise CheckpointError(f"{path} holds {key!r}, which its graph has not: {advice}")
        shapes = tuple(expected[key].shape), tuple(found[key].shape)
        if shapes[0] != shapes[1]:
            raise CheckpointError(
                f"{path} does not fit its graph: {key!r} is of shape {shapes[1]}, "
                f"not {shapes[0]}: {advice}"
            )


def write_whole(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write each file under another name, and when all are written give them theirs.

    Raises CheckpointError if they cannot be written; those that were there stay as they were.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_files({folder / name: content for name, content in files.items()})
    except OSError as error:
        need = sum(map(len, files.values())) / 2**20
        if is_full(error):
            reason = f"no space is left for {need:.1f} MiB: free some, or save elsewhere"
        else:
            reason = f"{error.strerror}: choose another folder"
        raise CheckpointError(
            f"cannot save into {folder}, {reason}; nothing was changed"
        ) from error
