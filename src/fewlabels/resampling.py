"""Move, turn, scale and cut uint8 images in one bilinear resampling.

A map gives for each output pixel the place in the source that it shows: (row, column) of the
source = map_N23 @ (row, column, 1) of the output. Pixels have their centres at whole numbers.
Outside, an image goes on as its own mirror image, the border pixel repeated: ... b a | a b c ...
Results are whole grey levels, as Pillow's and OpenCV's are; so moves by whole pixels, which need
no interpolation, give the very same result on their own fast path.

Each output pixel is made of the four source pixels around its place. An image that shrinks to less
than half its side therefore loses pixels between them; there is no smoothing before it.

Shapes: N images, 3 channels, H W height and width of the source, Y X those of the output.
"""

import numpy as np
import torch
from torch.nn.functional import grid_sample

# more images at once do not fit a processor's cache, fewer lose time in Python (measured)
MAX_CHUNK = 32  # images
CHUNK_VALUES = 2**19  # of their pixels


def maps(
    centre_N2: np.ndarray,
    step_N2: np.ndarray,
    output_size: tuple[int, int],
    *,
    flip_N: np.ndarray,
    shift_N2: np.ndarray,
    rotation_deg_N: np.ndarray,
    scale_N: np.ndarray,
    shear_N: np.ndarray,
) -> np.ndarray:
    """The map of each image that is mirrored, scaled, sheared, turned and shifted, in that order.

    Parameters
    ----------
    centre_N2 : (row, column) in the source that stays in the middle of the output when not shifted
    step_N2 : source pixels that one output pixel spans, down and across, at scale 1
    output_size : (height, width) in pixels
    flip_N : bool, mirrored left to right
    shift_N2 : (down, right) in output pixels
    rotation_deg_N : degrees, anti-clockwise as seen
    scale_N : above 1 enlarges what is seen
    shear_N : pixels to the right for each pixel down

    Returns
    -------
    map_N23 : float64 array of shape (n_images, 2, 3)
    """
    angle = np.radians(rotation_deg_N)
    cos, sin = np.cos(angle), np.sin(angle)
    # the way back, from output to source: unshift, unturn, unshear, unscale, mirror
    down = np.stack([cos, sin], -1)
    right = np.stack([-sin, cos], -1) - shear_N[:, None] * down
    right = np.where(flip_N, -1.0, 1.0)[:, None] * right
    linear_N22 = np.stack([down, right], 1) * (step_N2 / scale_N[:, None])[:, :, None]
    middle_2 = (np.array(output_size) - 1) / 2
    offset_N2 = centre_N2 - (linear_N22 @ (middle_2 + shift_N2)[:, :, None])[:, :, 0]
    return np.concatenate([linear_N22, offset_N2[:, :, None]], 2)


def resample(pixels_N3HW: np.ndarray, map_N23: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """What the maps show of the images.

    Parameters
    ----------
    pixels_N3HW : uint8 array of shape (n_images, 3, height, width)
    map_N23 : float64 array of shape (n_images, 2, 3), see `maps`
    size : (height, width) of the output, in pixels

    Returns
    -------
    levels_N3YX : float32 array of whole numbers from 0 to 255, shape (n_images, 3, *size)
    """
    levels_N3YX = np.empty((len(pixels_N3HW), 3, *size), np.float32)
    for part in chunks(len(pixels_N3HW), pixels_N3HW.shape[2:]):
        resampled = moved if whole_moves(map_N23[part]) else interpolated
        levels_N3YX[part] = resampled(pixels_N3HW[part], map_N23[part], size)
    return levels_N3YX


def chunks(n_images: int, size: tuple[int, int]) -> list[slice]:
    """Parts of a batch of images of `size` = (height, width) that are worked on together."""
    step = max(1, min(MAX_CHUNK, CHUNK_VALUES // (3 * size[0] * size[1])))
    return [slice(start, start + step) for start in range(0, n_images, step)]


def whole_moves(map_N23: np.ndarray) -> bool:
    """Whether all images are only mirrored and moved by whole pixels."""
    sides = np.abs(map_N23[:, (0, 1), (0, 1)]) == 1
    others = map_N23[:, (0, 1), (1, 0)] == 0
    offsets_N2 = map_N23[:, :, 2]
    return bool(sides.all() and others.all() and (offsets_N2 == np.rint(offsets_N2)).all())


def moved(pixels_N3HW: np.ndarray, map_N23: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`resample` for whole moves: pixels are picked, none is computed; uint8."""
    n_images, _, height, width = pixels_N3HW.shape
    rows_NY, columns_NX = (
        _mirrored(map_N23[:, i, i, None] * np.arange(size[i]) + map_N23[:, i, 2, None], side)
        for i, side in enumerate((height, width))
    )
    first_N3 = np.arange(3 * n_images).reshape(n_images, 3) * (height * width)
    rows_N3Y = first_N3[:, :, None] + rows_NY[:, None] * width
    flat_N3YX = rows_N3Y[:, :, :, None] + columns_NX[:, None, None]
    return np.take(np.ascontiguousarray(pixels_N3HW), flat_N3YX)


def _mirrored(places: np.ndarray, side: int) -> np.ndarray:
    """Indices into `side` pixels that go on as their own mirror image on both ends."""
    period = places.astype(np.int64) % (2 * side)
    return np.minimum(period, 2 * side - 1 - period)


def interpolated(pixels_N3HW: np.ndarray, map_N23: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`resample` for any maps, by torch's vectorised grid_sample."""
    height, width = pixels_N3HW.shape[2:]
    grid_NYX2 = np.empty((len(pixels_N3HW), *size, 2), np.float32)
    for i, side in enumerate((height, width)):
        # grid_sample counts (x, y) from -1 to 1 over the sides of the image
        to_unit = map_N23[:, i] * (2 / side)
        down_NY = (to_unit[:, 0, None] * np.arange(size[0])).astype(np.float32)
        across_NX = to_unit[:, 1, None] * np.arange(size[1]) + (to_unit[:, 2, None] + 1 / side - 1)
        np.add(
            down_NY[:, :, None], across_NX.astype(np.float32)[:, None], out=grid_NYX2[..., 1 - i]
        )
    shown_N3YX = grid_sample(
        torch.from_numpy(pixels_N3HW.astype(np.float32)),
        torch.from_numpy(grid_NYX2),
        mode="bilinear",
        padding_mode="reflection",
        align_corners=False,
    )
    return shown_N3YX.round_().numpy()
