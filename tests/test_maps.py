"""Maps by t-SNE: like lies beside like, the seed is kept, new images find their place."""

import logging
import warnings

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.manifold import trustworthiness as trusted

from fewlabels import maps
from fewlabels.errors import ConfigError, DataError
from fewlabels.progress import watching

N_EACH = 20


class Listener:
    """Remembers what is said and how far the stage went."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.steps, self.total = 0, None

    def started(self, stage, total, unit):
        self.total = total

    def advanced(self, stage, count):
        self.steps += count

    def stands(self, stage, facts): ...
    def noted(self, stage, facts): ...
    def ended(self, stage, seconds): ...
    def said(self, message):
        self.messages.append(message)


@pytest.fixture(scope="module")
def groups():
    """Three far groups of 20 images with 60 values each, and their labels."""
    draw = np.random.default_rng(0)
    middles = draw.normal(0, 10, (3, 60))
    labels_N = np.repeat(np.arange(3), N_EACH)
    features_ND = (middles[labels_N] + draw.normal(0, 1, (len(labels_N), 60))).astype(np.float32)
    return features_ND, labels_N


@pytest.fixture(scope="module")
def map_of_groups(groups):
    return maps.embed(groups[0], perplexity=10, seed=3, n_threads=1)


def test_far_groups_lie_apart_on_the_map(groups, map_of_groups):
    features_ND, labels_N = groups
    positions_N2 = map_of_groups.positions_N2

    assert (maps.COMPONENTS, 60) == map_of_groups.axes_CD.shape
    assert (3 * N_EACH, 2) == positions_N2.shape
    assert 1.0 == maps.neighbour_accuracy(positions_N2, labels_N)
    assert maps.trustworthiness(features_ND, positions_N2) > 0.9
    assert np.allclose(0, positions_N2.max(0) + positions_N2.min(0))  # around its middle


def test_the_same_seed_gives_the_same_map_bit_for_bit(groups, map_of_groups):
    again = maps.embed(groups[0], perplexity=10, seed=3, n_threads=1)
    other = maps.embed(groups[0], perplexity=10, seed=4, n_threads=1)

    assert np.array_equal(map_of_groups.positions_N2, again.positions_N2)
    assert not np.array_equal(map_of_groups.positions_N2, other.positions_N2)


def test_the_unit_and_the_origin_of_features_change_nothing_of_worth(groups):
    features_ND = groups[0].astype(np.float64)
    moved = maps.embed(features_ND * 1e200 + 3e200, perplexity=10, seed=3, n_threads=1)

    assert maps.trustworthiness(features_ND, moved.positions_N2) > 0.9
    assert 1.0 == maps.neighbour_accuracy(moved.positions_N2, groups[1])


def test_new_images_come_to_their_like_and_move_nothing(groups, map_of_groups):
    features_ND, labels_N = groups
    before_N2 = map_of_groups.positions_N2.copy()
    draw = np.random.default_rng(5)
    new_MD = features_ND + draw.normal(0, 0.1, features_ND.shape)

    placed_M2 = map_of_groups.transform(new_MD)
    nearest_M = cdist(placed_M2, before_N2).argmin(axis=1)

    assert np.array_equal(labels_N, labels_N[nearest_M])
    assert np.array_equal(placed_M2, map_of_groups.transform(new_MD))
    assert np.array_equal(before_N2, map_of_groups.positions_N2)
    assert (0, 2) == map_of_groups.transform(new_MD[:0]).shape


def test_few_values_are_taken_as_they_are(groups):
    features_ND, labels_N = groups[0][:, :40], groups[1]
    found = maps.embed(features_ND, perplexity=10)

    assert found.axes_CD is None
    assert 1.0 == maps.neighbour_accuracy(found.positions_N2, labels_N)
    nearest_M = cdist(found.transform(features_ND), found.positions_N2).argmin(axis=1)
    assert np.array_equal(labels_N, labels_N[nearest_M])


def test_a_large_map_by_fft_and_approximate_neighbours_keeps_the_groups(groups, monkeypatch):
    monkeypatch.setattr(maps, "FFT_FROM", 1)
    monkeypatch.setattr(maps, "EXACT_UP_TO", 1)
    features_ND, labels_N = groups
    large = maps.embed(features_ND, perplexity=10, n_threads=1)

    assert 1.0 == maps.neighbour_accuracy(large.positions_N2, labels_N)
    nearest_M = cdist(large.transform(features_ND), large.positions_N2).argmin(axis=1)
    assert np.array_equal(labels_N, labels_N[nearest_M])


@pytest.mark.parametrize("n_images", [4, 5, 7, 30])
def test_a_perplexity_for_more_images_is_lowered_and_said(n_images, groups, caplog, capfd):
    listener = Listener()
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING), watching(listener):
        warnings.simplefilter("error")
        found = maps.embed(groups[0][:n_images])
        placed = found.transform(groups[0][:3])

    assert (n_images - 1) / 3 == found.perplexity
    assert np.isfinite(found.positions_N2).all() and np.isfinite(placed).all()
    assert 1 == len(listener.messages)
    assert f"perplexity of 30 needs 91 images, and there are {n_images}" in listener.messages[0]
    assert [] == caplog.records  # openTSNE says nothing beside it
    assert ("", "") == capfd.readouterr()
    assert 0 < listener.steps <= listener.total


def test_images_that_are_equal_in_part_still_get_a_map():
    features_ND = np.repeat(np.eye(3, 8), 10, axis=0)
    found = maps.embed(features_ND, perplexity=5)

    assert np.isfinite(found.positions_N2).all()
    assert 1.0 == maps.neighbour_accuracy(found.positions_N2, np.repeat(np.arange(3), 10))


def test_a_single_value_and_whole_numbers_are_features_too():
    found = maps.embed(np.arange(40, dtype=np.uint8)[:, None], perplexity=5)

    assert np.isfinite(found.positions_N2).all()
    assert maps.trustworthiness(np.arange(40)[:, None], found.positions_N2) > 0.9


def test_what_is_wrong_with_features_is_said(groups):
    features_ND = groups[0].copy()
    features_ND[[4, 9], 0] = np.nan, np.inf
    with pytest.raises(DataError, match=r"2 of 60 images .* the first is image 4"):
        maps.embed(features_ND)
    with pytest.raises(DataError, match="all 60 images have the same features"):
        maps.embed(np.ones((60, 5)))
    with pytest.raises(DataError, match="at least 4 images; got 3"):
        maps.embed(groups[0][:3])
    with pytest.raises(DataError, match=r"shape \(n_images, n_values\)"):
        maps.embed(np.ones(5))
    with pytest.raises(ConfigError, match="at least 1; got 0"):
        maps.embed(groups[0], perplexity=0)
    with pytest.raises(ConfigError, match="at least 1; got nan"):
        maps.embed(groups[0], perplexity=float("nan"))


def test_new_images_need_the_same_features(map_of_groups):
    with pytest.raises(DataError, match="images with 60 features; got 7"):
        map_of_groups.transform(np.ones((2, 7)))
    with pytest.raises(DataError, match="not finite"):
        map_of_groups.transform(np.full((2, 60), np.nan))


def test_trustworthiness_is_that_of_scikit_learn(groups):
    features_ND, draw = groups[0], np.random.default_rng(1)
    positions_N2 = draw.normal(size=(len(features_ND), 2))

    assert np.isclose(
        trusted(features_ND, positions_N2, n_neighbors=12),
        maps.trustworthiness(features_ND, positions_N2),
    )
    # every image at its own place in truth and on the map
    line_N2 = np.stack([np.arange(9.0), np.zeros(9)], 1)
    assert 1.0 == maps.trustworthiness(line_N2, line_N2)


def test_trustworthiness_of_many_images_is_that_of_a_draw(groups):
    features_ND, draw = groups[0], np.random.default_rng(1)
    positions_N2 = draw.normal(size=(len(features_ND), 2))
    drawn = np.sort(np.random.default_rng(8).permutation(60)[:30])

    assert np.isclose(
        trusted(features_ND[drawn], positions_N2[drawn], n_neighbors=4),
        maps.trustworthiness(features_ND, positions_N2, n_neighbours=4, most=30, seed=8),
    )


def test_neighbour_accuracy_by_hand():
    # on a line at 0, 1, 3, 7: the nearest of each is 1, 0, 1, 3
    positions_N2 = np.array([[0.0, 0], [1, 0], [3, 0], [7, 0]])

    assert 0.5 == maps.neighbour_accuracy(positions_N2, np.array([1, 1, 0, 5]))
    # without a label for the third the last is nearest to the second
    assert 1.0 == maps.neighbour_accuracy(positions_N2, np.array([1, 1, -1, 1]))
    assert maps.neighbour_accuracy(positions_N2, np.array([1, -1, -1, -1])) is None
