"""Learning that two views of an image agree: the views, the loss, resuming, odd settings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fewlabels import recipes
from fewlabels.architectures import ExemplarNetwork, WhitenedNetwork
from fewlabels.augment import Augmentation, augment
from fewlabels.batch_norm import BatchNormActivation
from fewlabels.draws import image_keys
from fewlabels.errors import CheckpointError, ConfigError, DataError
from fewlabels.images import Images, as_float
from fewlabels.training import TrainingConfig
from fewlabels.ways import first_layers, labels, selfsupervised, vicreg
from fewlabels.ways.selfsupervised import VIEWS, SelfSupervisedConfig, TwoViews

IMAGES = Images(pixels=np.random.default_rng(0).integers(0, 256, (26, 3, 16, 16)).astype(np.uint8))
NETWORK = WhitenedNetwork(widths=(4, 6), first_filters=8, mirrored=False)
CONFIG = SelfSupervisedConfig(projector=(8, 5))
TRAINING = TrainingConfig(
    batch_size=10, epochs=3, learning_rate=0.05, head_learning_rate=0.05, averaging=0.9
)  # of 2 steps each


def learn(images=IMAGES, config=CONFIG, training=TRAINING, augmentation=VIEWS, **how):
    how = {"seed": 0, "precision": "fp32", **how}
    return selfsupervised.learn(images, config, NETWORK, training, augmentation, **how)


def new_graph(config=CONFIG):
    first = first_layers.first_layer(IMAGES, NETWORK, None, seed=0)
    whole = labels.build(NETWORK, first, None, 2, IMAGES.size, 0)
    return whole, selfsupervised.projected(whole, config.projector, 0)


def equal(first, second) -> bool:
    states = first.state_dict(), second.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][name], states[1][name]) for name in states[0]
    )


# --- views


def test_a_batch_is_the_first_views_then_the_second_of_the_same_images():
    indices = np.array([3, 0, 7])

    (views,) = TwoViews(pixels=IMAGES.pixels, augmentation=VIEWS, seed=4).batch(indices, 2)

    # an epoch has two keys of its own for each image
    first, second = (
        augment(IMAGES.pixels[indices], VIEWS, image_keys(4, epoch, indices)) for epoch in (4, 5)
    )
    assert torch.equal(torch.cat([first, second]), views)
    assert not torch.equal(first, second)
    assert 0 <= views.min() and views.max() <= 1


def test_views_are_a_function_of_the_seed_the_epoch_and_the_image_alone():
    examples = TwoViews(pixels=IMAGES.pixels, augmentation=VIEWS, seed=4)
    (whole,) = examples.batch(np.arange(26), 1)

    for size in (1, 4, 26):
        for indices in np.split(np.random.default_rng(size).permutation(26), range(size, 26, size)):
            (views,) = examples.batch(indices, 1)
            assert torch.equal(whole[np.concatenate([indices, indices + 26])], views)


def test_views_are_others_for_another_seed_epoch_and_image():
    pixels = np.repeat(IMAGES.pixels[:1], 2, axis=0)
    seen = [
        view
        for seed in (0, 1)
        for epoch in (0, 1, 2)
        for view in TwoViews(pixels=pixels, augmentation=VIEWS, seed=seed).batch(
            np.arange(2), epoch
        )[0]
    ]

    # two seeds, three epochs, two images with the same pixels, two views: all are other pictures
    assert 2 * 3 * 2 * 2 == len({view.numpy().tobytes() for view in seen})


def test_unchanged_views_are_the_images():
    examples = TwoViews(pixels=IMAGES.pixels, augmentation=Augmentation(), seed=0)

    (views,) = examples.batch(np.arange(26), 0)

    torch.testing.assert_close(torch.cat([as_float(IMAGES.pixels)] * 2), views)
    assert 26 == len(examples)


# --- the loss


def test_the_loss_is_the_weighed_sum_of_the_terms_and_the_facts_are_as_they_are():
    views = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    config = SelfSupervisedConfig(variance_weight=2.0, covariance_weight=0.5)

    loss, facts = selfsupervised.step(config)(nn.Identity(), (views,))

    terms = vicreg.terms(views[:6], views[6:])
    expected = terms.invariance + 2 * terms.variance + terms.covariance / 2
    torch.testing.assert_close(expected, loss)
    assert ["invariance", "variance", "covariance", "deviation"] == list(facts)
    assert all(torch.equal(facts[name], value) for name, value in terms._asdict().items())


def test_the_usual_weights_are_the_published_ones_over_25():
    config = SelfSupervisedConfig()

    assert (25, 25, 1) == (25, 25 * config.variance_weight, 25 * config.covariance_weight)


def test_rates_are_no_higher_than_the_loss_bears():
    training = TrainingConfig(
        learning_rate=0.15, head_learning_rate=1.5, bias_learning_rate=0.01, epochs=7
    )

    found = selfsupervised.at_its_rates(training)

    expected = replace(
        training, learning_rate=0.1, head_learning_rate=1.0, clip=1.0, weight_decay=0.0
    )
    assert expected == found
    usual = recipes.named("selfsupervised").training
    assert usual == selfsupervised.at_its_rates(usual)


# --- the network


def test_a_projector_stands_in_place_of_the_last_layer_and_shares_the_body():
    whole, graph = new_graph()

    names = [name for name in graph.nodes if name.startswith("projector")]
    assert ["projector1", "projector1_norm", "projector2"] == names
    assert ("projector2",) == graph.outputs
    assert (5,) == graph.shapes["projector2"]
    assert not {"linear", "logits"} & set(graph.nodes)
    assert graph.layers["stage1"] is whole.layers["stage1"]
    assert set(whole.frozen) == set(graph.frozen)
    # batch norm has the bias of the layers below it
    assert [False, True] == [graph.layers[f"projector{i}"].bias is not None for i in (1, 2)]
    one = selfsupervised.projected(whole, (7,), 0)
    assert ["projector1"] == [name for name in one.nodes if name.startswith("projector")]


def test_a_projector_is_drawn_by_the_seed_alone():
    whole, graph = new_graph()
    torch.manual_seed(99)
    state = torch.get_rng_state()

    again = selfsupervised.projected(whole, CONFIG.projector, 0)

    assert equal(graph, again)
    assert torch.equal(state, torch.get_rng_state())
    other = selfsupervised.projected(whole, CONFIG.projector, 1)
    assert not torch.equal(graph.layers["projector1"].weight, other.layers["projector1"].weight)


# --- learning


def test_features_are_learned_and_frozen_without_the_projector():
    graph = learn()

    assert ("features",) == graph.outputs
    assert set(graph.frozen) == set(graph.nodes)
    assert not [name for name in graph.nodes if name.startswith("projector")]
    assert (3, 16, 16) == graph.inputs["image"]
    # the highest answer in each quarter of what each of the two stages ends in
    answers = graph(as_float(IMAGES.pixels[:2]), wanted=("stage1", "stage2", "features"))
    assert {"features1", "features2"} < set(graph.nodes)
    parts = [
        nn.functional.adaptive_max_pool2d(answers[name], 2).flatten(1)
        for name in ("stage1", "stage2")
    ]
    torch.testing.assert_close(torch.cat(parts, 1), answers["features"])
    untrained, _ = new_graph()
    assert any(
        not torch.equal(value, untrained.state_dict()[name])
        for name, value in graph.state_dict().items()
        if name in untrained.state_dict()
    )


def test_features_are_normalised_by_the_statistics_of_the_images_as_they_are():
    graph = learn(augmentation=Augmentation(brightness=0.9))  # views are darker, or brighter

    name = next(n for n, layer in graph.layers.items() if isinstance(layer, BatchNormActivation))
    (below,) = graph.nodes[name].inputs
    maps = graph(as_float(IMAGES.pixels), wanted=(below,))[below]
    torch.testing.assert_close(maps.mean((0, 2, 3)), graph.layers[name].running_mean)
    torch.testing.assert_close(maps.var((0, 2, 3)), graph.layers[name].running_var)


def test_a_longer_training_brings_views_of_an_image_together_and_keeps_images_apart():
    # each image has a colour of its own, which the views leave as it is
    colours = np.random.default_rng(1).integers(40, 216, (40, 3, 1, 1))
    noise = np.random.default_rng(2).integers(-40, 40, (40, 3, 16, 16))
    pixels = (colours + noise).clip(0, 255).astype(np.uint8)
    mirrored = Augmentation(flip=0.5, max_shift=0.2)
    first = first_layers.first_layer(Images(pixels=pixels), NETWORK, None, seed=0)
    whole = labels.build(NETWORK, first, None, 2, (16, 16), 0)

    trained = selfsupervised.train(
        selfsupervised.projected(whole, (8, 5), 0),
        TwoViews(pixels=pixels, augmentation=mirrored, seed=0),
        replace(TRAINING, epochs=15, batch_size=20),
        seed=0,
        precision="fp32",
        step=selfsupervised.step(CONFIG),
    )

    before, after = trained.history[0], trained.history[-1]
    assert after["loss"] < before["loss"]
    # of an embedding that is one for all images it would be 0
    assert after["deviation"] > 0.5
    assert after["invariance"] < 0.5 * 2 * after["deviation"] ** 2  # 2 v: of unlike images


@pytest.mark.parametrize("step", [1, 3, 6])
def test_a_resumed_training_ends_bit_for_bit_as_one_never_cut_off(
    step: int, tmp_path: Path, monkeypatch
):
    every_step = replace(TRAINING, checkpoint_minutes=1e-9)
    whole = learn()
    made = selfsupervised.TwoViews.batch
    left = iter(range(step))

    def breaking(self, indices_N, epoch):
        if next(left, None) is None:
            raise InterruptedError
        return made(self, indices_N, epoch)

    monkeypatch.setattr(selfsupervised.TwoViews, "batch", breaking)
    if step < 6:
        with pytest.raises(InterruptedError):
            learn(training=every_step, folder=tmp_path)
    else:  # it was through
        learn(training=every_step, folder=tmp_path)
    monkeypatch.undo()

    assert equal(whole, learn(training=every_step, folder=tmp_path, resume=True))


def test_other_images_views_and_settings_are_no_training_to_go_on_with(tmp_path: Path):
    learn(folder=tmp_path)

    for changed in (
        {"images": Images(pixels=255 - IMAGES.pixels)},
        {"augmentation": replace(VIEWS, hue=0.0)},
        {"config": replace(CONFIG, covariance_weight=1.0)},
    ):
        with pytest.raises(CheckpointError, match="other"):
            learn(folder=tmp_path, resume=True, **changed)


# --- what does not fit


def test_batches_of_one_image_and_one_image_alone_are_refused():
    with pytest.raises(
        ConfigError, match=r"batch_size is at least 2 to learn from two views; got 1"
    ):
        learn(training=replace(TRAINING, batch_size=1))
    alone = Images(pixels=IMAGES.pixels[:1])
    with pytest.raises(DataError, match="there is one alone: give at least 2 unlabelled images"):
        learn(alone)
    none = Images(pixels=IMAGES.pixels[:0])
    with pytest.raises(DataError, match="give at least 2 unlabelled images"):
        learn(none)


def test_two_images_are_enough():
    assert learn(Images(pixels=IMAGES.pixels[:2])).outputs == ("features",)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"projector": ()}, "selfsupervised.projector are at least 1 each"),
        ({"projector": (8, 0)}, "selfsupervised.projector are at least 1 each; got (8, 0)"),
        ({"variance_weight": 0.0}, "selfsupervised.variance_weight is a number over 0"),
        ({"covariance_weight": -1.0}, "selfsupervised.covariance_weight is a number over 0"),
        ({"variance_weight": float("nan")}, "get one embedding; got nan"),
        ({"covariance_weight": float("inf")}, "get one embedding; got inf"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict, message: str):
    with pytest.raises(ConfigError) as refused:
        SelfSupervisedConfig(**settings)

    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_recipe_of_two_views_is_whole_and_learns_from_nothing_else():
    recipe = recipes.named("selfsupervised")

    with pytest.raises(ConfigError, match="learns from two views or from labels, not both"):
        replace(recipe, labels=recipes.named("labels").labels)
    with pytest.raises(ConfigError, match="learns from surrogates or from two views, not both"):
        replace(recipe, surrogate=recipes.named("surrogate").surrogate)
    with pytest.raises(ConfigError, match="WhitenedNetwork"):
        replace(recipe, network=ExemplarNetwork())
    for part in ("network", "training", "augmentation", "head"):
        with pytest.raises(ConfigError, match=part):
            replace(recipe, **{part: None})
    with pytest.raises(ConfigError, match=r"training\.batch_size is at least 2"):
        recipes.named("selfsupervised", {"training.batch_size": "1"})
