"""The one conversion rule, by hand-computed values; and fitting to a size."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fewlabels.errors import ConfigError
from fewlabels.sources.pixels import (
    DamagedImageError,
    Options,
    decode,
    fit_to_size,
    shorter_side,
)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixel(data: bytes) -> list[int]:
    """The RGB of the upper left pixel."""
    return decode(data)[:, 0, 0].tolist()


def photograph(height: int, width: int) -> Image.Image:
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / 19 + k) * np.cos(columns / 23 - k) * 100 + 128 for k in range(3)]
    return Image.fromarray(np.stack(waves, -1).astype(np.uint8))


def test_rgb_comes_as_channels_rows_columns():
    image = Image.new("RGB", (2, 1))
    image.putpixel((1, 0), (10, 20, 30))

    assert [[[0, 10]], [[0, 20]], [[0, 30]]] == decode(encoded(image)).tolist()


@pytest.mark.parametrize(
    "value, expected", [(65535, 255), (32896, 128), (257, 1), (128, 0), (0, 0)]
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_gray_is_divided_by_257_and_rounded(value, expected, kind):
    image = Image.fromarray(np.full((2, 2), value, np.uint16))

    assert "I;16" == image.mode
    assert [expected] * 3 == pixel(encoded(image, kind))


def test_32_bit_gray_has_the_scale_of_16_bits_and_is_clipped():
    values = np.array([[70000, 65535, 32896, -5]], np.int32)

    decoded = decode(encoded(Image.fromarray(values), "TIFF"))

    assert [255, 255, 128, 0] == decoded[0, 0].tolist()


def test_cmyk_is_turned_into_rgb():
    # by hand: r = 255 - (c + k), where they do not overlap
    assert [255, 155, 55] == pixel(encoded(Image.new("CMYK", (1, 1), (0, 100, 200, 0)), "TIFF"))
    assert [0, 0, 0] == pixel(encoded(Image.new("CMYK", (1, 1), (0, 0, 0, 255)), "TIFF"))


def test_cmyk_jpeg_is_not_inverted():
    red, green, blue = pixel(encoded(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), "JPEG"))

    assert min(red, green, blue) >= 253


def test_alpha_is_laid_over_white():
    half_red = Image.new("RGBA", (1, 1), (255, 0, 0, 51))  # 51 / 255 is a fifth

    assert [255, 204, 204] == pixel(encoded(half_red))  # 255 * 4 / 5
    assert [255, 255, 255] == pixel(encoded(Image.new("RGBA", (1, 1), (9, 9, 9, 0))))


def test_gray_with_alpha_is_laid_over_white():
    assert [224] * 3 == pixel(encoded(Image.new("LA", (1, 1), (100, 51))))  # 20 + 204


def test_a_palette_is_looked_up():
    image = Image.new("P", (1, 1), 1)
    image.putpalette([0, 0, 0, 11, 22, 33])

    assert [11, 22, 33] == pixel(encoded(image))
    assert [11, 22, 33] == pixel(encoded(image, "GIF"))


def test_a_transparent_palette_entry_is_white():
    image = Image.new("P", (1, 1), 1)
    image.putpalette([0, 0, 0, 11, 22, 33])

    assert [255, 255, 255] == pixel(encoded(image, transparency=1))
    assert [255, 255, 255] == pixel(encoded(image, transparency=b"\xff\x00"))


def test_a_transparent_key_colour_is_white():
    image = Image.new("RGB", (1, 1), (1, 2, 3))

    assert [255, 255, 255] == pixel(encoded(image, transparency=(1, 2, 3)))


def test_gray_and_1_bit_give_three_equal_channels():
    assert [77] * 3 == pixel(encoded(Image.new("L", (1, 1), 77)))
    assert [255] * 3 == pixel(encoded(Image.new("1", (1, 1), 1)))
    assert [0] * 3 == pixel(encoded(Image.new("1", (1, 1), 0)))


def test_the_first_frame_of_an_animation_is_taken():
    first, second = Image.new("RGB", (1, 1), (200, 0, 0)), Image.new("RGB", (1, 1), (0, 0, 200))

    assert [200, 0, 0] == pixel(encoded(first, "GIF", save_all=True, append_images=[second]))


def test_exif_orientation_is_applied():
    image = Image.new("RGB", (2, 1), "black")
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # the viewer is to turn it by 90 degrees clockwise

    decoded = decode(encoded(image, exif=exif))

    assert (3, 2, 1) == decoded.shape
    assert [255, 0] == decoded[0, :, 0].tolist()  # left comes to the top


def test_floating_point_pixels_are_refused_with_the_reason():
    with pytest.raises(DamagedImageError, match="no stated scale"):
        decode(encoded(Image.new("F", (1, 1), 0.5), "TIFF"))


def test_empty_bytes_and_text_are_no_images():
    with pytest.raises(DamagedImageError, match="is empty"):
        decode(b"")
    with pytest.raises(DamagedImageError, match="no image of a known format"):
        decode(b"these are the notes of my holidays\n")


@pytest.mark.parametrize("kind, options", [("JPEG", {}), ("JPEG", {"progressive": True})])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_jpeg_is_damaged_and_not_half_gray(kind, options, share):
    data = encoded(photograph(96, 96), kind, **options)

    with pytest.raises(DamagedImageError):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "WEBP", "TIFF"])
def test_truncated_files_of_other_formats_are_damaged(kind):
    data = encoded(photograph(96, 96), kind)

    with pytest.raises(DamagedImageError):
        decode(data[: len(data) // 2])


@given(
    data=st.binary(max_size=200), start=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8"])
)
@settings(max_examples=50, deadline=None)
def test_bytes_that_are_no_image_raise_nothing_but_a_reason(data, start):
    with pytest.raises(DamagedImageError):
        decode(start + data)


def test_a_photograph_decoded_smaller_looks_the_same():
    data = encoded(photograph(1200, 1000), "JPEG", quality=95)

    small = decode(data, at_least=192)
    fast, slow = fit_to_size(small, 96), fit_to_size(decode(data), 96)

    assert (3, 300, 250) == small.shape
    assert np.abs(fast.astype(int) - slow).mean() < 1


def test_the_shorter_side_is_read_from_the_header():
    data = encoded(photograph(30, 50), "JPEG")

    assert 30 == shorter_side(data)
    assert shorter_side(b"text") is None


def test_fitting_crops_the_centre_without_filtering_where_the_shorter_side_fits():
    pixels = np.arange(3 * 2 * 6, dtype=np.uint8).reshape(3, 2, 6)

    assert pixels[:, :, 2:4].tolist() == fit_to_size(pixels, 2).tolist()


def test_fitting_shrinks_by_averaging():
    stripes = np.zeros((3, 40, 60), np.uint8)
    stripes[:, :, ::2] = 200

    fitted = fit_to_size(stripes, 10)

    assert (3, 10, 10) == fitted.shape
    assert abs(fitted.astype(int) - 100).max() < 15  # no stripes: antialiased


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    size=st.integers(1, 40),
    value=st.integers(0, 255),
)
@settings(max_examples=50, deadline=None)
def test_fitting_keeps_an_even_image_even(height, width, size, value):
    fitted = fit_to_size(np.full((3, height, width), value, np.uint8), size)

    assert (3, size, size) == fitted.shape
    assert (fitted == value).all()


def test_fitting_to_its_own_size_changes_nothing():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 9, 9), np.uint8)

    assert np.array_equal(pixels, fit_to_size(pixels, 9))


@pytest.mark.parametrize("size", [0, -3, 5000])
def test_a_size_that_no_image_has_is_refused(size: int):
    with pytest.raises(ConfigError, match=f"from 1 to 4,096; got {size:,}"):
        Options(size=size)
