"""Pictures of maps: every image at its place, none lost on a grid, odd names do no harm."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from fewlabels import map_pictures
from fewlabels.map_pictures import (
    FRAME,
    TILE,
    class_colours,
    gridded,
    scattered,
    snapped,
    tile_for,
    with_legend,
)


def plain_images(levels: list[int], side: int = 6) -> np.ndarray:
    """One gray image of each level."""
    return np.stack([np.full((3, side, side), level, np.uint8) for level in levels])


def test_images_stand_where_their_places_say_y_upwards():
    positions = np.array([[0.0, 0], [10, 0], [0, 10]])  # origin, right of it, above it
    sheet = scattered(positions, plain_images([10, 20, 30]))

    height, width, _ = sheet.shape
    assert height == width
    half = TILE // 2
    assert [10, 10, 10] == sheet[height - half, half].tolist()
    assert [20, 20, 20] == sheet[height - half, width - half].tolist()
    assert [30, 30, 30] == sheet[half, half].tolist()
    assert [255, 255, 255] == sheet[half, width - half].tolist()  # nobody is there


def test_both_directions_have_one_scale():
    positions = np.array([[0.0, 0], [10, 0], [20, 0], [0, 10]])
    sheet = scattered(positions, plain_images([1, 2, 3, 4]))

    height, width, _ = sheet.shape
    assert width - TILE == pytest.approx(2 * (height - TILE), abs=1)
    middle = TILE // 2 + (width - TILE) // 2
    assert 2 == sheet[height - TILE // 2, middle, 0]


def test_places_on_a_line_or_a_point_are_drawn():
    on_a_line = scattered(np.array([[0.0, 0], [1, 0], [2, 0]]), plain_images([1, 2, 3]))
    on_a_point = scattered(np.zeros((3, 2)), plain_images([1, 2, 3]))

    assert {1, 2, 3} <= set(on_a_line[:, :, 0].ravel().tolist())
    assert 3 in on_a_point  # the last one lies above


def test_a_frame_has_the_colour_of_the_class():
    colours = class_colours(np.array([0, 1, -1]), 2)
    positions = np.array([[0.0, 0], [10, 0], [0, 10]])
    sheet = scattered(positions, plain_images([10, 20, 30]), colours)

    height, width, _ = sheet.shape
    assert [0x33, 0x22, 0x88] == sheet[height - 1, 0].tolist()
    assert [0x88, 0xCC, 0xEE] == sheet[height - 1, width - 1].tolist()
    assert [120, 120, 120] == sheet[0, 0].tolist()  # without a label
    assert [10, 10, 10] == sheet[height - 1 - FRAME, FRAME].tolist()


def test_more_classes_than_colours_have_no_frames():
    assert class_colours(np.array([0, 1]), len(map_pictures.COLOURS) + 1) is None
    assert len(map_pictures.COLOURS) == len(
        np.unique(class_colours(np.arange(len(map_pictures.COLOURS)), 11), axis=0)
    )


def test_a_sheet_of_many_images_stays_within_bounds():
    assert TILE == tile_for(1000)
    assert 5000 >= tile_for(10_000) * map_pictures.ROOM * 100 > 4000


def test_on_a_grid_every_image_is_whole():
    levels = list(range(10, 80, 10))
    positions = np.random.default_rng(0).normal(size=(len(levels), 2))
    cells, size = snapped(positions)
    sheet = gridded(cells, size, plain_images(levels))

    assert (3, 3) == size
    assert (3 * (TILE + 1) + 1, 3 * (TILE + 1) + 1, 3) == sheet.shape
    for level in levels:
        assert TILE**2 == (sheet[:, :, 0] == level).sum()


def test_a_grid_of_places_is_that_grid():
    y, x = np.mgrid[0:4, 0:4]
    shuffled = np.random.default_rng(1).permutation(16)
    cells, size = snapped(np.stack([x.ravel(), -y.ravel()], 1)[shuffled].astype(float))

    assert (4, 4) == size
    assert np.array_equal(np.stack([y.ravel(), x.ravel()], 1)[shuffled], cells)


@given(st.integers(0, 1000), st.integers(2, 6))
@settings(max_examples=20)
def test_the_assignment_is_the_best_of_all(seed: int, n_images: int):
    positions = np.random.default_rng(seed).normal(size=(n_images, 2))
    cells, (rows, columns) = snapped(positions)

    low, extent = positions.min(0), np.ptp(positions, axis=0)
    part = (positions - low) / extent
    wanted = np.stack([(1 - part[:, 1]) * (rows - 1), part[:, 0] * (columns - 1)], 1)
    costs = cdist(wanted, np.stack(np.indices((rows, columns)), -1).reshape(-1, 2)) ** 2
    best = min(
        sum(costs[image, cell] for image, cell in enumerate(chosen))
        for chosen in permutations(range(rows * columns), n_images)
    )
    assert ((cells - wanted) ** 2).sum() == pytest.approx(best)


@given(st.integers(0, 1000), st.integers(1, 150))
@settings(max_examples=30)
def test_cut_in_parts_no_cell_is_used_twice_and_few_are_far(seed: int, n_images: int):
    positions = np.random.default_rng(seed).uniform(size=(n_images, 2))
    whole, size = snapped(positions)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(map_pictures, "BLOCK", 12)
        cells, same_size = snapped(positions)

    assert size == same_size
    assert n_images == len(np.unique(cells, axis=0)) == len(np.unique(whole, axis=0))
    assert (cells >= 0).all() and (cells < size).all()
    assert np.abs(cells - whole).mean() <= 1.5


def test_a_legend_holds_odd_names():
    sheet = np.zeros((50, 700, 3), np.uint8)
    names = ["a" * 300, "<script>alert(1)</script>", "$x_", "猫", "two\nlines"]
    drawn = with_legend(sheet, names)

    assert np.array_equal(sheet, drawn[:50])
    assert 700 == drawn.shape[1]
    assert (drawn[50:] < 128).any()  # something is written there


def test_a_map_needs_a_place_for_each_image():
    with pytest.raises(ValueError, match="2 places and 1 images"):
        scattered(np.zeros((2, 2)), plain_images([1]))
    with pytest.raises(ValueError, match="at least one image"):
        scattered(np.zeros((0, 2)), np.zeros((0, 3, 4, 4), np.uint8))


def test_an_image_that_is_not_square_is_cropped_to_its_middle():
    wide = np.zeros((1, 3, 4, 8), np.uint8)
    wide[:, :, :, 2:6] = 200
    sheet = scattered(np.zeros((1, 2)), wide)

    assert {200, 255} == set(sheet.ravel().tolist())  # nothing of the black borders
