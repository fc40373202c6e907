"""The patch encoder and its neighbours: equal to slow loops over every place and filter."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fewlabels import kmeans, layers, patches
from fewlabels.layers import Concat, GridFeatures, PatchEncoder, SquareRoot, average_cells


def learned(encoder: PatchEncoder, seed: int = 0) -> list[tuple]:
    """Fill the encoder with whitening and centroids of noise; return them group by group."""
    generator = torch.Generator().manual_seed(seed)
    per_group, size = encoder.channels_per_group, encoder.patch_size
    groups = []
    for group in range(encoder.groups):
        patches_PD = torch.rand(400, per_group * size**2, generator=generator)
        epsilon = 0.01 * (group + 1)
        normal_PD = patches.normalise_contrast(patches_PD, epsilon)
        whitening = patches.fit_whitening(normal_PD, epsilon=0.1, max_values=encoder.n_values)
        centroids_KE = kmeans.start_sampled(whitening(normal_PD), encoder.n_filters, generator)
        members_T = torch.randperm(encoder.channels, generator=generator)[:per_group]
        if per_group == encoder.channels:  # all channels keep their order
            members_T = members_T.sort().values
        encoder.set_group(
            group, members_T, epsilon, whitening.mean_D, whitening.project_DE, centroids_KE
        )
        groups.append((members_T, epsilon, whitening, centroids_KE))
    return groups


def slowly(encoder: PatchEncoder, groups: list[tuple], maps: torch.Tensor) -> torch.Tensor:
    """Place by place and filter by filter, in float64, as the docstring's formulas say."""
    size, pad = encoder.patch_size, encoder.padding
    padded = np.pad(maps.numpy(), ((0, 0), (0, 0), (pad, pad), (pad, pad)), mode="reflect")
    rows = range(0, padded.shape[2] - size + 1, encoder.stride)
    columns = range(0, padded.shape[3] - size + 1, encoder.stride)
    shape = (len(padded), encoder.groups * encoder.n_filters, len(rows), len(columns))
    answers = torch.zeros(shape, dtype=torch.float64)
    for image in range(len(padded)):
        for group, (members_T, epsilon, whitening, centroids_KE) in enumerate(groups):
            for i, top in enumerate(rows):
                for j, left in enumerate(columns):
                    cut = padded[image, members_T.numpy(), top : top + size, left : left + size]
                    patch_D = torch.tensor(cut.reshape(-1)).double()
                    normal_D = (patch_D - patch_D.mean()) / math.sqrt(
                        float(patch_D.var(correction=0)) + epsilon
                    )
                    w_E = (normal_D - whitening.mean_D.double()) @ whitening.project_DE.double()
                    place = answers[image, group * encoder.n_filters :, i, j]
                    place[: encoder.n_filters] = one_patch(encoder, w_E, centroids_KE.double())
    return answers


def one_patch(encoder: PatchEncoder, w_E: torch.Tensor, centroids_KE: torch.Tensor) -> torch.Tensor:
    if encoder.activation == "triangle":
        z_K = torch.stack([(w_E - centroid).norm() for centroid in centroids_KE])
        return (z_K.mean() - z_K).clamp(min=0)
    cosines_K = torch.stack(
        [w_E @ centroid / (w_E.norm() * centroid.norm()) for centroid in centroids_KE]
    )
    if encoder.activation == "absolute":
        return cosines_K.abs()
    return (cosines_K - encoder.threshold).clamp(min=0)


SETTINGS = {
    "triangle": {"activation": "triangle"},
    "triangle with stride and padding": {"activation": "triangle", "stride": 2, "padding": 2},
    "soft threshold": {"activation": "soft-threshold", "threshold": 0.1, "padding": 1},
    "absolute": {"activation": "absolute", "n_values": 9},
    "groups": {"groups": 3, "channels_per_group": 2, "activation": "soft-threshold"},
    "one group of some channels": {"channels_per_group": 2, "activation": "triangle"},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("block_values", [1, 2_000_000], ids=["image by image", "all at once"])
def test_encoder_equals_a_slow_loop(settings, block_values, monkeypatch):
    monkeypatch.setattr(layers, "BLOCK_VALUES", block_values)
    given = {"channels": 4, "patch_size": 3, "n_values": 12, "n_filters": 5, **settings}
    encoder = PatchEncoder(**given)
    groups = learned(encoder)
    maps = torch.rand(3, 4, 8, 7, generator=torch.Generator().manual_seed(1))

    found = encoder(maps)

    torch.testing.assert_close(found.double(), slowly(encoder, groups, maps), rtol=1e-3, atol=2e-4)


def test_encoder_keeps_the_largest_of_each_window_and_averages_cells():
    whole = PatchEncoder(3, 3, 27, 6)
    pooled = PatchEncoder(3, 3, 27, 6, pool=3, grid=2)
    learned(whole), learned(pooled)
    images = torch.rand(2, 3, 13, 13, generator=torch.Generator().manual_seed(2))

    expected = F.adaptive_avg_pool2d(F.max_pool2d(whole(images), 3, ceil_mode=True), 2)

    torch.testing.assert_close(pooled(images), expected, rtol=1e-5, atol=1e-6)


def test_triangle_leaves_about_half_of_the_answers_at_zero():
    # Coates, Ng and Lee 2011: "roughly half" of the features are 0
    encoder = PatchEncoder(3, 4, 48, 64)
    learned(encoder)

    silent = (encoder(torch.rand(4, 3, 12, 12)) == 0).float().mean()

    assert 0.3 < float(silent) < 0.7


def test_a_flat_image_gives_finite_answers():
    for activation in layers.ACTIVATIONS:
        encoder = PatchEncoder(3, 3, 27, 6, activation=activation)
        learned(encoder)

        assert torch.isfinite(encoder(torch.full((1, 3, 6, 6), 0.5))).all()


def test_bf16_is_near_fp32():
    single, half = PatchEncoder(3, 3, 27, 16), PatchEncoder(3, 3, 27, 16, precision="bf16")
    learned(single), learned(half)
    images = torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(3))

    assert (single(images) - half(images)).abs().mean() < 0.05 * single(images).mean()


