"""What a person sees: stages as a live bar or plain lines on stderr, results as text on stdout."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from fewlabels.progress import watching
from fewlabels.tables import percent as percent
from fewlabels.tables import scores_text as scores_text
from fewlabels.tables import table as table

QUIET = 0.5  # seconds: a shorter stage gets no line of its own
EVERY = 10.0  # seconds between lines of a long stage


@contextmanager
def shown(stream: TextIO | None = None) -> Iterator[None]:
    """Show the stages of the block on `stream` (stderr if None)."""
    stream = stream or sys.stderr
    if stream.isatty():
        bars = Bars(stream)
        with bars.progress, watching(bars):
            yield
    else:
        with watching(Lines(stream)):
            yield


class Lines:
    """A watcher for logs: a line when a stage has ended, and every ten seconds of a long one."""

    def __init__(self, stream: TextIO, quiet: float = QUIET, every: float = EVERY) -> None:
        self.stream, self.quiet, self.every = stream, quiet, every
        self.running: dict[str, list[Any]] = {}  # name -> [done, total, unit]
        self.facts: dict[str, dict[str, float]] = {}  # name -> what the stage told of itself
        self.last = time.monotonic()

    def started(self, stage: str, total: int | None, unit: str) -> None:
        self.running[stage] = [0, total, unit]
        self.facts[stage] = {}

    def advanced(self, stage: str, count: int) -> None:
        state = self.running[stage]
        state[0] += count
        now = time.monotonic()
        if now - self.last >= self.every:
            self.last = now
            self._line(f"{stage}: {amount(*state)}{self._told(stage)}")

    def stands(self, stage: str, facts: Mapping[str, float]) -> None:
        self.facts[stage].update(facts)

    noted = stands

    def ended(self, stage: str, seconds: float) -> None:
        done, _, unit = self.running.pop(stage)
        # an outer stage says nothing new when its inner ones have spoken
        if seconds >= self.quiet and len(self.running) < 2:
            self.last = time.monotonic()
            counted = f"{amount(done, None, unit)} in " if done else ""
            self._line(f"{stage}: {counted}{seconds:.1f} s{self._told(stage)}")

    def said(self, message: str) -> None:
        self._line(message)

    def _told(self, stage: str) -> str:
        text = facts_text(self.facts[stage])
        return f", {text}" if text else ""

    def _line(self, text: str) -> None:
        print(text, file=self.stream, flush=True)


def amount(done: int, total: int | None, unit: str) -> str:
    """(1200, 4000, "images") -> "1,200 of 4,000 images"."""
    return f"{done:,}{'' if total is None else f' of {total:,}'} {unit}".rstrip()


def facts_text(facts: Mapping[str, float]) -> str:
    """(loss=1.2, accuracy=0.7, seconds_left=90) -> "loss 1.200, accuracy 70.00 %, 1:30 left".

    Facts of other names are for `metrics.jsonl` alone.
    """
    parts = []
    for name, value in facts.items():
        if name == "loss":
            parts.append(f"loss {value:.3f}")
        elif _is_accuracy(name):
            parts.append(f"{name.replace('_', ' ')} {percent(value)}")
        elif name == "seconds_left" and value > 0:
            parts.append(f"{clock(value)} left")
    return ", ".join(parts)


def short(facts: Mapping[str, float]) -> dict[str, float]:
    """The loss and one accuracy, the plainest name, so that a bar fits its line."""
    plainest = sorted(filter(_is_accuracy, facts), key=len)[:1]
    return {name: value for name, value in facts.items() if name in ("loss", *plainest)}


def _is_accuracy(name: str) -> bool:
    return "accuracy" in name.split("_")


def clock(seconds: float) -> str:
    """(75.2) -> "1:15"; (3675) -> "1:01:15"."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


