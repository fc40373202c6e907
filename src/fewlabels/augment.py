"""Random transformations of uint8 images, made on a CPU as fast as a network there can learn.

`draw` makes the random numbers, each image's from its own key (see `fewlabels.draws`); `apply`
does what they say: one resampling, the tones, one matrix product for the colours, the cutout.

Shapes: N images, 3 channels, H W height and width of the source, Y X those of the output.
"""

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from fewlabels import tones
from fewlabels.colours import colour_matrices, contrast_offsets, linear
from fewlabels.draws import uniform
from fewlabels.errors import ConfigError
from fewlabels.resampling import chunks, maps, resample


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How much images may be changed; as it stands, nothing is.

    Where there is neither rotation, scale nor shear, and the output has the size of the source,
    shifts are by whole pixels, each as likely: the usual padded random crop. Else they are any
    number. All numbers are drawn uniformly from their range.
    """

    flip: float = 0.0  # how often an image is mirrored left to right, in [0, 1]
    max_shift: float = 0.0  # both ways, down and across, as a fraction of the side
    max_rotation_deg: float = 0.0  # both ways, in degrees
    min_scale: float = 1.0  # above 1 enlarges what is seen
    max_scale: float = 1.0
    max_shear: float = 0.0  # both ways, pixels to the side for each pixel down
    tones: float = 0.0  # how often one operation of `fewlabels.tones` changes an image, in [0, 1]
    brightness: float = 0.0  # b: all values times a factor from [1 - b, 1 + b]
    contrast: float = 0.0  # c: distances from the picture's mean gray times [1 - c, 1 + c]
    saturation: float = 0.0  # s: distances from the pixel's own gray times [1 - s, 1 + s]
    hue: float = 0.0  # both ways, in turns; brightness is kept
    cutout: float = 0.0  # side of a gray square at a random place, as a fraction of the side

    def __post_init__(self) -> None:
        largest = {"max_rotation_deg": 180.0, "hue": 0.5, "min_scale": math.inf}
        largest["max_scale"] = math.inf
        for field in fields(self):
            value, bound = getattr(self, field.name), largest.get(field.name, 1.0)
            if not (math.isfinite(value) and 0 <= value <= bound):
                allowed = "0 or more" if math.isinf(bound) else f"from 0 to {bound:g}"
                raise ConfigError(f"augmentation.{field.name} is a number {allowed}; got {value}")
        if not 0 < self.min_scale <= self.max_scale:
            raise ConfigError(
                "augmentation.min_scale is above 0 and at most augmentation.max_scale; got "
                f"{self.min_scale} and {self.max_scale}"
            )

    @property
    def moves_only(self) -> bool:
        """Whether images are at most mirrored and shifted, as far as geometry goes."""
        still = (self.max_rotation_deg, self.max_shear, self.min_scale - 1, self.max_scale - 1)
        return not any(still)


@dataclass(frozen=True, kw_only=True, eq=False)
class Transformations:
    """What is done to each image of a batch: arrays of length n_images.

    flip : bool, mirrored left to right; shift_N2 : (down, right) in output pixels
    rotation_deg : anti-clockwise; scale : above 1 enlarges; shear : to the right for each down
    tone : number of an operation of `tones.change`, 0 for none; tone_strength : in [0, 1)
    brightness, contrast, saturation : factors; hue : in turns
    cutout_N2 : (row, column) of the middle of the gray square, in output pixels
    cutout_side : its side in output pixels, one for all; 0 is no square
    """

    flip: np.ndarray
    shift_N2: np.ndarray
    rotation_deg: np.ndarray
    scale: np.ndarray
    shear: np.ndarray
    tone: np.ndarray
    tone_strength: np.ndarray
    brightness: np.ndarray
    contrast: np.ndarray
    saturation: np.ndarray
    hue: np.ndarray
    cutout_N2: np.ndarray
    cutout_side: int = 0

    def __len__(self) -> int:
        return len(self.flip)


def unchanged(n_images: int) -> Transformations:
    """Transformations that leave the images as they are, to change one thing with `replace`."""
    one, zero, pair = np.ones(n_images), np.zeros(n_images), np.zeros((n_images, 2))
    return Transformations(
        flip=np.zeros(n_images, bool),
        shift_N2=pair,
        rotation_deg=zero,
        scale=one,
        shear=zero,
        tone=zero,
        tone_strength=zero,
        brightness=one,
        contrast=one,
        saturation=one,
        hue=zero,
        cutout_N2=pair,
    )


def draw(
    settings: Augmentation,
    keys_N: np.ndarray,
    source_size: tuple[int, int],
    output_size: tuple[int, int],
) -> Transformations:
    """The random numbers of each image, from its key and nothing else.

    Parameters
    ----------
    keys_N : int64 array of shape (n_images,), such as `fewlabels.draws.image_keys` gives
    source_size, output_size : (height, width) in pixels
    """
    (flip, down, right, rotation, scale, shear, *colour, row, column, tone, strength) = uniform(
        keys_N, 14
    )
    size_2 = np.array(output_size)
    shift_N2 = np.stack([down, right], 1)
    if settings.moves_only and source_size == output_size:
        most_2 = np.floor(settings.max_shift * size_2 + 1e-9)  # 0.29 of 100 is 29
        shift_N2 = np.floor(shift_N2 * (2 * most_2 + 1)) - most_2
    else:
        shift_N2 = _both_ways(shift_N2, settings.max_shift) * size_2
    brightness, contrast, saturation, hue = colour
    return Transformations(
        flip=flip < settings.flip,
        shift_N2=shift_N2,
        rotation_deg=_both_ways(rotation, settings.max_rotation_deg),
        scale=settings.min_scale + scale * (settings.max_scale - settings.min_scale),
        shear=_both_ways(shear, settings.max_shear),
        tone=_operation(tone, settings.tones),
        tone_strength=strength,
        brightness=1 + _both_ways(brightness, settings.brightness),
        contrast=1 + _both_ways(contrast, settings.contrast),
        saturation=1 + _both_ways(saturation, settings.saturation),
        hue=_both_ways(hue, settings.hue),
        cutout_N2=np.floor(np.stack([row, column], 1) * size_2),
        cutout_side=round(settings.cutout * min(output_size)),
    )


def _operation(uniform_numbers: np.ndarray, how_often: float) -> np.ndarray:
    """0 for none, else one of the operations on tones, each as likely."""
    number = 1 + np.floor(uniform_numbers / max(how_often, 1e-9) * tones.N_OPERATIONS)
    return np.where(uniform_numbers < how_often, number, 0)


def _both_ways(uniform_numbers: np.ndarray, most: float) -> np.ndarray:
    """From [0, 1) to [-most, most)."""
    return (2 * uniform_numbers - 1) * most


def apply(
    pixels_N3HW: np.ndarray,
    transformations: Transformations,
    size: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Transform each image as told: geometry in one resampling, tones, colours, then cutout.

    Parameters
    ----------
    pixels_N3HW : uint8 array or memory map of shape (n_images, 3, height, width)
    size : side of the output in pixels; that of the source if None
    dtype : of the output

    Returns
    -------
    pictures_N3YX : tensor in [0, 1], contiguous

    Raises ValueError if there are not as many transformations as images.
    Source of the cutout: DeVries and Taylor 2017, arXiv:1708.04552; the square, which may hang
    over the edge, is middle gray.
    """
    n_images, _, height, width = pixels_N3HW.shape
    if len(transformations) != n_images:
        raise ValueError(
            f"{n_images} images need as many transformations; got {len(transformations)}"
        )
    output_size = (height, width) if size is None else (size, size)
    source_2 = np.array([height, width])
    map_N23 = maps(
        np.tile((source_2 - 1) / 2, (n_images, 1)),
        np.tile(source_2 / output_size, (n_images, 1)),
        output_size,
        flip_N=transformations.flip,
        shift_N2=transformations.shift_N2,
        rotation_deg_N=transformations.rotation_deg,
        scale_N=transformations.scale,
        shear_N=transformations.shear,
    )
    pictures_N3YX = np.empty((n_images, 3, *output_size), np.float32)
    for part in chunks(n_images, (height, width)):
        levels_n3YX = resample(pixels_N3HW[part], map_N23[part], output_size)
        tones.change(levels_n3YX, transformations.tone[part], transformations.tone_strength[part])
        pictures_N3YX[part] = _coloured(levels_n3YX, transformations, part)
    _cut_out(pictures_N3YX, transformations)
    return torch.from_numpy(pictures_N3YX).to(dtype)


