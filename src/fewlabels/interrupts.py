"""Ctrl-C and SIGTERM, noticed between two pieces of work instead of in the middle of one."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def noticed() -> Iterator[Callable[[], bool]]:
    """Run the block with signals only remembered; it is given `asked()`, True when one has come.

    The block ends its step, saves, and raises KeyboardInterrupt itself. A second signal does not
    wait for it: KeyboardInterrupt is raised at once. Python hands signals to the main thread alone,
    so in another one nothing changes and `asked()` stays False.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, remember) for number in SIGNALS}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
