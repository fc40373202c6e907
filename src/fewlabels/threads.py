"""Work on a stream in a few threads, in order and in bounded memory."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

THREADS = min(4, os.cpu_count() or 1)

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    n_threads: int = THREADS,
    worth: Callable[[Item], bool] = lambda item: True,
    prepare: Callable[[], object] | None = None,
) -> Iterator[tuple[Item, Result]]:
    """Each item with its result, in order; only a few items are taken ahead of the last result.

    Parameters
    ----------
    worth : whether an item's work is worth handing over; if not, the calling thread does it
    prepare : called once in each thread before its first item
    """
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with ThreadPoolExecutor(n_threads, initializer=prepare) as pool:
        try:
            for item in items:
                if worth(item):
                    waiting.append((item, pool.submit(function, item)))
                else:
                    waiting.append((item, _done(function, item)))
                if len(waiting) > 4 * n_threads:
                    first, result = waiting.popleft()
                    yield first, result.result()
            while waiting:
                first, result = waiting.popleft()
                yield first, result.result()
        finally:  # at an error or an interrupt nobody waits for the rest
            for _, result in waiting:
                result.cancel()


def _done(function: Callable[[Item], Result], item: Item) -> Future[Result]:
    future: Future[Result] = Future()
    try:
        future.set_result(function(item))
    except Exception as error:
        future.set_exception(error)  # raised where its turn comes, as in a thread
    return future
