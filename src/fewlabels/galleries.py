"""Arrays -> sheets: patches that excite filters most; a picture of words; a sheet as SVG.

Shapes: F filters, P patches of each, 3 channels, S side of a patch.
"""

import base64
import io
from html import escape
from math import ceil, sqrt
from textwrap import fill

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from fewlabels.figures import GAP, GAP_GRAY, to_png

BLOCK_PIXELS = 150  # patches are enlarged by a whole factor until a block is about as wide
JPEG_QUALITY = 88
WORDS_WIDTH = 64  # characters


def patch_gallery(patches_FP3SS: np.ndarray, *, columns: int | None = None) -> np.ndarray:
    """Lay out a block for each filter: its patches in a square, the strongest at the upper left.

    Parameters
    ----------
    patches_FP3SS : uint8 array of shape (n_filters, n_patches, 3, size, size)
    columns : blocks in a row; the sheet is half as wide again as high if None

    Returns
    -------
    sheet : uint8 RGB array of shape (height, width, 3)

    Raises ValueError where there is no patch.
    """
    n_filters, n_patches, _, size, _ = patches_FP3SS.shape
    if not patches_FP3SS.size:
        raise ValueError(f"a gallery of patches needs one at least; got {patches_FP3SS.shape}")
    columns = columns or ceil(sqrt(1.5 * n_filters))
    inside = ceil(sqrt(n_patches))  # patches in a row of a block
    zoom = max(1, round(BLOCK_PIXELS / (inside * size)))
    tile = size * zoom
    block_width = inside * (tile + 1) - 1
    block_height = ceil(n_patches / inside) * (tile + 1) - 1
    step_y, step_x = block_height + 4 * GAP, block_width + 4 * GAP
    rows = ceil(n_filters / columns)
    shape = (rows * step_y + 4 * GAP, columns * step_x + 4 * GAP, 3)
    sheet = np.full(shape, GAP_GRAY, dtype=np.uint8)
    for number, patches_P3SS in enumerate(patches_FP3SS):
        row, column = divmod(number, columns)
        for place, patch_3SS in enumerate(patches_P3SS):
            down, across = divmod(place, inside)
            y = 4 * GAP + row * step_y + down * (tile + 1)
            x = 4 * GAP + column * step_x + across * (tile + 1)
            enlarged = patch_3SS.transpose(1, 2, 0).repeat(zoom, axis=0).repeat(zoom, axis=1)
            sheet[y : y + tile, x : x + tile] = enlarged
    return sheet


def words(text: str) -> Figure:
    """A picture that says why there is no other."""
    lines = fill(" ".join(text.split()), WORDS_WIDTH)
    figure = Figure(figsize=(7.0, 1.0 + 0.25 * (lines.count("\n") + 1)), facecolor="white")
    figure.text(
        0.5, 0.5, lines, ha="center", va="center", fontsize=12, color="#222222", parse_math=False
    )
    return figure


def sheet_svg(sheet: np.ndarray, title: str, description: str, *, photographs: bool) -> str:
    """A uint8 RGB sheet as an SVG file that needs no other.

    Parameters
    ----------
    photographs : keep the pixels as JPEG, a tenth of the bytes; else as they are
    """
    height, width, _ = sheet.shape
    if photographs:
        buffer = io.BytesIO()
        Image.fromarray(sheet).save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
        kind, content = "jpeg", buffer.getvalue()
    else:
        kind, content = "png", to_png(sheet)
    address = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">\n'
        f"<title>{plain(title)}</title>\n<desc>{plain(description)}</desc>\n"
        f'<image width="{width}" height="{height}" xlink:href="{address}"/>\n</svg>\n'
    )


def plain(text: str) -> str:
    """Escaped for HTML and XML, on one line, without letters that XML cannot hold."""
    return escape("".join(c for c in " ".join(text.split()) if c.isprintable()))
