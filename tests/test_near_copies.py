import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fewlabels import near_copies
from fewlabels.joined import Joined
from fewlabels.near_copies import Pair, pairs
from fewlabels.sources import made
from fewlabels.sources.pixels import Options


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """40 unlike pictures of 48 x 48."""
    shapes = made.shapes(
        Options(size=48), n_train_per_class=1, n_test_per_class=1, n_unlabeled=40, n_leaked=0
    )
    return np.array(shapes.unlabeled.pixels)


def compressed(pixels: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(buffer, "JPEG", quality=60)
    return np.asarray(Image.open(buffer)).transpose(2, 0, 1)


def smaller_and_back(pixels: np.ndarray) -> np.ndarray:
    image = Image.fromarray(pixels.transpose(1, 2, 0))
    return np.asarray(image.resize((32, 32)).resize((48, 48))).transpose(2, 0, 1)


def lighter(pixels: np.ndarray) -> np.ndarray:
    return np.clip(pixels * 0.8 + 30, 0, 255).astype(np.uint8)


def moved(pixels: np.ndarray) -> np.ndarray:
    return np.roll(pixels, 1, axis=2)


def test_unlike_pictures_are_no_pairs(pictures: np.ndarray):
    assert [] == pairs(pictures)


def test_a_byte_identical_image_is_a_pair_of_similarity_1(pictures: np.ndarray):
    assert [Pair(7, 40, 1.0)] == pairs(np.concatenate([pictures, pictures[7:8]]))


@pytest.mark.parametrize("change", [compressed, smaller_and_back, lighter, moved])
def test_a_changed_picture_is_found_again(pictures: np.ndarray, change):
    changed = np.stack([change(pictures[number]) for number in (3, 12, 31)])

    found = pairs(np.concatenate([pictures, changed]))

    assert {(3, 40), (12, 41), (31, 42)} == {(pair.first, pair.second) for pair in found}
    assert all(near_copies.LEAST_FINE <= pair.similarity <= 1 for pair in found)
    assert sorted(-pair.similarity for pair in found) == [-pair.similarity for pair in found]


def test_a_mirror_image_is_another_picture(pictures: np.ndarray):
    assert [] == pairs(np.concatenate([pictures, pictures[5:6, :, :, ::-1]]))


def test_a_group_of_k_copies_gives_k_less_1_pairs_with_its_first_one(pictures: np.ndarray):
    many = np.concatenate([pictures[:3], *[pictures[1:2]] * 4])

    assert [(1, 3), (1, 4), (1, 5), (1, 6)] == [(pair.first, pair.second) for pair in pairs(many)]


def test_flat_images_are_alike_only_byte_for_byte():
    flat = np.full((3, 3, 32, 32), 100, np.uint8)
    flat[1], flat[2] = 101, 100

    assert [Pair(0, 2, 1.0)] == pairs(flat)


def test_blocks_change_nothing(pictures: np.ndarray, monkeypatch):
    both = np.concatenate([pictures, [compressed(pictures[39]), lighter(pictures[0])]])
    whole = pairs(both)

    monkeypatch.setattr(near_copies, "BLOCK", 7)
    monkeypatch.setattr(near_copies, "BATCH", 5)
    in_blocks = pairs(Joined([both[:11], both[11:]]))

    assert [(0, 41), (39, 40)] == sorted((pair.first, pair.second) for pair in whole)
    assert [(p.first, p.second) for p in whole] == [(p.first, p.second) for p in in_blocks]
    for one, other in zip(whole, in_blocks, strict=True):
        assert one.similarity == pytest.approx(other.similarity, abs=1e-5)


@given(st.integers(2, 20), st.integers(1, 6), st.integers(0, 2**31))
def test_the_most_alike_earlier_image_is_that_of_a_slow_loop(n_images: int, block: int, seed: int):
    values = torch.randn(n_images, 5, generator=torch.Generator().manual_seed(seed))
    unit = values / values.norm(dim=1, keepdim=True)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(near_copies, "BLOCK", block)
        first_N, alike_N = near_copies._most_alike_before(unit)

    assert -1 == alike_N[0]
    for second in range(1, n_images):
        correlations = [float(unit[second] @ unit[first]) for first in range(second)]
        assert alike_N[second] == pytest.approx(max(correlations), abs=1e-5)
        assert correlations[first_N[second]] == pytest.approx(max(correlations), abs=1e-5)
