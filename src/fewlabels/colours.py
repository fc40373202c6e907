"""Colours of pictures in [0, 1]: brightness, contrast, saturation and hue, in RGB and in HSV.

All changes that are linear in RGB are one 3 x 3 matrix and one offset per picture, so they cost
one small matrix product however many there are.

Shapes: N pictures, 3 channels (red, green, blue), P pixels.
"""

import numpy as np

# brightness as the eye sees it: ITU-R BT.601, the Y of YIQ
LUMA = np.array([0.299, 0.587, 0.114])
_TO_YIQ = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
# a quarter of a turn of the chroma plane (I, Q), brightness aside
_QUARTER_TURN = np.linalg.inv(_TO_YIQ) @ np.array([[0, 0, 0], [0, 0, -1], [0, 1, 0]]) @ _TO_YIQ


def colour_matrices(
    brightness_N: np.ndarray, contrast_N: np.ndarray, saturation_N: np.ndarray, hue_N: np.ndarray
) -> np.ndarray:
    """The matrix of each picture that changes all four; 1, 1, 1 and 0 give the identity exactly.

    Parameters
    ----------
    brightness_N : factor of every value
    contrast_N : factor of the distance from the mean gray of the picture; its part that is
        linear stands in the matrix, the rest is what `contrast_offsets` gives
    saturation_N : factor of the distance of a colour from the gray of its own brightness
    hue_N : turn of the chroma plane of YIQ about that gray, in turns; brightness is kept

    Returns
    -------
    matrix_N33 : float32 array of shape (n_pictures, 3, 3)
    """
    gray_33 = np.tile(LUMA, (3, 1))
    turn = 2 * np.pi * hue_N
    along, across = (saturation_N * part(turn) for part in (np.cos, np.sin))
    chroma_N33 = (
        along[:, None, None] * (np.eye(3) - gray_33) + across[:, None, None] * _QUARTER_TURN
    )
    factor_N = brightness_N * contrast_N
    return (factor_N[:, None, None] * (gray_33 + chroma_N33)).astype(np.float32)


def contrast_offsets(
    pictures_N3P: np.ndarray, brightness_N: np.ndarray, contrast_N: np.ndarray
) -> np.ndarray:
    """What is added to all channels so that contrast keeps the mean gray; float32, one each."""
    mean_gray_N = pictures_N3P.mean(2) @ LUMA
    return (brightness_N * (1 - contrast_N) * mean_gray_N).astype(np.float32)


def linear(pictures_N3P: np.ndarray, matrix_N33: np.ndarray, offset_N3: np.ndarray) -> np.ndarray:
    """matrix @ pixel + offset, then cut off to [0, 1]; float32 of the shape of the pictures."""
    changed_N3P = np.matmul(matrix_N33, pictures_N3P)
    changed_N3P += offset_N3[:, :, None]
    return np.clip(changed_N3P, 0, 1, out=changed_N3P)


def to_hsv(pictures_N3P: np.ndarray) -> np.ndarray:
    """RGB in [0, 1] to hue in sixths of a turn, in [-1, 5], saturation and value in [0, 1].

    A gray pixel has hue 0, a black one saturation 0. Beyond the unit of hue and its wrapping,
    this is Python's colorsys.rgb_to_hsv.
    """
    red, green, blue = pictures_N3P.swapaxes(0, 1)
    hsv_N3P = np.empty_like(pictures_N3P)
    hue, saturation, value = hsv_N3P.swapaxes(0, 1)
    np.maximum(np.maximum(red, green), blue, out=value)
    spread = value - np.minimum(np.minimum(red, green), blue)
    # where the divisor is 0 so is what it divides
    smallest = np.finfo(np.float32).tiny
    np.divide(spread, np.maximum(value, smallest), out=saturation)
    # the distance of two channels is counted from the hue of the third: 4, 2 or 0 sixths
    np.add(red - green, 4 * spread, out=hue)
    np.copyto(hue, blue - red + 2 * spread, where=value == green)
    np.copyto(hue, green - blue, where=value == red)
    hue /= np.maximum(spread, smallest)
    return hsv_N3P


def from_hsv(hsv_N3P: np.ndarray) -> np.ndarray:
    """The inverse of `to_hsv`, for any hue (it is wrapped)."""
    hue, saturation, value = hsv_N3P.swapaxes(0, 1)
    hue = hue - 6 * np.floor(hue * np.float32(1 / 6))
    spread = value * saturation
    pictures_N3P = np.empty_like(hsv_N3P)
    # each channel rises, stays, falls and stays over the circle: 1 - how far it is from the value
    for channel, (middle, sign, level) in enumerate(((3, 1, -1), (2, -1, 2), (4, -1, 2))):
        part = np.abs(hue - middle)
        part *= sign
        part += level
        np.clip(part, 0, 1, out=part)
        part -= 1
        part *= spread
        np.add(value, part, out=pictures_N3P[:, channel])
    return pictures_N3P


def change_hsv(
    pictures_N3P: np.ndarray,
    *,
    power_N: np.ndarray,
    factor_N: np.ndarray,
    addend_N: np.ndarray,
    hue_N: np.ndarray,
) -> np.ndarray:
    """Raise saturation and value to a power, multiply them, add to them; add `hue_N` to the hue.

    Saturation and value are cut off to [0, 1] at the end; the hue, in turns, wraps.
    Source: Dosovitskiy et al. 2014 (see `fewlabels.surrogates`), "contrast 2" and "color".
    """
    power, factor, addend, hue = (
        values.astype(np.float32)[:, None, None] for values in (power_N, factor_N, addend_N, hue_N)
    )
    hsv_N3P = to_hsv(pictures_N3P)
    strength_N2P = hsv_N3P[:, 1:]
    # numpy's power, as torch's depends in its last bit on where a batch is split among threads
    np.power(strength_N2P, power, out=strength_N2P)
    strength_N2P *= factor
    strength_N2P += addend
    np.clip(strength_N2P, 0, 1, out=strength_N2P)
    hsv_N3P[:, :1] += 6 * hue
    return from_hsv(hsv_N3P)
