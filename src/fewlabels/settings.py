"""Settings as data: every frozen dataclass of a recipe -> names, texts and plain dicts, and back.

A recipe has parts (`filters`, `training`, ...), each a dataclass; a setting is called PART.FIELD.
A part may hold a tuple of dataclasses (the layers of the filters), whose fields are then settings
of the part with a value for each.
"""

import difflib
import math
import re
import types
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from fewlabels.errors import ConfigError

Whole = TypeVar("Whole")


def as_plain(whole: Any) -> dict[str, Any]:
    """Nested dicts, lists, strings and numbers, without the parts that are None (TOML has none)."""
    return _plain(asdict(whole))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items() if one is not None}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return value


def from_plain(kind: type[Whole], described: Any) -> Whole:
    """The dataclass that `as_plain` described; a part that is left out and may be None is None.

    Where a part may be one of several dataclasses, it is the first that has all described fields.

    Raises TypeError, ConfigError where the description does not fit.
    """
    if not isinstance(described, Mapping):
        raise TypeError(f"{kind.__name__} is described by a table; got {described!r}")
    hints = get_type_hints(kind)
    values = {name: _value(hints.get(name), one) for name, one in described.items()}
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name not in values and type(None) in get_args(hints[field.name]):
            values[field.name] = None
    return kind(**values)


def _value(hint: Any, described: Any) -> Any:
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    kinds = tuple(kind for kind in kinds if is_dataclass(kind))
    if isinstance(described, Mapping) and kinds:
        fitting = [kind for kind in kinds if set(described) <= {f.name for f in fields(kind)}]
        return from_plain(fitting[0] if fitting else kinds[0], described)
    if isinstance(described, list | tuple):
        inside = next(iter(get_args(hint)), None)
        return tuple(_value(inside, one) for one in described)
    if kinds and described is not None:
        raise TypeError(f"{kinds[0].__name__} is described by a table; got {described!r}")
    return described


def settings_of(whole: Any) -> dict[str, Any]:
    """Every setting that can be changed, by its name in `--set`, with its value.

    A setting of layers has a list of values, one for each.
    """
    return {
        f"{part}.{name}": value
        for part, config in _parts(whole).items()
        for name, value in _settings_of_part(config).items()
    }


def _parts(whole: Any) -> dict[str, Any]:
    values = {field.name: getattr(whole, field.name) for field in fields(whole)}
    return {name: value for name, value in values.items() if is_dataclass(value)}


def _settings_of_part(config: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in fields(config):
        value = getattr(config, field.name)
        if _are_layers(value):
            values |= {f.name: [getattr(one, f.name) for one in value] for f in fields(value[0])}
        else:
            values[field.name] = value
    return values


def _are_layers(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and is_dataclass(value[0])


def changed(whole: Whole, key: str, text: str) -> Whole:
    """The same with the setting `key` changed to what `text` says.

    A setting of layers takes one value for all of them, or one for each: "6,3,3".

    Raises ConfigError if there is no such setting, or the value does not fit.
    """
    known = settings_of(whole)
    if key not in known:
        raise ConfigError(f"no setting is called {key!r}{near(key, known)}")
    part, name = key.split(".", 1)
    config = getattr(whole, part)
    try:
        config = _changed_part(whole, config, key, name, text)
        return replace(whole, **{part: config})  # type: ignore[type-var]
    except ConfigError as error:
        # a dataclass knows the usual name of its part, and a recipe may have two of them
        raise ConfigError(re.sub(rf"^\w+\.{name}\b", key, str(error))) from None


def _changed_part(whole: Any, config: Any, key: str, name: str, text: str) -> Any:
    """The part `config` of `whole` with its setting `name`, called `key` as a whole, changed."""
    if name in {field.name for field in fields(config)}:
        return replace(config, **{name: _parsed(key, text, getattr(config, name))})
    of_layers = next(f.name for f in fields(config) if _are_layers(getattr(config, f.name)))
    layers = getattr(config, of_layers)
    texts = text.split(",")
    if len(texts) not in (1, len(layers)):
        raise ConfigError(
            f"{key} takes one value, or {len(layers)} for the layers of "
            f"{getattr(whole, 'name', 'the recipe')}; got {text!r}"
        )
    texts = texts * len(layers) if len(texts) == 1 else texts
    layers = tuple(
        replace(layer, **{name: _parsed(key, one, getattr(layer, name))})
        for layer, one in zip(layers, texts, strict=True)
    )
    return replace(config, **{of_layers: layers})


def _parsed(key: str, text: str, now: Any) -> Any:
    """`text` as a value of the kind that the setting has now."""
    if isinstance(now, tuple):
        return tuple(_parsed(key, one, now[0]) for one in text.split(","))
    text = text.strip()
    if isinstance(now, bool):
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
    elif isinstance(now, str):
        return text
    else:
        try:
            value = type(now)(text)
        except ValueError:
            value = math.nan
        if math.isfinite(value):
            return value
    kind = {bool: "true or false", int: "a whole number", float: "a number"}[type(now)]
    raise ConfigError(f"{key} is {kind}, such as {now}; got {text!r}")


def near(name: str, known: Mapping[str, Any]) -> str:
    """What to say after a name that is unknown: the nearest one, and all."""
    close = difflib.get_close_matches(name, known, n=1)
    guess = f"; did you mean {close[0]!r}?" if close else "."
    return f"{guess} There are: {', '.join(known)}"
