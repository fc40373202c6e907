"""One process or several: `torchrun` starts them, Lightning Fabric joins them.

    torchrun --nproc-per-node 2 -m fewlabels fit photos --recipe labels --out runs/photos

Every process runs the same code on its own share of each batch; gradients are averaged. The first
one alone writes the run; the others read its checkpoints, so its folder must be theirs too.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from fewlabels.torchrun import is_alone

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}


def join(device: str, precision: str) -> "Fabric":
    """This process among those that `torchrun` started; alone where it did not.

    Parameters
    ----------
    device : "cpu" or "cuda"; precision : "fp32" or "bf16" (weights stay float32)
    """
    # Fabric takes as long to import as torch, and what learns without gradients does without
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment

    with _quiet():
        if not is_alone():
            fabric = Fabric(
                accelerator=device,
                devices=int(os.environ["LOCAL_WORLD_SIZE"]),
                num_nodes=int(os.environ["GROUP_WORLD_SIZE"]),
                strategy="ddp",
                precision=PRECISIONS[precision],  # type: ignore[arg-type]
            )
        else:
            fabric = Fabric(
                accelerator=device,
                devices=1,
                precision=PRECISIONS[precision],  # type: ignore[arg-type]
                # said, else the variables of a batch system that started this process confuse it
                plugins=LightningEnvironment(),
            )
        fabric.launch()
    return fabric


def agreed(value: str, device: str) -> str:
    """What the first process gives, for all of them; the others wait until it does."""
    return value if is_alone() else join(device, "fp32").broadcast(value, 0)


@contextmanager
def _quiet() -> Iterator[None]:
    """Fabric says in the log what this package says itself, or what nobody asked."""
    log = logging.getLogger("lightning_fabric")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)


def largest(fabric: "Fabric", values: Sequence[float]) -> list[float]:
    """The largest of each value over all processes, the same for all of them."""
    return _reduced(fabric, values, "max")


def mean(fabric: "Fabric", values: Sequence[float]) -> list[float]:
    """The mean of each value over all processes."""
    return _reduced(fabric, values, "mean")


def _reduced(fabric: "Fabric", values: Sequence[float], how: str) -> list[float]:
    if fabric.world_size == 1:
        return list(values)
    tensor = torch.tensor(values, dtype=torch.float64, device=fabric.device)
    return torch.as_tensor(fabric.all_reduce(tensor, reduce_op=how)).tolist()


def agreed_means(values: Sequence[float], device: str, precision: str) -> list[float]:
    """The mean of each value over the processes that `torchrun` started, which it joins.

    What each measured for itself differs, and what they decide by it must not.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return list(values)
    return mean(join(device, precision), values)


def shared_mean(values: torch.Tensor) -> torch.Tensor:
    """The mean of a tensor over the processes that were joined; itself where there is one."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(values)
        values /= torch.distributed.get_world_size()
    return values


def summed(values: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over the processes that were joined; itself where there is one.

    Gradients go through it: what each process's loss asks of the sum is added up, too.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        total: torch.Tensor = _Summed.apply(values)
        return total
    return values


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        return _added_up(values)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return _added_up(gradient)


def _added_up(values: torch.Tensor) -> torch.Tensor:
    total = values.clone(memory_format=torch.contiguous_format)
    torch.distributed.all_reduce(total)
    return total


@torch.no_grad()
def same_everywhere(fabric: "Fabric", module: torch.nn.Module) -> None:
    """Give every process the weights and statistics of the first one."""
    if fabric.world_size > 1:
        for value in [*module.parameters(), *module.buffers()]:
            torch.distributed.broadcast(value.data, 0)
