"""Which type the large matrix products run in: measured on this machine, not read off a list."""

import time
from functools import cache

import torch

from fewlabels.errors import ConfigError

PRECISIONS = ("auto", "fp32", "bf16")
WORTH = 1.5  # bf16 rounds to 8 bits: taken only where it is this much faster


def choose(precision: str, device: str = "cpu") -> str:
    """ "fp32" or "bf16": what was asked for, or for "auto" bf16 where products run faster in it.

    Raises ConfigError if `precision` is unknown.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision is one of {', '.join(PRECISIONS)}; got {precision!r}")
    if precision != "auto":
        return precision
    return "bf16" if speedup_of_bf16(device) >= WORTH else "fp32"


@cache
def speedup_of_bf16(device: str) -> float:
    """Seconds of a product in float32 over seconds in bfloat16; the best of three of each."""
    return _seconds(torch.float32, device) / _seconds(torch.bfloat16, device)


def _seconds(dtype: torch.dtype, device: str) -> float:
    left, right = (torch.ones(512, 512, dtype=dtype, device=device) for _ in range(2))
    taken = []
    for _ in range(4):  # the first makes the library ready, and is not the best
        start = time.perf_counter()
        # reading a value waits for a GPU to finish
        float((left @ right)[0, 0])
        taken.append(time.perf_counter() - start)
    return min(taken)
