"""Byte-identical images are found, and no others."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fewlabels.copies import copied, digests


def test_copies_are_found_and_near_copies_are_not():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3, 5, 5), np.uint8)
    among = pixels[[4, 1, 1]].copy()
    among[0, 0, 0, 0] ^= 1  # one bit

    assert [False, True, False, False, False, False] == copied(pixels, among).tolist()


def test_images_of_another_shape_are_no_copies():
    assert [False] == copied(
        np.zeros((1, 3, 2, 8), np.uint8), np.zeros((1, 3, 4, 4), np.uint8)
    ).tolist()


def test_a_digest_is_of_the_values_whatever_the_memory_layout():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 6), np.uint8)
    columns_first = np.ascontiguousarray(pixels.transpose(0, 1, 3, 2)).transpose(0, 1, 3, 2)

    assert (digests(pixels) == digests(columns_first)).all()


@given(values=st.lists(st.integers(0, 3), min_size=1, max_size=12))
@settings(max_examples=50, deadline=None)
def test_digests_are_equal_exactly_where_images_are(values):
    pixels = np.array(values, np.uint8)[:, None, None, None].repeat(3, axis=1)
    found = digests(pixels)

    assert [[a == b for a in values] for b in values] == (found[:, None] == found).tolist()
