"""Keep freed memory for the next step of a training, instead of giving it back to the system.

A step frees and asks again for the same hundreds of megabytes. glibc gives large pieces back to the
system at once and fetches them anew, zeroed, page by page: a seventh of a step's time.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4  # of malloc.h
KEEPING = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 64 * 2**20}
USUAL = {MMAP_MAX: 65536, TRIM_THRESHOLD: 128 * 2**10, TOP_PAD: 128 * 2**10}  # of its manual


@contextmanager
def kept() -> Iterator[None]:
    """Inside the block freed memory stays with the process; at the end all free pages go back.

    So after some steps that ask for the same, the next ones fetch nothing from the system. It takes
    a few, and a piece freed and asked for alone may be fetched anew each time: an aligned one, as
    torch wants, is looked for in a place some bytes larger than it leaves.

    Afterwards large pieces are mapped each by itself again, and go back as they are freed. One
    thing stays changed, as glibc has no way back to it: it no longer raises its thresholds by
    itself after the first large pieces are freed (`man mallopt`, M_MMAP_THRESHOLD).

    Only glibc (of most Linux systems) can be told so; elsewhere nothing changes.
    """
    library = _glibc()
    if library is None:
        yield
        return
    for option, value in KEEPING.items():
        library.mallopt(option, value)
    try:
        yield
    finally:
        for option, value in USUAL.items():
            library.mallopt(option, value)
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
