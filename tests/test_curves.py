"""The picture of accuracies: what stands in which panel, and that names do not overlap."""

import io
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fewlabels.curves import COLOURS, STYLES, Curve, Line, accuracy_curves, rows, spread
from fewlabels.figures import to_png, to_svg


def curve(*accuracy: float, seconds: float = 10.0) -> Curve:
    """Measured after every epoch, each of which takes `seconds`."""
    epochs = tuple(float(number) for number in range(1, len(accuracy) + 1))
    times = tuple(seconds * epoch for epoch in epochs)
    return Curve(name="test_accuracy", epochs=epochs, seconds=times, accuracy=accuracy)


def learned(label: str, *accuracy: float, seconds: float = 10.0) -> Line:
    test = curve(*accuracy, seconds=seconds)
    training = curve(*(min(1.0, one + 0.1) for one in accuracy), seconds=seconds)
    return Line(label=label, curves={"training": (training,), "test": (test,)}, final=accuracy[-1])


def drawn(panel) -> list[tuple[list[float], list[float]]]:
    """The curves of a panel: those with a marker."""
    lines = [line for line in panel.lines if line.get_marker() == "o"]
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in lines]


def texts(panel) -> list[str]:
    return [text.get_text() for text in panel.texts]


def test_each_part_is_drawn_against_epochs_and_against_seconds():
    figure = accuracy_curves([learned("a", 0.2, 0.5), learned("b", 0.3, 0.4, 0.6, seconds=7.0)])
    training_epochs, training_seconds, test_epochs, test_seconds = figure.axes

    assert ([1, 2], [0.2, 0.5]) == drawn(test_epochs)[0]
    assert ([7, 14, 21], [0.3, 0.4, 0.6]) == drawn(test_seconds)[1]
    assert ([10, 20], pytest.approx([0.3, 0.6])) == drawn(training_seconds)[0]
    assert ([1, 2, 3], pytest.approx([0.4, 0.5, 0.7])) == drawn(training_epochs)[1]
    assert "training accuracy" == training_epochs.get_ylabel()
    assert "test accuracy" == test_epochs.get_ylabel()
    assert ("epochs", "seconds of training") == (
        test_epochs.get_xlabel(),
        test_seconds.get_xlabel(),
    )


def test_names_stand_beside_the_lines_with_their_last_accuracy():
    figure = accuracy_curves([learned("low", 0.2, 0.5), learned("high", 0.3, 0.8)])

    assert ["low 50.0 %", "high 80.0 %"] == texts(figure.axes[3])
    assert [] == texts(figure.axes[2])  # the same names serve the row


def test_a_run_without_curves_is_a_level_line_of_its_accuracy_among_test_accuracies():
    figure = accuracy_curves([learned("labels", 0.2, 0.7), Line(label="kmeans-1", final=0.685)])
    training, test = figure.axes[0], figure.axes[2]

    level = [list(line.get_ydata()) for line in test.lines if line.get_marker() != "o"]
    assert [[0.685, 0.685]] == level
    assert 1 == len(training.lines)
    assert {"labels 70.0 %", "kmeans-1 68.5 %"} == set(texts(figure.axes[3]))


def test_level_lines_alone_need_neither_epochs_nor_seconds():
    figure = accuracy_curves([Line(label="kmeans-1", final=0.6), Line(label="kmeans-2", final=0.7)])

    assert 1 == len(figure.axes)
    assert "" == figure.axes[0].get_xlabel()


def test_an_accuracy_after_training_is_no_level_line_where_there_is_a_curve():
    line = Line(label="a", curves={"test": (curve(0.1, 0.5),)}, final=0.52)

    assert (None, 0.5) == (line.level("test"), line.last("test"))


def test_rows_are_those_with_something_to_draw_training_first():
    other = Line(label="b", curves={"held out": (curve(0.5),), "training": (curve(0.5),)})

    assert ["training", "held out"] == rows([other, Line(label="c")])
    assert ["training", "test", "held out"] == rows([other, Line(label="c", final=0.5)])
    assert [] == rows([Line(label="c")])


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="at least one accuracy"):
        accuracy_curves([Line(label="a"), Line(label="b")])


