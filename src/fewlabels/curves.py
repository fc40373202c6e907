"""Accuracies of several runs over their trainings -> one picture: against epochs, against seconds.

A row per part that was answered (training, test, ...). A run has a colour that colour-blind people
tell from the others, a line style too, and its name and last accuracy at the right of its line.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.isotonic import isotonic_regression

from fewlabels.figures import lacking_letters_as_boxes

# Okabe and Ito 2008, without the yellow, which white paper swallows
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#000000", "#CC79A7", "#E69F00", "#56B4E9")
STYLES = ("-", (0, (5, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (1, 1.2)), (0, (9, 2, 2, 2, 2, 2)))
TEXT, PALE = "#222222", "#DDDDDD"
WIDTH, ROW_HEIGHT, LABEL_HEIGHT = 8.0, 2.5, 0.18  # inches
LABEL_LENGTH, NOTE_WIDTH = 20, 110  # characters
FEW_POINTS = 12  # up to here every measurement is marked
FIRST = ("training", "test")  # rows at the top; the others follow by name


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Accuracy on one part over one training; an entry per measurement, all fractions finite.

    name : of the fact in `metrics.jsonl`
    seconds : since the start of the training, which itself began when the same model had learned
        for `began` seconds in trainings before
    """

    name: str
    epochs: tuple[float, ...]
    seconds: tuple[float, ...]
    accuracy: tuple[float, ...]
    began: float = 0.0

    def learned(self) -> list[float]:
        """For how many seconds the model had learned at each measurement."""
        return [self.began + one for one in self.seconds]


@dataclass(frozen=True, kw_only=True)
class Line:
    """What is drawn of a run.

    curves : part -> a curve per training, the last of the first model before all others; the first
        is drawn strong, the others thin
    final : accuracy on the test images in the end, a level line where "test" has no curve
    """

    label: str
    curves: Mapping[str, tuple[Curve, ...]] = field(default_factory=dict)
    final: float | None = None

    def level(self, part: str) -> float | None:
        return self.final if part == "test" and part not in self.curves else None

    def last(self, part: str) -> float | None:
        """The accuracy that stands beside the line; None where it has none in that row."""
        return self.curves[part][0].accuracy[-1] if part in self.curves else self.level(part)


def rows(lines: Sequence[Line]) -> list[str]:
    """The parts that have something to draw, in the order of the picture's rows."""
    parts = {part for line in lines for part in (*line.curves, "test")}
    drawn = {part for part in parts if any(line.last(part) is not None for line in lines)}
    return [part for part in FIRST if part in drawn] + sorted(drawn - set(FIRST))


def accuracy_curves(
    lines: Sequence[Line], note: str = "", axes: tuple[str, ...] = ("epochs", "seconds")
) -> Figure:
    """Draw accuracy against epochs (left) and seconds (right), a row per part.

    Without any curve there are no epochs and seconds, and one panel shows the level lines.

    Parameters
    ----------
    lines : a run each; those without anything to draw are left out, and keep their colour
    note : sentences below the picture
    axes : of these panels, which

    Raises ValueError where no run has anything to draw.
    """
    parts = rows(lines)
    if not parts:
        raise ValueError("a picture of accuracies needs at least one accuracy; no run has any")
    axes_of_x = axes if any(line.curves for line in lines) else ("",)
    height = max(ROW_HEIGHT, LABEL_HEIGHT * (len(lines) + 1))
    size = (WIDTH, height * len(parts) + 0.5)
    figure = Figure(figsize=size, facecolor="white")
    figure.set_layout_engine("constrained", hspace=0.06)
    grid = figure.subplots(len(parts), len(axes_of_x), sharex="col", sharey="row", squeeze=False)
    for part, panels in zip(parts, grid, strict=True):
        for axis, panel in zip(axes_of_x, panels, strict=True):
            _prepare(panel)
            for number, line in enumerate(lines):
                _draw(panel, line, part, axis, number)
        panels[0].set_ylabel(f"{part} accuracy".strip(), color=TEXT)
    for axis, panel in zip(axes_of_x, grid[-1], strict=True):
        panel.set_xlim(left=0)
        panel.set_xlabel("seconds of training" if axis == "seconds" else axis, color=TEXT)
        if not axis:
            panel.set_xticks([])
    if note:
        figure.supxlabel(fill(note, NOTE_WIDTH), fontsize=8, color=TEXT, parse_math=False)
    for part, panels in zip(parts, grid, strict=True):
        _name_lines(figure, panels[-1], lines, part)
    return figure


