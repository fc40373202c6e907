"""Places on a plane and images -> one sheet with the images drawn at their places, or on a grid.

Shapes: N images, 3 channels, H W their height and width; positions are (x, y), y upwards; cells are
(row, column), rows downwards.
"""

from collections.abc import Sequence
from math import ceil, sqrt

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from fewlabels.figures import lacking_letters_as_boxes, shortened

TILE = 48  # pixels of an image's side on the sheet, fewer where there are many images
SMALLEST_TILE = 8
FRAME = 3  # pixels around an image, in the colour of its class
ROOM = 1.8  # sides of a tile that an image has to itself each way, in the mean
LARGEST_SHEET = 5000  # pixels
MOST_DRAWN = 10_000  # images on a sheet
BLOCK = 2048  # cells that are assigned together: the time grows with their third power
WHITE, UNLABELLED = (255, 255, 255), (120, 120, 120)
# Paul Tol's "muted" (tol.co.uk, 2021), told apart by colour-blind eyes too, then its gray and black
COLOURS = (
    *("#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255"),
    *("#AA4499", "#BBBBBB", "#000000"),
)
DOTS_PER_INCH = 100


def scattered(
    positions_N2: np.ndarray, images_N3HW: np.ndarray, frames_N3: np.ndarray | None = None
) -> np.ndarray:
    """Draw each image around its place, at one scale for both directions; later ones lie above.

    Parameters
    ----------
    positions_N2 : finite floats of any unit; the scale leaves each image the room of 1.8 tiles
        each way in the mean
    images_N3HW : uint8
    frames_N3 : uint8 RGB colour of each one's frame; no frames if None

    Returns
    -------
    sheet : uint8 RGB array of shape (height, width, 3)
    """
    positions_N2 = np.asarray(positions_N2, np.float64)
    _check(positions_N2, images_N3HW)
    tile = tile_for(len(positions_N2))
    low_2, extent_2 = positions_N2.min(0), np.ptp(positions_N2, axis=0)
    extent_2 = np.maximum(extent_2, extent_2.max() / 3)  # no strip of a sheet
    if not extent_2.all():
        extent_2[:] = 1
    pixels = ROOM * tile * sqrt(len(positions_N2) / extent_2.prod())  # per unit of the positions
    width, height = np.rint(extent_2 * pixels).astype(int) + tile
    left_N = np.rint((positions_N2[:, 0] - low_2[0]) * pixels).astype(int)
    top_N = height - tile - np.rint((positions_N2[:, 1] - low_2[1]) * pixels).astype(int)
    sheet = np.full((height, width, 3), WHITE, np.uint8)
    for place, picture in enumerate(_tiles(images_N3HW, frames_N3, tile)):
        y, x = top_N[place], left_N[place]
        sheet[y : y + tile, x : x + tile] = picture
    return sheet


def gridded(
    cells_N2: np.ndarray,
    size: tuple[int, int],
    images_N3HW: np.ndarray,
    frames_N3: np.ndarray | None = None,
) -> np.ndarray:
    """Draw each image in its cell of a grid of (rows, columns), see `snapped`."""
    _check(cells_N2, images_N3HW)
    rows, columns = size
    step = tile_for(len(cells_N2)) + 1
    sheet = np.full((rows * step + 1, columns * step + 1, 3), WHITE, np.uint8)
    for (row, column), picture in zip(
        cells_N2, _tiles(images_N3HW, frames_N3, step - 1), strict=True
    ):
        y, x = row * step + 1, column * step + 1
        sheet[y : y + step - 1, x : x + step - 1] = picture
    return sheet


