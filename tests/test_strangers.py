"""Whether unlabelled images are of a class, by what did not learn their labels."""

from dataclasses import replace

import numpy as np
import pytest

from fewlabels import fitting, model_views, strangers, suggesting
from fewlabels.images import Images, ImageSet
from fewlabels.model import Model
from fewlabels.ways import usable
from small_runs import SMALL

N_EACH = 30


def spotted(n_images: int, kinds: np.ndarray, seed: int) -> np.ndarray:
    """Noise with a bar across (kind 0), a bar down (1) or a checkerboard (2, of no class)."""
    draw = np.random.default_rng(seed)
    pixels_N3HW = draw.integers(0, 140, (n_images, 3, 12, 12))
    row, column = np.indices((12, 12))
    shapes = np.stack([row % 6 < 2, column % 6 < 2, (row // 3 + column // 3) % 2 > 0])
    return (pixels_N3HW + 110 * shapes[kinds][:, None]).astype(np.uint8)


@pytest.fixture(scope="module")
def bars() -> ImageSet:
    labels_N = np.repeat([0, 1], N_EACH)
    return ImageSet(
        name="bars",
        class_names=("across", "down"),
        train=Images(pixels=spotted(2 * N_EACH, labels_N, 0), labels=labels_N),
        unlabeled=Images(pixels=spotted(240, np.arange(240) % 3, 1)),
    )


@pytest.fixture(scope="module")
def network(bars: ImageSet) -> Model:
    """One that knows its labelled images by heart."""
    settings = SMALL["labels"] | {"training.epochs": "30", "network.widths": "8,8"}
    return fitting.fit(bars, "labels", settings=settings, precision="fp32")


def found(model: Model, bars: ImageSet) -> np.ndarray:
    known = suggesting.sort(bars, fitting.splits.plan(bars))
    seen = model_views.view(model, known.unlabelled, seed=0, what="features")
    features_ND = model_views.features_of(model, bars.train, what="features")
    sketches_NK = model_views.sketches_of(model, features_ND, seed=0)
    return strangers.of_a_class(model, bars.train, sketches_NK, known.unlabelled, seen, seed=0)


def test_a_network_of_these_labels_is_not_asked_which_images_are_of_a_class(
    bars: ImageSet, network: Model, monkeypatch
):
    monkeypatch.setattr(usable, "LEAST_UNLABELLED", 200)
    # what the network makes of images is of no importance
    blind = replace(network, head=replace(network.head, none_below=0.0))

    of_a_class_M = found(blind, bars)

    is_stranger_M = np.arange(240) % 3 == 2
    assert (of_a_class_M[~is_stranger_M] >= 0.5).mean() > 0.8
    assert (of_a_class_M[is_stranger_M] >= 0.5).mean() < 0.2


def test_with_few_images_the_networks_own_answers_are_taken(bars: ImageSet, network: Model):
    sure = replace(network, head=replace(network.head, none_below=0.4))
    known = suggesting.sort(bars, fitting.splits.plan(bars))
    seen = model_views.view(sure, known.unlabelled, seed=0, what="features")

    expected = np.minimum(1, seen.probabilities_NL.max(1) / 0.8)
    assert expected == pytest.approx(found(sure, bars), abs=1e-6)
