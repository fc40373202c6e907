"""What the trainings of one network that learns from unlabelled images share: settings, time.

Shapes: N labelled images, M unlabelled ones, L classes.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fewlabels import checkpoints, features
from fewlabels.architectures import FirstLayer
from fewlabels.augment import Augmentation
from fewlabels.batches import Examples
from fewlabels.draws import other_seed
from fewlabels.errors import TooShortError
from fewlabels.graph import Graph
from fewlabels.images import Images
from fewlabels.joined import Pixels
from fewlabels.processes import shared_mean
from fewlabels.training import Measure, TaughtStep, TrainingConfig, train
from fewlabels.training import Step as Step
from fewlabels.ways import labels as labels_way
from fewlabels.ways.consistency_config import ConsistencyParts
from fewlabels.ways.selfsupervised import PROJECTOR

# parameters above the body, which networks of other classes or of embeddings share
ABOVE = ("layers.linear.", f"layers.{PROJECTOR}")

ANSWERED = 125  # images that a core answers together
MOMENT = 1.0  # seconds; with less left no training begins

now = time.monotonic


class Time:
    """What is left of a budget. Trainings that were cut off and resumed count whole.

    device : of the tensors by which several processes agree
    """

    def __init__(self, budget_seconds: float | None, device: str = "cpu") -> None:
        self.budget, self.device = budget_seconds, device
        self.began, self.before = now(), 0.0

    def left(self) -> float | None:
        """Seconds, over 0, for all processes alike: with their own they would not stop together."""
        if self.budget is None:
            return None
        return max(1e-3, self.agreed(self.budget - self.before - (now() - self.began)))

    def agreed(self, seconds: float) -> float:
        """The mean over all processes."""
        return float(shared_mean(torch.tensor([seconds], device=self.device))[0])

    def is_up(self) -> bool:
        """Whether hardly anything is left."""
        left = self.left()
        return left is not None and left < MOMENT

    def part(self, part: float) -> float | None:
        """That part of the budget, in seconds."""
        return None if self.budget is None else part * self.budget

    def took(self, seconds: float, began: float) -> None:
        """A training that began here at `began` took so many seconds, with those before a break."""
        self.before += max(0.0, seconds - (now() - began))


@dataclass(kw_only=True, eq=False)
class Course:
    """What is learned from, how, and where it is kept.

    pixels, labels : of the images whose labels are learned from
    first : what the first layer starts from
    body : weights that every new network starts from, but for its last layer; {} for new ones
    phase : trainings so far
    folder : each training has one of its own in it
    how : "seed", "device", "precision", "resume" of every training
    """

    pixels: np.ndarray
    labels: np.ndarray
    n_classes: int
    parts: ConsistencyParts
    first: FirstLayer | None
    folder: Path | None
    how: dict[str, Any]
    measure: Measure | None
    time: Time
    body: Mapping[str, Tensor]
    phase: int = 0

    @property
    def seed(self) -> int:
        return int(self.how["seed"])

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[2], self.pixels.shape[3]

    def new_network(self, number: int = 0) -> Graph:
        """A network that has learned no labels; another number draws other weights."""
        graph = labels_way.build(
            self.parts.network,
            self.first,
            self.parts.filters,
            self.n_classes,
            self.image_size,
            other_seed(self.seed, number),
        )
        if self.body:
            graph.load_state_dict({**graph.state_dict(), **self.body})
        return graph

    def examples(
        self, pixels: Pixels, labels_N: np.ndarray, augmentation: Augmentation, number: int = 0
    ) -> labels_way.LabelledImages:
        """Images and their labels, changed so; another number draws other changes."""
        return labels_way.examples(pixels, labels_N, augmentation, other_seed(self.seed, number))

    def train(
        self,
        name: str,
        graph: Graph,
        examples: Examples,
        config: TrainingConfig,
        seconds: float | None,
        step: Step | TaughtStep | None = None,
        *,
        settings: str = "training",
        measured: bool = True,
    ) -> None:
        """Train a graph in place, in the folder `name`; all trainings share one precision.

        settings : what a recipe calls `config`
        """
        began = now()
        self.phase += 1
        trained = train(
            graph,
            examples,
            config,
            settings=settings,
            **self.how,
            budget_seconds=seconds,
            folder=self.folder_of(name),
            measure=self._measure_of(self.phase) if measured else None,
            step=step,
            unchanged=self.pixels if measured else None,
        )
        self.how["precision"] = trained.precision
        self.time.took(trained.seconds, began)

    def train_if_time(
        self,
        name: str,
        graph: Graph,
        examples: Examples,
        config: TrainingConfig,
        seconds: float | None,
        step: Step | TaughtStep,
        *,
        settings: str,
    ) -> bool:
        """The same; where there is no time for one step the graph stays as it was, and it is False.

        What was learned before is not lost by it.
        """
        before = {key: value.clone() for key, value in graph.state_dict().items()}
        try:
            self.train(name, graph, examples, config, seconds, step, settings=settings)
        except TooShortError:
            graph.load_state_dict(before)
            return False
        return True

    def _measure_of(self, phase: int) -> Measure:
        """What is measured, if anything is, and which of the model's trainings it is in."""
        measure = self.measure or (lambda graph: {})
        return lambda graph: {**measure(graph), "phase": phase}

    def folder_of(self, name: str) -> Path | None:
        """Where the training `name` keeps its checkpoints."""
        return None if self.folder is None else self.folder / name

    def time_for(self, name: str, n_trainings: float = 1.0) -> float | None:
        """Seconds for the training `name`: its share where so many part what is left.

        One that is resumed has what it was given when it began: how much is left depends on how
        long all else took, and a training goes on under its own budget alone.
        """
        left, folder = self.time.left(), self.folder_of(name)
        if left is not None and folder is not None and self.how["resume"]:
            found = checkpoints.load(folder)
            if found is not None and found.made_by["budget_seconds"] is not None:
                return float(found.made_by["budget_seconds"])
        return None if left is None else left / n_trainings

    def is_too_late_for(self, name: str) -> bool:
        """Whether no time is left, and the training `name` has not begun before a break either."""
        return self.time.is_up() and not self.has_begun(name)

    def has_begun(self, name: str) -> bool:
        """Whether the training `name` began before a break that this run goes on after."""
        folder = self.folder_of(name) if self.how["resume"] else None
        return folder is not None and (folder / checkpoints.FILE).exists()

    def answers(
        self,
        graph: Graph,
        images: Images,
        what: str,
        *,
        flips: bool = False,
        temperature: float = 1.0,
    ) -> Tensor:
        """Probabilities, float32 of shape (n_images, n_classes)."""
        logits_NL = features.extract(
            graph,
            images,
            flips=flips,
            device=self.how["device"],
            what=what,
            precision=self.how["precision"],
            batch_size=ANSWERED,
        )
        return (logits_NL / temperature).softmax(1)

    def epochs(self, config: TrainingConfig, epochs: int) -> TrainingConfig:
        """A training of so many epochs, or as long as it may where there is a budget."""
        return replace(config, epochs=0 if self.time.budget is not None else epochs)


def body_of(graph: Graph) -> dict[str, Tensor]:
    """The weights and statistics below the last layer, or below the projector."""
    state: dict[str, Tensor] = graph.state_dict()
    return {key: torch.clone(value) for key, value in state.items() if not key.startswith(ABOVE)}
