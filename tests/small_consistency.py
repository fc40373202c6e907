"""A way that learns from unlabelled images in a moment: settings, made images, a watcher."""

from dataclasses import replace

import numpy as np
import torch

from fewlabels import progress
from fewlabels.architectures import WhitenedNetwork
from fewlabels.augment import Augmentation
from fewlabels.images import Images, as_float
from fewlabels.training import TrainingConfig
from fewlabels.ways import consistency, starts
from fewlabels.ways.consistency_config import ConsistencyConfig, ConsistencyParts
from fewlabels.ways.course import Course, Time
from fewlabels.ways.labels import LabelsConfig

TRAINING = TrainingConfig(
    batch_size=16, epochs=6, learning_rate=0.1, head_learning_rate=0.3, averaging=0.9
)
PARTS = ConsistencyParts(
    consistency=ConsistencyConfig(
        schedule="steps",
        n_rounds=2,
        n_students=2,
        steps_per_epoch=4,
        held_out=4,
        threshold=0.5,
        momentum=0.9,
        surrogate_epochs=1,
        least_weight=0.0,
    ),
    labels=LabelsConfig(),
    network=WhitenedNetwork(widths=(6, 8), first_filters=8),
    training=TRAINING,
    rounds=TRAINING,
    steps=replace(TRAINING, batch_size=6, epochs=2),
    strong=Augmentation(flip=0.5, max_shift=0.2, brightness=0.1),
    mild=Augmentation(flip=0.5, max_shift=0.2),
    weak=Augmentation(flip=0.5),
)


def coloured(n_each=(20, 20, 20), side=8, seed=0) -> Images:
    """Noise of three classes, each brighter in a colour of its own."""
    draw = np.random.default_rng(seed)
    labels_N = np.repeat(np.arange(3), n_each)
    pixels = draw.integers(0, 120, (len(labels_N), 3, side, side))
    pixels[np.arange(len(labels_N)), labels_N] += 90
    return Images(pixels=pixels.astype(np.uint8), labels=labels_N)


def unlabelled(n_each=(30, 30, 30), seed=5) -> Images:
    return Images(pixels=coloured(n_each, seed=seed).pixels)


NOTHING = Images(pixels=np.empty((0, 3, 8, 8), np.uint8))


class Heard:
    """A watcher that keeps what is said and noted."""

    def __init__(self) -> None:
        self.said_: list[str] = []
        self.notes: list[tuple[str, dict]] = []

    def started(self, stage, total, unit): ...
    def advanced(self, stage, count): ...
    def stands(self, stage, facts): ...
    def ended(self, stage, seconds): ...

    def noted(self, stage, facts):
        self.notes.append((stage, dict(facts)))

    def said(self, message):
        self.said_.append(message)

    @property
    def text(self) -> str:
        return "\n".join(self.said_)


def parts_with(**settings) -> ConsistencyParts:
    return replace(PARTS, consistency=replace(PARTS.consistency, **settings))


def learn(labelled: Images, others: Images, parts=PARTS, **how):
    how = {"seed": 0, "precision": "fp32", **how}
    first = starts.first_layer(coloured(seed=9), parts, seed=0, precision="fp32")
    with progress.watching(Heard()) as heard:
        learned = consistency.learn(labelled, others, 3, parts, first, **how)
    return learned, heard


def accuracy(learned, images: Images) -> float:
    with torch.inference_mode():
        logits_NL = learned.graph(as_float(images.pixels))
    return float((learned.head.probabilities(logits_NL).argmax(1).numpy() == images.labels).mean())


def course_of(parts=PARTS, budget=None) -> Course:
    images = coloured((4, 4, 4))
    return Course(
        pixels=images.pixels,
        labels=images.labels,
        n_classes=3,
        parts=parts,
        first=None,
        folder=None,
        how={"seed": 0, "device": "cpu", "precision": "fp32", "resume": False},
        measure=None,
        time=Time(budget),
        body={},
    )
