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

LOSS = "loss"

Piece = tuple[list[float], list[float]]  # of a line: along the axis, and values


def history_of(run: Path) -> History:
    """Accuracies and losses from the run's `metrics.jsonl`; of several models the first is strong.

    Raises CheckpointError where the file is damaged.
    """
    models = comparing.models_of(comparing.read_metrics(run / "metrics.jsonl"))
    along_minutes = any(len(trainings) > 1 for trainings in models)
    told = [_pieces(trainings, along_minutes) for trainings in models]
    parts = sorted({part for pieces in told for part in pieces} - {LOSS})
    accuracies = [
        _line(part, pieces[part], kind, number == 0)
        for number, pieces in enumerate(told)
        for kind, part in enumerate(parts)
        if part in pieces
    ]
    losses = [
        _line("training", pieces[LOSS], 0, number == 0)
        for number, pieces in enumerate(told)
        if LOSS in pieces
    ]
    axis = "minutes of training" if along_minutes else "epochs"
    return History(accuracies=accuracies, losses=losses, axis=axis)


def _pieces(trainings: Sequence[Sequence[Record]], along_minutes: bool) -> dict[str, list[Piece]]:
    """Part, or LOSS -> a piece for each training that measured it."""
    pieces: dict[str, list[Piece]] = {}
    for training, began in zip(trainings, comparing.begins(trainings), strict=True):
        told = {
            part: (curve.epochs, curve.seconds, curve.accuracy)
            for part, curve in comparing.parts_of(training).items()
        }
        if points := comparing.points_of(training, LOSS):
            epochs, seconds, values = zip(*points, strict=True)
            told[LOSS] = epochs, seconds, values
        for name, (epochs, seconds, values) in told.items():
            minutes = [(began + one) / SECONDS for one in seconds]
            along = minutes if along_minutes else list(epochs)
            pieces.setdefault(name, []).append((along, list(values)))
    return pieces


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
