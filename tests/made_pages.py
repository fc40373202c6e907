"""Pages with images whose place, colour, label and answer are known, for the tests in a browser."""

import numpy as np
from PIL import Image

from fewlabels.report.findings import Findings
from fewlabels.report.pictures import Pictures
from fewlabels.report.thumbnails import Sheets, webp

SIDE = 16  # of a thumbnail
CLASS_NAMES = ('<img src=x onerror="alert(1)">', "dog & cat", "long " * 60, "fox")
N_WRONG = 7  # in every so many images the answer is the next class


def colours(n_images: int) -> np.ndarray:
    """A colour for each image, (n, 3): neighbours in number differ much."""
    i = np.arange(n_images)
    return np.stack([i * 67 % 256, i * 131 % 256, i * 29 % 256], 1).astype(np.uint8)


def places(n_images: int) -> np.ndarray:
    """A grid, float32 (n, 2), so that nothing lies on anything else."""
    side = int(np.ceil(np.sqrt(n_images)))
    row, column = np.divmod(np.arange(n_images), side)
    return np.stack([column, row], 1).astype(np.float32)


def flat_sheets(colours_N3: np.ndarray) -> Sheets:
    """Thumbnails of one colour each."""
    columns = rows = 64
    files = []
    for first in range(0, len(colours_N3), columns * rows):
        some = colours_N3[first : first + columns * rows]
        n_rows = -(-len(some) // columns)
        sheet = np.zeros((n_rows * columns, 3), np.uint8)
        sheet[: len(some)] = some
        sheet = sheet.reshape(n_rows, columns, 3).repeat(SIDE, axis=0).repeat(SIDE, axis=1)
        files.append(webp(Image.fromarray(sheet), 90))
    return Sheets(files=tuple(files), height=SIDE, width=SIDE, columns=columns, rows=rows)


def findings(n_images: int, n_classes: int = 4) -> Findings:
    """Of every four images one is labelled, one unlabelled and two are test images."""
    i = np.arange(n_images)
    truth = i % n_classes
    answer = np.where(i % N_WRONG == 0, (truth + 1) % n_classes, truth)
    part = np.array([0, 1, 2, 2])[(i // n_classes) % 4]
    confusion = np.zeros((n_classes, n_classes), int)
    np.add.at(confusion, (truth[part == 2], answer[part == 2]), 1)
    names = CLASS_NAMES if n_classes == len(CLASS_NAMES) else [f"c{i}" for i in range(n_classes)]
    pictures = Pictures(
        positions_M2=places(n_images),
        truth_N=np.where(part == 1, -1, truth).astype(np.int32),
        answer_N=answer.astype(np.int32),
        confidence_N=((i % 101) / 100).astype(np.float32),
        part_N=part.astype(np.uint8),
        names=tuple(f"some folder/<b>{number}</b>.jpg" for number in i),
        sheets=flat_sheets(colours(n_images)),
    )
    n_test = int(confusion.sum())
    return Findings(
        source="made",
        recipe="none",
        class_names=names,
        scores={
            "accuracy": float(np.trace(confusion)) / max(n_test, 1),
            "n_test": n_test,
            "confusion": confusion.tolist(),
        },
        pictures=pictures,
    )
