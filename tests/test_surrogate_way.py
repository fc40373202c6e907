"""Learning from surrogate classes: features without labels, merged classes, odd settings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fewlabels.architectures import ExemplarNetwork, exemplar_network
from fewlabels.errors import ConfigError, DataError
from fewlabels.images import Images, as_float
from fewlabels.surrogates import SurrogateConfig, surrogate_set
from fewlabels.training import TrainingConfig
from fewlabels.ways import surrogate
from fewlabels.ways.surrogate import SurrogateWayConfig

SURROGATES = SurrogateConfig(n_classes=12, n_each=10, size=8, patch_size=8)
TRAINING = TrainingConfig(batch_size=20, epochs=2, learning_rate=0.05, head_learning_rate=0.3)
IMAGES = Images(pixels=np.random.default_rng(0).integers(0, 256, (20, 3, 16, 16)).astype(np.uint8))


def learn(surrogates=SURROGATES, training=TRAINING, merged_classes=0, **how):
    config = SurrogateWayConfig(merged_classes=merged_classes)
    how = {"seed": 0, "precision": "fp32", **how}
    return surrogate.learn(IMAGES, surrogates, ExemplarNetwork(), config, training, **how)


def trainings(monkeypatch) -> list[tuple]:
    """The classes, epochs, seconds and folder of each training."""
    seen: list[tuple] = []
    train = surrogate.train

    def watched(graph, examples, config, *, budget_seconds, folder, **how):
        n_logits = graph.shapes["logits"][0]
        seen.append((n_logits, examples.n_labels, config.epochs, budget_seconds, folder))
        return train(graph, examples, config, budget_seconds=budget_seconds, folder=folder, **how)

    monkeypatch.setattr(surrogate, "train", watched)
    return seen


def test_features_are_learned_and_frozen():
    graph = learn()

    assert ("features",) == graph.outputs
    assert (4 * (64 + 64 + 128),) == graph.shapes["features"]
    assert set(graph.frozen) == set(graph.nodes)
    assert (3, 16, 16) == graph.inputs["image"]
    untrained = exemplar_network(ExemplarNetwork(), n_classes=12, size=8, seed=0)
    assert not torch.equal(graph.layers["conv1"].weight, untrained.layers["conv1"].weight)


def test_a_longer_training_tells_surrogates_apart_better():
    config = replace(SURROGATES, max_rotation_deg=5.0, hsv_power=1.0, axis_factor=1.1)
    network = exemplar_network(ExemplarNetwork(), n_classes=12, size=8, seed=0)
    examples = surrogate_set(IMAGES, config, 0)

    trained = surrogate.train(
        network, examples, replace(TRAINING, epochs=12), seed=0, precision="fp32"
    )

    first, last = trained.history[0], trained.history[-1]
    assert first["accuracy_train"] < 0.5 < 0.8 < last["accuracy_train"]


def test_half_of_the_training_is_before_merging_and_half_after(monkeypatch, tmp_path: Path):
    seen = trainings(monkeypatch)

    learn(training=replace(TRAINING, epochs=3), merged_classes=5, folder=tmp_path)

    assert [
        (12, 12, 1, None, tmp_path / "half-1"),
        (5, 5, 2, None, tmp_path / "half-2"),
    ] == seen


def test_half_of_the_budget_is_before_merging(monkeypatch):
    seen = trainings(monkeypatch)

    learn(training=replace(TRAINING, epochs=0), merged_classes=5, budget_seconds=2.0)

    assert [1.0, 1.0] == [seconds for *_, seconds, _ in seen]


def test_after_merging_the_layers_go_on_from_where_they_were():
    trained = exemplar_network(ExemplarNetwork(), n_classes=12, size=8, seed=0)
    new = exemplar_network(ExemplarNetwork(), n_classes=5, size=8, seed=1)
    drawn = new.layers["linear"].weight.clone()

    after = surrogate._going_on(trained, new)

    assert torch.equal(trained.layers["conv2"].weight, after.layers["conv2"].weight)
    assert torch.equal(drawn, after.layers["linear"].weight)


def test_patches_are_merged_by_how_they_look_untransformed():
    examples = surrogate_set(IMAGES, SURROGATES, 0)
    network = exemplar_network(ExemplarNetwork(), n_classes=12, size=8, seed=0)

    found_KD = surrogate.patch_features(network, examples)

    patches = np.stack(
        [
            IMAGES.pixels[image, :, row : row + 8, column : column + 8]
            for image, (row, column) in zip(
                examples.image_of_class, examples.corner_K2.astype(int), strict=True
            )
        ]
    )
    slow = network.eval()(as_float(patches), wanted=("full_norm",))["full_norm"].flatten(1)
    np.testing.assert_allclose(slow.detach().numpy(), found_KD, atol=2e-3)


def test_a_resumed_training_gives_the_same_features(tmp_path: Path):
    whole = learn(training=replace(TRAINING, epochs=4), merged_classes=5)

    first = learn(training=replace(TRAINING, epochs=4), merged_classes=5, folder=tmp_path)
    again = learn(
        training=replace(TRAINING, epochs=4), merged_classes=5, folder=tmp_path, resume=True
    )

    for other in (first, again):
        assert all(
            torch.equal(whole.state_dict()[key], other.state_dict()[key])
            for key in whole.state_dict()
        )


def test_what_does_not_fit_is_said_before_the_training():
    with pytest.raises(DataError, match="21 surrogate classes need as many unlabelled images"):
        learn(replace(SURROGATES, n_classes=21))
    with pytest.raises(DataError, match=r"surrogates of 20 x 20, and the images are 16 x 16"):
        learn(replace(SURROGATES, size=20))
    with pytest.raises(ConfigError, match=r"at most surrogates.n_classes, 12; got 13"):
        learn(merged_classes=13)
    with pytest.raises(ConfigError, match="an epoch before it and one after"):
        learn(training=replace(TRAINING, epochs=1), merged_classes=5)