def snapped(positions_N2: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """A cell of a nearly square grid for each place, no cell twice, all as near as can be.

    Least squares of the distances, by a linear assignment. Of more than some thousand cells the
    grid is cut in halves across its longer side, again and again, each half takes the images of its
    side in order, and the assignment is the best within each part: it ends in time that grows with
    the number of images.

    Returns
    -------
    cells_N2 : int array, (row, column) of each; size : (rows, columns)
    """
    positions_N2 = np.asarray(positions_N2, np.float64)
    n_images = len(positions_N2)
    columns = ceil(sqrt(n_images))
    rows = ceil(n_images / columns)
    low_2, extent_2 = positions_N2.min(0), np.ptp(positions_N2, axis=0)
    part_N2 = (positions_N2 - low_2) / np.where(extent_2 > 0, extent_2, 1)
    places_N2 = np.stack([(1 - part_N2[:, 1]) * (rows - 1), part_N2[:, 0] * (columns - 1)], 1)
    cells_N2 = np.empty((n_images, 2), np.int64)
    waiting = [(np.arange(n_images), (0, 0), (rows, columns))]
    while waiting:
        members, first, size = waiting.pop()
        if size[0] * size[1] > BLOCK:
            waiting += _halves(members, first, size, places_N2)
            continue
        cells_C2 = np.moveaxis(np.indices(size), 0, -1).reshape(-1, 2) + first
        costs_MC = cdist(places_N2[members], cells_C2, "sqeuclidean")
        which, chosen = linear_sum_assignment(costs_MC)
        cells_N2[members[which]] = cells_C2[chosen]
    return cells_N2, (rows, columns)


Part = tuple[np.ndarray, tuple[int, int], tuple[int, int]]  # images, first cell, (rows, columns)


def _halves(
    members: np.ndarray, first: tuple[int, int], size: tuple[int, int], places_N2: np.ndarray
) -> list[Part]:
    axis = int(size[1] > size[0])
    across, along = size[1 - axis], size[axis]
    left = along // 2
    # as many images as the half's share of the cells, and no more than there are cells
    n_left = round(len(members) * left / along)
    n_left = min(max(n_left, len(members) - (along - left) * across), left * across)
    members = members[np.argsort(places_N2[members, axis], kind="stable")]
    sizes = [(n, across) if axis == 0 else (across, n) for n in (left, along - left)]
    second = (first[0] + left, first[1]) if axis == 0 else (first[0], first[1] + left)
    return [(members[:n_left], first, sizes[0]), (members[n_left:], second, sizes[1])]


def tile_for(n_images: int) -> int:
    """Pixels of an image's side, so that a square sheet of so many stays within bounds."""
    return max(SMALLEST_TILE, min(TILE, int(LARGEST_SHEET / (ROOM * sqrt(n_images)))))


def class_colours(labels_N: np.ndarray, n_classes: int) -> np.ndarray | None:
    """uint8 RGB colour of each image's class, gray for labels below 0.

    None for more classes than there are colours that people tell apart.
    """
    if n_classes > len(COLOURS):
        return None
    table = [[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in COLOURS[:n_classes]]
    return np.array([*table, UNLABELLED], np.uint8)[np.where(labels_N >= 0, labels_N, n_classes)]


def with_legend(sheet: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """The sheet with the names of the classes and their colours below it."""
    width = sheet.shape[1]
    points = float(np.clip(width / 90, 7, 30))  # of the letters
    columns = max(1, min(len(class_names), int(width / (points * 20))))
    rows = ceil(len(class_names) / columns)
    height = int(rows * points * 2.6 + points * 1.5)
    inches = (width / DOTS_PER_INCH, height / DOTS_PER_INCH)
    figure = Figure(figsize=inches, dpi=DOTS_PER_INCH, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    patches = [Patch(color=colour) for colour in COLOURS[: len(class_names)]]
    names = [shortened(name) for name in class_names]
    drawn = figure.legend(
        patches, names, loc="center", ncols=columns, frameon=False, fontsize=points
    )
    for text in drawn.get_texts():
        text.set_parse_math(False)  # a dollar sign in a name is a dollar sign
    with lacking_letters_as_boxes():
        canvas.draw()
    strip = np.asarray(canvas.buffer_rgba())[:, :width, :3]
    padded = np.full((len(strip), width, 3), WHITE, np.uint8)
    padded[:, : strip.shape[1]] = strip
    return np.concatenate([sheet, padded])


def _tiles(images_N3HW: np.ndarray, frames_N3: np.ndarray | None, tile: int) -> list[np.ndarray]:
    """Each image as a tile with its frame; one that is not square is cropped to its middle."""
    frame = 0 if frames_N3 is None else (FRAME if tile >= 24 else 1)
    inner = tile - 2 * frame
    pictures = []
    for place, image_3HW in enumerate(images_N3HW):
        side = min(image_3HW.shape[1:])
        top, left = ((length - side) // 2 for length in image_3HW.shape[1:])
        middle = image_3HW[:, top : top + side, left : left + side].transpose(1, 2, 0)
        # a tiny image stays as it is, in squares; a larger one is averaged
        how = Image.Resampling.NEAREST if side < inner else Image.Resampling.BOX
        picture = Image.fromarray(np.ascontiguousarray(middle)).resize((inner, inner), how)
        framed = np.empty((tile, tile, 3), np.uint8)
        framed[:] = 0 if frames_N3 is None else frames_N3[place]
        framed[frame : tile - frame, frame : tile - frame] = np.asarray(picture)
        pictures.append(framed)
    return pictures


def _check(positions_N2: np.ndarray, images_N3HW: np.ndarray) -> None:
    if len(positions_N2) != len(images_N3HW) or not len(images_N3HW):
        raise ValueError(
            f"a picture of a map has a place for each image, and at least one image; got "
            f"{len(positions_N2)} places and {len(images_N3HW)} images"
        )
