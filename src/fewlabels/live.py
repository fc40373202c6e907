"""The page of a run while it goes on: how far it is, its curves, and the time that is left."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fewlabels import histories, showing
from fewlabels.errors import CheckpointError, DataError
from fewlabels.report import page
from fewlabels.report.findings import Findings, Progress

EVERY = 10.0  # seconds between two pages, where no checkpoint is written
N_SAID = 8  # sentences
CHECKPOINT = "checkpoint"  # the fact by which a training tells that it has written one


@dataclass(kw_only=True)
class Stage:
    """A stage that has begun; done of total units."""

    name: str
    total: int | None
    unit: str
    began: float
    done: int = 0
    facts: dict[str, float] = field(default_factory=dict)

    def left(self, now: float) -> float | None:
        """Seconds, as the stage itself tells or as its pace so far lets expect."""
        if "seconds_left" in self.facts:
            return max(0.0, self.facts["seconds_left"])
        if not self.total or not self.done:
            return None
        return (now - self.began) / self.done * max(0, self.total - self.done)


class LivePage:
    """A watcher that writes `report.html` into the folder of a run: as it begins, at every
    checkpoint, and every ten seconds of a long stage. The page at the end takes its place.

    A page that cannot be written is left out, as the run is worth more than the look at it.

    Parameters
    ----------
    folder : of the unfinished run; its `metrics.jsonl` gives the curves
    clock : seconds, for the time left
    """

    def __init__(
        self,
        folder: Path,
        source: str,
        recipe: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self.source, self.recipe, self.clock = folder, source, recipe, clock
        self.began = self.written = clock()
        self.running: list[Stage] = []
        self.over: dict[str, float] = {}
        self.sentences: list[str] = []

    def started(self, stage: str, total: int | None, unit: str) -> None:
        self.running.append(Stage(name=stage, total=total, unit=unit, began=self.clock()))
        if len(self.running) == 1 and not self.over:
            self._write()

    def advanced(self, stage: str, count: int) -> None:
        self._stage(stage).done += count
        self._write_now_and_then()

    def stands(self, stage: str, facts: Mapping[str, float]) -> None:
        self._stage(stage).facts.update(facts)
        if CHECKPOINT in facts:
            self._write()

    def noted(self, stage: str, facts: Mapping[str, float]) -> None:
        self._write_now_and_then()

    def ended(self, stage: str, seconds: float) -> None:
        self.running.remove(self._stage(stage))
        self.over[stage] = self.over.get(stage, 0.0) + seconds
        self._write_now_and_then()

    def said(self, message: str) -> None:
        self.sentences.append(message)

    def _stage(self, name: str) -> Stage:
        return next(stage for stage in reversed(self.running) if stage.name == name)

    def _write_now_and_then(self) -> None:
        if self.clock() - self.written >= EVERY:
            self._write()

    def _write(self) -> None:
        now = self.clock()
        self.written = now
        with suppress(DataError, CheckpointError, OSError):
            page.write(self.findings(now), self.folder / showing.PAGE)

    def findings(self, now: float) -> Findings:
        """What is known so far."""
        stage = self.running[-1] if self.running else None
        progress = Progress(
            stage="the next stage" if stage is None else stage.name,
            done=0 if stage is None else stage.done,
            total=None if stage is None else stage.total,
            unit="" if stage is None else stage.unit,
            seconds=now - self.began,
            seconds_left=None if stage is None else stage.left(now),
            ended=dict(self.over),
            said=self.sentences[-N_SAID:],
            at=time.strftime("%H:%M:%S"),
        )
        return Findings(
            source=Path(self.source).name or self.source,
            recipe=self.recipe,
            class_names=(),
            progress=progress,
            history=histories.history_of(self.folder),
        )
