"""Settings of a training, and how its learning rate rises and falls."""

import math
from dataclasses import dataclass

from fewlabels.errors import ConfigError

OPTIMIZERS = ("muon", "sgd")
DECAYS = ("linear", "cosine")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Settings of a training; most usual values are those of airbench94_muon.

    It adds the loss up over a batch of 2,000, which is a mean here: its rates of 0.67 and 0.053 for
    all but the convolutions mean 1,340 and 106 here. Muon, whose steps have one length, is alike.

    optimizer : of the convolutions, "muon" or "sgd"; all the rest learns by SGD
    batch_size : images of a step, over all processes together
    epochs : how often every image is seen; 0 fills the budget of time
    most_epochs : under a budget of time a training ends after so many epochs even so; 0 for no end
        but that of the time
    least_steps : where these epochs are fewer steps, as few images make short epochs, there are
        more epochs, see `n_epochs`; 0 for none
    learning_rate, head_learning_rate, bias_learning_rate : the highest of the convolutions, of the
        matrices of linear layers, and of everything with one dimension (biases, batch norm)
    filter_momentum, momentum : of Muon, and of SGD; both in Nesterov's form
    weight_decay : times `batch_size`, the part of itself that a weight would lose in a step at the
        highest rate; not for weights that Muon keeps at their length
    warmup : part of the training in which the rate rises from 0 to its highest
    decay : then it falls to 0, "linear" or "cosine"
    label_smoothing : part of the target that all classes share
    averaging : of weights and running statistics, the part that the average keeps in a step; in
        the first steps it keeps less, see `averaging.keeping`; 0 for no average
    clip : longest gradient; 0 for no limit
    small_part, small_side : in this first part of the training images are shrunk to this part of
        their side, which takes less time a step: coarse things are learned first; those that
        would then have a side under 17 pixels stay as they are
    checkpoint_minutes : between two checkpoints
    tensorboard : write what is measured for TensorBoard too
    """

    optimizer: str = "muon"
    batch_size: int = 256
    epochs: int = 0
    most_epochs: int = 0
    least_steps: int = 0
    learning_rate: float = 0.24
    head_learning_rate: float = 0.67
    bias_learning_rate: float = 0.053
    filter_momentum: float = 0.6
    momentum: float = 0.85
    weight_decay: float = 2e-6
    warmup: float = 0.1
    decay: str = "linear"
    label_smoothing: float = 0.2
    averaging: float = 0.99
    clip: float = 0.0
    small_part: float = 0.0
    small_side: float = 0.75
    checkpoint_minutes: float = 1.0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for name, value, known in (
            ("optimizer", self.optimizer, OPTIMIZERS),
            ("decay", self.decay, DECAYS),
        ):
            if value not in known:
                raise ConfigError(f"training.{name} is one of {', '.join(known)}; got {value!r}")
        if self.batch_size < 1:
            raise ConfigError(f"training.batch_size is at least 1; got {self.batch_size}")
        if self.epochs < 0:
            raise ConfigError(
                f"training.epochs is at least 1, or 0 to fill the budget; got {self.epochs}"
            )
        self._check("most_epochs", self.most_epochs >= 0, "0 or more")
        for name in ("learning_rate", "head_learning_rate", "bias_learning_rate"):
            self._check(name, 0 < getattr(self, name) < math.inf, "a number over 0")
        self._check("checkpoint_minutes", self.checkpoint_minutes > 0, "a number over 0")
        for name in ("least_steps", "weight_decay", "clip"):
            self._check(name, 0 <= getattr(self, name) < math.inf, "a number of 0 or more")
        self._check("small_side", 0 < self.small_side <= 1, "a part, over 0 and at most 1")
        for name in (
            "small_part",
            "filter_momentum",
            "momentum",
            "warmup",
            "label_smoothing",
            "averaging",
        ):
            self._check(name, 0 <= getattr(self, name) < 1, "a part, in [0, 1)")

    def _check(self, name: str, fits: bool, expected: str) -> None:
        if not fits:
            raise ConfigError(f"training.{name} is {expected}; got {getattr(self, name)}")


def n_epochs(config: TrainingConfig, per_epoch: int) -> int | None:
    """How many epochs of `per_epoch` steps a training has; None for as many as its time allows."""
    epochs = config.epochs or config.most_epochs
    return max(epochs, math.ceil(config.least_steps / per_epoch)) if epochs else None


def rate_factor(progress: float, config: TrainingConfig) -> float:
    """The learning rate at `progress` in [0, 1] through the training, as a part of its highest."""
    if progress < config.warmup:
        return progress / config.warmup
    left = max(0.0, (1 - progress) / (1 - config.warmup))
    return left if config.decay == "linear" else (1 - math.cos(math.pi * left)) / 2
