import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fewlabels.batches import InTurns, batches, epoch_order, shrunk


class Numbers:
    """Each image is its own number; the label is the epoch."""

    def __init__(self, n_images: int) -> None:
        self.n_images = n_images
        self.threads: set[int] = set()

    def __len__(self) -> int:
        return self.n_images

    def batch(self, indices_N: np.ndarray, epoch: int):
        self.threads.add(threading.get_ident())
        images = torch.from_numpy(indices_N).float()[:, None, None, None].expand(-1, 3, 2, 2)
        return images, torch.full((len(indices_N),), epoch)


def process(rank: int = 0, n_processes: int = 1, device: str = "cpu"):
    return SimpleNamespace(
        global_rank=rank,
        world_size=n_processes,
        device=SimpleNamespace(type=device),
        to_device=lambda tensor: tensor,
    )


def numbers(batch) -> list[int]:
    (images, _), _ = batch
    return images[:, 0, 0, 0].int().tolist()


@given(st.integers(1, 4), st.integers(4, 9), st.integers(9, 30), st.integers(0, 8))
def test_the_shares_of_all_processes_are_the_batch(n_processes, size, n_images, first_step):
    made = [
        batches(Numbers(n_images), size, seed=3, first_step=first_step, fabric=process(rank, n))
        for n in (n_processes,)
        for rank in range(n)
    ]

    for step in range(first_step, first_step + 4):
        epoch, position = divmod(step, n_images // size)
        shares = [next(one) for one in made]
        expected = epoch_order(n_images, 3, epoch)[position * size : position * size + size]
        assert sorted(expected) == sorted(i for share in shares for i in numbers(share))
        assert {epoch} == {int(e) for (_, epochs), _ in shares for e in epochs}
        # the mean over processes, each share weighted, is the mean over the batch
        for (images, _), weight in shares:
            assert weight / n_processes == pytest.approx(len(images) / size)


def test_images_lie_channels_last():
    ((images, _), _) = next(batches(Numbers(8), 4, seed=0, first_step=0, fabric=process()))

    assert images.is_contiguous(memory_format=torch.channels_last)


def test_for_a_gpu_another_thread_makes_the_same_batches_ahead():
    here, there = Numbers(20), Numbers(20)

    made = batches(here, 4, seed=0, first_step=2, fabric=process())
    ahead = batches(there, 4, seed=0, first_step=2, fabric=process(device="cuda"))
    for _ in range(12):
        assert numbers(next(made)) == numbers(next(ahead))
    ahead.close()

    assert {threading.get_ident()} == here.threads
    assert 1 == len(there.threads - here.threads) == len(there.threads)


def test_shrunk_images_have_the_part_of_their_sides_and_all_else_stays():
    rows = torch.arange(40.0).view(1, 1, 40, 1).expand(2, 3, 40, 40)
    labels = torch.tensor([1, 0])

    small, same = shrunk((rows, labels), 0.5)

    # halving lies between two rows each: the means of 0 and 1, of 2 and 3, and so on
    halves = torch.arange(0.5, 40, 2).view(1, 1, 20, 1).expand(2, 3, 20, 20)
    assert torch.equal(halves, small)
    assert small.is_contiguous(memory_format=torch.channels_last)
    assert same is labels
    assert (2, 3, 30, 30) == shrunk((rows,), 0.75)[0].shape
    assert (2, 3, 17, 17) == shrunk((rows,), 0.43)[0].shape
    for tiny in (shrunk((rows,), 0.41), shrunk((rows[..., :22],), 0.75)):  # 16 pixels
        assert rows.shape[2] == tiny[0].shape[2]


def test_examples_in_turns_are_seen_once_in_so_many_epochs():
    some = InTurns(examples=Numbers(7), seldom=np.array([1, 2, 4, 6]), n_turns=2)

    def epoch(number: int) -> list[int]:
        images, epochs = some.batch(np.arange(len(some)), number)
        assert {number} == set(epochs.tolist())
        return images[:, 0, 0, 0].int().tolist()

    assert 5 == len(some)
    assert [0, 3, 5, 1, 4] == epoch(0) == epoch(2)
    assert [0, 3, 5, 2, 6] == epoch(1)
    assert [6, 5] == some.batch(np.array([4, 2]), 1)[0][:, 0, 0, 0].tolist()


@given(
    n_images=st.integers(1, 30),
    n_turns=st.integers(1, 5),
    data=st.data(),
)
def test_every_example_has_its_turn_and_the_others_are_always_seen(n_images, n_turns, data):
    seldom = sorted(data.draw(st.sets(st.integers(0, n_images - 1))))
    some = InTurns(
        examples=Numbers(n_images), seldom=np.array(seldom, dtype=np.int64), n_turns=n_turns
    )
    seen = [
        some.batch(np.arange(len(some)), epoch)[0][:, 0, 0, 0].int().tolist()
        for epoch in range(n_turns)
    ]
    counts = np.bincount(np.concatenate(seen).astype(int), minlength=n_images)

    assert all(n_turns == counts[image] for image in set(range(n_images)) - set(seldom))
    if seldom:
        assert n_turns * -(-len(seldom) // n_turns) == counts[seldom].sum()
        assert 1 <= counts[seldom].min() >= counts[seldom].max() - 1
