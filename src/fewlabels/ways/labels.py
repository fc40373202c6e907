"""The third way to fill a network: backpropagation on the labelled images.

Shapes: N images, L classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fewlabels import architectures, ensembles, features, heads, origins
from fewlabels.architectures import FirstLayer, WhitenedNetwork
from fewlabels.augment import Augmentation, augment
from fewlabels.calibration import fit_temperature
from fewlabels.draws import image_keys, other_seed
from fewlabels.errors import ConfigError, DataError
from fewlabels.graph import Graph
from fewlabels.heads import Head
from fewlabels.images import Images
from fewlabels.joined import Pixels
from fewlabels.progress import say
from fewlabels.training import Measure, TrainingConfig, train
from fewlabels.ways.filters import FiltersConfig
from fewlabels.ways.first_layers import Network
from fewlabels.whitened import whitened_network

MOST_HELD_OUT = 1 / 20  # at most this part of the labels is kept apart
# Networks that learned smoothed labels alone, 400 to 10 of a class, had temperatures from 0.53 to
# 0.82, those that learned from answers 0.82 to 0.86; a little unsure is less wrong than too sure
# ("Held out for the temperature" in docs/accuracy.md).
USUAL_ALONE, USUAL_OF_ANSWERS = 0.75, 0.9


@dataclass(frozen=True, kw_only=True)
class LabelsConfig:
    """Settings of the way.

    held_out : labelled images of each class that are not learned from and tell how sure the
        answers may be (the temperature of the softmax); at most a twentieth of the class. With
        400 labels of a class one run in twelve is then calibrated worse than 0.03, with 25
        every second (docs/accuracy.md)
    flips : answer with the mean of the logits of an image and of its mirror image
    n_networks : that learn one after another and answer together, sharing a budget of time; see
        `ensembles`. One learns most in a few minutes, several in many
    """

    held_out: int = 16
    flips: bool = True
    n_networks: int = 1

    def __post_init__(self) -> None:
        if self.held_out < 0:
            raise ConfigError(f"labels.held_out is at least 0; got {self.held_out}")
        if self.n_networks < 1:
            raise ConfigError(f"labels.n_networks is at least 1; got {self.n_networks}")


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledImages:
    """What the network sees: labelled images, transformed anew in every epoch.

    pixels : uint8 of shape (n_images, 3, height, width); labels : int64 array (n_images,), or
        float32 (n_images, n_classes), parts of classes
    """

    pixels: Pixels
    labels: np.ndarray
    augmentation: Augmentation
    seed: int

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices_N: np.ndarray, epoch: int) -> tuple[Tensor, Tensor]:
        """Images as float (N, 3, H, W) in [0, 1], and their labels; see `batches.Examples`."""
        keys_N = image_keys(self.seed, epoch, indices_N)
        pictures = augment(np.asarray(self.pixels[indices_N]), self.augmentation, keys_N)
        return pictures, torch.from_numpy(self.labels[indices_N])


def learn(
    labelled: Images,
    n_classes: int,
    network: Network,
    start: FirstLayer | None,
    config: LabelsConfig,
    training: TrainingConfig,
    augmentation: Augmentation,
    *,
    filters_config: FiltersConfig | None = None,
    seed: int,
    device: str = "cpu",
    precision: str = "auto",
    budget_seconds: float | None = None,
    folder: Path | None = None,
    resume: bool = False,
    measure: Measure | None = None,
    made_from: Mapping[str, str] | None = None,
) -> tuple[Graph, Head]:
    """Train a network on labelled images, or several, the others in folders of their own.

    Parameters
    ----------
    labelled : with labels in [0, n_classes)
    start : as `first_layers.first_layer` gives it
    budget_seconds, folder, resume, measure : see `training.train`
    made_from : digests of what `start` was learned from, see `training.train`

    Returns
    -------
    graph : ends in logits; head : their softmax, with the temperature that fits the images held
        out, else 1

    Raises DataError if the labels are of fewer than two classes, and what `train` raises.
    """
    assert labelled.labels is not None, "labelled images have labels"
    held = held_out(labelled.labels, config.held_out, seed)
    kept = np.setdiff1d(np.arange(len(labelled)), held)
    made_from = {
        "labelled images": origins.of_images(labelled.pixels),
        "labels": origins.of_labels(labelled.labels),
        "settings of augmentation": origins.of_settings(augmentation),
        "settings of labels": origins.of_settings(config),
        **(made_from or {}),
    }
    n_networks, networks = config.n_networks, []
    for number, member in enumerate(ensembles.members(augmentation, n_networks)):
        own = other_seed(seed, number)
        one = build(network, start, filters_config, n_classes, labelled.size, own)
        one = member.network(one)
        train(
            one,
            examples(labelled.pixels[kept], labelled.labels[kept], member.changes, own),
            training,
            seed=own,
            device=device,
            precision=precision,
            budget_seconds=None if budget_seconds is None else budget_seconds / n_networks,
            folder=folder if folder is None or number == 0 else folder / f"network-{number + 1}",
            resume=resume,
            measure=measure,
            made_from=made_from,
            unchanged=labelled.pixels[kept],
        )
        networks.append(one)
    graph = ensembles.joined(networks)
    apart = labelled.take(held)
    return graph, head_of(graph, apart, n_classes, USUAL_ALONE, flips=config.flips, device=device)


def examples(
    pixels: Pixels, labels_N: np.ndarray, augmentation: Augmentation, seed: int
) -> LabelledImages:
    """These images as a network learns from them; labels as `training_steps.cross_entropy` takes.

    Raises DataError if the labels are of fewer than two classes.
    """
    if labels_N.ndim == 1 and len(np.unique(labels_N)) < 2:
        raise DataError(
            "a network learns to tell at least 2 classes apart; the labelled images are of fewer: "
            "label images of another class"
        )
    return LabelledImages(pixels=pixels, labels=labels_N, augmentation=augmentation, seed=seed)


def build(
    network: Network,
    start: FirstLayer | None,
    filters_config: FiltersConfig | None,
    n_classes: int,
    image_size: tuple[int, int],
    seed: int,
) -> Graph:
    """The network with new weights, its first layer as told."""
    if isinstance(network, WhitenedNetwork):
        assert start is not None, "the whitened network starts from filters"
        _, stride = network.first_layer(image_size)
        return whitened_network(
            network,
            start,
            stride=stride,
            n_classes=n_classes,
            image_size=image_size,
            seed=seed,
        )
    assert filters_config is not None, "a recipe with a ReportNetwork has filters"
    layer = filters_config.layers[0]
    return architectures.report_network(
        network,
        start,
        n_first=layer.n_filters,
        first_size=layer.patch_size,
        stride=layer.stride,
        n_classes=n_classes,
        image_size=image_size,
        seed=seed,
    )


def held_out(
    labels_N: np.ndarray, per_class: int, seed: int, most: float = MOST_HELD_OUT
) -> np.ndarray:
    """Indices of the labelled images that are not learned from: `per_class`, drawn by the seed.

    most : of a class, as a part; at a twentieth a class of fewer than 20 images keeps them all
    """
    draw = np.random.default_rng(seed)
    chosen = [draw.permutation(np.flatnonzero(labels_N == label)) for label in np.unique(labels_N)]
    # rounded, as 20 times a twentieth may come out under 1
    parts = [c[: min(per_class, int(round(len(c) * most, 9)))] for c in chosen]
    return np.sort(np.concatenate(parts))


def head_of(
    graph: Graph, held: Images, n_classes: int, usual: float, *, flips: bool, device: str
) -> Head:
    """A head that takes the logits as they are, over a temperature that fits these images.

    held : none of which the graph learned from; where there are none the temperature is 1
    usual : temperature of such networks, see `calibration.fit_temperature`
    """
    temperature, none_below = 1.0, 0.0
    if len(held):
        assert held.labels is not None
        logits_NL = features.extract(
            graph, held, flips=flips, device=device, what="fitting the temperature"
        )
        temperature = fit_temperature(logits_NL, torch.from_numpy(held.labels), usual)
        none_below = heads.none_threshold((logits_NL / temperature).softmax(1))
    else:
        say("too few labels to keep some apart: how sure the answers are is the network's own word")
    tensors = {
        "mean": torch.zeros(n_classes),
        "scale": torch.ones(n_classes),
        "weights": torch.eye(n_classes),
        "bias": torch.zeros(n_classes),
    }
    return Head(kind="logits", tensors=tensors, temperature=temperature, none_below=none_below)
