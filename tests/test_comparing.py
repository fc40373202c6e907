"""What runs wrote of themselves: curves out of `metrics.jsonl`, names, and what is not alike."""

from pathlib import Path

import pytest

from fewlabels.comparing import (
    RunFacts,
    curves_of,
    differences,
    labels_of,
    part_of,
    read_metrics,
)
from fewlabels.errors import CheckpointError
from fewlabels.progress import watching
from fewlabels.runs import Diary
from fewlabels.training import TrainingConfig, train
from small_training import MadeExamples, small_graph


def epoch(number: float, seconds: float, stage: str = "training", **facts: object) -> dict:
    return {"stage": stage, "epoch": number, "seconds": seconds, "loss": 1.0, **facts}


def facts(label: str, **changes: object) -> RunFacts:
    """A run of one protocol, source and test set; `changes` are of its scores or its config."""
    scores = {"protocol": "fold-0", "n_test": 5, "confusion": [[2, 1], [0, 2]], "accuracy": 0.8}
    scores |= {"accuracy_per_class": {"cat": 0.67, "dog": 1.0}}
    asked = {"source": "/pets", "seed": 0, "folds": [0]}
    for name, value in changes.items():
        (asked if name in ("source", "seed", "folds", "size") else scores)[name] = value
    return RunFacts(
        folder=Path(label), label=label, config={"run": asked}, scores=scores, curves={}
    )


def test_what_a_training_notes_becomes_its_curves(tmp_path: Path):
    config = TrainingConfig(epochs=3, batch_size=8)
    accuracies = iter((0.25, 0.5, 0.75))

    with watching(Diary(tmp_path / "metrics.jsonl")):
        trained = train(
            small_graph(),
            MadeExamples(),
            config,
            seed=0,
            precision="fp32",
            measure=lambda graph: {"test_accuracy": next(accuracies)},
        )

    curves = curves_of(read_metrics(tmp_path / "metrics.jsonl"))
    (test,), (training,) = curves["test"], curves["training"]
    assert {"test", "training"} == set(curves)
    assert ((1.0, 2.0, 3.0), (0.25, 0.5, 0.75)) == (test.epochs, test.accuracy)
    assert tuple(record["seconds"] for record in trained.history) == test.seconds
    assert tuple(record["accuracy_train"] for record in trained.history) == training.accuracy


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("train_accuracy", "training"),
        ("accuracy_train", "training"),
        ("training_accuracy", "training"),
        ("test_accuracy", "test"),
        ("accuracy_test", "test"),
        ("accuracy_held_out", "held out"),
        ("accuracy", ""),
    ],
)
def test_the_name_of_a_fact_tells_the_part(name: str, part: str):
    assert part == part_of(name)


def test_lines_without_epoch_seconds_or_a_number_are_no_measurements():
    lines = [
        {"stage": "clustering", "seconds": 2.0, "count": 15},
        epoch(1, 5.0, test_accuracy=0.1, inaccuracy=0.9),
        epoch(2, 10.0),  # measuring was left out, to keep to the budget
        epoch(3, 15.0, test_accuracy=float("nan")),
        epoch(4, 20.0, test_accuracy=0.4),
        epoch(5, 25.0, test_accuracy="high"),
        {"stage": "training", "seconds": 26.0, "count": 5},
    ]

    (test,) = curves_of(lines)["test"]
    assert ((1, 4), (5, 20), (0.1, 0.4)) == (test.epochs, test.seconds, test.accuracy)
    assert {"test"} == set(curves_of(lines))
    assert {} == curves_of(lines[:1])


def test_a_training_after_another_is_a_curve_of_its_own():
    one = [epoch(n, n * 5.0, test_accuracy=n / 10) for n in (1, 2, 3)]
    other = [epoch(n, n * 5.0, test_accuracy=n / 5) for n in (1, 2)]
    before = [epoch(n, n * 2.0, "surrogates", surrogate_accuracy=0.9) for n in (1, 2)]

    curves = curves_of([*before, *one, *other])

    assert [(0.1, 0.2, 0.3), (0.2, 0.4)] == [curve.accuracy for curve in curves["test"]]
    assert [(0.9, 0.9)] == [curve.accuracy for curve in curves["surrogate"]]


def test_the_last_training_of_each_model_stands_first():
    def training(accuracy: float, phase: int) -> list[dict]:
        return [
            epoch(1, 5.0),  # measuring was left out
            epoch(2, 9.0, test_accuracy=accuracy, phase=phase),
        ]

    lines = [*training(0.1, 1), *training(0.2, 2), *training(0.3, 3)]  # the first fold
    lines += [*training(0.4, 1), *training(0.5, 2), *training(0.6, 1)]

    curves = curves_of(lines)["test"]

    assert [0.3, 0.2, 0.1, 0.5, 0.4, 0.6] == [curve.accuracy[0] for curve in curves]
    assert [18, 9, 0, 9, 0, 0] == [curve.began for curve in curves]
    assert [27.0] == curves[0].learned()


