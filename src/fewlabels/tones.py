"""Changes of an image's tones that no matrix makes: inverted, coarser, stretched, evened, sharper.

Whichever is drawn, it teaches a network to look at shapes: levels and contrasts are not what they
were. All but the last two are one table a channel, from each level to another.

Shapes: N images, 3 channels, Y X height and width, P pixels; levels are whole numbers, 0 to 255.
Source: the operations on colours of Cubuk et al., AutoAugment, CVPR 2019, table 6 (Pillow's
ImageOps), with ranges of our own where they are named.
"""

from collections.abc import Callable

import numpy as np

from fewlabels.colours import LUMA

LEVELS = np.arange(256)
INVERTED_FROM = (51.0, 255.0)  # the lowest level that is inverted
KEPT_BITS = (3, 6)
SHARPENING = (-1.0, 1.8)  # -1 is the blurred image, 0 the image as it is


def solarized(levels_NCP: np.ndarray, strength_N: np.ndarray) -> np.ndarray:
    """Levels from a threshold on are inverted; the stronger, the lower it is."""
    low, high = INVERTED_FROM
    threshold_N11 = (high - strength_N * (high - low))[:, None, None]
    return np.where(levels_NCP >= threshold_N11, 255 - levels_NCP, levels_NCP)


def posterized(levels_NCP: np.ndarray, strength_N: np.ndarray) -> np.ndarray:
    """The lowest bits are 0; the stronger, the more of them."""
    fewest, most = KEPT_BITS
    n_bits_N = most - np.floor(strength_N * (most - fewest + 1))
    step_N11 = (2.0 ** (8 - n_bits_N)).astype(np.float32)[:, None, None]
    return np.floor(levels_NCP / step_N11) * step_N11


def stretched(levels_NCP: np.ndarray, strength_N: np.ndarray) -> np.ndarray:
    """Every channel's levels go from 0 to 255 (autocontrast); one of a single level stays."""
    lowest_NC1, highest_NC1 = levels_NCP.min(2, keepdims=True), levels_NCP.max(2, keepdims=True)
    width_NC1 = highest_NC1 - lowest_NC1
    factor_NC1 = 255 / np.where(width_NC1 > 0, width_NC1, 255)
    return np.where(width_NC1 > 0, np.floor((levels_NCP - lowest_NC1) * factor_NC1), levels_NCP)


def equalized(levels_NCP: np.ndarray, strength_N: np.ndarray) -> np.ndarray:
    """Every channel's levels become as frequent as one another; one of a single level stays.

    A level is the share of the pixels that are up to it, where the lowest has none: 0 to 255.
    """
    n_images, n_channels, n_pixels = levels_NCP.shape
    whole_RP = levels_NCP.reshape(-1, n_pixels).astype(np.int64)
    first_R1 = 256 * np.arange(len(whole_RP))[:, None]
    counts_R256 = np.bincount((whole_RP + first_R1).ravel(), minlength=256 * len(whole_RP))
    up_to_R256 = counts_R256.reshape(-1, 256).cumsum(1)
    lowest_R1 = np.take_along_axis(up_to_R256, whole_RP.min(1, keepdims=True), 1)
    above_R1 = n_pixels - lowest_R1
    table_R256 = np.rint(255 * (up_to_R256 - lowest_R1) / np.maximum(above_R1, 1))
    table_R256 = np.where(above_R1 > 0, table_R256, LEVELS)
    evened_RP = np.take_along_axis(table_R256, whole_RP, 1)
    return evened_RP.reshape(n_images, n_channels, n_pixels)


def grayed(levels_NCP: np.ndarray, strength_N: np.ndarray) -> np.ndarray:
    """All channels are as bright as the colour looks."""
    gray_NP = np.rint(np.einsum("c,ncp->np", LUMA, levels_NCP))
    return np.repeat(gray_NP[:, None], 3, 1)


def sharpened(levels_N3YX: np.ndarray, strength_N: np.ndarray) -> np.ndarray:
    """Moved away from the mean of 3 x 3 pixels, or towards it; edges go on as they end."""
    low, high = SHARPENING
    factor_N111 = (low + strength_N * (high - low))[:, None, None, None]
    padded = np.pad(levels_N3YX, ((0, 0), (0, 0), (1, 1), (1, 1)), "edge")
    rows = padded[:, :, :-2] + padded[:, :, 1:-1] + padded[:, :, 2:]
    blurred_N3YX = (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9
    changed_N3YX = levels_N3YX + factor_N111 * (levels_N3YX - blurred_N3YX)
    return np.clip(np.rint(changed_N3YX), 0, 255)


_BY_LEVEL: tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], ...] = (
    solarized,
    posterized,
    stretched,
    equalized,
    grayed,
)
N_OPERATIONS = len(_BY_LEVEL) + 1


def change(levels_N3YX: np.ndarray, operation_N: np.ndarray, strength_N: np.ndarray) -> None:
    """Change the tones of each image in place, by its own operation.

    Parameters
    ----------
    levels_N3YX : float32 array
    operation_N : whole numbers: 0 leaves an image as it is, then 1 to `N_OPERATIONS`: solarized,
        posterized, stretched, equalized, grayed, sharpened
    strength_N : in [0, 1); of the first two and the last
    """
    for number, by_level in enumerate(_BY_LEVEL, start=1):
        chosen = np.flatnonzero(operation_N == number)
        if len(chosen):
            levels_n3P = levels_N3YX[chosen].reshape(len(chosen), 3, -1)
            changed = by_level(levels_n3P, strength_N[chosen])
            levels_N3YX[chosen] = changed.reshape(len(chosen), *levels_N3YX.shape[1:])
    chosen = np.flatnonzero(operation_N == N_OPERATIONS)
    if len(chosen):
        levels_N3YX[chosen] = sharpened(levels_N3YX[chosen], strength_N[chosen])
