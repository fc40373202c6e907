import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import entropy

from fewlabels.choosing import spread_out, uncertainty


def test_uncertainty_is_0_where_sure_and_1_where_even():
    answers = np.array([[1, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0]], np.float32)

    assert [0, 1, 0.5] == pytest.approx(uncertainty(answers).tolist())  # log 2 / log 4 = 1/2


@given(arrays(float, (6, 5), elements=st.floats(0.001, 1)))
def test_uncertainty_is_the_entropy_that_scipy_gives(raw: np.ndarray):
    answers = raw / raw.sum(1, keepdims=True)

    np.testing.assert_allclose(entropy(answers, base=5, axis=1), uncertainty(answers), atol=1e-9)


def test_images_without_weight_and_copies_of_drawn_ones_are_never_drawn():
    directions = np.eye(4)[[0, 0, 1, 1, 2, 3]]

    drawn = spread_out(directions, np.array([1, 1, 1, 1, 1, 0]), 6, seed=0)

    assert 3 == len(drawn)  # one of each direction, none of the last
    assert {0, 1, 2} == {int(directions[index].argmax()) for index in drawn}


def test_one_of_each_heap_is_drawn_before_a_second_of_any():
    draw = np.random.default_rng(0)
    heaps = np.repeat(10 * np.eye(8), 50, axis=0) + 0.01 * draw.standard_normal((400, 8))
    weights = np.ones(400)
    weights[:50] = 30  # a heap that alone would fill the choice

    for seed in range(5):
        drawn = spread_out(heaps, weights, 8, seed=seed)

        assert set(range(8)) == set((drawn // 50).tolist())


def test_the_first_is_drawn_as_its_weight_says():
    weights = np.array([0.7, 0.3, 0.0])

    firsts = [int(spread_out(np.eye(3), weights, 1, seed=seed)[0]) for seed in range(400)]

    assert 0.7 == pytest.approx(firsts.count(0) / 400, abs=0.08)
    assert 0 == firsts.count(2)


def test_the_second_is_drawn_as_weight_times_squared_distance_to_the_first():
    # from the first at 0 degrees: squared distances 2 at 90 and 4 at 180 degrees
    directions = np.array([[1.0, 0], [0, 1], [-1, 0]])
    weights = np.array([1e9, 2.0, 1.0])

    seconds = [int(spread_out(directions, weights, 2, seed=seed)[1]) for seed in range(400)]

    assert {1, 2} == set(seconds)
    assert 0.5 == pytest.approx(seconds.count(1) / 400, abs=0.08)


def test_the_same_seed_draws_the_same():
    features = np.random.default_rng(1).standard_normal((50, 6))

    first, again, other = (spread_out(features, np.ones(50), 10, seed=s) for s in (3, 3, 4))

    assert first.tolist() == again.tolist() != other.tolist()
    assert 10 == len(set(first.tolist()))


def test_without_any_weight_nothing_is_drawn():
    assert 0 == len(spread_out(np.eye(3), np.zeros(3), 2, seed=0))
