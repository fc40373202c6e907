import ctypes
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fewlabels import memory

MIB = 2**20
SIZES = (3, 17, 48, 5, 48, 20)  # MiB, of what a step makes; glibc maps 48 MiB by themselves
PAGE = resource.getpagesize()


def pages_fetched(n_steps: int) -> int:
    """How many pages the system hands out while steps make, and free, the same tensors."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(n_steps):
        _ = [torch.ones(size * MIB, dtype=torch.uint8) for size in SIZES]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


class Allocated(ctypes.Structure):
    """What glibc tells of its memory; `hblks` are pieces mapped each by itself."""

    NAMES = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = tuple((name, ctypes.c_int) for name in NAMES.split())


def n_mapped() -> int:
    library = ctypes.CDLL(None)
    library.mallinfo.restype = Allocated
    return library.mallinfo().hblks


def after_some_steps_alike_the_next_fetch_nothing() -> None:
    outside = pages_fetched(4)
    with memory.kept():
        pages_fetched(12)
        inside = pages_fetched(4)

    assert 20 * inside < outside


def memory_goes_back_to_the_system_at_the_end() -> None:
    with memory.kept():
        pages_fetched(2)
        held = resident()
    assert resident() < held - 96 * MIB


def afterwards_large_pieces_are_mapped_and_given_back_again() -> None:
    with memory.kept():
        before = n_mapped()
        inside = torch.ones(48 * MIB, dtype=torch.uint8)
        assert before == n_mapped()
    del inside
    free = resident()
    piece = torch.ones(48 * MIB, dtype=torch.uint8)

    assert (before + 1, True) == (n_mapped(), resident() > free + 40 * MIB)
    del piece
    assert (before, True) == (n_mapped(), resident() < free + 8 * MIB)


@pytest.mark.skipif(memory._glibc() is None, reason="only glibc can be told to keep memory")
@pytest.mark.parametrize(
    "fact",
    [
        after_some_steps_alike_the_next_fetch_nothing,
        memory_goes_back_to_the_system_at_the_end,
        afterwards_large_pieces_are_mapped_and_given_back_again,
    ],
)
def test_in_a_process_of_its_own(fact):
    # what other tests left in the heap decides what glibc can give back
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    command = [sys.executable, "-c", f"import test_memory; test_memory.{fact.__name__}()"]

    one_thread = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}

    done = subprocess.run(command, env=os.environ | one_thread, capture_output=True, text=True)

    assert (0, "") == (done.returncode, done.stderr)


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
