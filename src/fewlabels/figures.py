"""Arrays -> pictures: galleries of filters and surrogates, a confusion matrix; their PNG bytes.

Shapes: K filters, 3 channels, H W height and width, L classes (row: true, column: answered),
R rows of C surrogates, S side of a surrogate.
Matplotlib is used through its objects alone, so no window, backend or global figure is touched.
"""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil, sqrt

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from PIL import Image, ImageDraw

FILTER_PIXELS = 24  # filters smaller than this are enlarged by a whole factor
TILE_PIXELS = 96  # so are surrogates; the image they come from is shown as high as they are
GAP = 2  # pixels between filters, and between surrogates
GAP_GRAY = 20  # no filter's resting gray, so the gaps are seen as gaps
COLOURFUL = 0.5  # share of a filter's energy off the gray axis from which it counts as colour
N_ORIENTATIONS = 12  # steps of 15 degrees
COUNTS_UP_TO = 20  # classes: cells of a larger matrix are too small for numbers
NAME_LENGTH = 18  # characters of a class name


def filter_gallery(
    filters_K3HW: np.ndarray, *, per_filter_contrast: bool = True, columns: int | None = None
) -> np.ndarray:
    """Lay filters out on one sheet: edges by their orientation, then colour blobs by their colour.

    Parameters
    ----------
    filters_K3HW : float array of shape (n_filters, 3, height, width), any range
    per_filter_contrast : stretch each filter to the full range, else all of them by one factor
    columns : filters in a row; the sheet is half as wide again as high if None

    Returns
    -------
    sheet : uint8 RGB array of shape (height, width, 3); a filter's mean is middle gray

    Raises ValueError if the filters are not of RGB images, or there are none.
    """
    filters_K3HW = np.asarray(filters_K3HW, dtype=np.float64)
    if filters_K3HW.ndim != 4 or filters_K3HW.shape[1] != 3 or not filters_K3HW.size:
        raise ValueError(
            "a gallery needs filters of shape (n_filters, 3, height, width), at least one; "
            f"got {filters_K3HW.shape}"
        )
    n_filters, _, height, width = filters_K3HW.shape
    centred_K3HW = filters_K3HW - filters_K3HW.mean(axis=(1, 2, 3), keepdims=True)
    largest_K = np.abs(centred_K3HW).max(axis=(1, 2, 3), keepdims=True)
    largest = largest_K if per_filter_contrast else largest_K.max()
    shown_K3HW = np.rint(127.5 + 127.5 * centred_K3HW / np.where(largest > 0, largest, 1))
    shown_K3HW = shown_K3HW[gallery_order(filters_K3HW)]

    zoom = max(1, round(FILTER_PIXELS / max(height, width)))
    shown_KHW3 = shown_K3HW.transpose(0, 2, 3, 1).repeat(zoom, axis=1).repeat(zoom, axis=2)
    columns = columns or ceil(sqrt(1.5 * n_filters))
    rows = ceil(n_filters / columns)
    step_y, step_x = height * zoom + GAP, width * zoom + GAP
    sheet = np.full((rows * step_y + GAP, columns * step_x + GAP, 3), GAP_GRAY, dtype=np.uint8)
    for number, shown in enumerate(shown_KHW3):
        row, column = divmod(number, columns)
        y, x = GAP + row * step_y, GAP + column * step_x
        sheet[y : y + height * zoom, x : x + width * zoom] = shown
    return sheet


