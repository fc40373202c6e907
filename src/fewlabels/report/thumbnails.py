"""Images -> small WebP sheets that fit a number of bytes; and single pictures as WebP.

Shapes: N images, H W height and width of each, h w those of its thumbnail.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from PIL import Image

from fewlabels.joined import Pixels

SHEET_PIXELS = 1024  # side of a sheet: one is decoded in a moment, when it is first looked at
SAMPLE = 512  # images that tell how many bytes the others will need
# (longest side, WebP quality), the best first: a small picture in place of a blurred one
SIZES = (
    *((96, 80), (96, 60), (64, 70), (64, 50), (48, 60), (48, 40), (32, 55), (32, 40)),
    *((24, 50), (24, 35), (20, 40), (16, 50), (16, 35), (16, 20), (12, 30), (12, 15), (8, 15)),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Sheets:
    """Thumbnails side by side, row by row, sheet after sheet.

    files : WebP files
    height, width : of a thumbnail, in pixels
    columns, rows : thumbnails across and down a full sheet; the last may have fewer rows
    """

    files: tuple[bytes, ...]
    height: int
    width: int
    columns: int
    rows: int

    @property
    def n_bytes(self) -> int:
        return sum(map(len, self.files))


def sheets_within(pixels_N3HW: Pixels, n_bytes: int) -> Sheets:
    """The best thumbnails that need at most so many bytes; of the least size where none do.

    Parameters
    ----------
    pixels_N3HW : uint8 array of shape (n_images, 3, height, width), at least one image; thumbnails
        are never larger
    """
    n_images = len(pixels_N3HW)
    sample = pixels_N3HW[np.unique(np.linspace(0, n_images - 1, min(n_images, SAMPLE)).astype(int))]
    for number, (side, quality) in enumerate(SIZES):
        is_last = number == len(SIZES) - 1
        expected = made(sample, side, quality).n_bytes * n_images / len(sample)
        if expected <= n_bytes or is_last:
            sheets = made(pixels_N3HW, side, quality)
            if sheets.n_bytes <= n_bytes or is_last:
                return sheets
    raise AssertionError("the last size is always taken")


def made(pixels_N3HW: Pixels, side: int, quality: int) -> Sheets:
    """Thumbnails whose longer side has at most `side` pixels."""
    height, width = thumbnail_size(pixels_N3HW.shape[2], pixels_N3HW.shape[3], side)
    columns, rows = max(1, SHEET_PIXELS // width), max(1, SHEET_PIXELS // height)
    n_images = len(pixels_N3HW)
    files = []
    for first in range(0, n_images, columns * rows):
        n_here = min(columns * rows, n_images - first)
        n_rows = -(-n_here // columns)
        sheet = Image.new("RGB", (columns * width, n_rows * height))
        numbers = range(first, first + n_here)
        for place, thumbnail in enumerate(shrunk(pixels_N3HW, numbers, height, width)):
            row, column = divmod(place, columns)
            sheet.paste(thumbnail, (column * width, row * height))
        files.append(webp(sheet, quality))
    return Sheets(files=tuple(files), height=height, width=width, columns=columns, rows=rows)


def thumbnail_size(height: int, width: int, side: int) -> tuple[int, int]:
    """(height, width) with the proportions kept and the longer one `side`, or as it is."""
    factor = min(1.0, side / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def shrunk(pixels_N3HW: Pixels, numbers: range, height: int, width: int) -> Iterator[Image.Image]:
    """The images of those numbers, each resized."""
    remaining = iter(numbers)
    while some := list(islice(remaining, 256)):
        for image_3HW in pixels_N3HW[some[0] : some[-1] + 1]:
            image = Image.fromarray(np.ascontiguousarray(image_3HW.transpose(1, 2, 0)))
            if image.size != (width, height):
                image = image.resize((width, height), Image.Resampling.LANCZOS)
            yield image


def webp(picture: Image.Image | np.ndarray, quality: int) -> bytes:
    """A WebP file's bytes of a picture, or of a uint8 RGB array (height, width, 3).

    A quality of 100 is lossless.
    """
    if not isinstance(picture, Image.Image):
        picture = Image.fromarray(np.ascontiguousarray(picture))
    buffer = io.BytesIO()
    how: dict = {"lossless": True} if quality == 100 else {"quality": quality, "method": 4}
    picture.save(buffer, "WEBP", **how)
    return buffer.getvalue()
