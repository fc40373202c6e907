"""What a step of a training computes from a batch: a loss to lower, and facts worth knowing.

Shapes: N images of a batch, L classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewlabels.batches import Batch
from fewlabels.graph import Graph

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# from the network and a batch: the loss, and facts whose mean over an epoch is worth knowing
Step = Callable[[nn.Module, Batch], tuple[Tensor, Mapping[str, Tensor]]]
Measure = Callable[[Graph], Mapping[str, float]]
# images -> logits of the averaged network, in evaluation mode and without gradients
Teacher = Callable[[Tensor], Tensor]


class TaughtStep(nn.Module, ABC):
    """A step that asks the averaged network too; its buffers are part of a checkpoint."""

    @abstractmethod
    def learn(
        self, network: nn.Module, teacher: Teacher, batch: Batch
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """As `Step`, beside the teacher; buffers are changed in place."""


def cross_entropy(
    label_smoothing: float = 0.0,
    accuracy: str = "accuracy_train",
    offsets_L: Tensor | None = None,
) -> Step:
    """The usual step: (images, labels) -> cross-entropy, and the accuracy before the step.

    Labels are classes, int64 (N,), or parts of classes, float (N, L).

    Parameters
    ----------
    accuracy : name of that fact; another one where the labels are not the task's own classes
    offsets_L : added to the logits while they learn: logarithms of how much more frequent the
        classes are in training than where the network answers, so that its own logits are as they
        should be there (Menon et al., Long-tail learning via logit adjustment, ICLR 2021,
        equation 10)
    """

    def step(network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        images, labels = batch
        logits_NL = network(images)
        if offsets_L is not None:
            logits_NL = logits_NL + offsets_L.to(logits_NL)
        loss = F.cross_entropy(logits_NL, labels, label_smoothing=label_smoothing)
        classes = labels if labels.ndim == 1 else labels.argmax(1)
        return loss, {accuracy: (logits_NL.detach().argmax(1) == classes).float().mean()}

    return step


def seed_step(seed: int, step: int, fabric: "Fabric") -> None:
    """Dropout and its like draw from torch's own generators, which `train` puts back."""
    state = np.random.SeedSequence([seed, step, fabric.global_rank])
    number = int(state.generate_state(1, np.uint64)[0])
    torch.default_generator.manual_seed(number)
    if fabric.device.type == "cuda":
        torch.cuda.manual_seed(number)
