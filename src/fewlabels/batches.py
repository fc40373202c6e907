"""Which images a training takes in which order, batch after batch.

Shapes: N images of a batch.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fewlabels.threads import in_threads

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Batch = tuple[Tensor, ...]


class Examples(Protocol):
    """What a network learns from. On a GPU, batches are made ahead in a thread of their own."""

    def __len__(self) -> int:
        """How many images an epoch shows."""

    def batch(self, indices_N: np.ndarray, epoch: int) -> Batch:
        """The images of these numbers, as the epoch shows them: a function of both alone.

        Parameters
        ----------
        indices_N : int64 array of numbers below `len`, the share of this process

        Returns
        -------
        tensors that begin with N; for the usual step (images, labels): float (N, C, H, W), and
        int64 (N,) or the parts of the classes, float (N, L)
        """


@dataclass(frozen=True, kw_only=True, eq=False)
class InTurns:
    """Examples of which some take turns, so that a training sees the others more often in its time.

    seldom : int64 numbers, of the examples that are seen once in `n_turns` epochs; a few of them
        again where they are no multiple of it

    Compare Qin et al., InfoBatch, ICLR 2024, which draws anew in every epoch who is left out, by
    the last losses.
    """

    examples: Examples
    seldom: np.ndarray
    n_turns: int

    @cached_property
    def always(self) -> np.ndarray:
        return np.setdiff1d(np.arange(len(self.examples)), self.seldom)

    def __len__(self) -> int:
        return len(self.always) + -(-len(self.seldom) // self.n_turns)

    def batch(self, indices_N: np.ndarray, epoch: int) -> Batch:
        """See `Examples`."""
        places = np.arange(len(self) - len(self.always)) * self.n_turns + epoch % self.n_turns
        turn = self.seldom[places % max(1, len(self.seldom))]
        return self.examples.batch(np.concatenate([self.always, turn])[indices_N], epoch)


def epoch_order(n_examples: int, seed: int, epoch: int) -> np.ndarray:
    """The numbers 0 to n - 1 in the order of that epoch."""
    return np.random.default_rng([seed, epoch]).permutation(n_examples)


def batches(
    examples: Examples, size: int, *, seed: int, first_step: int, fabric: "Fabric"
) -> Generator[tuple[Batch, float], None, None]:
    """Batches from `first_step` on without end, on the device, each with the weight of its share.

    An epoch is as many whole batches as there are; the images left over are others every time.

    Parameters
    ----------
    size : images of a batch over all processes; this process makes its share of them alone
    """
    places = _places(len(examples), size, seed, first_step, fabric.global_rank, fabric.world_size)

    def load(place: tuple[int, np.ndarray]) -> Batch:
        return tuple(examples.batch(place[1], place[0]))

    if fabric.device.type == "cpu":  # which has no time to spare beside the network
        loaded: Iterator[tuple[tuple[int, np.ndarray], Batch]]
        loaded = ((place, load(place)) for place in places)
    else:
        loaded = in_threads(load, places, n_threads=1)
    for (_, share), batch in loaded:
        moved = [fabric.to_device(tensor) for tensor in batch]
        yield tuple(map(channels_last, moved)), len(share) * fabric.world_size / size


def _places(
    n_examples: int, size: int, seed: int, first_step: int, rank: int, n_processes: int
) -> Iterator[tuple[int, np.ndarray]]:
    """The epoch of each step, and the images that this process takes."""
    known, order = -1, np.empty(0, np.int64)
    for step in count(first_step):
        epoch, position = divmod(step, n_examples // size)
        if epoch != known:
            known, order = epoch, epoch_order(n_examples, seed, epoch)
        yield epoch, order[position * size :][:size][rank::n_processes]


LEAST_SHRUNK = 17  # pixels; four poolings of 16, which a filter of two leaves, end at 1


def shrunk(batch: Batch, part: float) -> Batch:
    """The batch with images whose sides are that part of what they were, rounded.

    Images that would then have a side under `LEAST_SHRUNK` stay as they are: a map of theirs would
    have nothing left for a network's last pooling.

    Source: Howard, progressive resizing, fast.ai's entry to DAWNBench, 2018.
    """

    def smaller(tensor: Tensor) -> Tensor:
        if tensor.ndim != 4:
            return tensor
        size = [round(part * side) for side in tensor.shape[2:]]
        if min(size) < LEAST_SHRUNK:
            return tensor
        return F.interpolate(tensor, size=size, mode="bilinear", align_corners=False)

    return tuple(map(channels_last, map(smaller, batch)))


def channels_last(tensor: Tensor) -> Tensor:
    """Images as a CPU's convolutions like them; other tensors as they are."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