def gallery_order(filters_K3HW: np.ndarray) -> np.ndarray:
    """Indices that put filters of one kind beside one another.

    First the gray filters (at most half of their energy is colour), by the orientation of the
    strongest Fourier component of their brightness in steps of 15 degrees, then by its frequency;
    after them the colourful ones, by the axis of their main colour.
    """
    n_filters, _, height, width = filters_K3HW.shape
    centred_K3HW = filters_K3HW - filters_K3HW.mean(axis=(1, 2, 3), keepdims=True)
    gray_KHW = centred_K3HW.mean(axis=1)
    colour_K3HW = centred_K3HW - gray_KHW[:, None]
    energy_K = np.square(centred_K3HW).sum(axis=(1, 2, 3))
    colour_K = np.square(colour_K3HW).sum(axis=(1, 2, 3))
    colourful_K = colour_K > COLOURFUL * energy_K

    spectrum = np.abs(np.fft.rfft2(gray_KHW))
    spectrum[:, 0, 0] = 0  # brightness as such has no orientation
    row, column = np.divmod(spectrum.reshape(n_filters, -1).argmax(axis=1), spectrum.shape[2])
    across, along = np.fft.fftfreq(height)[row], np.fft.rfftfreq(width)[column]
    turn_K = np.mod(np.arctan2(across, along) / np.pi, 1)  # 1 is half a turn
    orientation_K = np.mod(np.rint(turn_K * N_ORIENTATIONS), N_ORIENTATIONS)
    frequency_K = np.hypot(across, along)

    # a colour and its opposite are one axis: the first principal direction of a filter's pixels
    pixels_K3P = colour_K3HW.reshape(n_filters, 3, -1)
    main_K3 = np.linalg.eigh(pixels_K3P @ pixels_K3P.transpose(0, 2, 1))[1][:, :, -1]
    red_green = (main_K3[:, 0] - main_K3[:, 1]) / sqrt(2)
    blue_yellow = (2 * main_K3[:, 2] - main_K3[:, 0] - main_K3[:, 1]) / sqrt(6)
    hue_K = np.mod(np.arctan2(blue_yellow, red_green) / np.pi, 1)

    first_K = np.where(colourful_K, hue_K, orientation_K)
    second_K = np.where(colourful_K, -colour_K, frequency_K)
    return np.lexsort((second_K, first_K, colourful_K))


def surrogate_gallery(
    sources_R3HW: np.ndarray, corner_R2: np.ndarray, patch_size: int, surrogates_RC3SS: np.ndarray
) -> np.ndarray:
    """Lay surrogates out on one sheet: in each row an image, its patch framed, and its surrogates.

    Parameters
    ----------
    sources_R3HW : uint8 array of shape (n_rows, 3, height, width)
    corner_R2 : int array, (row, column) of the upper left pixel of each patch in its image
    patch_size : side of the patches, in pixels of the images
    surrogates_RC3SS : float array in [0, 1] of shape (n_rows, n_columns, 3, size, size)

    Returns
    -------
    sheet : uint8 RGB array of shape (height, width, 3)

    Raises ValueError if there is not one row of surrogates for each image.
    """
    surrogates_RC3SS = np.asarray(surrogates_RC3SS)
    n_rows, n_columns, _, size, _ = surrogates_RC3SS.shape
    if not len(sources_R3HW) == len(corner_R2) == n_rows:
        raise ValueError(
            f"{len(sources_R3HW)} images with {len(corner_R2)} patches need as many rows of "
            f"surrogates; got {n_rows}"
        )
    zoom = max(1, round(TILE_PIXELS / size))
    tile = size * zoom
    levels_RCSS3 = np.rint(surrogates_RC3SS.transpose(0, 1, 3, 4, 2) * 255).astype(np.uint8)
    tiles_RCSS3 = levels_RCSS3.repeat(zoom, axis=2).repeat(zoom, axis=3)
    height, width = sources_R3HW.shape[2:]
    source_width = round(tile * width / height)
    first_x = source_width + 4 * GAP
    sheet_size = (n_rows * (tile + GAP) + GAP, first_x + n_columns * (tile + GAP), 3)
    sheet = np.full(sheet_size, GAP_GRAY, dtype=np.uint8)
    for row, source_3HW in enumerate(sources_R3HW):
        y = GAP + row * (tile + GAP)
        source = Image.fromarray(np.ascontiguousarray(source_3HW.transpose(1, 2, 0)))
        source = source.resize((source_width, tile), Image.Resampling.BICUBIC)
        top, left = (corner_R2[row] * tile / height).round().astype(int)
        bottom, right = ((corner_R2[row] + patch_size) * tile / height).round().astype(int) - 1
        frame = ImageDraw.Draw(source)
        for inset, level in ((0, 255), (1, 0)):  # white within black is seen on any image
            box = (left + inset, top + inset, right - inset, bottom - inset)
            frame.rectangle(box, outline=(level,) * 3)
        sheet[y : y + tile, GAP : GAP + source_width] = np.asarray(source)
        for column, picture in enumerate(tiles_RCSS3[row]):
            x = first_x + column * (tile + GAP)
            sheet[y : y + tile, x : x + tile] = picture
    return sheet


