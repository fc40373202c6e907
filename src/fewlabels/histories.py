"""What a run wrote while it learned -> the lines of its page.

Where several trainings make one model they stand one after another, along the minutes: an epoch
of a few labelled images is shorter than one of many unlabelled ones.
"""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from fewlabels import comparing
from fewlabels.comparing import Record
from fewlabels.report.chart import History, Line

SECONDS = 60.0  # in a minute

Piece = tuple[list[float], list[float]]  # of a line: along the axis, and values


def history_of(run: Path) -> History:
    """Accuracies and losses from the run's `metrics.jsonl`; of several models the first is strong.

    Raises CheckpointError where the file is damaged.
    """
    models = comparing.models_of(comparing.read_metrics(run / "metrics.jsonl"))
    in_turns = any(len(trainings) > 1 for trainings in models)
    parts = sorted({part for model in models for one in model for part in comparing.parts_of(one)})
    accuracies, losses = [], []
    for number, trainings in enumerate(models):
        accuracy, loss = _pieces(trainings, in_turns)
        accuracies += [
            _line(part, accuracy[part], kind, number == 0)
            for kind, part in enumerate(parts)
            if part in accuracy
        ]
        losses += [_line("training", loss, 0, number == 0)] if loss else []
    axis = "minutes of training" if in_turns else "epochs"
    return History(accuracies=accuracies, losses=losses, axis=axis)


def _pieces(
    trainings: Sequence[Sequence[Record]], in_turns: bool
) -> tuple[dict[str, list[Piece]], list[Piece]]:
    """Part -> a piece for each training that measured it; the pieces of the loss."""
    accuracy: dict[str, list[Piece]] = {}
    loss: list[Piece] = []
    began = 0.0
    for training in trainings:

        def along(epochs: Sequence[float], seconds: Sequence[float], began: float = began) -> list:
            return [(began + one) / SECONDS for one in seconds] if in_turns else list(epochs)

        for part, curve in comparing.parts_of(training).items():
            piece = (along(curve.epochs, curve.seconds), list(curve.accuracy))
            accuracy.setdefault(part, []).append(piece)
        if points := comparing.points_of(training, "loss"):
            epochs, seconds, losses = zip(*points, strict=True)
            loss.append((along(epochs, seconds), list(losses)))
        began += training[-1]["seconds"]
    return accuracy, loss


def _line(name: str, pieces: Sequence[Piece], kind: int, is_main: bool) -> Line:
    lengths = [len(along) for along, _ in pieces]
    return Line(
        name=name,
        along=[place for along, _ in pieces for place in along],
        values=[value for _, values in pieces for value in values],
        starts=[0, *accumulate(lengths[:-1])],
        kind=kind,
        is_main=is_main,
    )