class Bars:
    """A watcher for a terminal: a live bar per running stage, a line for each that has ended."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.table import Column

        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            # gives way where the line is full
            BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=6)),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}", markup=False),
            TextColumn("{task.fields[told]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),  # what `seconds_left` tells where lines are printed
            console=Console(file=stream),
            transient=True,
            expand=True,
        )
        self.running: dict[str, list[Any]] = {}  # name -> [task, done, unit]
        self.facts: dict[str, dict[str, float]] = {}

    def started(self, stage: str, total: int | None, unit: str) -> None:
        task = self.progress.add_task(stage, total=total, unit=unit, told="")
        self.running[stage] = [task, 0, unit]
        self.facts[stage] = {}

    def advanced(self, stage: str, count: int) -> None:
        state = self.running[stage]
        state[1] += count
        self.progress.advance(state[0], count)

    def stands(self, stage: str, facts: Mapping[str, float]) -> None:
        self.facts[stage].update(facts)
        self.progress.update(self.running[stage][0], told=facts_text(short(self.facts[stage])))

    noted = stands

    def ended(self, stage: str, seconds: float) -> None:
        task, done, unit = self.running.pop(stage)
        self.progress.remove_task(task)
        if seconds >= QUIET:
            counted = f"  {amount(done, None, unit)}" if done else ""
            self.facts[stage].pop("seconds_left", None)
            told = facts_text(self.facts[stage])
            self._line(f"  {stage}{counted}  {seconds:.1f} s" + (f"  {told}" if told else ""))

    def said(self, message: str) -> None:
        self._line(f"  {message}")

    def _line(self, text: str) -> None:
        console = self.progress.console
        console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)


def survey_text(found: Mapping[str, Any]) -> str:
    """What `fewlabels data` prints."""
    height, width = found["size"]
    parts = found["parts"]
    lines = [
        f"{found['name']}: {found['n_classes']} classes, images of {height} x {width}",
        "",
        table(
            [
                (
                    part,
                    f"{facts['n_images']:,}",
                    "yes" if facts["n_per_class"] else "no",
                    f"{facts['n_duplicates']:,}",
                )
                for part, facts in parts.items()
            ],
            ("part", "images", "labels", "duplicates"),
        ),
        "",
        table(
            [
                (name, *(_count(facts, name) for facts in parts.values()))
                for name in found["class_names"]
            ],
            ("class", *parts),
        ),
        "",
    ]
    if found["n_folds"]:
        sizes = found["fold_sizes"]
        span = f"{min(sizes):,}" + (f" to {max(sizes):,}" if max(sizes) > min(sizes) else "")
        lines.append(f"{found['n_folds']} folds of {span} labelled images")
    lines.append(
        f"test images with a byte-identical copy: {found['n_leaked']:,} among the unlabelled, "
        f"{found['n_leaked_train']:,} among the training images"
    )
    lines.append(f"damaged images: {found['n_damaged']:,}")
    lines += [f"  {file['name']}: {file['reason']}" for file in found["damaged"]]
    lines += [f"note: {note}" for note in found["notes"]]
    return "\n".join(lines)


def _count(facts: Mapping[str, Any], name: str) -> str:
    counts = facts["n_per_class"]
    return f"{counts[name]:,}" if counts else "-"


def comparison_text(compared: Mapping[str, Any]) -> str:
    """What `compare` prints: a row per run, and where the picture is."""
    heads = "run recipe protocol accuracy clean calibration seconds MiB seed".split()
    return f"{table([_run_row(run) for run in compared['runs']], heads)}\n\n{compared['png']}"


def _run_row(run: Mapping[str, Any]) -> list[str]:
    spread = run["accuracy_std"]
    accuracy = percent(run["accuracy"]) + ("" if spread is None else f" +- {100 * spread:.2f}")
    shares = percent(run["accuracy_clean"]), percent(run["calibration_error"])
    counts = [run[name] for name in ("seconds", "peak_memory_mib", "seed")]
    numbers = ("-" if count is None else f"{count:,.0f}" for count in counts)
    return [run["run"], run["recipe"] or "-", run["protocol"] or "-", accuracy, *shares, *numbers]


def predictions_text(answered: Mapping[str, Any]) -> str:
    """What `fewlabels predict` prints: one line per image, columns parted by tabs."""
    return "\n".join(
        f"{one['path']}\t{one['class']}\t{one['probability']:.4f}"
        + ("\tnone of these" if one["none_of_these"] else "")
        for one in answered["predictions"]
    )
