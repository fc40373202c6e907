"""Colours: identities, numbers by hand, and HSV as Python's colorsys has it."""

import colorsys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fewlabels.colours import (
    LUMA,
    change_hsv,
    colour_matrices,
    contrast_offsets,
    from_hsv,
    linear,
    to_hsv,
)

CORNERS = np.array(
    [
        *([0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]),
        *([0.5, 0.5, 0.5], [0.5, 0.5, 0.2], [0.2, 0.5, 0.5], [0.5, 0.2, 0.5], [1e-8, 0, 0]),
    ],
    np.float32,
)
# finer than grey levels, far from the smallest float32
steps = arrays(np.int64, (5, 3), elements=st.integers(0, 2**16))
pixels_of_any_colour = steps.map(lambda steps: (steps / 2**16).astype(np.float32))


def picture(pixels: np.ndarray) -> np.ndarray:
    """Pixels of shape (n_pixels, 3) as a batch of one picture, (1, 3, n_pixels)."""
    return np.ascontiguousarray(np.asarray(pixels, np.float32).T[None])


def hsv_by_colorsys(pixels: np.ndarray) -> np.ndarray:
    return np.array([colorsys.rgb_to_hsv(*map(float, pixel)) for pixel in pixels])


def matrices(**changed: float) -> np.ndarray:
    values = {"brightness_N": 1.0, "contrast_N": 1.0, "saturation_N": 1.0, "hue_N": 0.0} | changed
    return colour_matrices(**{name: np.array([value]) for name, value in values.items()})


@given(pixels_of_any_colour)
def test_hsv_equals_colorsys(pixels):
    for some in (pixels, CORNERS):
        hue, saturation, value = to_hsv(picture(some))[0]
        expected = hsv_by_colorsys(some)

        assert (-1 <= hue).all() and (hue <= 5).all()
        assert expected[:, 1:] == pytest.approx(np.stack([saturation, value], 1), abs=1e-6)
        turns = np.exp(2j * np.pi * hue / 6)  # 0 and 1 are the same hue
        assert np.exp(2j * np.pi * expected[:, 0]) == pytest.approx(turns, abs=1e-5)


@given(pixels_of_any_colour)
def test_there_and_back_is_the_same_colour(pixels):
    for some in (pixels, CORNERS):
        assert picture(some) == pytest.approx(from_hsv(to_hsv(picture(some))), abs=1e-6)


@given(
    pixels_of_any_colour,
    st.floats(0.25, 4),
    st.floats(0.7, 1.4),
    st.floats(-0.1, 0.1),
    st.floats(-0.1, 0.1),
)
def test_changes_in_hsv_equal_colorsys(pixels, power, factor, addend, hue):
    expected = [
        colorsys.hsv_to_rgb(
            (h + hue) % 1,
            min(max(s**power * factor + addend, 0), 1),
            min(max(v**power * factor + addend, 0), 1),
        )
        for h, s, v in hsv_by_colorsys(pixels)
    ]
    given_numbers = {"power_N": power, "factor_N": factor, "addend_N": addend, "hue_N": hue}
    changed = change_hsv(
        picture(pixels), **{name: np.array([value]) for name, value in given_numbers.items()}
    )

    # a saturation rounded near 0 and raised to a quarter, and a hue where a spread is rounded
    assert np.array(expected) == pytest.approx(changed[0].T, abs=1e-3)


def test_a_hue_of_a_third_of_a_turn_turns_red_into_green():
    one, zero = np.ones(1), np.zeros(1)
    third = {"power_N": one, "factor_N": one, "addend_N": zero, "hue_N": one / 3}

    assert [0, 1, 0] == pytest.approx(change_hsv(picture([[1, 0, 0]]), **third)[0, :, 0], abs=1e-6)


def test_factors_of_one_and_no_hue_are_the_identity_exactly():
    assert np.eye(3).tolist() == matrices()[0].tolist()


def test_brightness_multiplies_and_cuts_off():
    zero = np.zeros((1, 3), np.float32)

    changed = linear(picture([[0.2, 0.4, 0.8]]), matrices(brightness_N=1.5), zero)
    assert [0.3, 0.6, 1.0] == pytest.approx(changed[0, :, 0], abs=1e-6)


def test_no_saturation_leaves_the_gray_of_the_same_brightness():
    color = np.array([0.2, 0.4, 0.8])

    assert [LUMA @ color] * 3 == pytest.approx(matrices(saturation_N=0.0)[0] @ color, abs=1e-6)


@given(st.floats(-0.5, 0.5), st.floats(0, 2))
def test_hue_and_saturation_keep_brightness_and_hues_add_up(hue, saturation):
    color = np.array([0.2, 0.4, 0.8])
    turned = matrices(hue_N=hue, saturation_N=saturation)[0] @ color

    assert LUMA @ color == pytest.approx(LUMA @ turned, abs=1e-6)
    back = matrices(hue_N=-hue)[0] @ matrices(hue_N=hue)[0]
    assert np.eye(3) == pytest.approx(back, abs=1e-5)


def test_contrast_stretches_about_the_mean_gray():
    pixels = picture([[0.2, 0.2, 0.2], [0.4, 0.4, 0.4]])  # mean 0.3
    double = np.array([2.0])
    offset = contrast_offsets(pixels, np.ones(1), double)

    changed = linear(pixels, matrices(contrast_N=2.0), np.repeat(offset[:, None], 3, 1))
    assert [0.1, 0.5] == pytest.approx(changed[0, 0], abs=1e-6)
    assert [-0.6] == pytest.approx(contrast_offsets(pixels, double, double), abs=1e-6)
