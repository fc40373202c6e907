"""The one training: every network that learns by gradients learns here.

    trained = train(graph, examples, TrainingConfig(epochs=20), seed=0)

The order of the images and whatever a step draws are functions of the seed and the step, so a
training of some epochs that was cut off and resumed ends with the same weights bit for bit, on
the same processor with the same number of threads and processes.
"""

import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from fewlabels import (
    batch_statistics,
    checkpoints,
    memory,
    optimizers,
    origins,
    processes,
    training_loop,
)
from fewlabels.averaging import Averaged
from fewlabels.batches import Batch as Batch
from fewlabels.batches import Examples as Examples
from fewlabels.errors import CheckpointError, ConfigError, DataError
from fewlabels.graph import Graph
from fewlabels.graph_files import fingerprint
from fewlabels.joined import Pixels
from fewlabels.precision import choose
from fewlabels.progress import say, watching
from fewlabels.tracking import Board
from fewlabels.training_config import TrainingConfig as TrainingConfig
from fewlabels.training_config import n_epochs
from fewlabels.training_loop import Loop
from fewlabels.training_steps import Measure as Measure
from fewlabels.training_steps import Step as Step
from fewlabels.training_steps import TaughtStep as TaughtStep
from fewlabels.training_steps import Teacher as Teacher
from fewlabels.training_steps import cross_entropy as cross_entropy


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training was; the weights are in the graph.

    history : a record per epoch, or per several where `training.least_steps` makes them many:
        "epoch", "step", "seconds" since the start, "learning_rate" of the convolutions, "loss" and
        the other facts of the steps since the last record (means), and what `measure` gave
    seconds : of the whole training, those before a resume included
    precision : "fp32" or "bf16"
    """

    history: tuple[dict[str, float], ...]
    steps: int
    seconds: float
    precision: str


def train(
    graph: Graph,
    examples: Examples,
    config: TrainingConfig,
    *,
    settings: str = "training",
    seed: int,
    device: str = "cpu",
    precision: str = "auto",
    budget_seconds: float | None = None,
    folder: Path | None = None,
    resume: bool = False,
    measure: Measure | None = None,
    step: Step | TaughtStep | None = None,
    made_from: Mapping[str, str] | None = None,
    unchanged: Pixels | None = None,
) -> Trained:
    """Train a graph in place; it ends with the averaged weights, in evaluation mode.

    Frozen nodes stay as they are. Under `torchrun` every process calls this with the same
    arguments; each takes its share of every batch.

    Parameters
    ----------
    graph : ends in logits where `step` is None
    settings : what a recipe calls `config`: where the loss diverges they are to be changed
    budget_seconds : time for everything in here but a last measurement; with `config.epochs` 0
    folder : for checkpoints (and TensorBoard), of this training alone; None for none
    resume : go on from the checkpoint in `folder`; from the start where there is none
    measure : called with the averaged graph, in evaluation mode, without gradients and in the
        training's precision, for each record of the history; under a budget of time for fewer, so
        that it takes a twentieth of it, and after the last step
    step : what a step computes; `cross_entropy(config.label_smoothing)` if None. It calls the
        network that it is given, once, as a Graph. A `TaughtStep` is given the averaged one too
    made_from : what the examples are made from, by a name in words: digests as `origins` gives
        them. They are kept in checkpoints, and a training of other ones is not resumed
    unchanged : images as they will be answered, uint8 (n_images, 3, height, width): before every
        measurement and at the end batch norm takes its statistics from them, see
        `batch_statistics`; None for those of the images that the network learned from

    Raises
    ------
    ConfigError : settings that do not fit, a budget too short for one step, a loss that diverges
    DataError : there is no image
    CheckpointError : a checkpoint that cannot be used, written, or would be lost
    KeyboardInterrupt : Ctrl-C or SIGTERM came; a checkpoint is written where there is a folder
    """
    began = training_loop.now()
    _check_length(config, budget_seconds)
    if isinstance(step, TaughtStep) and not config.averaging:
        raise ConfigError(
            "a network that learns from its average needs one: training.averaging is over 0"
        )
    found = _found(folder, resume)
    if found is not None and precision == "auto":
        precision = found.made_by["precision"]
    precision = choose(precision, device)
    fabric = processes.join(device, precision)
    size = _batch_size(len(examples), config, fabric.world_size)
    if budget_seconds is None:
        _say_more_epochs(len(examples) // size, config)
    made_by = {
        "graph": fingerprint(graph),
        "seed": seed,
        "n_examples": len(examples),
        "precision": precision,
        "budget_seconds": budget_seconds,
        "config": asdict(config),
        "made_from": dict(made_from or {}),
        "first_weights": origins.of_weights(graph),
    }
    with ExitStack() as around:
        around.enter_context(torch.random.fork_rng(_devices(fabric.device)))
        around.enter_context(memory.kept())
        graph.to(device=fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        graph.train()  # one that goes on learning answered last, see `side_by_side.sharing`
        averaged = None
        if config.averaging:
            # a teacher has learned already
            taught = isinstance(step, TaughtStep)
            averaged = Averaged(graph, config.averaging, from_new=not taught)
        if isinstance(step, TaughtStep):
            step.to(fabric.device)
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        loop = Loop(
            graph=graph,
            averaged=averaged,
            optimizers=optimizers.build(graph, config, dtype),
            examples=examples,
            config=config,
            settings=settings,
            fabric=fabric,
            learn=step or cross_entropy(config.label_smoothing),
            measure=measure,
            unchanged=unchanged,
            size=size,
            seed=seed,
            budget=budget_seconds,
            folder=folder,
            made_by=made_by,
            began=began,
        )
        if found is not None and folder is not None:
            path = folder / checkpoints.FILE
            for change in checkpoints.check(found.made_by, made_by, path):
                say(change)
            loop.restore(found, path)
            say(f"going on from step {loop.step}")
        for one in [graph] if averaged is None else [graph, averaged.graph]:
            around.enter_context(one.any_size())  # the first part may show smaller images
        if config.tensorboard and fabric.is_global_zero:
            around.enter_context(watching(_board(folder, around)))
        loop.run()
    if averaged is not None:
        averaged.give_back()
    if unchanged is not None:
        batch_statistics.settle(graph, unchanged)
    processes.same_everywhere(fabric, graph)
    graph.eval()
    seconds = loop.history[-1]["seconds"] if loop.history else 0.0
    return Trained(
        history=tuple(loop.history), steps=loop.step, seconds=seconds, precision=precision
    )


def _check_length(config: TrainingConfig, budget_seconds: float | None) -> None:
    if (budget_seconds is None) == (config.epochs == 0):
        both = "both" if config.epochs else "neither"
        raise ConfigError(
            "a training ends after training.epochs or after a --budget of time, and was given "
            f"{both}: give one of them (epochs 0 fills the budget)"
        )
    if budget_seconds is not None and not 0 < budget_seconds < math.inf:
        raise ConfigError(f"a budget is some seconds, over 0; got {budget_seconds}")


def _found(folder: Path | None, resume: bool) -> checkpoints.Checkpoint | None:
    if folder is None:
        if resume:
            raise ConfigError("a training is resumed from a folder of checkpoints: name it")
        return None
    if resume:
        return checkpoints.load(folder)
    if (folder / checkpoints.FILE).exists():
        raise CheckpointError(
            f"{folder} holds the checkpoint of another training: go on from it with --resume, or "
            f"{checkpoints.ANEW}"
        )
    return None


def _batch_size(n_examples: int, config: TrainingConfig, n_processes: int) -> int:
    """That of the settings, or all images where there are fewer."""
    if n_examples == 0:
        raise DataError("there is no image to train on: give at least one")
    size = min(config.batch_size, n_examples)
    if size < n_processes:
        raise ConfigError(
            f"a batch of {size} images cannot be shared by {n_processes} processes: start fewer, "
            "or raise training.batch_size"
        )
    if size < config.batch_size:
        say(
            f"there are {n_examples} images, fewer than training.batch_size {config.batch_size}: "
            "every step takes all of them"
        )
    return size


def _say_more_epochs(per_epoch: int, config: TrainingConfig) -> None:
    steps, epochs = per_epoch * config.epochs, n_epochs(config, per_epoch)
    if epochs is not None and epochs > config.epochs:
        say(
            f"{config.epochs} epochs are {steps} steps, and training.least_steps is "
            f"{config.least_steps}: training for {epochs} epochs"
        )


def _devices(device: torch.device) -> list[torch.device]:
    """Whose generators are put back after a training, beside the processor's."""
    return [] if device.type == "cpu" else [device]


def _board(folder: Path | None, around: ExitStack) -> Board:
    if folder is None:
        raise ConfigError("training.tensorboard needs a folder to write to: name one")
    board = Board(folder / "tensorboard")
    around.callback(board.close)
    return board
