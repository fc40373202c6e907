"""What this machine has: memory, a GPU, and how fast products are."""

import os
import time
from pathlib import Path

import torch

GIB = 2**30
CGROUP = Path("/sys/fs/cgroup/memory.max")  # the limit of a container
SIDE, ROUNDS = 512, 3


def memory_gib(cgroup: Path = CGROUP) -> float:
    """Memory that this process may use, in GiB: of the machine, or less in a container."""
    try:
        most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    except (AttributeError, ValueError, OSError):  # not on this system
        return float("inf")
    try:
        return min(most, int(cgroup.read_text()) / GIB)
    except (OSError, ValueError):  # no container, or "max"
        return most


def cores() -> int:
    """That PyTorch uses."""
    return torch.get_num_threads()


def gpu_name(device: str) -> str | None:
    """Of the device "cuda"; None on a processor."""
    return torch.cuda.get_device_name() if device == "cuda" else None


def products_per_second(device: str) -> float:
    """Operations in a second of float32 matrix products, where a + and a * count one each."""
    left, right = (torch.ones(SIDE, SIDE, device=device) for _ in range(2))
    taken = []
    for _ in range(1 + ROUNDS):  # the first makes the library ready
        began = time.perf_counter()
        float((left @ right)[0, 0])  # waits for a GPU
        taken.append(time.perf_counter() - began)
    return 2 * SIDE**3 / min(taken[1:])
