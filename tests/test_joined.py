"""Joined arrays answer as the concatenation that they stand for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewlabels.joined import Joined

LENGTHS = st.lists(st.integers(0, 5), min_size=1, max_size=4).filter(any)


@given(st.data())
def test_every_way_of_reading_gives_what_the_concatenation_gives(data):
    lengths = data.draw(LENGTHS)
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    arrays = [rng.integers(0, 256, (length, 3, 2, 4), np.uint8) for length in lengths]
    n_all = sum(lengths)
    chosen = data.draw(st.none() | st.lists(st.integers(0, n_all - 1), min_size=1, max_size=9))
    whole = np.concatenate(arrays)[slice(None) if chosen is None else chosen]
    joined = Joined(arrays, None if chosen is None else np.array(chosen))
    n = len(whole)
    places = st.integers(-n, n - 1)
    index = data.draw(places)
    several = np.array(data.draw(st.lists(places, max_size=6)), int)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    part = slice(*data.draw(st.tuples(*[st.none() | st.integers(-n - 1, n + 1)] * 2)))

    assert (whole.shape, whole.ndim, whole.dtype, n) == (
        joined.shape,
        joined.ndim,
        joined.dtype,
        len(joined),
    )
    for which in (index, several, mask, part):
        assert np.array_equal(whole[which], joined[which])
    assert np.array_equal(whole, np.stack(list(joined)))
    assert np.array_equal(whole[several], Joined([joined], np.arange(n)[several])[:])


def test_nothing_is_copied_until_it_is_read_and_the_parts_are_never_written(tmp_path):
    first = np.memmap(tmp_path / "a", np.uint8, "w+", shape=(3, 3, 2, 2))
    joined = Joined([first, np.ones((2, 3, 2, 2), np.uint8)])

    first[1] = 7
    read = joined[1]
    read[:] = 0

    assert joined.arrays[0] is first
    assert (7 == joined[1]).all()


def test_an_index_outside_is_refused():
    with pytest.raises(IndexError):
        Joined([np.zeros((2, 3, 2, 2), np.uint8)])[2]


@pytest.mark.parametrize("other", [np.zeros((1, 3, 2, 3), np.uint8), np.zeros((1, 3, 2, 2))])
def test_arrays_that_do_not_fit_are_refused(other):
    with pytest.raises(ValueError, match="one shape and one type"):
        Joined([np.zeros((2, 3, 2, 2), np.uint8), other])
