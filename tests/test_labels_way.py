"""Learning from labelled images: the first layer, what is held out, the head, odd sets."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fewlabels import checkpoints, ensembles, heads, mirrors
from fewlabels.architectures import ReportNetwork, WhitenedNetwork
from fewlabels.augment import Augmentation, augment
from fewlabels.calibration import fit_temperature
from fewlabels.draws import image_keys
from fewlabels.errors import CheckpointError, ConfigError, DataError
from fewlabels.images import Images, as_float
from fewlabels.patches import cut
from fewlabels.training import TrainingConfig
from fewlabels.ways import filters, first_layers, labels
from fewlabels.ways.filters import FiltersConfig, LayerConfig
from fewlabels.ways.labels import LabelledImages, LabelsConfig

NETWORK = WhitenedNetwork(widths=(6, 8), first_filters=8)
TRAINING = TrainingConfig(
    batch_size=16, epochs=12, learning_rate=0.1, head_learning_rate=0.3, averaging=0.9
)
CONFIG = LabelsConfig(held_out=2)
AUGMENTATION = Augmentation(flip=0.5, max_shift=0.1)


def coloured(n_each=(30, 30, 30), side=8, seed=0) -> Images:
    """Noise of three classes, each brighter in a colour of its own."""
    draw = np.random.default_rng(seed)
    labels_N = np.repeat(np.arange(3), n_each)
    pixels = draw.integers(0, 120, (len(labels_N), 3, side, side))
    pixels[np.arange(len(labels_N)), labels_N] += 90
    return Images(pixels=pixels.astype(np.uint8), labels=labels_N)


def learn(labelled: Images, training=TRAINING, config=CONFIG, **how):
    first = first_layers.first_layer(coloured(seed=9), NETWORK, None, seed=0)
    how = {"seed": 0, "precision": "fp32", **how}
    return labels.learn(labelled, 3, NETWORK, first, config, training, AUGMENTATION, **how)


def answers(pair, images: Images) -> np.ndarray:
    graph, head = pair
    with torch.inference_mode():
        return head.probabilities(graph(as_float(images.pixels))).argmax(1).numpy()


# --- the first layer


def test_whitened_answers_have_mean_0_and_variance_1_and_do_not_correlate():
    images = coloured((200, 200, 200))
    found = first_layers.whitening_filters(images, 2, 24, seed=0)

    cut_PD = cut(images.pixels, 2, 20, np.random.default_rng(5))
    answers_PF = as_float(cut_PD) @ found.filters_F3kk.flatten(1).T + found.offset_F
    assert (24, 3, 2, 2) == found.filters_F3kk.shape
    torch.testing.assert_close(answers_PF.mean(0), torch.zeros(24), atol=0.05, rtol=0)
    torch.testing.assert_close(torch.cov(answers_PF[:, :12].T), torch.eye(12), atol=0.1, rtol=0)
    torch.testing.assert_close(answers_PF[:, :12], -answers_PF[:, 12:])


@pytest.mark.parametrize("size", [1, 2, 3])
def test_whitening_filters_hold_the_mirror_image_of_each(size: int):
    found = first_layers.whitening_filters(coloured(side=8), size, 64, seed=0)

    order = mirrors.order(found.filters_F3kk, found.offset_F)

    assert order is not None
    n_axes = len(order) // 2
    # an axis is its own mirror image, or that's negative
    assert all(image in (place, (place + n_axes) % len(order)) for place, image in enumerate(order))
    n_odd = sum(place != image for place, image in enumerate(order)) // 2
    assert 3 * size * (size // 2) == n_odd


def test_whitening_filters_of_images_of_one_colour_hold_the_mirror_image_of_each_too():
    one = Images(pixels=np.full((5, 3, 8, 8), 90, np.uint8))
    found = first_layers.whitening_filters(one, 2, 64, seed=0)

    assert mirrors.order(found.filters_F3kk, found.offset_F) is not None


def test_fewer_whitening_filters_are_the_strongest_axes():
    images = coloured()
    all_of_them, some = (
        first_layers.whitening_filters(images, 2, n, seed=0).filters_F3kk for n in (100, 6)
    )

    assert (24, 6) == (len(all_of_them), len(some))
    torch.testing.assert_close(some[:3], all_of_them[:3])


def test_centroid_filters_answer_as_the_encoder_compares():
    images = coloured(side=12)
    layer = LayerConfig(n_filters=5, patch_size=4, patches_per_image=4)
    graph = filters.learn(images, FiltersConfig(layers=(layer,), iterations=3), seed=0)

    found = first_layers.centroid_filters(graph)

    encoder = graph.layers["layer1"]
    pictures = as_float(images.pixels[:3])
    whitened = F.conv2d(pictures, encoder.project_GETss[0], -encoder.offset_GE[0])
    slow = torch.einsum("nehw,ke->nkhw", whitened, encoder.centroids_GKE[0])
    answered = F.conv2d(pictures, found.filters_F3kk, found.offset_F)
    torch.testing.assert_close(answered, slow, atol=1e-4, rtol=1e-4)


def test_the_report_s_first_layer_starts_from_centroids_or_at_random():
    layer = LayerConfig(n_filters=5, patch_size=4, stride=2, patches_per_image=4)
    config, images = FiltersConfig(layers=(layer,), iterations=2), coloured()
    centroids = first_layers.first_layer(images, ReportNetwork(), config, seed=0)

    assert (5, 3, 4, 4) == centroids.filters_F3kk.shape
    assert first_layers.first_layer(images, ReportNetwork(first="random"), config, seed=0) is None
    graph = labels.build(ReportNetwork(width=4), centroids, config, 3, (8, 8), 0)
    assert ((4, 4), (2, 2)) == (
        graph.layers["layer1_conv"].kernel_size,
        graph.layers["layer1_conv"].stride,
    )


def test_filters_larger_than_the_images_are_refused():
    layer = LayerConfig(n_filters=5, patch_size=9)
    config = FiltersConfig(layers=(layer,))
    for first in ("centroids", "random"):
        with pytest.raises(DataError, match="patches of 9 x 9 need images at least as large"):
            first_layers.first_layer(coloured(), ReportNetwork(first=first), config, seed=0)
    with pytest.raises(DataError, match=r"9 x 9 filters needs images .* 8 x 8: .*first_size"):
        first_layers.first_layer(coloured(), replace(NETWORK, first_size=9), None, seed=0)


# --- what the network sees


def test_a_batch_depends_on_its_images_and_the_epoch_alone():
    images = coloured()
    some = LabelledImages(
        pixels=images.pixels, labels=images.labels, augmentation=AUGMENTATION, seed=3
    )

    pictures, given = some.batch(np.array([40, 2, 77]), epoch=5)

    alone, _ = some.batch(np.array([2]), epoch=5)
    by_hand = augment(images.pixels[[2]], AUGMENTATION, image_keys(3, 5, np.array([2])))
    assert torch.equal(pictures[1:2], alone) and torch.equal(alone, by_hand)
    assert [1, 0, 2] == given.tolist()
    assert not torch.equal(pictures, some.batch(np.array([40, 2, 77]), epoch=6)[0])


def test_held_out_images_are_at_most_a_twentieth_of_their_class():
    labels_N = np.repeat([0, 1, 2, 3], [200, 40, 19, 1])

    held = labels.held_out(labels_N, 8, seed=0)

    assert [8, 2, 0, 0] == np.bincount(labels_N[held], minlength=4).tolist()
    assert len(np.unique(held)) == len(held)
    assert not len(labels.held_out(labels_N, 0, seed=0))
    assert (held != labels.held_out(labels_N, 8, seed=1)).any()


def test_images_held_out_are_not_learned_from(monkeypatch):
    seen: list[LabelledImages] = []
    train = labels.train

    def watched(graph, examples, *arguments, **options):
        seen.append(examples)
        return train(graph, examples, *arguments, **options)

    monkeypatch.setattr(labels, "train", watched)
    images = coloured((40, 40, 40))
    learn(images, replace(TRAINING, epochs=1))

    held = labels.held_out(images.labels, 2, seed=0)
    assert 6 == len(held)
    kept = {picture.tobytes() for picture in seen[0].pixels}
    assert not kept & {picture.tobytes() for picture in images.pixels[held]}
    assert 114 == len(kept) == len(seen[0])


# --- learning


def test_a_network_learns_to_tell_classes_apart():
    pair = learn(coloured())

    others = coloured(seed=1)
    assert (answers(pair, others) == others.labels).mean() > 0.9


def test_the_temperature_is_the_one_that_fits_the_images_held_out():
    images = coloured((40, 40, 40))
    graph, head = learn(images)

    held = images.take(labels.held_out(images.labels, 2, seed=0))
    pictures = as_float(held.pixels)
    with torch.inference_mode():
        logits = (graph(pictures) + graph(pictures.flip(3))) / 2
    fitted = fit_temperature(logits, torch.from_numpy(held.labels), labels.USUAL_ALONE)
    assert math.isclose(fitted, head.temperature, rel_tol=1e-4)
    torch.testing.assert_close(head.probabilities(logits), (logits / head.temperature).softmax(1))


def test_without_images_to_hold_out_the_temperature_is_1():
    _, head = learn(coloured((5, 5, 5)), replace(TRAINING, epochs=1))

    assert 1.0 == head.temperature


def test_a_head_of_logits_is_saved_and_loaded(tmp_path: Path):
    _, head = learn(coloured((40, 40, 40)), replace(TRAINING, epochs=1))
    logits = torch.randn(4, 3)

    heads.save(head, tmp_path)

    loaded = heads.load(tmp_path)
    assert ("logits", head.temperature) == (loaded.kind, loaded.temperature)
    assert torch.equal(logits, loaded.answers(logits))


@pytest.mark.parametrize("n_each", [(30, 1, 1), (1, 1, 1), (2, 1, 0)])
def test_few_labels_are_learned_from(n_each: tuple[int, int, int]):
    pair = learn(coloured(n_each), replace(TRAINING, epochs=2, batch_size=64))

    assert set(answers(pair, coloured())) <= {0, 1, 2}


def test_labels_of_one_class_are_refused():
    with pytest.raises(DataError, match="at least 2 classes apart; the labelled images are of few"):
        learn(coloured((9, 0, 0)))


def test_a_budget_too_short_is_refused_in_one_line():
    with pytest.raises(ConfigError, match="the budget of 1e-06 s is too short for one step") as r:
        learn(coloured(), replace(TRAINING, epochs=0), budget_seconds=1e-6)

    assert "\n" not in str(r.value)


def test_the_same_seed_gives_the_same_network():
    first, again, other = (
        learn(coloured(), replace(TRAINING, epochs=1), seed=seed)[0].state_dict()
        for seed in (0, 0, 1)
    )

    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["layers.linear.weight"], other["layers.linear.weight"])


# --- several networks that answer together

TWO = replace(CONFIG, n_networks=2)


def test_two_networks_answer_by_the_mean_of_what_each_learned(monkeypatch):
    learned, joined = [], ensembles.joined
    monkeypatch.setattr(
        ensembles, "joined", lambda graphs: learned.extend(graphs) or joined(graphs)
    )
    together, _ = learn(coloured(), config=TWO)
    images = as_float(coloured(seed=3).pixels)
    with torch.no_grad():
        one, two = (graph(images) for graph in learned)
        mean = together(images)

    torch.testing.assert_close((one + two) / 2, mean)
    assert (one - two).abs().max() > 0.01


def test_networks_share_the_budget_and_learn_from_other_changes_by_other_seeds(monkeypatch):
    seen = []
    monkeypatch.setattr(
        labels, "train", lambda graph, examples, *a, **k: seen.append((graph, examples, k))
    )
    three, often = replace(CONFIG, n_networks=3), replace(AUGMENTATION, tones=0.4)
    first = first_layers.first_layer(coloured(seed=9), NETWORK, None, seed=0)
    images = coloured()
    labels.learn(images, 3, NETWORK, first, three, TRAINING, often, seed=1, budget_seconds=6.0)

    assert [2.0] * 3 == [how["budget_seconds"] for _, _, how in seen]
    assert [0.0, 0.4, 0.4] == [one.augmentation.tones for _, one, _ in seen]
    assert {0.5} == {one.augmentation.flip for _, one, _ in seen}
    assert [False, True, False] == ["gray" in graph.nodes for graph, _, _ in seen]
    assert 1 == seen[0][1].seed == seen[0][2]["seed"]
    assert 3 == len({one.seed for _, one, _ in seen}) == len({how["seed"] for _, _, how in seen})


def test_networks_that_were_cut_off_go_on_bit_for_bit(tmp_path: Path, monkeypatch):
    whole, _ = learn(coloured(), config=TWO, folder=tmp_path / "whole")
    assert {"network-2", checkpoints.FILE} == {path.name for path in (tmp_path / "whole").iterdir()}

    train, begun = labels.train, []

    def cut_off(*a, **k):
        begun.append(k["folder"])
        if len(begun) == 2:
            raise KeyboardInterrupt
        return train(*a, **k)

    monkeypatch.setattr(labels, "train", cut_off)
    with pytest.raises(KeyboardInterrupt):
        learn(coloured(), config=TWO, folder=tmp_path / "cut")
    monkeypatch.setattr(labels, "train", train)
    resumed, _ = learn(coloured(), config=TWO, folder=tmp_path / "cut", resume=True)

    expected = whole.state_dict()
    assert all(torch.equal(expected[key], value) for key, value in resumed.state_dict().items())


def test_another_number_of_networks_is_no_training_to_go_on_with(tmp_path: Path):
    learn(coloured(), config=TWO, folder=tmp_path)

    with pytest.raises(
        CheckpointError, match="was made with other settings of labels: resume with"
    ):
        learn(coloured(), folder=tmp_path, resume=True)