def test_of_several_trainings_the_first_is_strong_and_named():
    folds = Line(label="five", curves={"test": (curve(0.1, 0.5), curve(0.2, 0.6))})
    figure = accuracy_curves([folds, learned("a", 0.1, 0.4)])
    first, second = [line for line in figure.axes[2].lines if line.get_marker() == "o"][:2]

    assert first.get_linewidth() > second.get_linewidth()
    assert first.get_color() == second.get_color()
    assert "five 50.0 % (1 of 2)" in texts(figure.axes[3])


def test_trainings_of_one_model_follow_one_another_along_the_seconds():
    parts = [replace(curve(0.1, 0.5), began=100.0), curve(0.2, 0.6)]
    figure = accuracy_curves([Line(label="a", curves={"test": tuple(parts)})])
    by_epochs, by_seconds = (drawn(panel) for panel in figure.axes)

    assert [([110, 120], [0.1, 0.5]), ([10, 20], [0.2, 0.6])] == by_seconds
    assert [([1, 2], [0.1, 0.5]), ([1, 2], [0.2, 0.6])] == by_epochs


def test_35_runs_differ_in_colour_or_style_and_neighbours_in_both():
    looks = [(COLOURS[i % len(COLOURS)], STYLES[i % len(STYLES)]) for i in range(35)]

    assert 35 == len(set(looks))
    for (colour, style), (next_colour, next_style) in pairwise(looks):
        assert colour != next_colour and style != next_style


@pytest.mark.parametrize("n_runs", [2, 6, 20])
def test_names_do_not_overlap_and_stay_inside_the_picture(n_runs: int):
    ends = np.linspace(0.700, 0.702, n_runs)  # as close as seeds of one recipe are
    figure = accuracy_curves([learned(f"seed-{i}", 0.2, end) for i, end in enumerate(ends)])
    figure.draw_without_rendering()

    for panel in (figure.axes[1], figure.axes[3]):
        boxes = sorted((text.get_window_extent() for text in panel.texts), key=lambda box: box.y0)
        assert n_runs == len(boxes)
        for lower, upper in pairwise(boxes):
            assert lower.y1 <= upper.y0 + 0.5
        assert all(box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1 for box in boxes)


def test_heights_that_are_apart_stay_and_crowded_ones_part_evenly():
    assert [0.2, 0.5] == pytest.approx(spread([0.2, 0.5], 0.1, 0, 1))
    assert [0.45, 0.55] == pytest.approx(spread([0.5, 0.5], 0.1, 0, 1))
    assert [0.8, 0.9, 1.0] == pytest.approx(spread([0.95, 0.97, 1.0], 0.1, 0, 1))
    assert [0.0, 0.5, 1.0] == pytest.approx(spread([0.1, 0.1, 0.1], 0.7, 0, 1))  # no room
    assert [] == spread([], 0.1, 0, 1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.08))
def test_heights_are_a_gap_apart_in_the_given_order(wanted: list[float], gap: float):
    heights = spread(sorted(wanted), gap, 0, 1)

    assert all(upper - lower >= gap - 1e-9 for lower, upper in pairwise(heights))
    assert -1e-9 <= min(heights) and max(heights) <= 1 + 1e-9


@pytest.mark.parametrize("name", ["$x_", "猫", "<b>&", "a--b", "", "\\frac{"])
def test_odd_names_are_drawn_without_complaint(name: str):
    figure = accuracy_curves([learned(name, 0.2, 0.5), learned("b", 0.3)], note=f"note {name}")

    assert "PNG" == Image.open(io.BytesIO(to_png(figure))).format
    assert to_svg(figure).rstrip().endswith("</svg>")


def test_the_same_picture_is_the_same_svg_without_a_date():
    first, second = (to_svg(accuracy_curves([learned("a", 0.2, 0.5)])) for _ in range(2))

    assert first == second
    assert "dc:date" not in first
    assert re.match(r"<\?xml[^>]*>\s*<!DOCTYPE svg", first)


def test_the_picture_is_as_wide_as_a_page_and_readable_at_800_pixels():
    six = [learned(f"a-name-of-20-letters{i}"[:20], 0.2, 0.5 + i / 50) for i in range(6)]
    figure = accuracy_curves(six)
    width, _ = Image.open(io.BytesIO(to_png(figure, dots_per_inch=100))).size
    panel = figure.axes[3].get_window_extent()

    assert 780 <= width <= 830
    assert panel.width / figure.dpi >= 2  # inches that are left for the curves
    assert all(text.get_fontsize() >= 9 for text in figure.axes[3].texts)
