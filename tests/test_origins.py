"""What a training was made from: digests, and that a resume with anything else is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fewlabels import checkpoints, fitting, origins, recipes, splits
from fewlabels.architectures import ExemplarNetwork, WhitenedNetwork
from fewlabels.augment import Augmentation
from fewlabels.errors import CheckpointError
from fewlabels.images import Images, ImageSet
from fewlabels.joined import Joined
from fewlabels.surrogates import SurrogateConfig
from fewlabels.training import TrainingConfig
from fewlabels.ways import first_layers, labels, surrogate
from fewlabels.ways.labels import LabelsConfig
from fewlabels.ways.surrogate import SurrogateWayConfig
from small_runs import SMALL

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 3, 8, 8)).astype(np.uint8)


@given(st.integers(0, PIXELS.size - 1), st.integers(1, 255))
def test_one_other_value_is_another_digest(place: int, change: int):
    other = PIXELS.copy()
    other.flat[place] ^= np.uint8(change)

    assert origins.of_images(other) != origins.of_images(PIXELS)
    assert origins.of_images(other) == origins.of_images(Joined([other[:5], other[5:]]))


def test_order_number_and_shape_of_images_count():
    digests = {
        origins.of_images(pixels)
        for pixels in (PIXELS, PIXELS[::-1], PIXELS[:-1], PIXELS.reshape(12, 3, 4, 16))
    }

    assert 4 == len(digests)


def test_of_many_images_a_few_are_read_with_the_first_and_the_last(monkeypatch):
    monkeypatch.setattr(origins, "MOST_BYTES", 4 * 3 * 8 * 8)
    seen = []

    class Watched(Joined):
        def __getitem__(self, which):
            seen.append(which)
            return super().__getitem__(which)

    digest = origins.of_images(Watched([PIXELS]))

    assert [0, 3, 7, 11] == seen
    assert digest != origins.of_images(PIXELS[:-1])


def test_weights_alike_but_for_rounding_are_the_same():
    first, second, other = (nn.Linear(40, 30) for _ in range(3))
    with torch.no_grad():
        second.load_state_dict(first.state_dict())
        second.weight *= 1 + 1e-5
        other.weight.copy_(first.weight)
    found = [origins.of_weights(one) for one in (first, second, other)]

    assert origins.unlike(found[0], found[1]) is None
    assert "bias" == origins.unlike(found[0], found[2])
    assert "bias" == origins.unlike(found[0], {"weight": found[0]["weight"]})
    assert 17 == len(found[0]["bias"])
    bias = first.bias.tolist()
    assert (bias[0], bias[-1]) == (found[0]["bias"][1], found[0]["bias"][-1])


LABELS_N = np.arange(12) % 3
TRAINING = TrainingConfig(batch_size=6, epochs=2, learning_rate=0.05, head_learning_rate=0.1)
# other first filters would have other mirror images, and so be another network
NETWORK = WhitenedNetwork(widths=(4, 6), first_filters=8, mirrored=False)


def learned_from_labels(folder: Path, pixels=PIXELS, labels_N=LABELS_N, shift=0.1, first=0, **how):
    start = first_layers.first_layer(Images(pixels=PIXELS), NETWORK, None, seed=first)
    return labels.learn(
        Images(pixels=pixels, labels=labels_N),
        3,
        NETWORK,
        start,
        LabelsConfig(),
        how.pop("training", TRAINING),
        Augmentation(flip=0.5, max_shift=shift),
        seed=0,
        folder=folder,
        **{"precision": "fp32", **how},
    )


def brighter(pixels: np.ndarray) -> np.ndarray:
    """The last pixel of the last image one grey level off."""
    other = pixels.copy()
    other[-1, -1, -1, -1] ^= 1
    return other


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"pixels": brighter(PIXELS)}, "was made with other labelled images: resume with the im"),
        ({"labels_N": (LABELS_N + 1) % 3}, "was made with other labels: resume with"),
        ({"shift": 0.2}, "was made with other settings of augmentation: resume with"),
        ({"first": 1}, r"began with other first weights \(see 'layers\.\S+'\): resume with"),
        ({"precision": "bf16"}, "was made with fp32 as the precision, not bf16: give the same"),
        (
            {"training": replace(TRAINING, epochs=0), "budget_seconds": 30.0},
            "was made with none as the --budget, not 30 s: give the same",
        ),
    ],
)
def test_a_training_from_labels_is_not_resumed_with_anything_else(tmp_path, changes, text):
    learned_from_labels(tmp_path)
    expected = (tmp_path / checkpoints.FILE).read_bytes()

    with pytest.raises(CheckpointError, match=text) as caught:
        learned_from_labels(tmp_path, **changes, resume=True)

    assert "--overwrite" in str(caught.value) and "\n" not in str(caught.value)
    assert expected == (tmp_path / checkpoints.FILE).read_bytes()
    learned_from_labels(tmp_path, resume=True)


def test_another_budget_is_refused_too(tmp_path: Path):
    timed = {"training": replace(TRAINING, epochs=0)}
    learned_from_labels(tmp_path, **timed, budget_seconds=2.0)

    with pytest.raises(CheckpointError, match=r"made with 2 s as the --budget, not 3 s"):
        learned_from_labels(tmp_path, **timed, budget_seconds=3.0, resume=True)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"pixels": 255 - PIXELS}, "other unlabelled images"),
        ({"hue": 0.2}, "other settings of surrogates"),
    ],
)
def test_a_training_from_surrogates_is_not_resumed_with_anything_else(tmp_path, changes, text):
    def learn(pixels=PIXELS, hue=0.1, resume=False):
        config = SurrogateConfig(n_classes=4, n_each=5, size=8, patch_size=8, hue=hue)
        way, training = SurrogateWayConfig(), replace(TRAINING, epochs=1)
        how = {"seed": 0, "precision": "fp32", "folder": tmp_path, "resume": resume}
        return surrogate.learn(
            Images(pixels=pixels), config, ExemplarNetwork(), way, training, **how
        )

    learn()

    with pytest.raises(CheckpointError, match=f"was made with {text}: resume with the images"):
        learn(**changes, resume=True)


def test_a_run_has_one_precision_and_a_resumed_one_keeps_it(
    tiny_set: ImageSet, tmp_path: Path, monkeypatch
):
    seen: list[str] = []
    for way, name in ((first_layers, "first_layer"), (labels, "learn")):
        usual = getattr(way, name)

        def watched(*arguments, usual=usual, **how):
            seen.append(how["precision"])
            return usual(*arguments, **how)

        monkeypatch.setattr(way, name, watched)
    recipe = recipes.named("labels", SMALL["labels"] | {"training.epochs": "1"})
    how = {"precision": "auto", "checkpoints": tmp_path}
    # a machine that measures another speed each time
    speedups = iter([0.5, 3.0])
    monkeypatch.setattr("fewlabels.precision.speedup_of_bf16", lambda device: next(speedups))

    fitting.fit_folds(tiny_set, recipe, splits.plan(tiny_set), **how)
    fitting.fit_folds(tiny_set, recipe, splits.plan(tiny_set), **how, resume=True)

    assert 4 * ["fp32"] == seen
    assert 3.0 == next(speedups)
    assert "fp32" == checkpoints.precision_in(tmp_path)
    assert checkpoints.precision_in(tmp_path / "fold-0" / "absent") is None


def test_other_unlabelled_images_are_another_first_layer(tiny_set: ImageSet, tmp_path: Path):
    recipe = recipes.named("labels", SMALL["labels"] | {"training.epochs": "1"})
    how = {"precision": "fp32", "checkpoints": tmp_path}
    fitting.fit_folds(tiny_set, recipe, splits.plan(tiny_set), **how)
    fewer = replace(tiny_set, unlabeled=tiny_set.unlabeled.take(np.arange(119)))

    with pytest.raises(CheckpointError, match="was made with other unlabelled images: resume"):
        fitting.fit_folds(fewer, recipe, splits.plan(fewer), **how, resume=True)