def test_trainings_of_less_than_an_epoch_are_told_apart_by_their_phase():
    lines = [
        epoch(0.5, 5.0),  # measuring was left out
        epoch(0.9, 9.0, test_accuracy=0.1, phase=1),
        epoch(0.95, 8.0, test_accuracy=0.2, phase=2),
        epoch(0.97, 7.0, test_accuracy=0.3, phase=3),
    ]

    curves = curves_of(lines)["test"]

    assert [(0.3,), (0.2,), (0.1,)] == [curve.accuracy for curve in curves]
    assert [17, 9, 0] == [curve.began for curve in curves]


def test_a_fold_or_a_baseline_after_a_training_of_less_than_an_epoch_is_another_model():
    student = epoch(0.9, 9.0, test_accuracy=0.1, phase=3, step=40)
    fold = [epoch(1.0, 3.0, test_accuracy=0.2, phase=1, step=50)]
    alone = [epoch(1.0, 3.0, step=16), epoch(2.0, 6.0, test_accuracy=0.2, step=32)]

    for lines in (fold, alone):
        curves = curves_of([student, *lines])["test"]
        assert [(0.1,), (0.2,)] == [curve.accuracy for curve in curves]
        assert [0, 0] == [curve.began for curve in curves]


def test_what_was_measured_is_taken_over_the_mean_of_the_steps():
    lines = [epoch(n, n * 5.0, accuracy_train=0.5, train_accuracy=0.6) for n in (1, 2)]

    (training,) = curves_of(lines)["training"]

    assert ("train_accuracy", (0.6, 0.6)) == (training.name, training.accuracy)


def test_a_damaged_line_is_named(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"stage": "a"}\n{"stage": \n')
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl, line 2 is no JSON"):
        read_metrics(path)
    path.write_text("[1]\n")
    with pytest.raises(CheckpointError, match="line 1 is no JSON object: fit again"):
        read_metrics(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_metrics(path)

    assert [] == read_metrics(tmp_path / "absent.jsonl")


def test_runs_of_one_protocol_source_and_test_set_are_alike():
    assert [] == differences([facts("a"), facts("b", seed=1, accuracy=0.1)])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"protocol": "labels-20"}, "the runs have different protocols (a: fold-0; b: labels-20)"),
        ({"source": "/birds"}, "the runs have different data (a: /pets; b: /birds)"),
        ({"size": 32}, "the runs have different data (a: /pets; b: /pets at size 32)"),
        (
            {"n_test": 4, "confusion": [[1, 1], [0, 2]]},
            "the runs have different test sets (a: 5 images of 2 classes (3 cat, 2 dog); "
            "b: 4 images of 2 classes (2 cat, 2 dog))",
        ),
        (
            {"confusion": [[1, 1], [0, 3]]},
            "the runs have different test sets (a: 5 images of 2 classes (3 cat, 2 dog); "
            "b: 5 images of 2 classes (2 cat, 3 dog))",
        ),
    ],
)
def test_what_is_not_alike_is_said(changes: dict, sentence: str):
    assert [sentence] == differences([facts("a"), facts("b", **changes)])


def test_folds_of_one_name_are_told_apart_and_their_confusion_is_of_one_test_set():
    one = facts("one", protocol="labels-20")
    five = facts("two", protocol="labels-20", folds=[0, 1], n_folds=2)
    five.scores["confusion"] = [[4, 2], [1, 3]]  # type: ignore[index]

    expected = "the runs have different protocols (one: labels-20; two: labels-20, folds 0, 1)"
    assert [expected] == differences([one, five])


def test_made_images_of_another_seed_are_other_images():
    runs = [facts("a", source="shapes"), facts("b", source="shapes", seed=1)]

    expected = "the runs have different data (a: shapes of seed 0; b: shapes of seed 1)"
    assert [expected] == differences(runs)


def test_training_accuracy_measured_in_two_ways_is_said():
    curves = [curves_of([epoch(1, 5.0, **{name: 0.5})]) for name in ("a_accuracy", "accuracy_a")]
    runs = [
        RunFacts(
            folder=Path(label), label=label, config={}, scores=facts(label).scores, curves=found
        )
        for label, found in zip("ab", curves, strict=True)
    ]

    expected = "a accuracy was measured in different ways (a: a_accuracy; b: accuracy_a)"
    assert [expected] == differences(runs)


def test_labels_are_the_ends_of_paths_that_tell_runs_apart():
    assert ["l", "k"] == labels_of([Path("runs/l"), Path("runs/k")])
    assert ["x/run", "y/run"] == labels_of([Path("x/run"), Path("y/run")])


def test_long_labels_keep_both_ends_and_are_numbered_where_that_is_not_enough():
    long = [Path("labels-with-wide-network-seed-0"), Path("labels-with-wide-network-seed-1")]
    alike = [Path(f"{'x' * 15}{letter}{'x' * 15}") for letter in "ab"]

    assert ["labels-wi…ork-seed-0", "labels-wi…ork-seed-1"] == labels_of(long)
    assert ["1 xxxxxxxx…xxxxxxxx", "2 xxxxxxxx…xxxxxxxx"] == labels_of(alike)
