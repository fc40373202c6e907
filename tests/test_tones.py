"""Tones: as Pillow changes them where it does, by hand or by scipy elsewhere."""

import numpy as np
import pytest
from PIL import Image, ImageOps
from scipy.ndimage import uniform_filter

from fewlabels import tones

SOLARIZED, POSTERIZED, STRETCHED, EQUALIZED, GRAYED, SHARPENED = range(1, 7)


def some_levels(n_images: int = 3, low: int = 0, high: int = 256, side: int = 9) -> np.ndarray:
    draw = np.random.default_rng(0)
    return draw.integers(low, high, (n_images, 3, side, side)).astype(np.float32)


def changed(levels: np.ndarray, operation: int, strength: float) -> np.ndarray:
    result = levels.copy()
    tones.change(result, np.full(len(levels), operation), np.full(len(levels), strength))
    return result


def by_pillow(levels: np.ndarray, change) -> np.ndarray:
    images = [Image.fromarray(one.transpose(1, 2, 0).astype(np.uint8)) for one in levels]
    return np.stack([np.asarray(change(image)).transpose(2, 0, 1) for image in images])


@pytest.mark.parametrize(("strength", "threshold"), [(0.0, 255), (0.5, 153), (0.999, 52)])
def test_solarized_images_are_pillows(strength, threshold):
    levels = some_levels()
    expected = by_pillow(levels, lambda image: ImageOps.solarize(image, threshold))
    np.testing.assert_array_equal(expected, changed(levels, SOLARIZED, strength))


@pytest.mark.parametrize(("strength", "bits"), [(0.0, 6), (0.3, 5), (0.6, 4), (0.99, 3)])
def test_posterized_images_are_pillows(strength, bits):
    levels = some_levels()
    expected = by_pillow(levels, lambda image: ImageOps.posterize(image, bits))
    np.testing.assert_array_equal(expected, changed(levels, POSTERIZED, strength))


def test_stretched_images_are_pillows_to_a_level():
    levels = some_levels(low=60, high=150)
    expected = by_pillow(levels, ImageOps.autocontrast)
    result = changed(levels, STRETCHED, 0.5)
    assert np.abs(expected - result).max() <= 1  # it rounds down, from another last bit
    assert (result.min((2, 3)) == 0).all() and (result.max((2, 3)) >= 254).all()


def test_equalized_levels_are_the_share_of_pixels_up_to_them():
    levels = np.array([7, 7, 10, 10, 10, 200, 201, 201, 201], np.float32)
    image = np.tile(levels.reshape(3, 3), (1, 3, 1, 1))
    # of seven pixels above the lowest level 3, 4 and 7 are up to the others
    expected = [0, 0, 109, 109, 109, 146, 255, 255, 255]
    assert expected == changed(image, EQUALIZED, 0.5)[0, 1].ravel().tolist()


def test_equalizing_keeps_the_order_of_levels_and_makes_them_even():
    levels = some_levels(low=90, high=140, side=64)
    result = changed(levels, EQUALIZED, 0.5)
    for before, after in zip(levels.reshape(9, -1), result.reshape(9, -1), strict=True):
        assert (np.diff(after[np.argsort(before)]) >= 0).all()
        counts = np.histogram(after, bins=4, range=(0, 256))[0]
        assert np.abs(counts / len(after) - 0.25).max() < 0.05


@pytest.mark.parametrize("operation", [STRETCHED, EQUALIZED, SHARPENED])
def test_an_image_of_a_single_level_stays(operation):
    levels = np.full((2, 3, 5, 5), 77, np.float32)
    np.testing.assert_array_equal(levels, changed(levels, operation, 0.9))


def test_grayed_images_are_pillows_to_a_level():
    levels = some_levels()
    expected = by_pillow(levels, lambda image: image.convert("L").convert("RGB"))
    assert np.abs(expected - changed(levels, GRAYED, 0.5)).max() <= 1


@pytest.mark.parametrize(("strength", "factor"), [(0.0, -1.0), (0.5, 0.4), (0.75, 1.1)])
def test_sharpened_images_move_away_from_their_mean_of_nine_pixels(strength, factor):
    levels = some_levels()
    blurred = uniform_filter(levels.astype(np.float64), (1, 1, 3, 3), mode="nearest")
    expected = np.clip(levels + factor * (levels - blurred), 0, 255)
    assert np.abs(expected - changed(levels, SHARPENED, strength)).max() <= 0.51


def test_each_image_has_its_own_operation_and_levels_stay_levels():
    levels = some_levels(7)
    operations, strengths = np.arange(7), np.linspace(0.1, 0.9, 7)
    together = levels.copy()
    tones.change(together, operations, strengths)

    np.testing.assert_array_equal(levels[0], together[0])
    for index in range(1, 7):
        alone = changed(levels[index : index + 1], operations[index], strengths[index])
        np.testing.assert_array_equal(alone[0], together[index])
        assert not np.array_equal(levels[index], together[index])
    assert (together == np.rint(together)).all() and 0 <= together.min() <= together.max() <= 255
