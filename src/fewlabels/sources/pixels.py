"""One image file's bytes -> pixels, by one stated rule; and one way to bring pixels to a size.

Pixels are uint8, RGB, of shape (3, height, width).
"""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from fewlabels.errors import ConfigError
from fewlabels.images import PARTS

LARGEST_CHOSEN_SIZE = 96  # pixels; STL-10's, for which the recipes are made
LARGEST_SIZE = 4096  # pixels; one image of it is 50 MB


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a source is read; every format's `read(path, options)` takes one.

    size : height and width in pixels that images are brought to; None leaves a set of one size as
        it is, and lets a set of mixed sizes choose (see `gathering.gather`)
    largest : of image files, without a size: larger ones of one size are brought to it; None keeps
        them
    strict : stop at the first damaged image instead of naming, counting and skipping it
    seed : of made sets
    parts : those that are wanted; None for all. A format need not read the others
    """

    size: int | None = None
    largest: int | None = LARGEST_CHOSEN_SIZE
    strict: bool = False
    seed: int = 0
    parts: frozenset[str] | None = None

    def __post_init__(self) -> None:
        if self.size is not None and not 1 <= self.size <= LARGEST_SIZE:
            raise ConfigError(
                f"a size is a whole number of pixels, from 1 to {LARGEST_SIZE:,}; got "
                f"{self.size:,}: give another --size"
            )
        wrong = sorted((self.parts or set()) - set(PARTS))
        if wrong or self.parts == frozenset():
            raise ValueError(
                f"parts are some of {', '.join(PARTS)}, such as ('test',); got {wrong or 'none'}"
            )

    def wants(self, part: str) -> bool:
        return self.parts is None or part in self.parts

    @property
    def left_out(self) -> frozenset[str]:
        return frozenset(part for part in PARTS if not self.wants(part))


class DamagedImageError(Exception):
    """Bytes that are no whole image; the message is the reason, in words. Readers catch it."""


def decode(data: bytes, at_least: int | None = None) -> np.ndarray:
    """The pixels of an image file, by the one conversion rule of all sources.

    1. Of an animation or a file of several pages, the first.
    2. Turned upright as its EXIF orientation says.
    3. Gray of 16 bits (modes I;16 and I): v -> round(v / 257), so 65,535 -> 255; values outside
       0 to 65,535 are clipped. Colour of 16 bits is read by Pillow at 8 (the high byte).
    4. Anything transparent (alpha channel, transparent palette entry or key colour) is laid over
       white: c -> c * a + 255 * (1 - a).
    5. Palette, gray, 1-bit, CMYK and YCbCr become RGB as Pillow's `convert("RGB")` does: gray gives
       three equal channels, 1-bit gives 0 and 255.
    6. Floating-point pixels have no stated white and are refused.

    Parameters
    ----------
    data : content of the file
    at_least : decode a JPEG at 1/2, 1/4 or 1/8 of its size if both sides stay at least this many
        pixels (several times faster on photographs); None for its full size

    Returns
    -------
    pixels : uint8 array of shape (3, height, width), contiguous

    Raises DamagedImageError with the reason: empty, no image, truncated, too large, unknown scale.
    """
    if not data:
        raise DamagedImageError("is empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(data)) as image:
            if at_least is not None:
                image.draft(image.mode, (at_least, at_least))
            # in place: no copy of an image that is upright
            ImageOps.exif_transpose(image, in_place=True)
            rgb = _as_rgb(image)
    except DamagedImageError:
        raise
    # Pillow's readers raise errors of a dozen kinds on damaged bytes (OSError, SyntaxError,
    # ValueError, struct.error, ...); all of them mean the same here
    except Exception as error:
        raise DamagedImageError(_reason(error)) from error
    return np.ascontiguousarray(np.asarray(rgb).transpose(2, 0, 1))


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.float64).clip(0, 65535)
        image = Image.fromarray(np.rint(values / 257).astype(np.uint8))
    elif image.mode == "F":
        raise DamagedImageError(
            "has floating-point pixels of no stated scale: save it with 8 or 16 bits"
        )
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "is no image of a known format"
    if isinstance(error, Image.DecompressionBombError):
        return f"is too large to be a photograph ({error})"
    return f"cannot be decoded ({str(error) or type(error).__name__})"


def shorter_side(data: bytes) -> int | None:
    """The shorter side in pixels, from the header alone; None where there is no readable header."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return min(image.size)
    except Exception:  # as in `decode`, which will name the reason
        return None


def fit_to_size(pixels: np.ndarray, size: int) -> np.ndarray:
    """The largest centred square of an image, resized to `size` by antialiased bicubic filtering.

    This is the shorter side resized to `size`, then a centre crop, in one step. Pixels are only
    cropped, not filtered, where the shorter side is `size` already.

    Parameters
    ----------
    pixels : uint8 array of shape (3, height, width)

    Returns
    -------
    uint8 array of shape (3, size, size); `pixels` itself where that is its shape
    """
    height, width = pixels.shape[1:]
    if (height, width) == (size, size):
        return pixels
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    fitted = image.resize(
        (size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)
    )
    return np.ascontiguousarray(np.asarray(fitted).transpose(2, 0, 1))