def confusion_matrix(confusion_LL: np.ndarray, class_names: Sequence[str]) -> Figure:
    """Draw which class was answered for which: the share of each row, rare ones still visible.

    Parameters
    ----------
    confusion_LL : int array of shape (n_classes, n_classes); [true, answered] counts images
    class_names : as many; long ones are shortened

    Returns
    -------
    figure : with counts in the cells up to 20 classes
    """
    confusion_LL = np.asarray(confusion_LL)
    n_classes = len(class_names)
    if confusion_LL.shape != (n_classes, n_classes):
        raise ValueError(
            f"{n_classes} class names need a confusion matrix of {n_classes} x {n_classes}; "
            f"got shape {confusion_LL.shape}"
        )
    share_LL = confusion_LL / np.maximum(confusion_LL.sum(axis=1, keepdims=True), 1)
    side = min(max(4.2, 1.6 + 0.46 * n_classes), 13.0)  # inches
    points = min(9.0, 0.72 * 72 * (side - 1.6) / n_classes)  # a name fits its row
    figure = Figure(figsize=(side + 0.5, side), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    image = axes.imshow(share_LL, cmap=colormaps["Blues"], norm=PowerNorm(0.6, 0, 1))
    names = [shortened(name) for name in class_names]
    # parse_math: a dollar sign in a name is a dollar sign
    axes.set_xticks(range(n_classes), names, rotation=90, fontsize=points, parse_math=False)
    axes.set_yticks(range(n_classes), names, fontsize=points, parse_math=False)
    axes.tick_params(length=0)
    axes.set_xlabel("answered")
    axes.set_ylabel("true class")
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, format=PercentFormatter(1.0))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=0)
    if n_classes <= COUNTS_UP_TO:
        for true, answered in np.argwhere(confusion_LL > 0):
            axes.text(
                answered,
                true,
                f"{confusion_LL[true, answered]:,}",
                ha="center",
                va="center",
                fontsize=min(points, 8),
                color="white" if share_LL[true, answered] > 0.4 else "#222222",
            )
    return figure


def shortened(name: str, length: int = NAME_LENGTH) -> str:
    """The name on one line, its end replaced by an ellipsis where it is longer than `length`."""
    name = " ".join(name.split())
    return name if len(name) <= length else name[: length - 1].rstrip() + "…"


def to_png(picture: np.ndarray | Figure, *, dots_per_inch: int = 130) -> bytes:
    """A PNG file's bytes of a uint8 RGB array (height, width, 3), or of a figure."""
    buffer = io.BytesIO()
    if isinstance(picture, Figure):
        with lacking_letters_as_boxes():
            picture.savefig(buffer, format="png", dpi=dots_per_inch, bbox_inches="tight")
    else:
        Image.fromarray(np.ascontiguousarray(picture)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def to_svg(figure: Figure) -> str:
    """An SVG file's text; letters are outlines, so that it looks the same without our font."""
    buffer = io.StringIO()
    # no date and no random names: the same picture is the same text
    with lacking_letters_as_boxes(), rc_context({"svg.hashsalt": "fewlabels"}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    return buffer.getvalue()


@contextmanager
def lacking_letters_as_boxes() -> Iterator[None]:
    """A letter that the font lacks is drawn as a box, without a warning: the name is text too."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield
