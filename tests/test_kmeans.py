"""K-means against hand-computed numbers, a slow loop and scikit-learn."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from torch import Tensor

from fewlabels import kmeans
from fewlabels.errors import DataError


def clouds(n_patches: int = 2000, n_values: int = 12, n_clouds: int = 8, seed: int = 0) -> Tensor:
    """Overlapping clouds of patches, as k-means meets them."""
    draw = torch.Generator().manual_seed(seed)
    middles = 2 * torch.randn(n_clouds, n_values, generator=draw)
    cloud = torch.randint(n_clouds, (n_patches,), generator=draw)
    return middles[cloud] + torch.randn(n_patches, n_values, generator=draw)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def inertia_of(patches: Tensor, centroids: Tensor) -> float:
    """The sum of squared distances to the nearest centroid, measured slowly in float64."""
    distances = (patches.double()[:, None] - centroids.double()[None]).square().sum(2)
    return float(distances.min(1).values.sum())


def slow_lloyd(patches: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, float]:
    """A Lloyd step in plain loops; no cluster may be empty."""
    members: list[list[np.ndarray]] = [[] for _ in centroids]
    inertia = 0.0
    for patch in patches:
        distances = [float(((patch - centroid) ** 2).sum()) for centroid in centroids]
        members[int(np.argmin(distances))].append(patch)
        inertia += min(distances)
    return np.array([np.mean(own, axis=0) for own in members]), inertia


# --- one step


def test_lloyd_step_moves_each_centroid_to_the_mean_of_its_patches():
    patches = torch.tensor([[0.0, 0], [2, 0], [10, 0], [12, 0]])

    moved, inertia, n_reseeded = kmeans.lloyd_step(patches, torch.tensor([[0.0, 0], [12, 0]]))

    assert [[1, 0], [11, 0]] == moved.tolist()
    assert 0 + 4 + 4 + 0 == inertia
    assert 0 == n_reseeded


def test_lloyd_step_gives_an_empty_cluster_the_patch_farthest_from_its_centroid():
    patches = torch.tensor([[0.0, 0], [1, 0], [5, 0], [12, 0]])
    centroids = torch.tensor([[0.0, 0], [12, 0], [99, 99]])

    moved, inertia, n_reseeded = kmeans.lloyd_step(patches, centroids)

    # by hand: [5, 0] lies 25 from its centroid, leaves it, and is the third cluster
    assert [[0.5, 0], [12, 0], [5, 0]] == moved.tolist()
    assert 0 + 1 + 25 + 0 == inertia
    assert 1 == n_reseeded


def test_a_centroid_whose_only_patch_was_taken_stays():
    patches = torch.tensor([[0.0], [10.0]])

    moved, _, n_reseeded = kmeans.lloyd_step(patches, torch.tensor([[0.0], [7.0], [99.0]]))

    assert [[0], [7], [10]] == moved.tolist()
    assert 1 == n_reseeded


def test_lloyd_step_equals_slow_loops():
    patches = clouds(300, 5)
    centroids = patches[:7].clone()

    moved, inertia, n_reseeded = kmeans.lloyd_step(patches, centroids)

    slow_moved, slow_inertia = slow_lloyd(patches.double().numpy(), centroids.double().numpy())
    np.testing.assert_allclose(slow_moved, moved, rtol=1e-4, atol=1e-5)
    assert slow_inertia == pytest.approx(inertia, rel=1e-5)
    assert 0 == n_reseeded


def test_assign_gives_the_nearest_centroid_across_blocks():
    patches = clouds(kmeans.BLOCK + 3, 4)
    centroids = patches[[1, 50, 900]]

    nearest, distance = kmeans.assign(patches, centroids)

    slow = (patches[:, None] - centroids[None]).square().sum(2).min(1)
    assert torch.equal(slow.indices, nearest)
    torch.testing.assert_close(distance, slow.values)
    assert [0, 0, 0] == distance[[1, 50, 900]].tolist()


def test_a_step_changes_neither_patches_nor_centroids():
    patches = clouds(100, 3)
    centroids = torch.cat([patches[:4], torch.full((2, 3), 50.0)])
    before = patches.clone(), centroids.clone()

    kmeans.lloyd_step(patches, centroids)
    kmeans.fit(patches, centroids, iterations=3)

    assert torch.equal(before[0], patches)
    assert torch.equal(before[1], centroids)


# --- scikit-learn is the witness


def scikit_learn(patches: Tensor, start: Tensor, iterations: int) -> KMeans:
    with np.errstate(all="ignore"):
        return KMeans(
            len(start), init=start.numpy(), n_init=1, algorithm="lloyd", max_iter=iterations, tol=0
        ).fit(patches.numpy())


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("iterations", [1, 5, 60])
@pytest.mark.parametrize("start", ["sampled", "k-means++"])
def test_the_same_start_ends_where_scikit_learn_ends(start: str, iterations: int):
    patches = clouds()
    centroids = kmeans.STARTS[start](patches, 20, generator(3))

    found = kmeans.fit(patches, centroids, iterations=iterations, tolerance=0)

    witness = scikit_learn(patches, centroids, iterations)
    assert inertia_of(patches, found.centroids_KD) == pytest.approx(witness.inertia_, rel=1e-4)
    np.testing.assert_allclose(found.centroids_KD, witness.cluster_centers_, atol=1e-3)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("iterations", [1, 2, 60])
def test_empty_clusters_are_re_seeded_as_scikit_learn_does(iterations: int):
    patches = clouds(n_patches=1500)
    centroids = torch.cat([patches[:12], 500 + torch.arange(4.0)[:, None].expand(4, 12)])

    found = kmeans.fit(patches, centroids, iterations=iterations, tolerance=0)

    witness = scikit_learn(patches, centroids, iterations)
    assert found.n_reseeded >= 4
    assert inertia_of(patches, found.centroids_KD) == pytest.approx(witness.inertia_, rel=1e-4)
    # the farthest patches may go to the empty clusters in another order
    ours, theirs = found.centroids_KD.numpy(), witness.cluster_centers_
    ours, theirs = (c[np.lexsort(c.round(2).T)] for c in (ours, theirs))
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


# --- fit


@given(seed=st.integers(0, 10_000), n_centroids=st.integers(1, 12))
def test_inertia_never_rises_while_no_cluster_is_empty(seed: int, n_centroids: int):
    patches = clouds(n_patches=80, n_values=3, seed=seed)
    start = kmeans.start_sampled(patches, n_centroids, generator(seed))

    found = kmeans.fit(patches, start, iterations=10, tolerance=0)

    if not found.n_reseeded:
        assert all(
            after <= before * (1 + 1e-6) for before, after in itertools.pairwise(found.inertia)
        )


def test_the_inertia_noted_is_that_of_the_centroids_before_they_moved():
    patches = clouds(n_patches=200)
    start = patches[:9]

    found = kmeans.fit(patches, start, iterations=2)

    moved, _, _ = kmeans.lloyd_step(patches, start)
    expected = [inertia_of(patches, start), inertia_of(patches, moved)]
    assert expected == pytest.approx(found.inertia, rel=1e-5)


def test_fit_stops_once_the_inertia_falls_by_less_than_the_tolerance():
    patches = clouds()
    start = patches[:8].clone()

    everything = kmeans.fit(patches, start, iterations=30, tolerance=0).inertia
    stopped = kmeans.fit(patches, start, iterations=30, tolerance=0.01).inertia

    falls = [1 - after / before for before, after in itertools.pairwise(everything)]
    n_expected = next(i for i, fall in enumerate(falls) if fall < 0.01) + 2
    assert n_expected == len(stopped) < 30
    assert everything[:n_expected] == stopped


def test_bf16_ends_within_a_thousandth_of_the_inertia_of_fp32():
    patches = clouds(n_patches=4000, n_values=48, n_clouds=20)
    start = kmeans.start_sampled(patches, 40, generator(1))

    whole, half = (
        kmeans.fit(patches, start, iterations=10, tolerance=0, dtype=dtype).centroids_KD
        for dtype in (torch.float32, torch.bfloat16)
    )

    assert inertia_of(patches, half) == pytest.approx(inertia_of(patches, whole), rel=1e-3)


def test_bf16_measures_the_distance_to_the_centroid_it_chose_in_fp32():
    patches = clouds(n_patches=50)
    centroids = patches[:5] + 0.01

    nearest, distance = kmeans.assign(patches, centroids, torch.bfloat16)

    exact = (patches - centroids[nearest]).square().sum(1)
    assert torch.equal(exact, distance)


def test_patches_that_are_all_equal_end_at_once():
    patches = torch.full((30, 4), 0.25)  # sums of quarters are exact

    found = kmeans.fit(patches, kmeans.start_sampled(patches, 3, generator()), iterations=20)

    assert found.centroids_KD.isfinite().all()
    torch.testing.assert_close(found.centroids_KD, patches[:3])
    assert 0 == found.n_reseeded
    assert len(found.inertia) == 2


def test_one_centroid_is_the_mean():
    patches = clouds(n_patches=500)

    found = kmeans.fit(patches, patches[:1], iterations=3)

    torch.testing.assert_close(found.centroids_KD[0], patches.mean(0), atol=1e-4, rtol=1e-4)


def test_another_number_of_values_is_refused():
    with pytest.raises(ValueError, match="patches of 3 values need centroids of as many; got 4"):
        kmeans.fit(torch.zeros(5, 3), torch.zeros(2, 4), iterations=1)


# --- starts


@pytest.mark.parametrize("start", kmeans.STARTS.values())
def test_a_start_is_a_draw_of_different_patches_by_the_seed(start):
    patches = clouds(n_patches=60)

    drawn = start(patches, 50, generator(4))

    rows = [(patches == row).all(1).nonzero().flatten().tolist() for row in drawn]
    assert all(len(row) == 1 for row in rows)
    assert 50 == len({row[0] for row in rows})
    assert torch.equal(drawn, start(patches, 50, generator(4)))
    assert not torch.equal(drawn, start(patches, 50, generator(5)))


def test_kmeans_plusplus_draws_by_the_squared_distance_to_the_nearest_drawn():
    patches = torch.tensor([[0.0], [1.0], [3.0]])
    draw = generator(0)

    n_draws = 3000
    pairs = [tuple(kmeans.start_plusplus(patches, 2, draw)[:, 0].tolist()) for _ in range(n_draws)]

    # by hand: after 0, squared distances 1 and 9; after 1: 1 and 4; after 3: 9 and 4
    laws = {(0, 1): 1 / 10, (0, 3): 9 / 10, (1, 0): 1 / 5, (1, 3): 4 / 5, (3, 0): 9 / 13}
    for pair, chance in laws.items():
        expected = n_draws / 3 * chance
        assert pairs.count(pair) == pytest.approx(expected, abs=5 * expected**0.5)


def test_kmeans_plusplus_measures_the_distance_to_the_nearest_of_all_drawn():
    patches = torch.tensor([[0.0], [100.0], [101.0]])

    for seed in range(20):
        drawn = kmeans.start_plusplus(patches, 2, generator(seed))[:, 0]
        # 100 and 101 together: one chance in ten thousand
        assert 0 == drawn.min()


def test_kmeans_plusplus_refuses_too_few_different_patches_in_one_line():
    draw = torch.Generator().manual_seed(0)
    different = 10 * torch.randn(4, 100, generator=draw)
    patches = different[torch.arange(200) % 4]

    assert 4 == len(kmeans.start_plusplus(patches, 4, generator()).unique(dim=0))
    with pytest.raises(DataError, match=r"5 centroids .* there are only 4: give more") as raised:
        kmeans.start_plusplus(patches, 5, generator())
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("start", kmeans.STARTS.values())
def test_fewer_patches_than_centroids_are_refused(start):
    with pytest.raises(DataError, match="7 centroids need at least as many patches; got 6: give"):
        start(torch.randn(6, 2), 7, generator())
