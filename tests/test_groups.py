"""Groups of channels: similarity against a slow twin that whitens every pair itself."""

import numpy as np
import pytest
import torch
from torch import Tensor

from fewlabels import groups
from fewlabels.errors import ConfigError


def responses(n_samples: int = 800, n_channels: int = 6, seed: int = 0) -> Tensor:
    """Correlated channels; 0 and 1, and 2 and 3, are strong at the same places."""
    draw = np.random.default_rng(seed)
    strength = np.repeat(draw.exponential(size=(n_samples, 3)), 2, axis=1)[:, :n_channels]
    values = draw.normal(size=(n_samples, n_channels)) * strength
    values[:, 5] = draw.normal(size=n_samples)
    mixing = np.eye(n_channels) + 0.2 * draw.normal(size=(n_channels, n_channels))
    return torch.from_numpy(values @ mixing + draw.normal(size=n_channels))


def slow_similarity(samples: np.ndarray) -> np.ndarray:
    """Whiten each pair by its own covariance, square, correlate."""
    n_channels = samples.shape[1]
    result = np.eye(n_channels)
    standard = (samples - samples.mean(0)) / samples.std(0)
    for j in range(n_channels):
        for k in set(range(n_channels)) - {j}:
            pair = standard[:, [j, k]]
            values, vectors = np.linalg.eigh(pair.T @ pair / len(pair))
            white = pair @ vectors @ np.diag(values**-0.5) @ vectors.T
            np.testing.assert_allclose(white.T @ white / len(pair), np.eye(2), atol=1e-9)
            result[j, k] = np.corrcoef(white.T**2)[0, 1]
    return result


def test_similarity_is_the_correlation_of_squares_after_each_pair_was_whitened():
    samples = responses()

    similarity = groups.similarity(samples)

    np.testing.assert_allclose(similarity, slow_similarity(samples.numpy()), atol=1e-5)
    assert similarity.dtype == torch.float32


def test_channels_strong_at_the_same_places_are_the_most_similar():
    similarity = groups.similarity(responses(4000)).fill_diagonal_(-1)

    assert [1, 0, 3, 2] == similarity.argmax(1)[:4].tolist()


def test_scale_shift_and_sign_of_a_channel_do_not_matter():
    samples = responses()
    changed = samples * torch.tensor([1.0, -5, 0.01, 100, 1, -1]) + torch.arange(6.0)

    torch.testing.assert_close(
        groups.similarity(changed), groups.similarity(samples), atol=1e-5, rtol=1e-5
    )


def test_a_channel_and_its_copy_are_as_similar_as_can_be():
    samples = responses()
    samples[:, 3] = -2 * samples[:, 0]

    similarity = groups.similarity(samples)

    assert 1 == pytest.approx(similarity[0, 3].item(), abs=1e-3)
    assert similarity.abs().max() <= 1 + 1e-5


def test_a_channel_that_never_changes_is_similar_to_none():
    samples = responses()
    samples[:, [1, 4]] = 0.25

    similarity = groups.similarity(samples)

    assert similarity.isfinite().all()
    assert [0, 1, 0, 0, 0, 0] == similarity[1].tolist()


@pytest.mark.parametrize("n_groups", [1, 6, 17])
def test_a_group_is_a_drawn_channel_and_then_those_most_similar_to_it(n_groups: int):
    samples = responses()
    similarity = slow_similarity(samples.numpy())

    members = groups.choose(samples, n_groups, 4, torch.Generator().manual_seed(0))

    assert (n_groups, 4) == members.shape
    for group in members.tolist():
        others = similarity[group[0]].copy()
        others[group[0]] = -np.inf
        assert np.argsort(-others)[:3].tolist() == group[1:]
    # no channel starts twice before all have started once
    times = np.bincount(members[:, 0], minlength=6)
    assert times.max() - times.min() <= 1


def test_members_of_a_group_are_different_even_where_channels_are_constant():
    samples = torch.zeros(50, 5)

    members = groups.choose(samples, 5, 5, torch.Generator().manual_seed(0))

    assert [[0, 1, 2, 3, 4]] * 5 == members.sort(1).values.tolist()


def test_groups_are_drawn_by_the_seed():
    samples = responses()
    draws = [
        groups.choose(samples, 6, 2, torch.Generator().manual_seed(s))[:, 0] for s in (1, 1, 2)
    ]

    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_groups_larger_than_the_layer_below_are_refused_in_one_line():
    message = (
        "groups of 7 channels need a layer below with as many; it has 6: set fewer, for each layer"
    )
    with pytest.raises(ConfigError, match=message) as raised:
        groups.choose(responses(), 2, 7, torch.Generator())

    assert "\n" not in str(raised.value)
