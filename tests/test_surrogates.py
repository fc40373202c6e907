"""Surrogates: the report's numbers, the paper's colours, patches at edges, the same for all."""

import colorsys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest
from torch.utils.data import DataLoader, Dataset

from fewlabels.draws import image_keys
from fewlabels.errors import ConfigError, DataError
from fewlabels.images import Images, as_float
from fewlabels.merging import merged
from fewlabels.places import chosen_corners, gradient_energy
from fewlabels.surrogates import SurrogateConfig, SurrogateSet, drawn_numbers, surrogate_set
from slow_geometry import shown_slowly

STILL = SurrogateConfig(
    n_classes=6,
    n_each=5,
    size=12,
    patch_size=12,
    max_rotation_deg=0.0,
    max_shift=0.0,
    min_scale=1.0,
    max_scale=1.0,
    axis_factor=1.0,
    hsv_power=1.0,
    min_hsv_factor=1.0,
    max_hsv_factor=1.0,
    hsv_addend=0.0,
    hue=0.0,
)
MOVING = SurrogateConfig(n_classes=6, n_each=5, size=12, patch_size=16)


def some_images(n_images: int = 8, side: int = 24) -> Images:
    shape = (n_images, 3, side, side)
    return Images(pixels=np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


@pytest.fixture(scope="module")
def moving() -> SurrogateSet:
    return surrogate_set(some_images(), MOVING, seed=3)


def cut_by_hand(surrogates: SurrogateSet, index: int) -> np.ndarray:
    kind, side = index // surrogates.config.n_each, surrogates.config.patch_size
    top, left = surrogates.corner_K2[kind]
    image = surrogates.images.pixels[surrogates.image_of_class[kind]]
    return image[:, top : top + side, left : left + side]


def test_the_defaults_are_the_numbers_of_the_report():
    config = SurrogateConfig()

    assert (4000, 100, 32) == (config.n_classes, config.n_each, config.size)
    assert (20, 0.1, 0.7, 1.4) == (
        config.max_rotation_deg,
        config.max_shift,
        config.min_scale,
        config.max_scale,
    )


def test_without_transformations_a_surrogate_is_its_patch():
    surrogates = surrogate_set(some_images(), STILL, seed=0)
    pictures, labels = surrogates.batch(np.arange(30))

    assert 30 == len(surrogates) and 6 == surrogates.n_labels
    assert np.repeat(np.arange(6), 5).tolist() == labels.tolist()
    for index in range(30):
        patch = as_float(cut_by_hand(surrogates, index))
        assert (pictures[index] - patch).abs().max() < 1e-6


def test_images_as_small_as_a_patch_move_whole():
    surrogates = surrogate_set(some_images(side=12), STILL, seed=0)

    assert 0 == np.abs(surrogates.corner_K2).max()
    shift = replace(STILL, max_shift=0.25)
    pictures, _ = surrogate_set(some_images(side=12), shift, seed=0).batch(np.arange(30))
    assert (30, 3, 12, 12) == pictures.shape


def test_a_large_patch_is_shrunk_to_the_size_of_a_surrogate():
    flat = Images(pixels=np.full((6, 3, 24, 24), 51, np.uint8))
    surrogates = surrogate_set(flat, replace(STILL, patch_size=24), seed=0)

    assert surrogates.batch(np.arange(3))[0] == pytest.approx(torch.full((3, 3, 12, 12), 0.2))


def test_a_surrogate_equals_the_paper_s_steps_in_float64_to_one_grey_level(moving):
    pictures, _ = moving.batch(np.arange(30))
    drawn = drawn_numbers(MOVING, image_keys(moving.seed, 2, np.arange(30)))
    used = moving.images.pixels[moving.image_of_class].transpose(0, 2, 3, 1).reshape(-1, 3) / 255
    mean, axes = used.mean(0), np.linalg.eigh(np.cov(used.T))[1]

    for index in range(0, 30, 3):
        kind, number = index // 5, {name: values[index] for name, values in drawn.items()}
        shown = shown_slowly(
            moving.images.pixels[moving.image_of_class[kind]],
            12,
            centre=tuple(moving.corner_K2[kind] + 7.5),
            step=(16 / 12, 16 / 12),
            flip=False,
            shift=(12 * number["down"], 12 * number["right"]),
            rotation_deg=number["rotation_deg"],
            scale=number["scale"],
            shear=0.0,
        )
        pixels = np.rint(shown).reshape(3, -1).T / 255
        factors = np.array([number[f"axis_{axis}"] for axis in range(3)])
        pixels = (((pixels - mean) @ axes) * factors) @ axes.T + mean
        expected = []
        for pixel in pixels.clip(0, 1):
            hue, *strengths = colorsys.rgb_to_hsv(*pixel)
            changed = [
                min(max(s ** number["power"] * number["factor"] + number["addend"], 0), 1)
                for s in strengths
            ]
            expected.append(colorsys.hsv_to_rgb((hue + number["hue"]) % 1, *changed))
        difference = np.array(expected).T - pictures[index].reshape(3, -1).numpy()
        assert np.abs(difference).max() < 1 / 255


def test_numbers_lie_in_the_ranges_and_follow_their_laws():
    drawn = drawn_numbers(SurrogateConfig(), image_keys(0, 0, np.arange(5000)))
    uniform = {
        "rotation_deg": (-20, 20),
        "down": (-0.1, 0.1),
        "right": (-0.1, 0.1),
        "scale": (0.7, 1.4),
        "addend": (-0.1, 0.1),
        "hue": (-0.1, 0.1),
    }
    logarithmic = {"power": (0.25, 4), "factor": (0.7, 1.4)}
    logarithmic |= {f"axis_{axis}": (0.5, 2) for axis in range(3)}

    assert set(drawn) == set(uniform) | set(logarithmic)
    for name, (low, high) in uniform.items():
        assert low <= drawn[name].min() and drawn[name].max() <= high
        assert kstest(drawn[name], "uniform", (low, high - low)).pvalue > 0.01, name
    for name, (low, high) in logarithmic.items():
        assert low <= drawn[name].min() and drawn[name].max() <= high
        law = (np.log(low), np.log(high / low))
        assert kstest(np.log(drawn[name]), "uniform", law).pvalue > 0.01, name


@settings(max_examples=25)
@given(st.lists(st.integers(0, 29), min_size=1, max_size=40), st.integers(0, 3))
def test_the_batch_changes_nothing(moving, indices, epoch):
    everything, labels = moving.batch(np.arange(30), epoch)
    some, some_labels = moving.batch(np.array(indices), epoch)

    assert torch.equal(everything[indices], some)
    assert torch.equal(labels[indices], some_labels)
    assert torch.equal(everything[indices[:1]], moving.batch(np.array(indices[:1]), epoch)[0])


class OneByOne(Dataset):
    def __init__(self, surrogates: SurrogateSet) -> None:
        self.surrogates = surrogates

    def __len__(self) -> int:
        return len(self.surrogates)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.surrogates.batch(np.array([index]))[0][0]


def test_threads_and_processes_change_nothing(moving):
    everything, _ = moving.batch(np.arange(30))
    with ThreadPoolExecutor(3) as pool:
        parts = pool.map(lambda part: moving.batch(part)[0], np.split(np.arange(30), 6))
        assert torch.equal(everything, torch.cat(list(parts)))
    loader = DataLoader(OneByOne(moving), batch_size=7, num_workers=2)
    assert torch.equal(everything, torch.cat(list(loader)))


def test_made_again_it_is_the_same_and_other_seeds_and_epochs_differ(moving):
    indices = np.arange(30)
    pictures, _ = moving.batch(indices)

    again = surrogate_set(some_images(), MOVING, seed=3)
    assert torch.equal(pictures, again.batch(indices)[0])
    assert not torch.equal(pictures, moving.batch(indices, epoch=1)[0])
    other = surrogate_set(some_images(), MOVING, seed=4)
    assert not torch.equal(pictures, other.batch(indices)[0])
    assert len({picture.numpy().tobytes() for picture in pictures}) == 30


def test_the_classes_of_a_smaller_set_are_the_first_of_a_larger_one():
    large = surrogate_set(some_images(), STILL, seed=0)
    small = surrogate_set(some_images(), replace(STILL, n_classes=2), seed=0)

    assert large.image_of_class[:2].tolist() == small.image_of_class.tolist()
    assert large.corner_K2[:2].tolist() == small.corner_K2.tolist()
    assert 6 == len(set(large.image_of_class.tolist()))


def test_gradient_energy_equals_a_loop_over_patches():
    pixels = some_images(2, 9).pixels
    gray = np.tensordot(pixels, [0.299, 0.587, 0.114], axes=(1, 0))
    down, across = np.gradient(gray, axis=(1, 2))
    squares = down**2 + across**2
    expected = [
        [[squares[n, y : y + 4, x : x + 4].mean() for x in range(6)] for y in range(6)]
        for n in range(2)
    ]

    assert np.array(expected) == pytest.approx(gradient_energy(pixels, 4))


def test_patches_are_as_likely_as_their_gradient_energy():
    pixels = np.broadcast_to(some_images(1, 6).pixels, (9000, 3, 6, 6))
    corners = chosen_corners(pixels, 4, np.random.default_rng(0).random(9000))
    energy = gradient_energy(pixels[:1], 4).ravel()

    counts = np.bincount(corners @ [3, 1], minlength=9)
    assert chisquare(counts, 9000 * energy / energy.sum()).pvalue > 0.01


def test_a_patch_is_not_cut_where_there_is_nothing_to_see():
    pixels = np.zeros((500, 3, 20, 20), np.uint8)
    pixels[:, :, 15:18, 2:5] = 255
    rows, columns = chosen_corners(pixels, 6, np.linspace(0, 1, 500, endpoint=False)).T

    assert (rows >= 9).all() and (columns <= 5).all()  # gradients reach one pixel further
    blank = chosen_corners(np.zeros_like(pixels), 6, np.linspace(0, 1, 500, endpoint=False))
    assert {(y, x) for y in range(15) for x in range(15)} == set(map(tuple, blank.tolist()))


def test_images_on_disk_are_never_read_as_a_whole(tmp_path):
    path = tmp_path / "pixels.bin"
    np.memmap(path, np.uint8, "w+", shape=(3000, 3, 96, 96)).flush()  # 79 MiB, sparse
    images = Images(pixels=np.memmap(path, np.uint8, "r", shape=(3000, 3, 96, 96)))
    tracemalloc.start()
    try:
        surrogates = surrogate_set(images, SurrogateConfig(n_classes=300), seed=0)
        pictures, _ = surrogates.batch(np.arange(0, 30_000, 500))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (60, 3, 32, 32) == pictures.shape
    assert most < 24 * 2**20  # a chunk of 18 images, its gradients and sums in float64


def test_rows_of_a_gallery_are_classes_with_their_images(moving):
    sources, corners, surrogates = moving.rows(4, 3)

    assert (4, 3, 24, 24) == sources.shape and (4, 3, 3, 12, 12) == surrogates.shape
    assert (moving.images.pixels[moving.image_of_class[2]] == sources[2]).all()
    assert corners.tolist() == moving.corner_K2[:4].tolist()
    assert torch.equal(moving.batch(np.array([5, 6, 7]))[0], surrogates[1])
    assert (6, 5) == moving.rows(100, 100)[2].shape[:2]


def test_merged_classes_share_a_label(moving):
    fewer = moving.with_labels(np.array([0, 1, 0, 2, 1, 3]))

    assert 4 == fewer.n_labels and 30 == len(fewer)
    assert [0, 1, 0, 2, 1, 3] == fewer.batch(np.arange(0, 30, 5))[1].tolist()
    assert torch.equal(moving.batch(np.arange(4))[0], fewer.batch(np.arange(4))[0])
    with pytest.raises(ValueError, match="6 classes need as many labels"):
        moving.with_labels(np.zeros(5, int))


def test_classes_that_look_alike_become_one_whatever_the_length_of_their_features():
    # directions 0, 90, 2, 91 and 45 degrees; the last of them alone
    angles, lengths = np.radians([0, 90, 2, 91, 45]), np.array([1, 5, 0.1, 2, 3])
    features = np.stack([np.cos(angles), np.sin(angles)], 1) * lengths[:, None]

    assert [0, 1, 0, 1, 2] == merged(features, 3).tolist()
    assert [0, 1, 2, 3, 4] == merged(features, 5).tolist()


def test_a_chain_of_near_classes_is_not_joined_end_to_end():
    angles = np.radians([0, 10, 21, 33, 70])  # single linkage would join the first four
    features = np.stack([np.cos(angles), np.sin(angles)], 1)

    assert [0, 0, 1, 1, 2] == merged(features, 3).tolist()


@pytest.mark.parametrize("n_classes", [1, 6])
def test_merging_into_too_few_or_more_classes_is_refused(n_classes):
    with pytest.raises(ConfigError, match=f"leaves 2 to 5; got {n_classes}"):
        merged(np.eye(5), n_classes)


def test_fewer_images_than_classes_and_images_smaller_than_a_patch_are_refused():
    with pytest.raises(DataError, match=r"4,000 surrogate .* there are 8: .*n_classes=8$"):
        surrogate_set(some_images(), SurrogateConfig(), seed=0)
    with pytest.raises(DataError, match=r"32 x 32; the images are 24 x 24: .*patch_size=24$"):
        surrogate_set(some_images(), SurrogateConfig(n_classes=2), seed=0)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("n_classes", 1, r"surrogates\.n_classes is a number at least 2; got 1"),
        ("n_each", 0, r"n_each is a number at least 1; got 0"),
        ("max_shift", 1.5, r"max_shift is a number from 0 to 1; got 1\.5"),
        ("hue", float("nan"), r"hue is a number from 0 to 0\.5; got nan"),
        ("axis_factor", 0.5, r"axis_factor is a number at least 1; got 0\.5"),
        ("min_scale", 2.0, r"min_scale is above 0 and at most .*; got 2\.0 and 1\.4"),
        ("min_hsv_factor", 0.0, r"min_hsv_factor is above 0"),
    ],
)
def test_settings_out_of_range_are_refused(setting, value, message):
    with pytest.raises(ConfigError, match=message):
        SurrogateConfig(**{setting: value})


@pytest.mark.parametrize("index", [-1, 30])
def test_an_index_outside_the_set_is_refused(moving, index):
    with pytest.raises(IndexError, match="from 0 to 29"):
        moving.batch(np.array([3, index]))
    assert 0 == len(moving.batch(np.array([], int))[0])
