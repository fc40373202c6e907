"""Pictures: what stands where, that nothing is lost, and that odd names do no harm."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from fewlabels.figures import (
    GAP,
    confusion_matrix,
    filter_gallery,
    gallery_order,
    shortened,
    surrogate_gallery,
    to_png,
)


def wave(angle_deg: float, periods: float, colour: tuple[float, float, float]) -> np.ndarray:
    y, x = np.mgrid[0:12, 0:12] / 12
    angle = np.radians(angle_deg)
    turn = 2 * np.pi * periods * (np.cos(angle) * x + np.sin(angle) * y)
    return np.array(colour)[:, None, None] * np.cos(turn)


GRAY, RED_GREEN, BLUE_YELLOW = (1, 1, 1), (1, -1, 0), (-1, -1, 2)


def test_edges_stand_by_orientation_then_frequency_and_colours_after_them():
    filters = np.stack(
        [
            wave(0, 1, RED_GREEN),
            wave(90, 1, GRAY),
            wave(0, 3, GRAY),
            wave(0, 1, BLUE_YELLOW),
            wave(0, 1, GRAY),
        ]
    )

    assert [4, 2, 1, 0, 3] == gallery_order(filters).tolist()


def test_a_colour_and_its_opposite_are_neighbours():
    filters = np.stack([wave(0, 1, c) for c in (RED_GREEN, BLUE_YELLOW, (-1, 1, 0))])

    order = gallery_order(filters).tolist()
    assert 1 == abs(order.index(0) - order.index(2))


def test_a_filter_is_stretched_around_middle_gray():
    filters = np.zeros((1, 3, 24, 24))
    filters[0, :, 0, 0], filters[0, :, 0, 1] = 2, -2
    sheet = filter_gallery(filters)

    assert (28, 54, 3) == sheet.shape  # two columns (the ceiling of 1.22) and the gaps
    assert [255, 0, 128] == sheet[GAP, GAP : GAP + 3, 0].tolist()


def test_one_contrast_for_all_keeps_a_weak_filter_weak():
    filters = np.stack([wave(0, 1, GRAY), 0.1 * wave(90, 1, GRAY)])
    strong, weak = (
        filter_gallery(filters, per_filter_contrast=each, columns=2)[GAP:-GAP, 28:-GAP]
        for each in (True, False)
    )

    assert (0, 255) == (strong.min(), strong.max())
    assert (115, 140) == (weak.min(), weak.max())  # 127.5 -+ 12.75


def test_small_filters_are_enlarged_and_the_last_row_is_filled_up():
    sheet = filter_gallery(np.random.default_rng(0).normal(size=(5, 3, 6, 6)), columns=3)

    assert (2 * 26 + GAP, 3 * 26 + GAP, 3) == sheet.shape
    assert (sheet[GAP : GAP + 4, GAP : GAP + 4] == sheet[GAP, GAP]).all()
    assert 20 == sheet[-13, -13, 0]


@settings(max_examples=25)
@given(arrays(np.float32, (4, 3, 5, 5), elements=st.floats(-1e3, 1e3, width=32)))
def test_every_filter_is_shown_once_whatever_its_values(filters):
    assert [0, 1, 2, 3] == sorted(gallery_order(filters.astype(np.float64)).tolist())
    assert np.uint8 == filter_gallery(filters).dtype


@pytest.mark.parametrize("shape", [(4, 1, 6, 6), (0, 3, 6, 6), (3, 6, 6)])
def test_what_cannot_be_shown_is_refused(shape):
    with pytest.raises(ValueError, match="n_filters, 3, height, width"):
        filter_gallery(np.zeros(shape))


def test_inputs_are_left_as_they_were():
    filters = np.random.default_rng(0).normal(size=(3, 3, 6, 6))
    before = filters.copy()
    filter_gallery(filters)

    assert (before == filters).all()


def test_counts_stand_in_the_cells_of_a_small_matrix_only():
    small = confusion_matrix(np.array([[1200, 3], [0, 7]]), ["cat", "dog"]).axes[0]
    large = confusion_matrix(np.eye(100, dtype=int), [f"class {i}" for i in range(100)]).axes[0]

    assert {"1,200", "3", "7"} == {text.get_text() for text in small.texts}
    assert 0 == len(large.texts)
    assert 100 == len(large.get_yticklabels())
    assert [[1200 / 1203, 3 / 1203], [0, 1]] == small.images[0].get_array().tolist()


def test_a_matrix_that_does_not_fit_its_names_is_refused():
    with pytest.raises(ValueError, match="3 x 3; got shape"):
        confusion_matrix(np.eye(2, dtype=int), ["a", "b", "c"])


@pytest.mark.parametrize("name", ["$x_", "猫", "<b>", "a\nb", "", "x" * 300, "\\frac{"])
def test_odd_class_names_are_drawn_without_complaint(name):
    png = to_png(confusion_matrix(np.array([[1, 0], [0, 0]]), [name, "other"]))

    assert "PNG" == Image.open(io.BytesIO(png)).format


def test_png_gives_the_pixels_back():
    sheet = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)

    assert (sheet == np.asarray(Image.open(io.BytesIO(to_png(sheet))))).all()


def test_long_names_end_in_an_ellipsis():
    assert "short" == shortened("short")
    assert "a very long cla…" == shortened("a very long class name", 16)
    assert 18 == len(shortened("x" * 40))


def test_each_row_shows_an_image_its_framed_patch_and_its_surrogates():
    sources = np.full((2, 3, 96, 96), 100, np.uint8)
    surrogates = np.linspace(0, 1, 6)[:, None, None, None] * np.ones((6, 3, 32, 32))
    sheet = surrogate_gallery(
        sources, np.array([[10, 20], [0, 64]]), 32, surrogates.reshape(2, 3, 3, 32, 32)
    )

    assert (2 * 98 + GAP, 96 + 4 * GAP + 3 * 98, 3) == sheet.shape
    first = sheet[GAP : GAP + 96, GAP : GAP + 96, 0]
    assert [100, 255, 0, 100] == first[9:13, 40].tolist()  # outside, white, black, inside
    assert (255, 255, 255, 255) == (first[10, 20], first[41, 20], first[10, 51], first[41, 51])
    second_row = sheet[GAP + 98 : GAP + 98 + 96, 96 + 4 * GAP :]
    for column, level in enumerate((153, 204, 255)):
        assert (level == second_row[:, column * 98 : column * 98 + 96]).all()


def test_small_surrogates_are_enlarged_and_images_are_as_high_as_they_are():
    sheet = surrogate_gallery(
        np.zeros((1, 3, 24, 48), np.uint8), np.zeros((1, 2), int), 12, np.ones((1, 2, 3, 12, 12))
    )

    assert (96 + 2 * GAP, 192 + 4 * GAP + 2 * 98, 3) == sheet.shape


def test_surrogates_of_other_images_are_refused():
    with pytest.raises(ValueError, match="2 images with 2 patches need as many rows"):
        surrogate_gallery(
            np.zeros((2, 3, 8, 8), np.uint8), np.zeros((2, 2)), 4, np.zeros((1, 1, 3, 4, 4))
        )
