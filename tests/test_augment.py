"""Augmentation: equal to a slow twin, exact where nothing is computed, a function of its key."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from fewlabels import tones
from fewlabels.augment import Augmentation, Transformations, apply, augment, draw, unchanged
from fewlabels.draws import image_keys
from fewlabels.errors import ConfigError
from fewlabels.images import as_float
from fewlabels.resampling import interpolated, maps, moved, whole_moves
from slow_geometry import shown_slowly

EVERYTHING = Augmentation(
    flip=0.5,
    max_shift=0.2,
    max_rotation_deg=30,
    min_scale=0.6,
    max_scale=1.5,
    max_shear=0.3,
    tones=0.5,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
    cutout=0.3,
)


def some_images(n_images: int, height: int = 16, width: int = 16, seed: int = 0) -> np.ndarray:
    shape = (n_images, 3, height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def levels(pictures: torch.Tensor) -> np.ndarray:
    return (pictures.double() * 255).numpy()


def with_(n_images: int, **changed: object) -> Transformations:
    return replace(unchanged(n_images), **changed)


@pytest.mark.parametrize(("height", "width", "size"), [(16, 16, 16), (24, 24, 10), (9, 14, 12)])
def test_geometry_equals_a_slow_float64_twin_to_half_a_grey_level(height, width, size):
    pixels = some_images(12, height, width)
    settings = replace(
        EVERYTHING, tones=0.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, cutout=0.0
    )
    given = draw(settings, image_keys(0, 0, np.arange(12)), (height, width), (size, size))

    shown = levels(apply(pixels, given, size))
    assert 0 < given.flip.sum() < 12
    for index, image in enumerate(pixels):
        expected = shown_slowly(
            image,
            size,
            centre=((height - 1) / 2, (width - 1) / 2),
            step=(height / size, width / size),
            flip=bool(given.flip[index]),
            shift=tuple(given.shift_N2[index]),
            rotation_deg=given.rotation_deg[index],
            scale=given.scale[index],
            shear=given.shear[index],
        )
        assert np.abs(expected - shown[index]).max() < 0.51


def test_colours_follow_the_geometry():
    pixels = some_images(4)
    settings = replace(EVERYTHING, tones=0.0)
    given = draw(settings, image_keys(3, 0, np.arange(4)), (16, 16), (16, 16))
    one, zero = np.ones(4), np.zeros(4)
    plain = replace(given, brightness=one, contrast=one, saturation=one, hue=zero, cutout_side=0)
    moved_images = np.rint(levels(apply(pixels, plain))).astype(np.uint8)
    still = replace(
        unchanged(4),
        **{name: getattr(given, name) for name in ("brightness", "contrast", "saturation", "hue")},
    )

    without_cutout = apply(pixels, replace(given, cutout_side=0))
    assert torch.equal(apply(moved_images, still), without_cutout)
    assert not torch.equal(without_cutout, apply(pixels, plain))


def test_tones_follow_the_geometry_and_change_before_the_colours():
    pixels = some_images(8)
    given = draw(replace(EVERYTHING, tones=1.0), image_keys(3, 0, np.arange(8)), (16, 16), (16, 16))
    colours = ("brightness", "contrast", "saturation", "hue")
    still = {name: getattr(unchanged(8), name) for name in (*colours, "tone")}
    shown = np.rint(levels(apply(pixels, replace(given, **still, cutout_side=0))))
    levels_N3YX = shown.astype(np.float32)
    tones.change(levels_N3YX, given.tone, given.tone_strength)

    only_colours = {name: getattr(given, name) for name in colours}
    expected = apply(levels_N3YX.astype(np.uint8), with_(8, **only_colours))
    assert torch.equal(expected, apply(pixels, replace(given, cutout_side=0)))


def test_as_many_tones_are_changed_as_told_each_way_as_often():
    keys = image_keys(0, 0, np.arange(20_000))
    drawn = draw(Augmentation(tones=0.6), keys, (4, 4), (4, 4))
    counts = np.bincount(drawn.tone.astype(int), minlength=7)

    assert 0.4 == pytest.approx(counts[0] / 20_000, abs=0.02)
    assert 0.001 < chisquare(counts[1:]).pvalue
    assert 0.001 < kstest(drawn.tone_strength, "uniform").pvalue
    assert not draw(Augmentation(), keys, (4, 4), (4, 4)).tone.any()
    assert draw(Augmentation(tones=1.0), keys, (4, 4), (4, 4)).tone.all()


@pytest.mark.parametrize("size", [None, 15])
def test_nothing_changed_gives_the_image_back_exactly(size):
    pixels = some_images(5, 15, 15)

    assert torch.equal(as_float(pixels), apply(pixels, unchanged(5), size))
    assert torch.equal(as_float(pixels), augment(pixels, Augmentation(), np.arange(5)))


def test_a_flip_mirrors_left_to_right_and_twice_is_none():
    pixels = some_images(3)
    flip = with_(3, flip=np.array([True, False, True]))

    once = apply(pixels, flip)
    assert torch.equal(as_float(pixels[0]).flip(2), once[0])
    assert torch.equal(as_float(pixels[1]), once[1])
    again = np.rint(levels(once)).astype(np.uint8)
    assert torch.equal(as_float(pixels), apply(again, flip))


def test_a_shift_by_whole_pixels_equals_slicing_of_the_mirrored_image():
    pixels = some_images(2)
    shift = np.array([[3, -2], [0, 5]])
    padded = np.pad(pixels, ((0, 0), (0, 0), (5, 5), (5, 5)), "symmetric")

    shown = apply(pixels, with_(2, shift_N2=shift))
    assert torch.equal(as_float(padded[0, :, 5 - 3 : 21 - 3, 5 + 2 : 21 + 2]), shown[0])
    assert torch.equal(as_float(padded[1, :, 5:21, 5 - 5 : 21 - 5]), shown[1])
    assert torch.equal(as_float(pixels[0, :, :-3, 2:]), shown[0, :, 3:, :-2])


def test_quarter_turns_equal_rot90_exactly():
    pixels = some_images(4)
    turned = apply(pixels, with_(4, rotation_deg=np.array([90.0, -90, 180, 360])))

    for index, quarters in enumerate((1, -1, 2, 0)):
        expected = as_float(np.rot90(pixels[index], quarters, axes=(1, 2)))
        assert torch.equal(expected, turned[index])


def test_scale_two_shows_the_middle_half_and_half_shows_the_double():
    ramp = np.broadcast_to(np.arange(16, dtype=np.uint8) * 10, (2, 3, 16, 16))
    enlarged, shrunk = levels(apply(ramp, with_(2, scale=np.array([2.0, 0.5]))))[:, 0, 8]

    # column 7.5 stays in the middle; source columns are 7.5 + (c - 7.5) / scale
    assert [37, 42, 48] == pytest.approx(enlarged[:3], abs=1.01)  # columns 3.75, 4.25, 4.75
    assert (35 < enlarged[0] < 40) and 112 < enlarged[-1] < 115
    assert [5, 25] == pytest.approx(shrunk[4:6], abs=0.51)  # columns 0.5 and 2.5


@settings(max_examples=50)
@given(st.data())
def test_whole_moves_give_the_same_with_and_without_interpolation(data):
    height, width, rows, columns = (data.draw(st.integers(1, 40)) for _ in range(4))
    n_images = data.draw(st.integers(1, 3))
    numbers = st.lists(st.integers(-100, 100), min_size=2 * n_images, max_size=2 * n_images)
    flips = st.lists(st.booleans(), min_size=n_images, max_size=n_images)
    one, zero = np.ones(n_images), np.zeros(n_images)
    middle_2 = (np.array([rows, columns]) - 1) / 2
    map_N23 = maps(
        np.tile(middle_2, (n_images, 1)),
        np.ones((n_images, 2)),
        (rows, columns),
        flip_N=np.array(data.draw(flips)),
        shift_N2=np.array(data.draw(numbers)).reshape(n_images, 2),
        rotation_deg_N=zero,
        scale_N=one,
        shear_N=zero,
    )
    pixels = some_images(n_images, height, width)

    assert whole_moves(map_N23)
    picked = moved(pixels, map_N23, (rows, columns))
    assert np.uint8 == picked.dtype
    assert (picked == interpolated(pixels, map_N23, (rows, columns))).all()


def test_what_is_not_a_whole_move_is_interpolated():
    def a_map(**changed: np.ndarray) -> np.ndarray:
        plain = {
            "flip_N": np.zeros(2, bool),
            "shift_N2": np.zeros((2, 2)),
            "rotation_deg_N": np.zeros(2),
            "scale_N": np.ones(2),
            "shear_N": np.zeros(2),
        }
        return maps(np.full((2, 2), 7.5), np.ones((2, 2)), (16, 16), **plain | changed)

    assert whole_moves(a_map())
    assert not whole_moves(a_map(shift_N2=np.array([[0, 0], [0, 0.5]])))
    assert not whole_moves(a_map(rotation_deg_N=np.array([0, 1e-3])))
    assert not whole_moves(a_map(scale_N=np.array([1, 1.001])))
    assert not whole_moves(a_map(shear_N=np.array([1, 0])))


def test_the_cutout_is_a_gray_square_that_may_hang_over_the_edge():
    pixels = np.zeros((2, 3, 8, 8), np.uint8)
    given = with_(2, cutout_N2=np.array([[4, 3], [0, 7]]), cutout_side=4)
    cut = apply(pixels, given)

    assert {0.0, 0.5} == set(cut.unique().tolist())
    assert (cut[0, :, 2:6, 1:5] == 0.5).all() and 3 * 16 == (cut[0] == 0.5).sum()
    assert (cut[1, :, :2, 5:] == 0.5).all() and 3 * 6 == (cut[1] == 0.5).sum()


@settings(max_examples=20)
@given(
    side=st.integers(3, 34),
    size=st.integers(1, 33),
    chosen=st.lists(st.integers(0, 39), min_size=1, max_size=40),
)
def test_an_image_and_its_key_alone_decide_its_picture_bit_for_bit(side, size, chosen):
    pixels, keys = some_images(40, side, side), image_keys(7, 1, np.arange(40))
    everything = augment(pixels, EVERYTHING, keys, size)

    assert torch.equal(everything[chosen], augment(pixels[chosen], EVERYTHING, keys[chosen], size))
    alone = augment(pixels[chosen[:1]], EVERYTHING, keys[chosen[:1]], size)
    assert torch.equal(everything[chosen[:1]], alone)


def test_threads_change_nothing():
    pixels, keys = some_images(50, 33, 33), image_keys(0, 0, np.arange(50))
    before = torch.get_num_threads()
    try:
        pictures = []
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            pictures.append(augment(pixels, EVERYTHING, keys))
    finally:
        torch.set_num_threads(before)

    assert torch.equal(*pictures)


def test_numbers_lie_in_their_ranges_and_are_uniform():
    given = draw(EVERYTHING, image_keys(0, 0, np.arange(5000)), (32, 32), (32, 32))
    ranges = {
        "rotation_deg": (-30, 30),
        "scale": (0.6, 1.5),
        "shear": (-0.3, 0.3),
        "brightness": (0.6, 1.4),
        "contrast": (0.6, 1.4),
        "saturation": (0.6, 1.4),
        "hue": (-0.1, 0.1),
    }
    drawn = {name: (getattr(given, name), *bounds) for name, bounds in ranges.items()}
    drawn |= {f"shift {i}": (given.shift_N2[:, i], -6.4, 6.4) for i in range(2)}

    for name, (values, low, high) in drawn.items():
        assert low <= values.min() and values.max() <= high, name
        assert kstest(values, "uniform", (low, high - low)).pvalue > 0.01, name
    assert 0.48 < given.flip.mean() < 0.52
    for places in given.cutout_N2.T:
        assert chisquare(np.bincount(places.astype(int), minlength=32)).pvalue > 0.01
    assert 10 == given.cutout_side  # 0.3 of 32 is 9.6


def test_shifts_alone_are_by_whole_pixels_each_as_likely():
    keys = image_keys(0, 0, np.arange(5000))
    given = draw(Augmentation(max_shift=0.29), keys, (100, 10), (100, 10))

    down, right = given.shift_N2.T.astype(int)
    assert (given.shift_N2 == np.stack([down, right], 1)).all()
    assert (-29, 29, -2, 2) == (down.min(), down.max(), right.min(), right.max())
    assert chisquare(np.bincount(down + 29)).pvalue > 0.01
    assert chisquare(np.bincount(right + 2)).pvalue > 0.01
    resized = draw(Augmentation(max_shift=0.29), keys, (100, 10), (32, 32)).shift_N2
    assert (resized != np.rint(resized)).any()


def test_seeds_and_epochs_differ():
    pixels = some_images(1)
    pictures = [
        augment(pixels, EVERYTHING, image_keys(seed, epoch, np.zeros(1, int)))
        for seed in range(3)
        for epoch in range(3)
    ]

    for i, one in enumerate(pictures):
        assert not any(torch.equal(one, other) for other in pictures[:i])


def test_output_is_in_zero_to_one_contiguous_and_of_the_type_asked_for():
    pixels, keys = some_images(40, 20, 20), image_keys(0, 0, np.arange(40))
    pictures = augment(pixels, replace(EVERYTHING, brightness=1.0), keys, 12)
    rounded = augment(pixels, replace(EVERYTHING, brightness=1.0), keys, 12, torch.bfloat16)

    assert (40, 3, 12, 12) == pictures.shape and pictures.is_contiguous()
    assert (0, 1) == (pictures.min(), pictures.max())
    assert torch.bfloat16 == rounded.dtype
    assert torch.equal(pictures.bfloat16(), rounded)


def test_images_are_left_as_they_were_and_none_are_none():
    pixels = some_images(6)
    before = pixels.copy()
    augment(pixels, EVERYTHING, np.arange(6))

    assert (before == pixels).all()
    assert (0, 3, 5, 5) == augment(pixels[:0], EVERYTHING, np.arange(0), 5).shape


def test_transformations_of_other_images_are_refused():
    with pytest.raises(ValueError, match="5 images need as many transformations; got 4"):
        apply(some_images(5), unchanged(4))


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("flip", 1.5, r"augmentation\.flip is a number from 0 to 1; got 1\.5"),
        ("hue", 0.6, r"augmentation\.hue is a number from 0 to 0\.5; got 0\.6"),
        ("max_rotation_deg", -1.0, r"max_rotation_deg is a number from 0 to 180; got -1\.0"),
        ("max_scale", float("inf"), r"max_scale is a number 0 or more; got inf"),
        ("contrast", float("nan"), r"contrast is a number from 0 to 1; got nan"),
        ("min_scale", 1.2, r"min_scale is above 0 and at most .*max_scale; got 1\.2 and 1\.0"),
        ("min_scale", 0.0, r"min_scale is above 0"),
    ],
)
def test_settings_out_of_range_are_refused(setting, value, message):
    with pytest.raises(ConfigError, match=message):
        Augmentation(**{setting: value})
