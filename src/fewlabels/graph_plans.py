"""In what steps a graph runs: only what is needed, and each value freed after its last reader."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn


class Step(NamedTuple):
    """Run `first` on the values named `source`, `second` (if any) and `others`, forget `freed`,
    run `rest` one on another, and keep the last value as `target`.
    """

    first: nn.Module
    source: str
    second: str | None
    others: tuple[str, ...]
    freed: tuple[str, ...]
    rest: tuple[nn.Module, ...]
    target: str


def run(steps: Sequence[Step], values: dict[str, Tensor]) -> None:
    """Run the steps on `values`, which are those of the inputs at first, and kept ones at the end.

    One and two sources are called by name: a call with a star costs as much as
    all the rest of the loop.
    """
    for first, source, second, others, freed, rest, target in steps:
        if second is None:
            value = first(values[source])
        elif not others:
            value = first(values[source], values[second])
        else:
            value = first(values[source], values[second], *[values[name] for name in others])
        if freed:
            for name in freed:
                del values[name]
        if rest:
            for module in rest:
                value = module(value)
        values[target] = value


def needed(wanted: Iterable[str], sources: Mapping[str, Sequence[str]]) -> list[str]:
    """The nodes that `wanted` needs, itself among them, in the order of `sources`."""
    reached = set(wanted)
    for name in reversed(list(sources)):
        if name in reached:
            reached.update(sources[name])
    return [name for name in sources if name in reached]


def plan(
    wanted: Sequence[str],
    layers: Mapping[str, nn.Module],
    sources: Mapping[str, tuple[str, ...]],
) -> tuple[Step, ...]:
    """The steps that make `wanted`; nodes read by one only join that one's step as a chain."""
    order = needed(wanted, sources)
    last_reader = {source: name for name in order for source in sources[name]}
    steps: list[Step] = []
    for name in order:
        read = sources[name]
        freed = tuple(s for s in dict.fromkeys(read) if last_reader[s] == name)
        freed = tuple(s for s in freed if s not in wanted)
        if steps and read == freed == (steps[-1].target,):
            rest = (*steps[-1].rest, layers[name])
            steps[-1] = steps[-1]._replace(rest=rest, target=name)
        else:
            second = read[1] if len(read) > 1 else None
            steps.append(Step(layers[name], read[0], second, read[2:], freed, (), name))
    return tuple(steps)
