"""Random numbers by key: the published generator, uniform, and a function of the key alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from fewlabels.draws import image_keys, splitmix64, uniform


def splitmix64_slowly(seed: int, count: int) -> list[int]:
    """The generator in Python's whole numbers, as its authors wrote it down."""
    outputs, state = [], seed % 2**64
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        outputs.append(z ^ (z >> 31))
    return outputs


def test_the_generator_gives_the_published_outputs():
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    key = np.array([1234567], np.int64)

    assert published == splitmix64_slowly(1234567, 3)
    assert [output / 2**64 for output in published] == pytest.approx(
        uniform(key, 3)[:, 0].tolist(), abs=2**-52
    )


@given(st.integers(0, 2**64 - 1))
def test_one_step_equals_the_generator_in_whole_numbers(state):
    assert splitmix64_slowly(state, 1) == splitmix64(np.array([state], np.uint64)).tolist()


def test_numbers_are_uniform_over_images_and_from_one_to_the_next():
    numbers = uniform(image_keys(0, 0, np.arange(20_000)), 4)

    assert 0 <= numbers.min() and numbers.max() < 1
    for row in numbers:
        assert kstest(row, "uniform").pvalue > 0.01
    assert np.abs(np.corrcoef(numbers) - np.eye(4)).max() < 0.03  # 4 / sqrt(20,000)
    assert abs(np.corrcoef(numbers[0, 1:], numbers[0, :-1])[0, 1]) < 0.03


def test_seed_epoch_and_index_each_give_another_key():
    indices = np.arange(1000)
    keys = np.concatenate([image_keys(s, e, indices) for s in (0, 1, -1) for e in (0, 1, 2)])

    assert 9000 == len(set(keys.tolist()))


@given(st.integers(-(2**70), 2**70), st.integers(0, 2**40), st.lists(st.integers(0, 2**62)))
def test_a_key_depends_on_its_own_index_alone(seed, epoch, indices):
    together = image_keys(seed, epoch, np.array(indices, np.int64))
    alone = [image_keys(seed, epoch, np.array([index])) for index in indices]

    assert together.tolist() == [key.item() for key in alone]
    assert uniform(together, 3).T.tolist() == [uniform(key, 3)[:, 0].tolist() for key in alone]
