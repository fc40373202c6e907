"""Lines over epochs or minutes -> a small SVG drawing that takes its colours from the page's style.

No style stands in the drawing, as the page's security policy allows none: classes `line-0`,
`line-1`, ... have a colour and a dash each. Every line is named at its end.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from matplotlib.ticker import MaxNLocator

from fewlabels.curves import spread
from fewlabels.figures import shortened

WIDTH, HEIGHT = 640, 250  # of the drawing, in its own units: about pixels
LEFT, RIGHT, TOP, BOTTOM = 64, 176, 12, 40  # margins
LABEL_HEIGHT = 17
LABEL_LENGTH = 24  # characters
N_KINDS = 7  # of lines in the style
FEW_POINTS = 12  # up to here every measurement is marked
MOST_POINTS = 400  # of a line: more are not seen


@dataclass(frozen=True, kw_only=True)
class Line:
    """Values, and where along the axis they stand, as many of both, at least one, all finite.

    kind : lines of one kind look alike; is_main : the others are drawn thin and without a name
    starts : ascending from 0, the points that are not joined to those before them
    """

    name: str
    along: Sequence[float]
    values: Sequence[float]
    starts: Sequence[int] = (0,)
    kind: int = 0
    is_main: bool = True


@dataclass(frozen=True, kw_only=True)
class History:
    """How a run learned: a line for each part that was answered, and of losses.

    axis : what the lines are along, in words
    """

    accuracies: Sequence[Line] = ()
    losses: Sequence[Line] = ()
    axis: str = "epochs"

    @property
    def in_pieces(self) -> bool:
        """Whether several trainings stand one after another."""
        return any(len(line.starts) > 1 for line in (*self.accuracies, *self.losses))

    @property
    def parts(self) -> set[str]:
        return {line.name for line in self.accuracies}


def line_chart(
    lines: Sequence[Line], what: str, axis: str, say_value: Callable[[float], str]
) -> str:
    """An SVG element.

    Parameters
    ----------
    lines : at least one
    what : that the values are, for those who cannot see the drawing
    axis : what they are along
    say_value : a value as text
    """
    along = np.concatenate([line.along for line in lines])
    values = np.concatenate([line.values for line in lines])
    x_ticks = _ticks(0.0, max(float(along.max()), 1e-3))
    y_ticks = _ticks(float(values.min()), float(values.max()))
    low, high = y_ticks[0], y_ticks[-1]

    def across(place: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * place / x_ticks[-1]

    def down(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    parts = [_grid(x_ticks, y_ticks, across, down, axis, say_value)]
    for line in sorted(lines, key=lambda line: line.is_main):
        parts.append(_drawn(line, across, down))
    parts.append(_names([line for line in lines if line.is_main], across, down, say_value))
    last = "; ".join(
        f"{line.name} ends at {say_value(line.values[-1])}" for line in lines if line.is_main
    )
    label = escape(f"{what} over {x_ticks[-1]:g} {axis}: {last}")
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>"
    )


def _ticks(low: float, high: float) -> list[float]:
    if high <= low:
        low, high = low - 0.5 * abs(low or 1), high + 0.5 * abs(high or 1)
    found = MaxNLocator(5, steps=(1, 2, 5, 10)).tick_values(low, high)
    return [float(tick) for tick in found if tick >= 0 or low < 0]


def _grid(
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    across: Callable[[float], float],
    down: Callable[[float], float],
    axis: str,
    say_value: Callable[[float], str],
) -> str:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for tick in y_ticks:
        y = down(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        text = escape(say_value(tick))
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    for tick in x_ticks:
        x = across(tick)
        parts.append(f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{tick:g}</text>')
    middle = (LEFT + right) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{escape(axis)}</text>')
    return "".join(parts)


def _drawn(line: Line, across: Callable[[float], float], down: Callable[[float], float]) -> str:
    n_points = len(line.along)
    chosen = np.linspace(0, n_points - 1, min(n_points, MOST_POINTS)).astype(int)
    ends = [start - 1 for start in (*line.starts[1:], n_points)]
    seen = np.unique([*chosen, *line.starts, *ends])
    places = {i: (across(line.along[i]), down(line.values[i])) for i in seen}
    look = f"line-{line.kind % N_KINDS}{'' if line.is_main else ' other'}"
    drawn = ""
    for start, end in zip(line.starts, ends, strict=True):
        piece = (place for i, place in places.items() if start <= i <= end)
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in piece)
        drawn += f'<polyline class="{look}" points="{path}"/>'
    if line.is_main:
        marked = places.values() if n_points <= FEW_POINTS else [places[i] for i in ends]
        drawn += "".join(
            f'<circle class="{look}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in marked
        )
    return drawn


def _names(
    lines: Sequence[Line],
    across: Callable[[float], float],
    down: Callable[[float], float],
    say_value: Callable[[float], str],
) -> str:
    """Beside the end of each line, as near as they fit, a thread from one to the other."""
    ends = sorted((down(line.values[-1]), number) for number, line in enumerate(lines))
    heights = spread([y for y, _ in ends], LABEL_HEIGHT, TOP, HEIGHT - BOTTOM)
    parts = []
    for (y, number), height in zip(ends, heights, strict=True):
        line, x = lines[number], WIDTH - RIGHT
        look = f"line-{line.kind % N_KINDS}"
        start = across(line.along[-1])
        thread = f"{start:.1f},{y:.1f} {x},{y:.1f} {x + 12},{height:.1f}"
        parts.append(f'<polyline class="{look} thread" points="{thread}"/>')
        text = escape(f"{shortened(line.name, LABEL_LENGTH)} {say_value(line.values[-1])}")
        parts.append(f'<text class="name" x="{x + 16}" y="{height + 4:.1f}">{text}</text>')
    return "".join(parts)
