"""Modules as data: the kinds that a file may name, and their constructor arguments.

Kinds stand in one table, name -> class; nothing outside of it is ever made from a file.
"""

import inspect
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from torch import Tensor, nn

from fewlabels.errors import CheckpointError, ConfigError

NOT_KEPT = ("device", "dtype")  # the weights know their dtype; the device is the reader's choice

_KINDS: dict[str, type[nn.Module]] = {
    kind.__name__: kind
    for kind in (
        nn.AdaptiveAvgPool2d,
        nn.AdaptiveMaxPool2d,
        nn.AvgPool2d,
        nn.BatchNorm1d,
        nn.BatchNorm2d,
        nn.Conv2d,
        nn.Dropout,
        nn.Dropout2d,
        nn.Flatten,
        nn.GELU,
        nn.GroupNorm,
        nn.Identity,
        nn.LayerNorm,
        nn.LeakyReLU,
        nn.Linear,
        nn.MaxPool2d,
        nn.ReLU,
        nn.Sequential,
        nn.SiLU,
        nn.Sigmoid,
        nn.Tanh,
        nn.Upsample,
    )
}


Kind = TypeVar("Kind", bound=type[nn.Module])


def register(kind: Kind) -> Kind:
    """A class decorator: graphs with modules of this class can be saved and loaded.

    The class keeps its constructor arguments as attributes of the same names: numbers, strings,
    bools, None, or lists and tuples of these. Its tensors are parameters and buffers, whose
    shapes follow from the arguments. (An argument `bias` may be kept as a parameter or None.)

    Raises ValueError if another class has this name.
    """
    if _KINDS.setdefault(kind.__name__, kind) is not kind:
        raise ValueError(f"a kind of module named {kind.__name__} is there: name this one else")
    return kind


def enter(
    module: nn.Module, name: str, entries: list[dict[str, Any]], places: dict[nn.Module, int]
) -> int:
    """The module's place in `entries`, where it is put (its children first) unless it is there."""
    if module not in places:
        kind = type(module).__name__
        if _KINDS.get(kind) is not type(module):
            raise ConfigError(
                f"node {name!r} cannot be saved: {kind} is not a registered kind of module; "
                "write @register (of fewlabels.graph_files) above its class"
            )
        entry: dict[str, Any] = {"kind": kind}
        if type(module) is nn.Sequential:
            children = module._modules.items()  # named_children leaves out what stands there twice
            entry["children"] = {
                key: enter(child, name, entries, places)
                for key, child in children
                if child is not None
            }
        else:
            entry["arguments"] = _arguments(module, name)
        places[module] = len(entries)
        entries.append(entry)
    return places[module]


def _arguments(module: nn.Module, name: str) -> dict[str, Any]:
    """The constructor arguments, read back from the attributes of the same names."""
    kept: dict[str, Any] = {}
    of_torch = type(module).__module__.startswith("torch.")
    for argument, parameter in inspect.signature(type(module)).parameters.items():
        if argument in NOT_KEPT or parameter.kind in (
            inspect.Parameter.VAR_POSITIONAL,
            inspect.Parameter.VAR_KEYWORD,
        ):
            continue
        value = getattr(module, argument, module)  # the module itself is surely not plain
        if argument == "bias" and (value is None or isinstance(value, Tensor)):
            value = value is not None
        if not _is_plain(value):
            raise ConfigError(
                f"node {name!r} cannot be saved: {type(module).__name__} needs an attribute "
                f"{argument!r} of numbers, strings, bools or None, as its constructor was given"
            )
        # an older torch does not know the newest arguments, and has the same defaults
        if not (of_torch and value == parameter.default):
            kept[argument] = value
    return kept


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


def modules_of(entries: Sequence[Mapping[str, Any]]) -> list[nn.Module]:
    """The modules that `enter` described, each made once, with new weights.

    Raises CheckpointError if a kind is unknown.
    """
    modules: list[nn.Module] = []
    for entry in entries:
        kind = entry["kind"]
        if kind not in _KINDS:
            raise CheckpointError(
                f"it has a module of the unknown kind {kind!r}: import the file that registers "
                f"it, or update fewlabels (known: {', '.join(sorted(_KINDS))})"
            )
        if _KINDS[kind] is nn.Sequential:
            children = {key: module_at(modules, place) for key, place in entry["children"].items()}
            modules.append(nn.Sequential(OrderedDict(children)))
        else:
            arguments = {key: _as_tuples(value) for key, value in entry["arguments"].items()}
            modules.append(_KINDS[kind](**arguments))
    return modules


def module_at(modules: list[nn.Module], place: int) -> nn.Module:
    if place not in range(len(modules)):
        raise CheckpointError(f"module {place} is asked for before it is described")
    return modules[place]
