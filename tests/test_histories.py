"""The lines of a page's charts: what stands one after another, and along what."""

import json
from pathlib import Path

import pytest

from fewlabels.histories import history_of


def written(folder: Path, *trainings: list[dict]) -> Path:
    lines = [{"stage": "whitening", "seconds": 1.0}, *(line for one in trainings for line in one)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def training(phase: int, *points: tuple[float, float], seconds: float, part: str) -> list[dict]:
    """A line per loss and accuracy, each an epoch of so many seconds."""
    return [
        {
            "stage": "training",
            "epoch": float(epoch),
            "seconds": epoch * seconds,
            "loss": loss,
            part: accuracy,
            "phase": float(phase),
        }
        for epoch, (loss, accuracy) in enumerate(points, 1)
    ]


def test_one_training_is_drawn_along_its_epochs(tmp_path: Path):
    one = training(1, (2.0, 0.25), (1.0, 0.5), seconds=30, part="test_accuracy")
    history = history_of(written(tmp_path, one))

    assert "epochs" == history.axis
    (test,), (loss,) = history.accuracies, history.losses
    assert ("test", [1, 2], [0.25, 0.5]) == (test.name, test.along, test.values)
    assert ([1, 2], [2.0, 1.0], [0]) == (loss.along, loss.values, loss.starts)


def test_trainings_of_one_model_stand_one_after_another_along_the_minutes(tmp_path: Path):
    teacher = training(1, (2.0, 0.2), (1.0, 0.4), (0.5, 0.6), seconds=20, part="held_out_accuracy")
    student = training(2, (0.8, 0.7), (0.6, 0.8), seconds=60, part="held_out_accuracy")
    history = history_of(written(tmp_path, teacher, student))

    assert "minutes of training" == history.axis
    (held_out,), (loss,) = history.accuracies, history.losses
    assert pytest.approx([1 / 3, 2 / 3, 1, 2, 3]) == held_out.along
    assert [0.2, 0.4, 0.6, 0.7, 0.8] == held_out.values
    assert [0, 3] == held_out.starts == loss.starts
    assert [2.0, 1.0, 0.5, 0.8, 0.6] == loss.values


def test_a_part_that_one_training_has_not_measured_still_stands_in_its_minutes(tmp_path: Path):
    first = training(1, (2.0, 0.2), seconds=60, part="accuracy_train")
    second = training(2, (1.0, 0.9), (1.0, 0.9), seconds=60, part="accuracy_answers")
    answers, train = history_of(written(tmp_path, first, second)).accuracies

    assert ("answers", [2, 3], [0]) == (answers.name, answers.along, answers.starts)
    assert ("training", [1]) == (train.name, train.along)
    assert (0, 1) == (answers.kind, train.kind)


def test_the_first_fold_is_drawn_strong_and_every_fold_begins_at_nought(tmp_path: Path):
    folds = [
        training(phase, (2.0, 0.2 * phase), seconds=60, part="test_accuracy")
        for phase in (1, 2, 1, 2)
    ]
    history = history_of(written(tmp_path, *folds))

    assert [([1, 2], True), ([1, 2], False)] == [
        (line.along, line.is_main) for line in history.accuracies
    ]
    assert 2 == len(history.losses)


def test_a_run_without_trainings_has_nothing_to_draw(tmp_path: Path):
    history = history_of(written(tmp_path))

    assert ((), ()) == (tuple(history.accuracies), tuple(history.losses))
    assert history == history_of(tmp_path / "nowhere")