def _prepare(panel: Axes) -> None:
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color(PALE)
    panel.grid(color=PALE, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.margins(x=0.02, y=0.08)
    panel.tick_params(labelsize=9, length=0, labelcolor=TEXT)
    panel.xaxis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10)))
    panel.yaxis.set_major_locator(MaxNLocator(6, steps=(1, 2, 5, 10)))
    panel.yaxis.set_major_formatter(lambda accuracy, _: f"{100 * accuracy:.4g} %")


def _look(number: int) -> dict[str, Any]:
    """Seven colours and five styles: 35 runs before one looks like another."""
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": STYLES[number % len(STYLES)]}


def _draw(panel: Axes, line: Line, part: str, axis: str, number: int) -> None:
    look = _look(number)
    level = line.level(part)
    if level is not None:
        panel.axhline(level, linewidth=1.4, **look)
    for place, curve in enumerate(line.curves.get(part, ())):
        x = curve.epochs if axis == "epochs" else curve.learned()
        every = None if len(x) <= FEW_POINTS else [len(x) - 1]
        width, alpha = (1.8, 1.0) if place == 0 else (0.8, 0.5)
        drawn = panel.plot(x, curve.accuracy, marker="o", markersize=3, markevery=every, **look)[0]
        drawn.set(linewidth=width, alpha=alpha, zorder=3 if place == 0 else 2)


def _name_lines(figure: Figure, panel: Axes, lines: Sequence[Line], part: str) -> None:
    """Write the names at the right of a row, each as near to the end of its line as they fit."""
    named = [(line.last(part), number) for number, line in enumerate(lines)]
    ends = sorted((last, number) for last, number in named if last is not None)
    with lacking_letters_as_boxes():
        figure.draw_without_rendering()  # only now the height of the panel is known
    (_, right), (low, high) = panel.get_xlim(), panel.get_ylim()
    inches = panel.get_window_extent().height / figure.dpi
    gap = LABEL_HEIGHT * (high - low) / inches
    heights = spread([last for last, _ in ends], gap, low, high)
    across = panel.get_yaxis_transform()  # x in widths of the panel, y in accuracy
    for (last, number), height in zip(ends, heights, strict=True):
        line, look = lines[number], _look(number)
        thin = {"color": look["color"], "linewidth": 0.9, "linestyle": (0, (1, 2)), "alpha": 0.8}
        if part in line.curves:  # from where it ended to the edge, where its name begins
            end = line.curves[part][0].learned()[-1]
            panel.plot([end, right], [last, last], zorder=1, **thin)
        panel.plot([1.0, 1.04], [last, height], transform=across, clip_on=False, **thin)
        panel.plot(
            [1.04, 1.14], [height, height], linewidth=1.8, transform=across, clip_on=False, **look
        )
        n_trainings = len(line.curves.get(part, ()))
        several = f" (1 of {n_trainings})" if n_trainings > 1 else ""
        panel.text(
            1.16,
            height,
            f"{line.label} {100 * last:.1f} %{several}",
            transform=across,
            va="center",
            fontsize=9,
            color=TEXT,
            parse_math=False,  # a dollar sign in a name is a dollar sign
        )
    panel.set_xlim(right=right)
    panel.set_ylim(low, high)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Heights at least `gap` apart within [low, high], in all as near to `wanted` as can be.

    Parameters
    ----------
    wanted : ascending

    Least squares: without their own gaps the heights are an isotonic regression. Where they do not
    fit at all, they are spread evenly.
    """
    if not wanted:
        return []
    n_gaps = len(wanted) - 1
    gap = min(gap, (high - low) / max(1, n_gaps))
    steps = gap * np.arange(len(wanted))
    free = isotonic_regression(np.asarray(wanted) - steps, y_min=low, y_max=high - gap * n_gaps)
    return (free + steps).tolist()
