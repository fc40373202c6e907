"""The streams of a command: the result on stdout, and an end without noise when nobody reads it."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, TextIO

from fewlabels.errors import DataError
from fewlabels.torchrun import is_first

NOBODY_READS = 141  # 128 and the number of SIGPIPE, as a shell tells of `... | head`


def quiet_when_unread(run: Callable[[], int]) -> int:
    """The exit code of `run`, or 141 where stdout or stderr is a pipe that nobody reads."""
    try:
        code = run()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # closed by the caller (`>&-`)
                stream.flush()
    except (BrokenPipeError, SystemExit) as error:
        # rich, which prints the help, makes an exit with 1 of a broken pipe
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        let_go(sys.stdout)
        let_go(sys.stderr)
        return NOBODY_READS
    return code


@contextmanager
def of_the_first() -> Iterator[None]:
    """Inside the block only the first of several processes writes to stdout and stderr."""
    if is_first():
        yield
        return
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def print_result(
    result: Mapping[str, Any], text: Callable[[Mapping[str, Any]], str], as_json: bool
) -> None:
    """Print a command's result as one JSON object, or as what `text` makes of it.

    Raises DataError where there is no room for it; BrokenPipeError where nobody reads it.
    """
    try:
        print(json.dumps(result, ensure_ascii=False) if as_json else text(result), flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        let_go(sys.stdout)
        raise DataError(
            f"the result cannot be printed ({error.strerror}): free some space where the output "
            "goes, or let it go elsewhere"
        ) from error


def let_go(stream: TextIO | None) -> None:
    """Send what a stream still holds to nowhere: Python would complain of it when it ends."""
    with suppress(OSError, ValueError, AttributeError):  # a stream of a test has no descriptor
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, stream.fileno())  # type: ignore[union-attr]
        os.close(descriptor)
