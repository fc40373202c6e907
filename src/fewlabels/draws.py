"""Random numbers that are a pure function of a key, so that nothing else can change them.

Each image has a key made of the seed, the epoch and its index; its random numbers are the outputs
of the generator splitmix64 started at that key. They are the same whatever the batch, the order,
the number of workers or of processes, and nothing has to be stored to make them again.

Shapes: N images, S numbers for each image.
Source: Steele, Lea and Flood, OOPSLA 2014, "Fast splittable pseudorandom number generators"; the
constants are those of Vigna's splitmix64.c.
"""

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def image_keys(seed: int, epoch: int, indices_N: np.ndarray) -> np.ndarray:
    """A key for each image: int64 of shape (n_images,), another one for another seed or epoch.

    Parameters
    ----------
    seed, epoch : any whole numbers; only their lowest 64 bits count
    indices_N : int64 array of shape (n_images,): which image of the set
    """
    key = np.zeros(1, np.uint64)
    for part in (seed, epoch):
        key = splitmix64(key + np.uint64(part % 2**64))
    return splitmix64(key + np.asarray(indices_N, np.int64).view(np.uint64)).view(np.int64)


def other_seed(seed: int, number: int) -> int:
    """The seed of something else that is drawn, 0 the seed itself: none that a person gives."""
    return seed + 1_000_003 * number


def uniform(keys_N: np.ndarray, n_numbers: int) -> np.ndarray:
    """Numbers that are uniform in [0, 1): float64 of shape (n_numbers, n_images).

    Row s is the output s + 1 of splitmix64 started at the keys; its 53 highest bits are used.
    """
    steps_S1 = np.arange(n_numbers, dtype=np.uint64)[:, None] * GOLDEN
    bits_SN = splitmix64(np.asarray(keys_N, np.int64).view(np.uint64) + steps_S1)
    return (bits_SN >> np.uint64(11)) * 2.0**-53


def splitmix64(state: np.ndarray) -> np.ndarray:
    """The next output of splitmix64 at each state; uint64 in, uint64 out, of the same shape."""
    state = state + GOLDEN  # arithmetic is modulo 2^64
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    return state ^ (state >> np.uint64(31))
