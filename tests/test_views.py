"""Streams of labelled and unlabelled images, and the views of both."""

from collections import Counter

import numpy as np
import torch

from fewlabels.augment import Augmentation, augment
from fewlabels.draws import image_keys
from fewlabels.ways import views
from fewlabels.ways.views import Views, shown

STRONG = Augmentation(flip=0.5, max_rotation_deg=20.0, brightness=0.3)
WEAK = Augmentation(flip=0.5, max_shift=0.25)


class Read:
    """Pixels that remember which images were read."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels, self.read, self.shape = pixels, [], pixels.shape

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, which):
        self.read += np.asarray(which).tolist()
        return self.pixels[which]


def made(n_labelled=5, n_unlabelled=11, ratio=3, n_groups=8) -> Views:
    draw = np.random.default_rng(1)
    return Views(
        pixels=draw.integers(0, 256, (n_labelled, 3, 4, 4), np.uint8),
        labels=np.arange(n_labelled) % 3,
        unlabelled=Read(draw.integers(0, 256, (n_unlabelled, 3, 4, 4), np.uint8)),
        weights=np.linspace(0.5, 1, n_unlabelled, dtype=np.float32),
        ratio=ratio,
        n_groups=n_groups,
        strong=STRONG,
        weak=WEAK,
        seed=4,
    )


def test_a_stream_shows_each_image_once_in_every_pass_and_each_pass_in_its_own_order():
    passes = shown(np.arange(4 * 50), 50, seed=3, stream=0).reshape(4, 50)

    assert all(sorted(one) == list(range(50)) for one in passes.tolist())
    assert 4 == len({tuple(one) for one in passes.tolist()})
    assert (passes[0] != shown(np.arange(50), 50, seed=3, stream=1)).any()
    assert (passes[0] != shown(np.arange(50), 50, seed=4, stream=0)).any()


def test_a_place_of_a_stream_is_the_same_whatever_is_asked_beside_it():
    places = np.array([7, 3, 60, 3])

    found = shown(places, 9, seed=0, stream=2)

    assert found.tolist() == [int(shown(np.array([p]), 9, 0, 2)[0]) for p in places]


def test_epochs_go_on_through_both_streams():
    images = made()

    # 11 epochs of 8 groups: 88 labelled showings and 264 unlabelled ones
    labels = [images.batch(np.arange(8), epoch)[1] for epoch in range(11)]

    read = Counter(images.unlabelled.read)
    assert {24} == set(read.values())
    assert 264 == sum(read.values())
    counts = torch.bincount(torch.cat(labels)).tolist()  # classes of 2, 2 and 1 images
    assert 88 == sum(counts)
    assert max(abs(count - 88 * n / 5) for count, n in zip(counts, (2, 2, 1), strict=True)) <= 2


def test_a_batch_is_strong_views_of_labelled_then_unlabelled_images_and_weak_ones():
    images = made()
    pictures, labels_N, weak, weights = images.batch(np.array([6, 2]), epoch=1)

    places_N, places_U = np.array([14, 10]), np.array([42, 43, 44, 30, 31, 32])
    chosen_N = shown(places_N, 5, 4, views.LABELLED)
    chosen_U = shown(places_U, 11, 4, views.STRONG)
    labelled = augment(images.pixels[chosen_N], STRONG, image_keys(4, views.LABELLED, places_N))
    pixels_U = images.unlabelled.pixels[chosen_U]
    assert torch.equal(pictures[:2], labelled)
    assert torch.equal(
        pictures[2:], augment(pixels_U, STRONG, image_keys(4, views.STRONG, places_U))
    )
    assert torch.equal(weak, augment(pixels_U, WEAK, image_keys(4, views.WEAK, places_U)))
    assert (chosen_N % 3).tolist() == labels_N.tolist()
    assert images.weights[chosen_U].tolist() == weights.tolist()
    assert sorted(images.unlabelled.read) == sorted(chosen_U)  # nothing else was read


def test_views_do_not_depend_on_the_batch_they_are_made_in():
    images = made()
    together = images.batch(np.arange(8), 2)

    for group in range(8):
        alone = images.batch(np.array([group]), 2)
        own = slice(8 + 3 * group, 11 + 3 * group)
        assert torch.equal(alone[0], torch.cat([together[0][group : group + 1], together[0][own]]))
        assert torch.equal(alone[2], together[2][3 * group : 3 * group + 3])
