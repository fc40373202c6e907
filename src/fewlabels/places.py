"""Where to cut a patch: where an image has edges, as there is most likely an object.

Shapes: N images, 3 channels, H W height and width, Y X places of a patch, P all of them in a row.
Source: Dosovitskiy et al., NIPS 2014 (see `fewlabels.surrogates`), section 2.1: patches are drawn
from regions with considerable gradients, a patch as likely as its mean squared gradient is large.
"""

import numpy as np


def chosen_corners(pixels_N3HW: np.ndarray, side: int, uniform_N: np.ndarray) -> np.ndarray:
    """A patch in each image, as likely as its gradient energy is large.

    Parameters
    ----------
    pixels_N3HW : uint8 array of shape (n_images, 3, height, width), at least 2 x 2
    side : of the patch, in pixels
    uniform_N : a number in [0, 1) for each image, which decides

    Returns
    -------
    corner_N2 : int64 array, (row, column) of the upper left pixel; the patch lies within the image

    In an image without any gradient all places are as likely.
    """
    energy_NYX = gradient_energy(pixels_N3HW, side)
    n_images, _, n_columns = energy_NYX.shape
    weights_NP = energy_NYX.reshape(n_images, -1)
    weights_NP[weights_NP.max(1) == 0] = 1
    sums_NP = weights_NP.cumsum(1)
    place_N = (sums_NP <= (uniform_N * sums_NP[:, -1])[:, None]).sum(1)
    return np.stack(np.divmod(place_N, n_columns), 1)


def gradient_energy(pixels_N3HW: np.ndarray, side: int) -> np.ndarray:
    """Mean squared gradient magnitude of brightness in the patch at each place.

    Returns
    -------
    energy_NYX : float64 array of shape (n_images, height - side + 1, width - side + 1), in squared
        grey levels per squared pixel; gradients are central differences, one-sided at the border
    """
    # in thousandths of a level, BT.601 brightness is whole, so all sums below are exact
    red, green, blue = pixels_N3HW.astype(np.float64).swapaxes(0, 1)
    down_NHW, across_NHW = np.gradient(299 * red + 587 * green + 114 * blue, axis=(1, 2))
    energy_NHW = np.square(down_NHW) + np.square(across_NHW)
    sums_NYX = np.pad(energy_NHW.cumsum(1).cumsum(2), ((0, 0), (1, 0), (1, 0)))
    rows_NYX = sums_NYX[:, side:] - sums_NYX[:, :-side]
    return (rows_NYX[:, :, side:] - rows_NYX[:, :, :-side]) / (1000 * side) ** 2
