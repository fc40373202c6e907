"""A confusion matrix -> the cells of a table, or the pairs that were confused most.

Shapes: L classes (row: true, column: answered).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fewlabels.figures import shortened

LARGEST_TABLE = 30  # classes: a larger matrix is a picture, and a list of pairs
N_PAIRS = 60  # of that list
N_SHADES = 10
GAMMA = 0.6  # rare confusions are seen too


@dataclass(frozen=True)
class Cell:
    """A pair of classes as indices: n_images of `truth` were answered as `answer`.

    shade : 0 to 10, by the share of the row
    """

    truth: int
    answer: int
    n_images: int
    shade: int


@dataclass(frozen=True)
class Row:
    name: str
    short: str
    cells: Sequence[Cell]


def table(confusion_LL: np.ndarray, class_names: Sequence[str]) -> list[Row]:
    """A row for each true class, a cell in it for each answer."""
    shares_LL = confusion_LL / np.maximum(confusion_LL.sum(axis=1, keepdims=True), 1)
    shades_LL = np.ceil(N_SHADES * shares_LL**GAMMA - 1e-9).astype(int)
    return [
        Row(
            name,
            shortened(name),
            [
                Cell(truth, answer, int(count), int(shades_LL[truth, answer]))
                for answer, count in enumerate(confusion_LL[truth])
            ],
        )
        for truth, name in enumerate(class_names)
    ]


def pairs(confusion_LL: np.ndarray, n_pairs: int = N_PAIRS) -> list[Cell]:
    """The pairs that were confused most, the most frequent first."""
    wrong_LL = np.array(confusion_LL)
    np.fill_diagonal(wrong_LL, 0)
    order = np.argsort(-wrong_LL, axis=None, kind="stable")[:n_pairs]
    found = [divmod(int(place), len(wrong_LL)) for place in order]
    return [Cell(i, j, int(wrong_LL[i, j]), 0) for i, j in found if wrong_LL[i, j]]