def test_unknown_activation_names_the_known_ones():
    with pytest.raises(ValueError, match="triangle, soft-threshold"):
        PatchEncoder(3, 3, 27, 6, activation="relu")


@pytest.mark.parametrize(("side", "grid"), [(27, 3), (27, 13), (7, 4), (4, 4), (5, 1)])
def test_average_cells_is_torchs_adaptive_pooling(side, grid):
    maps = torch.rand(2, 3, side, side + 2, generator=torch.Generator().manual_seed(4))

    torch.testing.assert_close(
        average_cells(maps, grid), F.adaptive_avg_pool2d(maps, grid), rtol=1e-5, atol=1e-6
    )


def test_grid_features_join_the_cells_of_each_grid_by_hand():
    maps = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]], [[0.0, 0.0], [16.0, 16.0]]]])

    assert GridFeatures((1,))(maps).tolist() == [[4.0, 8.0]]
    assert GridFeatures((1,), "max")(maps).tolist() == [[7.0, 16.0]]
    assert GridFeatures((2, 1), "max")(maps).tolist() == [[1, 3, 5, 7, 0, 0, 16, 16, 7, 16]]


@pytest.mark.parametrize(("statistic", "shift"), [("max", 1), ("mean", 2)])
def test_shifted_grids_are_the_mean_over_moved_maps(statistic: str, shift: int):
    maps = torch.rand(2, 3, 6, 7, generator=torch.Generator().manual_seed(5))

    def moved(down: int, right: int) -> torch.Tensor:
        """Place by place; outside, the nearest place of the border."""
        rows = torch.arange(6).add(down).clamp(0, 5)
        columns = torch.arange(7).add(right).clamp(0, 6)
        return maps[:, :, rows][:, :, :, columns]

    moves = [(0, 0), *((a, b) for a in (-shift, shift) for b in (-shift, shift))]
    expected = torch.stack([GridFeatures((3, 1), statistic)(moved(*move)) for move in moves])
    found = GridFeatures((3, 1), statistic, shift)(maps)

    torch.testing.assert_close(found, expected.mean(0))


def test_square_root_by_hand():
    assert [[0.0, 0.5, 3.0]] == SquareRoot()(torch.tensor([[0.0, 0.25, 9.0]])).tolist()


def test_concat_joins_rows_in_order():
    joined = Concat()(torch.ones(2, 1), torch.zeros(2, 2))

    assert joined.tolist() == [[1, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize("activation", layers.ACTIVATIONS)
def test_gradients_of_the_maps_are_those_of_finite_differences(activation):
    encoder = PatchEncoder(
        3, 3, 5, 6, groups=2, channels_per_group=2, padding=1, pool=2, activation=activation
    )
    learned(encoder)
    maps = torch.rand(2, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    assert torch.autograd.gradcheck(encoder.double(), maps.requires_grad_())


@pytest.mark.parametrize("activation", layers.ACTIVATIONS)
def test_answers_are_the_same_bit_for_bit_where_gradients_are_kept(activation, monkeypatch):
    monkeypatch.setattr(layers, "BLOCK_VALUES", 1)  # an image at a time
    encoder = PatchEncoder(3, 3, 5, 6, activation=activation)
    learned(encoder)
    maps = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = encoder(maps)

    assert torch.equal(expected, encoder(maps.requires_grad_()))


def test_a_patch_that_is_a_centroid_has_a_finite_gradient():
    encoder = PatchEncoder(1, 2, 4, 2)  # of zeros: every patch is both centroids
    maps = torch.rand(1, 1, 3, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(encoder(maps).sum(), maps)

    assert gradient.isfinite().all()
