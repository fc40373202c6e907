"""The steps of a training, one after another: `training.train` sets them up."""

import math
import time
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fewlabels import batch_statistics, checkpoints, optimizers, processes, side_by_side
from fewlabels.averaging import Averaged
from fewlabels.batches import Batch, Examples, batches, shrunk
from fewlabels.errors import ConfigError, TooShortError
from fewlabels.graph import Graph
from fewlabels.interrupts import noticed
from fewlabels.joined import Pixels
from fewlabels.progress import note, stage, stand
from fewlabels.training_config import TrainingConfig, n_epochs, rate_factor
from fewlabels.training_steps import Measure, Step, TaughtStep, seed_step

if TYPE_CHECKING:
    from lightning_fabric import Fabric

STAGE = "training"
DIVERGED = 10  # times the first loss (at least 1): no rate that learns goes there
MEASURING = 0.05  # of a budget of time: the part that measuring after epochs may take
MOST_RECORDS = 400  # of a training with a budget of time: each is in every checkpoint
KEPT = ("history", "sums", "n_summed", "first_loss", "recent_loss")  # in a checkpoint

now = time.monotonic


@dataclass(kw_only=True, eq=False)
class Loop:
    """A training under way; see `training.train`.

    settings : what a recipe calls `config`
    size : images of a whole batch, of which this process takes its share
    began : `now()` at the start; before : seconds that earlier, interrupted trainings took
    """

    graph: Graph
    averaged: Averaged | None
    optimizers: list[torch.optim.Optimizer]
    examples: Examples
    config: TrainingConfig
    settings: str
    fabric: "Fabric"
    learn: Step | TaughtStep
    measure: Measure | None
    unchanged: Pixels | None
    size: int
    seed: int
    budget: float | None
    folder: Path | None
    made_by: Mapping[str, Any]
    began: float
    before: float = 0.0
    step: int = 0
    saved_step: int | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)
    n_summed: int = 0
    first_loss: float | None = None
    recent_loss: float = 0.0
    measuring: float = 0.0  # seconds
    n_measured: int = 0

    def __post_init__(self) -> None:
        self.per_epoch = len(self.examples) // self.size
        # where few images make short epochs, a record and a measurement are for several of them
        self.per_record = self.per_epoch
        epochs = n_epochs(self.config, self.per_epoch)
        self.total = None if epochs is None else epochs * self.per_epoch
        if not self.budget and epochs is not None:
            self.per_record *= math.ceil(epochs / self.config.epochs)
        self.saved_at = now()

    def restore(self, checkpoint: checkpoints.Checkpoint, path: Path) -> None:
        """Stand where the checkpoint stood.

        Raises CheckpointError where it does not fit.
        """
        tensors = checkpoint.tensors
        checkpoints.put_back(
            tensors, self.graph, self.averaged, self.optimizers, path, self._kept_step()
        )
        self.step, self.before = checkpoint.step, checkpoint.seconds
        self.saved_step = self.step
        for name in KEPT:
            setattr(self, name, checkpoint.facts[name])

    def run(self) -> None:
        """Learn until the epochs or the budget are through.

        Raises
        ------
        ConfigError : the loss is not finite or far over the first, or the budget is too short
        KeyboardInterrupt : Ctrl-C or SIGTERM came; a checkpoint is written where there is a folder
        """
        (elapsed,) = processes.largest(self.fabric, [self._elapsed()])
        total, unit = (100, "%") if self.budget else (self.total, "steps")
        with (
            noticed() as asked,
            stage(STAGE, total, unit, self.before) as advance,
            closing(self._batches()) as coming,
            side_by_side.in_parts(self.graph, self.fabric) as self.network,
            self._taught() as self.teacher,
        ):
            self.network.train()
            for record in self.history:
                note(STAGE, **record)
            advance(shown := self._shown(elapsed))
            while self.step == 0 or not self._is_done(elapsed):
                self._learn(*next(coming))
                elapsed, stop = processes.largest(self.fabric, [self._elapsed(), float(asked())])
                self._show(elapsed)
                advance(self._shown(elapsed) - shown)
                shown = self._shown(elapsed)
                self._after(elapsed, bool(stop))
            if asked():  # while the end was measured or saved: a fold that follows must not begin
                self._say_stopped()

    def _batches(self) -> Generator[tuple[Batch, float], None, None]:
        return batches(
            self.examples, self.size, seed=self.seed, first_step=self.step, fabric=self.fabric
        )

    def _elapsed(self) -> float:
        return self.before + now() - self.began

    def _is_done(self, elapsed: float) -> bool:
        return self._part(elapsed, self.step) >= 1

    def _part(self, elapsed: float, step: float) -> float:
        """What is through, of the time or of the steps, whichever ends first."""
        of_time = elapsed / self.budget if self.budget else 0.0
        return max(of_time, step / self.total if self.total else 0.0)

    def _progress(self) -> float:
        """In [0, 1]; of steps, where the middle of this one lies."""
        elapsed = 0.0
        if self.budget:
            (elapsed,) = processes.largest(self.fabric, [self._elapsed()])
        return min(1.0, self._part(elapsed, self.step + 0.5))

    def _shown(self, elapsed: float) -> int:
        return min(100, int(100 * self._part(elapsed, self.step))) if self.budget else self.step

    def _show(self, elapsed: float) -> None:
        left = [self.budget - elapsed] if self.budget else []
        if self.total:
            left.append(elapsed / self.step * (self.total - self.step))
        stand(STAGE, loss=self.recent_loss, seconds_left=min(left))

    def _learn(self, batch: Batch, weight: float) -> None:
        """One step; nothing has changed yet where the loss tells that it went wrong."""
        seed_step(self.seed, self.step, self.fabric)
        progress = self._progress()
        if progress < self.config.small_part:
            batch = shrunk(batch, self.config.small_side)
        self.factor = rate_factor(progress, self.config)
        optimizers.set_rates(self.optimizers, self.factor)
        loss, facts = self._loss(batch)
        value = loss.item()
        (unsound,) = processes.largest(self.fabric, [float(not self._is_sound(value))])
        if unsound:
            raise self._diverged(f"the loss is {value:.4g}")
        self.fabric.backward(loss * weight)
        if self.config.clip:
            torch.nn.utils.clip_grad_norm_(self.graph.parameters(), self.config.clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if self.averaged is not None:
            self.averaged.update(self.step)
        self.step += 1
        for name, fact in {"loss": loss, **facts}.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(torch.as_tensor(fact).detach())
        self.n_summed += 1

    def _loss(self, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        if isinstance(self.learn, TaughtStep):
            assert self.teacher is not None, "`run` has made it"
            return self.learn.learn(self.network, self.teacher, batch)
        return self.learn(self.network, batch)

    def _taught(self) -> AbstractContextManager[nn.Module | None]:
        if not isinstance(self.learn, TaughtStep):
            return nullcontext()
        assert self.averaged is not None, "`train` refuses a taught step without an average"
        return side_by_side.teacher(self.averaged.graph, self.fabric)

    def _kept_step(self) -> TaughtStep | None:
        return self.learn if isinstance(self.learn, TaughtStep) else None

    def _is_sound(self, loss: float) -> bool:
        if not math.isfinite(loss):
            return False
        if self.first_loss is None:
            self.first_loss = self.recent_loss = loss
        self.recent_loss += 0.1 * (loss - self.recent_loss)
        return self.recent_loss <= DIVERGED * max(self.first_loss, 1.0)

    def _diverged(self, what: str) -> ConfigError:
        of = f" of {self.total}" if self.total else ""
        still = f"; the checkpoint of step {self.saved_step} is still in {self.folder}"
        kept = "" if self.saved_step is None else still
        return ConfigError(
            f"the training diverged: {what} at step {self.step + 1}{of}: lower "
            f"{self.settings}.learning_rate (now {self.config.learning_rate:g}) or "
            f"{self.settings}.head_learning_rate (now {self.config.head_learning_rate:g}){kept}"
        )

    def _after(self, elapsed: float, stop: bool) -> None:
        """What is due between two steps: measuring, saving, stopping."""
        done = self._is_done(elapsed)
        if self.budget and self.step == 1 and elapsed > self.budget:
            raise TooShortError(
                f"the budget of {self.budget:.3g} s is too short for one step: the first, of "
                f"{self.size} images, was done after {elapsed:.3g} s: give a longer --budget, or "
                "a smaller training.batch_size"
            )
        if done and not checkpoints.all_finite(self.graph):
            raise self._diverged("a weight is not finite")
        if done or (self.step % self.per_record == 0 and self._is_worth_a_record(elapsed)):
            self._close_record(elapsed, done)
        if done or stop or now() - self.saved_at >= 60 * self.config.checkpoint_minutes:
            self._save(elapsed)
        if stop:
            self._say_stopped()

    def _is_worth_a_record(self, elapsed: float) -> bool:
        """In a long time with short epochs not every one is."""
        last = self.history[-1]["seconds"] if self.history else 0.0
        return not self.budget or elapsed - last >= self.budget / MOST_RECORDS

    def _say_stopped(self) -> None:
        saved = f"step {self.saved_step} is saved: go on with --resume"
        kept = "no checkpoint is kept" if self.saved_step is None else saved
        raise KeyboardInterrupt(f"the training stopped after step {self.step}, {kept}")

    def _close_record(self, elapsed: float, done: bool) -> None:
        names = list(self.sums)
        means = processes.mean(self.fabric, [self.sums[name] / self.n_summed for name in names])
        record = {
            "epoch": round(self.step / self.per_epoch, 3),
            "step": self.step,
            "seconds": round(elapsed, 3),
            "learning_rate": self.config.learning_rate * self.factor,
            **dict(zip(names, means, strict=True)),
        }
        if self.fabric.broadcast(self._is_measured(elapsed, done)):
            record |= self.fabric.broadcast(self._measured())
        self.sums, self.n_summed = {}, 0
        self.history.append(record)
        note(STAGE, **record)

    def _is_measured(self, elapsed: float, done: bool) -> bool:
        """Whether there is something to measure, and it takes not too much of a budget."""
        after = self.measuring * (1 + 1 / max(1, self.n_measured))
        is_due = not self.budget or done or after <= MEASURING * elapsed
        return self.measure is not None and is_due

    def _measured(self) -> dict[str, float]:
        """What the first process measures; the statistics are settled by all."""
        assert self.measure is not None, "`_is_measured` asks for it"
        start = now()
        graph = self.graph if self.averaged is None else self.averaged.graph
        with torch.no_grad(), self.fabric.autocast():
            if self.unchanged is not None:
                batch_statistics.settle(graph, self.unchanged)
            measured = self.measure(graph.eval()) if self.fabric.is_global_zero else {}
        self.network.train()
        self.measuring += now() - start
        self.n_measured += 1
        return {name: float(value) for name, value in measured.items()}

    def _save(self, elapsed: float) -> None:
        """Write a checkpoint; weights that are not finite leave the last good one where it is."""
        self.saved_at = now()
        if self.folder is None or not checkpoints.all_finite(self.graph):
            return
        if self.fabric.is_global_zero:
            checkpoint = checkpoints.Checkpoint(
                tensors=checkpoints.gather(
                    self.graph, self.averaged, self.optimizers, self._kept_step()
                ),
                made_by=self.made_by,
                step=self.step,
                seconds=elapsed,
                facts={name: getattr(self, name) for name in KEPT},
            )
            checkpoints.save(checkpoint, self.folder)
        self.saved_step = self.step
        stand(STAGE, checkpoint=self.step)
