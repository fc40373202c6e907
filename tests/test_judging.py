"""Who judges whether a label is right: nobody that learned from it."""

import numpy as np
import pytest
import torch

from fewlabels import fitting, judging
from fewlabels.images import Images, ImageSet
from fewlabels.model import Model
from small_runs import SMALL

N_EACH = 30


def striped(kinds_N: np.ndarray, seed: int, side: int = 12) -> np.ndarray:
    """Noise with bars across (kind 0) or down (1)."""
    draw = np.random.default_rng(seed)
    row, column = np.indices((side, side))
    bars = np.stack([row % 6 < 2, column % 6 < 2])
    pixels = draw.integers(0, 140, (len(kinds_N), 3, side, side)) + 110 * bars[kinds_N][:, None]
    return pixels.astype(np.uint8)


TRUTH = np.repeat([0, 1], N_EACH)
WRONG = np.array([3, 40])
LABELS = np.where(np.isin(np.arange(2 * N_EACH), WRONG), 1 - TRUTH, TRUTH)
OTHERS = Images(pixels=striped(np.arange(100) % 2, seed=1))


@pytest.fixture(scope="module")
def network() -> Model:
    """It ends in logits; what it knows is of no importance here."""
    images = ImageSet(
        name="bars",
        class_names=("across", "down"),
        train=Images(pixels=striped(TRUTH, seed=0), labels=LABELS),
    )
    settings = SMALL["labels"] | {"training.epochs": "1"}
    return fitting.fit(images, "labels", settings=settings, precision="fp32")


def by_heart(images: Images) -> torch.Tensor:
    """Features of a network that knows the labels that it learned, the wrong ones too."""
    assert images.labels is not None
    noise = torch.randn(len(images), 8, generator=torch.Generator().manual_seed(0))
    noise[:, 0] += 3.0 * (2 * torch.from_numpy(images.labels) - 1)
    return noise


def of_wrong_labels(model: Model, images: Images, others: Images | None) -> np.ndarray:
    """The probability of each label that is wrong."""
    answers_NL = judging.answers(model, images, by_heart(images), others, seed=0)
    assert (len(images), 2) == answers_NL.shape
    assert answers_NL.sum(1) == pytest.approx(1, abs=1e-4)
    return answers_NL[WRONG, LABELS[WRONG]]


@pytest.mark.parametrize("others", [OTHERS, None])
def test_wrong_labels_that_a_network_knows_by_heart_are_doubted_by_filters(network, others):
    images = Images(pixels=striped(TRUTH, seed=0), labels=LABELS)

    assert of_wrong_labels(network, images, others).max() < 0.7


def test_many_labels_and_tiny_images_are_judged_by_the_network_alone(network, monkeypatch):
    tiny = Images(pixels=striped(TRUTH, seed=0, side=5), labels=LABELS)
    assert of_wrong_labels(network, tiny, None).min() > 0.9
    monkeypatch.setattr(judging, "MOST_OF_FILTERS", 2 * N_EACH - 1)
    images = Images(pixels=striped(TRUTH, seed=0), labels=LABELS)
    assert of_wrong_labels(network, images, OTHERS).min() > 0.9
