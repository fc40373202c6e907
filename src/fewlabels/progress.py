"""Stages of a long job: who runs one says so here, who watches listens here.

A stage is a named piece of work with a count (`clustering`, 25 iterations). The code that does
the work opens a stage and advances it; it does not know whether a bar, plain lines or nobody is
watching. The watcher is set for a block of code with `watching`, so libraries stay silent.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Watcher(Protocol):
    """What is told about stages. Stages may nest; an inner one starts and ends inside an outer."""

    def started(self, stage: str, total: int | None, unit: str) -> None: ...
    def advanced(self, stage: str, count: int) -> None: ...
    def stands(self, stage: str, facts: Mapping[str, float]) -> None: ...
    def noted(self, stage: str, facts: Mapping[str, float]) -> None: ...
    def ended(self, stage: str, seconds: float) -> None: ...
    def said(self, message: str) -> None: ...


_watchers: ContextVar[tuple[Watcher, ...]] = ContextVar("fewlabels_watchers", default=())


@contextmanager
def watching(watcher: Watcher) -> Iterator[Watcher]:
    """Tell `watcher` (beside those already watching) of every stage inside the block."""
    token = _watchers.set((*_watchers.get(), watcher))
    try:
        yield watcher
    finally:
        _watchers.reset(token)


@contextmanager
def unwatched() -> Iterator[None]:
    """Tell nobody of the stages inside the block, which are parts of one that is told."""
    token = _watchers.set(())
    try:
        yield
    finally:
        _watchers.reset(token)


@contextmanager
def stage(
    name: str, total: int | None = None, unit: str = "", seconds_before: float = 0.0
) -> Iterator[Callable[[int], None]]:
    """Run the block as a stage; it is given `advance(count)` to call as the work goes on.

    `seconds_before` are those of the same stage in a process that was cut off: they count too.

    >>> with stage("clustering", total=25, unit="iterations") as advance:
    ...     advance(1)
    """
    watchers = _watchers.get()
    for watcher in watchers:
        watcher.started(name, total, unit)
    start = time.perf_counter()

    def advance(count: int) -> None:
        for watcher in watchers:
            watcher.advanced(name, count)

    try:
        yield advance
    finally:
        seconds = seconds_before + time.perf_counter() - start
        for watcher in reversed(watchers):
            watcher.ended(name, seconds)


def stand(stage: str, **facts: float) -> None:
    """Show how a running stage stands (its loss, say) for the moment."""
    for watcher in _watchers.get():
        watcher.stands(stage, facts)


def note(stage: str, **facts: float) -> None:
    """Tell what was measured in a running stage: worth a line in `metrics.jsonl`."""
    for watcher in _watchers.get():
        watcher.noted(stage, facts)


def say(message: str) -> None:
    """Tell whoever watches one sentence that a person should read (a skipped file, say)."""
    for watcher in _watchers.get():
        watcher.said(message)


class Clock:
    """A watcher that adds up seconds per stage, for `scores.json`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def started(self, stage: str, total: int | None, unit: str) -> None:
        self.seconds.setdefault(stage, 0.0)

    def advanced(self, stage: str, count: int) -> None: ...

    def stands(self, stage: str, facts: Mapping[str, float]) -> None: ...

    def noted(self, stage: str, facts: Mapping[str, float]) -> None: ...

    def ended(self, stage: str, seconds: float) -> None:
        self.seconds[stage] += seconds

    def said(self, message: str) -> None: ...
