"""The images that a page can open, and where they lie on its map; all of it as text for the page.

Shapes: N images, of which the first M lie on the map.
"""

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np

from fewlabels.report.thumbnails import Sheets

PARTS = ("labelled", "unlabelled", "test")
SMALL_PAGE, SMALL_SET = 3_000_000, 1_000  # bytes of a page, at so many images
LARGE_PAGE, LARGE_SET = 15_000_000, 100_000
REST_OF_PAGE = 1_000_000  # bytes: filters, mistakes, texts
BASE64 = 4 / 3
LEVELS = 65_535  # of positions and confidences
UNKNOWN = 65_535  # a class that is not known, as the page has it


@dataclass(frozen=True, kw_only=True, eq=False)
class Pictures:
    """Images and what is known of each.

    positions_M2 : float32, (x, y) of the first M images; the others stand behind cells of the
        confusion matrix alone
    truth_N, answer_N : int32, classes; -1 where there is no label, no answer
    confidence_N : float32, the probability of the answer; NaN where there is none
    part_N : uint8, index into PARTS
    names : of the files
    no_map : why there is no map, as a sentence, where M is 0
    """

    positions_M2: np.ndarray
    truth_N: np.ndarray
    answer_N: np.ndarray
    confidence_N: np.ndarray
    part_N: np.ndarray
    names: tuple[str, ...]
    sheets: Sheets
    no_map: str = ""

    def __len__(self) -> int:
        return len(self.names)

    def count(self, part: str) -> int:
        """How many of that part lie on the map."""
        return int((self.part_N[: len(self.positions_M2)] == PARTS.index(part)).sum())


def page_budget(n_images: int) -> int:
    """Bytes that a page of so many images may have: 3 MB up to 1,000, and 15 MB at 100,000.

    Between and above it grows as a power of the number of images, so that the smaller of two pages
    never has worse thumbnails.
    """
    power = log(LARGE_PAGE / SMALL_PAGE) / log(LARGE_SET / SMALL_SET)
    return int(SMALL_PAGE * max(1.0, n_images / SMALL_SET) ** power)


def thumbnail_budget(n_mapped: int, n_images: int, names: Sequence[str]) -> int:
    """Bytes that the thumbnails may have, before they are text, in a page with a map of so many."""
    facts = BASE64 * (4 * n_mapped + 7 * n_images + len(packed_names(names)))
    return int((page_budget(n_mapped) - REST_OF_PAGE - facts) / BASE64)


def as_data(pictures: Pictures, class_names: Sequence[str]) -> dict[str, Any]:
    """What the page's script reads, ready for JSON; the sheets are left out."""
    sheets = pictures.sheets
    confidence_N = np.nan_to_num(pictures.confidence_N, nan=0.0, posinf=0.0, neginf=0.0)
    return {
        "count": len(pictures),
        "mapped": len(pictures.positions_M2),
        "classes": list(class_names),
        "parts": list(PARTS),
        "positions": _text(_whole_numbers(_into_square(pictures.positions_M2))),
        "truth": _text(np.where(pictures.truth_N < 0, UNKNOWN, pictures.truth_N).astype("<u2")),
        "answer": _text(np.where(pictures.answer_N < 0, UNKNOWN, pictures.answer_N).astype("<u2")),
        "confidence": _text(_whole_numbers(confidence_N)),
        "part": _text(pictures.part_N.astype(np.uint8)),
        "names": base64.b64encode(packed_names(pictures.names)).decode(),
        "thumbnail": {
            "height": sheets.height,
            "width": sheets.width,
            "columns": sheets.columns,
            "rows": sheets.rows,
        },
    }


def packed_names(names: Sequence[str]) -> bytes:
    """Names parted by zero bytes, which no file name holds, deflated."""
    text = "\0".join(name.replace("\0", "") for name in names)
    return zlib.compress(text.encode("utf-8", "replace"), 9)


def unpacked_names(packed: bytes, n_names: int) -> tuple[str, ...]:
    """What `packed_names` packed.  Raises ValueError where it is not so many names."""
    names = tuple(zlib.decompress(packed).decode().split("\0")) if n_names else ()
    if len(names) != n_names:
        raise ValueError(f"expected {n_names} names, got {len(names)}")
    return names


def _into_square(positions_M2: np.ndarray) -> np.ndarray:
    """Positions in [0, 1] with both axes on one scale, the map in the middle of the square."""
    if not len(positions_M2):
        return positions_M2
    low_2, high_2 = positions_M2.min(0), positions_M2.max(0)
    span = max(float((high_2 - low_2).max()), np.finfo(np.float32).tiny)
    return (positions_M2 - (low_2 + high_2) / 2) / span + 0.5


def _whole_numbers(shares: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(shares, 0, 1) * LEVELS).astype("<u2")


def _text(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
