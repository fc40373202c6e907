"""Patches: cut where they are drawn, normalised by hand numbers, whitened as ZCA does."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fewlabels import patches
from fewlabels.errors import DataError


def correlated(n_patches: int = 500, n_values: int = 10, seed: int = 0) -> Tensor:
    """Patches whose values differ in variance and go together."""
    draw = torch.Generator().manual_seed(seed)
    mixing = torch.randn(n_values, n_values, generator=draw) * torch.logspace(0, -1.5, n_values)
    return torch.randn(n_patches, n_values, generator=draw) @ mixing.T


def covariance_of(values: Tensor) -> Tensor:
    """In float64, divided by the number of patches."""
    return torch.cov(values.double().T, correction=0)


# --- cutting


@given(
    seed=st.integers(0, 1000),
    size=st.integers(1, 5),
    extra=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    per_image=st.integers(1, 4),
)
def test_a_cut_holds_exactly_the_pixels_at_the_drawn_places(seed, size, extra, per_image):
    height, width = size + extra[0], size + extra[1]
    maps = np.random.default_rng(seed).integers(0, 255, (3, 2, height, width), dtype=np.uint8)

    cut = patches.cut(maps, size, per_image, np.random.default_rng(seed))

    draw = np.random.default_rng(seed)
    tops = draw.integers(0, height - size + 1, 3 * per_image)
    lefts = draw.integers(0, width - size + 1, 3 * per_image)
    slow = [
        [
            maps[number // per_image, channel, top + row, left + column]
            for channel in range(2)
            for row in range(size)
            for column in range(size)
        ]
        for number, (top, left) in enumerate(zip(tops, lefts, strict=True))
    ]
    assert cut.dtype == np.uint8
    assert slow == cut.tolist()


def test_every_place_is_cut_equally_often():
    place_values = np.arange(4 * 6, dtype=np.float32).reshape(1, 1, 4, 6)

    cut = patches.cut(place_values, 3, 8000, np.random.default_rng(0))

    corners, counts = np.unique(cut[:, 0], return_counts=True)
    assert [0, 1, 2, 3, 6, 7, 8, 9] == corners.tolist()
    np.testing.assert_allclose(counts, 1000, atol=5 * 1000**0.5)


def test_a_cut_is_a_copy_that_leaves_the_images_alone():
    maps = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)
    maps.flags.writeable = False

    cut = patches.cut(maps, 4, 1, np.random.default_rng(0))
    cut += 1

    assert maps.reshape(2, -1).tolist() == (cut - 1).tolist()


def test_images_smaller_than_the_patch_are_refused_in_one_line():
    message = r"patches of 6 x 6 need images at least as large; these are 8 x 5: use larger images"
    with pytest.raises(DataError, match=message) as raised:
        patches.cut(np.zeros((1, 3, 8, 5), np.uint8), 6, 1, np.random.default_rng(0))

    assert "\n" not in str(raised.value)


# --- contrast


def test_contrast_is_normalised_by_mean_and_standard_deviation():
    normal = patches.normalise_contrast(torch.tensor([[1.0, 3, 5, 7]]), epsilon=4.0)

    # by hand: mean 4, variance (9 + 1 + 1 + 9) / 4 = 5, and 5 + 4 = 3 ** 2
    torch.testing.assert_close(normal, torch.tensor([[-1.0, -1 / 3, 1 / 3, 1.0]]))


def test_the_usual_epsilon_is_that_of_the_paper():
    pixels = torch.tensor([[10.0, 20, 60, 30]])

    ours = patches.normalise_contrast(pixels / 255)

    theirs = (pixels - pixels.mean()) / (pixels.var(correction=0) + 10).sqrt()
    torch.testing.assert_close(ours, theirs)


def test_a_flat_patch_becomes_zero():
    normal = patches.normalise_contrast(torch.full((2, 27), 0.7))

    torch.testing.assert_close(normal, torch.zeros(2, 27), atol=1e-5, rtol=0)


# --- moments


def test_moments_in_chunks_equal_those_at_once():
    values = correlated(503)

    mean, covariance = patches.moments(values.split(100))

    torch.testing.assert_close(mean, values.double().mean(0), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(covariance, covariance_of(values), atol=1e-5, rtol=1e-5)


def test_a_mean_far_from_zero_does_not_drown_the_covariance():
    values = correlated(4000) + 3000

    mean, covariance = patches.moments(values.split(999))

    torch.testing.assert_close(mean, values.double().mean(0), atol=1e-4, rtol=0)
    torch.testing.assert_close(covariance, covariance_of(values), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("chunks", [[], [torch.zeros(0, 4)]])
def test_no_patch_at_all_is_refused(chunks: list[Tensor]):
    with pytest.raises(DataError, match="whitening needs at least one patch; got none: give it"):
        patches.moments(chunks)


# --- whitening


def test_the_whitened_covariance_is_that_of_the_regularised_inverse():
    values = correlated(2000)
    whitening = patches.fit_whitening(values, epsilon=0.1)

    whitened = whitening(values)

    eigenvalues = torch.linalg.eigvalsh(covariance_of(values)).flip(0)
    expected = torch.diag(eigenvalues / (eigenvalues + 0.1 * eigenvalues.mean()))
    torch.testing.assert_close(covariance_of(whitened), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(whitened.mean(0), torch.zeros(10), atol=1e-5, rtol=0)


def test_without_epsilon_whitened_values_have_unit_variance_and_no_correlation():
    values = correlated(2000)

    whitened = patches.fit_whitening(values, epsilon=0.0)(values)

    identity = torch.eye(10, dtype=torch.float64)
    torch.testing.assert_close(covariance_of(whitened), identity, atol=1e-3, rtol=0)


def test_whitened_values_are_those_of_zca_turned():
    values = correlated(300)
    whitening = patches.fit_whitening(values, epsilon=0.1)

    whitened = whitening(values)

    x = values.double().numpy()
    eigenvalues, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    scale = (eigenvalues + 0.1 * eigenvalues.mean()) ** -0.5
    zca = torch.from_numpy((x - x.mean(0)) @ vectors @ np.diag(scale) @ vectors.T).float()
    axes_DE = torch.nn.functional.normalize(whitening.project_DE, dim=0)
    torch.testing.assert_close(whitened @ axes_DE.T, zca, atol=1e-4, rtol=1e-4)
    distances, zca_distances = (torch.cdist(v, v) for v in (whitened.double(), zca.double()))
    torch.testing.assert_close(distances, zca_distances, atol=1e-3, rtol=1e-3)


def axes_kept(**bounds: float) -> int:
    """Of eigenvalues 6, 3, 1 and 0."""
    whitening = patches.whitening_of(
        torch.zeros(4), torch.diag(torch.tensor([1.0, 6, 0, 3])), epsilon=0.1, **bounds
    )
    return whitening.project_DE.shape[1]


def test_the_fewest_leading_axes_that_hold_the_variance_stay():
    assert 4 == axes_kept()
    assert [1, 1, 2, 2, 3] == [axes_kept(kept_variance=v) for v in (0.1, 0.6, 0.61, 0.9, 0.99)]
    assert 2 == axes_kept(max_values=2)
    assert 4 == axes_kept(max_values=9)
    assert 1 == axes_kept(kept_variance=0.95, max_values=1)


def test_kept_axes_are_the_leading_ones_of_the_whole_whitening():
    values = correlated(400)

    whole = patches.fit_whitening(values, epsilon=0.1)
    kept = patches.fit_whitening(values, epsilon=0.1, max_values=3)

    assert torch.equal(whole.project_DE[:, :3], kept.project_DE)


def test_axes_of_parts_that_do_not_correlate_are_of_one_part_each():
    values = torch.cat([correlated(400), torch.zeros(400, 2)], 1)
    values[:, 7:] = torch.cat([values[:200, 7:], -values[:200, 7:]])
    values[:, :7] = torch.cat([values[:200, :7], values[:200, :7]])
    bases = torch.eye(12, dtype=torch.float64).split([7, 5])

    whole, parts = (patches.fit_whitening(values, epsilon=0.1, bases=b) for b in ((), bases))

    first, second = (parts.project_DE[rows] != 0 for rows in (slice(0, 7), slice(7, 12)))
    assert not (first.any(0) & second.any(0)).any()
    # the same axes but for their signs, where eigenvalues are not equal, as those of the last two
    same = (whole.project_DE * parts.project_DE).sum(0).abs()[:10]
    torch.testing.assert_close(same, whole.project_DE.square().sum(0)[:10])
    lengths = [one.project_DE.norm(dim=0) for one in (whole, parts)]
    torch.testing.assert_close(*lengths)


@pytest.mark.parametrize("kept_variance", [0.0, 1.5, float("nan")])
def test_a_part_of_the_variance_lies_over_0_and_up_to_1(kept_variance: float):
    with pytest.raises(ValueError, match=r"kept_variance is a part of the variance, in \(0, 1\]"):
        patches.fit_whitening(correlated(20), epsilon=0.1, kept_variance=kept_variance)


@pytest.mark.parametrize("kept_variance", [1.0, 0.99])
def test_patches_that_are_all_equal_whiten_to_finite_values(kept_variance: float):
    flat = patches.normalise_contrast(torch.full((50, 12), 0.7))

    whitening = patches.fit_whitening(flat, epsilon=0.1, kept_variance=kept_variance)

    assert whitening(flat).isfinite().all()
    assert whitening(flat).abs().max() < 1e-3


def test_fewer_patches_than_values_whiten_to_finite_values():
    few = correlated(4)

    whitened = patches.fit_whitening(few, epsilon=0.1)(few)

    assert whitened.isfinite().all()
    assert whitened.square().mean(0).max() < 1.001
