"""The page of a run that goes on: when it is written, and what it tells."""

from pathlib import Path

import pytest

from fewlabels import progress
from fewlabels.cli import main
from fewlabels.errors import DataError
from fewlabels.live import LivePage
from fewlabels.report import page
from small_runs import SMALL

pytest_plugins = ("run_fixtures",)


class Hands:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def live(tmp_path: Path, hands: Hands) -> LivePage:
    return LivePage(tmp_path, "some/photos", "labels", clock=hands)


def text(live: LivePage) -> str:
    return (live.folder / "report.html").read_text().replace("\u00a0", " ")


def test_the_page_is_there_from_the_first_stage_on(live: LivePage):
    live.started("clustering", 25, "iterations")

    assert "labels on photos" in text(live) and "0 of 25 iterations" in text(live)
    assert [live.folder / "report.html"] == list(live.folder.iterdir())


def test_it_is_written_at_every_checkpoint_and_now_and_then(live: LivePage, hands: Hands):
    live.started("training", 100, "steps")
    live.advanced("training", 10)
    assert "0 of 100 steps" in text(live)  # ten steps in no time are no news
    live.stands("training", {"loss": 1.0, "checkpoint": 10.0})
    assert "10 of 100 steps" in text(live)
    live.advanced("training", 10)
    hands.now += 11
    live.advanced("training", 1)
    assert "21 of 100 steps" in text(live)


def test_the_time_left_is_that_of_the_pace_unless_the_stage_tells_its_own(
    live: LivePage, hands: Hands
):
    live.started("training", 100, "steps")
    hands.now += 30
    live.advanced("training", 25)
    assert "1 min 30 s</b> left for training" in text(live)  # 75 steps of 1.2 s
    live.stands("training", {"seconds_left": 20.0, "checkpoint": 25.0})
    assert "20.0 s</b> left for training" in text(live)


def test_the_innermost_stage_and_those_that_are_through_are_told(live: LivePage, hands: Hands):
    live.started("outer", None, "")
    live.started("inner", 4, "images")
    live.said("skipped <b>a.jpg</b>")
    hands.now += 20
    live.ended("inner", 20.0)

    assert "<b>outer</b>" in text(live) and "inner</th>" in text(live)
    assert "skipped &lt;b&gt;a.jpg" in text(live)


def test_curves_are_drawn_as_soon_as_they_are_noted(live: LivePage):
    lines = ['{"stage": "training", "epoch": 1, "seconds": 2, "loss": 1.5, "test_accuracy": 0.4}']
    (live.folder / "metrics.jsonl").write_text("\n".join(lines))
    live.started("training", 10, "steps")

    assert "test 40.0 %" in text(live) and "training 1.5" in text(live)


def test_a_page_that_cannot_be_written_does_not_stop_the_run(live: LivePage, monkeypatch):
    def full(*arguments: object) -> None:
        raise DataError("the disk is full")

    monkeypatch.setattr(page, "write", full)
    with progress.watching(live), progress.stage("clustering", 2) as advance:
        advance(1)
        progress.stand("clustering", checkpoint=1)


def test_a_fit_shows_itself_at_each_checkpoint(tiny_folder: Path, tmp_path: Path, monkeypatch):
    seen = []
    usual = page.write

    def watched(findings, path):
        seen.append((findings.progress, Path(path)))
        return usual(findings, path)

    monkeypatch.setattr(page, "write", watched)
    settings = [w for name, value in SMALL["labels"].items() for w in ("--set", f"{name}={value}")]
    out = tmp_path / "run"
    words = ["--recipe", "labels", *settings, "--set", "training.epochs=2", "--map", "0"]
    assert 0 == main(["fit", str(tiny_folder), *words, "--out", str(out)])

    checkpoints = [p for p, _ in seen if p is not None and p.stage == "training" and p.done]
    assert len(checkpoints) >= 4  # a checkpoint after each step
    assert {"report.html"} == {path.name for _, path in seen}
    assert all(path.parent.name == "run.unfinished" for _, path in seen)
    assert seen[-1][0] is None  # the last is the whole report
    assert "refresh" not in (out / "report.html").read_text()
