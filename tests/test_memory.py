import resource
from pathlib import Path

import pytest
import torch

from fewlabels import memory

SIZE = 48 * 2**20  # bytes, more than glibc ever keeps by itself
PAGE = resource.getpagesize()


def pages_fetched(times: int) -> int:
    """How many pages the system hands out while memory of SIZE is used and freed so often."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(SIZE, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(memory._glibc() is None, reason="only glibc can be told to keep memory")
def test_freed_memory_is_used_again_inside_the_block_alone():
    with memory.kept():
        pages_fetched(1)
        inside = pages_fetched(4)
    outside = pages_fetched(4)

    assert 4 * inside < outside


@pytest.mark.skipif(memory._glibc() is None, reason="only glibc can be told to keep memory")
def test_memory_goes_back_to_the_system_at_the_end():
    with memory.kept():
        pages_fetched(1)
        held = resident()
    assert resident() < held - SIZE / 2


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def test_where_there_is_no_glibc_the_block_just_runs(monkeypatch):
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    ran = []

    with memory.kept():
        ran.append(True)

    assert [True] == ran
    assert memory._glibc() is None


def test_an_error_inside_the_block_goes_through():
    with pytest.raises(ZeroDivisionError), memory.kept():
        _ = 1 / 0