def _coloured(levels_N3YX: np.ndarray, given: Transformations, part: slice) -> np.ndarray:
    pictures_N3YX = np.divide(levels_N3YX, np.float32(255), out=levels_N3YX)
    brightness, contrast, saturation, hue = (
        values[part] for values in (given.brightness, given.contrast, given.saturation, given.hue)
    )
    if not hue.any() and (np.stack([brightness, contrast, saturation]) == 1).all():
        return pictures_N3YX
    pictures_N3P = pictures_N3YX.reshape(len(hue), 3, -1)
    matrix_N33 = colour_matrices(brightness, contrast, saturation, hue)
    offset_N = contrast_offsets(pictures_N3P, brightness, contrast)
    offset_N3 = np.repeat(offset_N[:, None], 3, axis=1)
    return linear(pictures_N3P, matrix_N33, offset_N3).reshape(pictures_N3YX.shape)


def _cut_out(pictures_N3YX: np.ndarray, given: Transformations) -> None:
    if given.cutout_side:
        first_N2 = given.cutout_N2 - given.cutout_side // 2
        rows_NY, columns_NX = (
            _between(first_N2[:, i, None], given.cutout_side, pictures_N3YX.shape[2 + i])
            for i in range(2)
        )
        square_N1YX = (rows_NY[:, :, None] & columns_NX[:, None])[:, None]
        np.copyto(pictures_N3YX, np.float32(0.5), where=square_N1YX)


def _between(first_N1: np.ndarray, length: int, side: int) -> np.ndarray:
    places = np.arange(side)
    return (places >= first_N1) & (places < first_N1 + length)


def augment(
    pixels_N3HW: np.ndarray,
    settings: Augmentation,
    keys_N: np.ndarray,
    size: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Draw and apply: each image changed at random within the settings, by its own key.

    Parameters
    ----------
    pixels_N3HW : uint8 array or memory map of shape (n_images, 3, height, width)
    keys_N : int64 array of shape (n_images,), such as `fewlabels.draws.image_keys` gives
    size : side of the output in pixels; that of the source if None
    dtype : of the output

    Returns
    -------
    pictures_N3YX : tensor in [0, 1]; an image and its key alone decide its picture, bit for bit

    >>> pictures = augment(pixels[batch], settings, image_keys(seed, epoch, batch))
    """
    source_size = pixels_N3HW.shape[2], pixels_N3HW.shape[3]
    output_size = source_size if size is None else (size, size)
    return apply(pixels_N3HW, draw(settings, keys_N, source_size, output_size), size, dtype)
