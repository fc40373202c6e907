import io
import re

import pytest

from fewlabels import terminal
from fewlabels.progress import note, say, stage, stand, watching
from fewlabels.terminal import Lines, amount, clock, predictions_text, scores_text, shown, table


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_stage_gets_a_line_when_it_has_ended():
    stream = io.StringIO()

    with watching(Lines(stream, quiet=0.0)), stage("clustering", 25, "iterations") as advance:
        advance(5)
        advance(20)

    assert re.fullmatch(r"clustering: 25 iterations in \d+\.\d s\n", stream.getvalue())


def test_a_long_stage_speaks_every_ten_seconds(monkeypatch):
    stream, now = io.StringIO(), [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])

    with watching(Lines(stream)), stage("reading train", 4000, "images") as advance:
        for _ in range(25):  # seconds
            now[0] += 1
            advance(100)

    expected = ["reading train: 1,000 of 4,000 images", "reading train: 2,000 of 4,000 images"]
    assert expected == stream.getvalue().splitlines()


def test_short_stages_say_nothing():
    stream = io.StringIO()

    with watching(Lines(stream)), stage("clustering"):
        pass

    assert "" == stream.getvalue()


def test_what_is_said_is_a_line():
    stream = io.StringIO()

    with shown(stream):
        say("skipped a damaged image")

    assert "skipped a damaged image\n" == stream.getvalue()


def test_a_terminal_sees_a_bar_with_the_count(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(terminal, "QUIET", 0.0)
    screen = Screen()

    with shown(screen), stage("reading train", 40, "images") as advance:
        advance(30)
        say("[a] message :smile:")

    text = screen.getvalue()
    assert "reading train  30 images" in text
    assert "[a] message :smile:" in text  # as it is, not as markup


def test_an_amount_is_read_as_words():
    assert "1,200 of 4,000 images" == amount(1200, 4000, "images")
    assert "1,200 images" == amount(1200, None, "images")
    assert "3" == amount(3, None, "")


def test_columns_are_as_wide_as_their_widest_entry():
    expected = "part  images\ncats      12\ndo         3"

    assert expected == table([("cats", "12"), ("do", "3")], ("part", "images"))


def test_scores_are_shown_in_percent():
    scores = {
        "accuracy": 0.5,
        "accuracy_std": 0.0123,
        "n_folds": 2,
        "n_test": 1200,
        "n_leaked": 3,
        "accuracy_clean": 0.25,
        "accuracy_per_class": {"cat": 1.0, "dog": None},
        "calibration_error": 0.01,
    }

    lines = scores_text(scores).splitlines()

    assert "accuracy 50.00 % +- 1.23 (2 folds) of 1,200 test images" == lines[0]
    told = "learned without copies of the 3 test images that lie among the unlabelled: accuracy"
    assert f"{told} 25.00 %" == lines[1]
    assert ["cat  100.00 %", "dog         -"] == lines[2:4]


def test_that_unlabelled_images_were_not_learned_from_stands_beside_the_accuracy():
    scores = {
        "accuracy": 0.5,
        "n_test": 4,
        "accuracy_per_class": {"a": 0.5},
        "calibration_error": 0.1,
    }
    one = scores | {"why_none_used": "there are none"}
    folds = [one, {}, one | {"why_none_used": "no time was left"}]

    assert "No answers to unlabelled images were learned from: there are none." in scores_text(one)
    several = "were learned from in 2 of 3 folds: there are none; no time was left."
    assert several in scores_text(scores | {"folds": folds})
    assert "No answers" not in scores_text(scores)


@pytest.mark.parametrize("probability", [0.98765])
def test_predictions_are_one_line_an_image_parted_by_tabs(probability: float):
    one = {"path": "a b.jpg", "class": "cat", "probability": probability, "none_of_these": False}
    none = one | {"none_of_these": True}

    assert "a b.jpg\tcat\t0.9877" == predictions_text({"predictions": [one]})
    assert "a b.jpg\tcat\t0.9877\tnone of these" == predictions_text({"predictions": [none]})


def test_a_training_tells_how_it_stands(monkeypatch):
    stream, now = io.StringIO(), [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])

    with watching(Lines(stream, quiet=0.0)), stage("training", 40, "steps") as advance:
        note("training", epoch=1, loss=1.5, accuracy=0.25)
        stand("training", loss=1.2044, seconds_left=75.2)
        now[0] = 11
        advance(10)
        stand("training", seconds_left=0.0)

    middle, end = stream.getvalue().splitlines()
    assert "training: 10 of 40 steps, loss 1.204, accuracy 25.00 %, 1:15 left" == middle
    assert re.fullmatch(r"training: 10 steps in \d+\.\d s, loss 1\.204, accuracy 25\.00 %", end)


def test_the_accuracy_on_test_images_is_the_plainest_of_a_learning_curve():
    facts = {"loss": 1.5, "accuracy_train": 0.25, "test_accuracy": 0.125, "inaccuracy": 0.5}

    assert "loss 1.500, accuracy train 25.00 %, test accuracy 12.50 %" == terminal.facts_text(facts)
    assert {"loss": 1.5, "test_accuracy": 0.125} == terminal.short(facts)


@pytest.mark.parametrize("columns", [80, 120])
def test_a_bar_tells_how_a_training_stands(monkeypatch, columns: int):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(terminal, "QUIET", 0.0)
    screen = Screen()
    bars = terminal.Bars(screen)

    with bars.progress, watching(bars), stage("training", 1500, "steps") as advance:
        advance(10)
        note("training", loss=1.5, accuracy_train=0.25, accuracy=0.125)
        bars.progress.refresh()

    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())
    assert re.search(r"10/1500 steps loss 1\.500, accuracy 12\.50 % +\d:\d\d:\d\d", text)
    told = r"loss 1\.500, accuracy train 25\.00 %, accuracy 12\.50 %"
    assert re.search(rf"training  10 steps  \d+\.\d s  {told}", text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(9.4, "0:09"), (75.2, "1:15"), (3675, "1:01:15"), (59.9, "1:00")]
)
def test_seconds_are_read_as_a_clock(seconds: float, text: str):
    assert text == clock(seconds)
