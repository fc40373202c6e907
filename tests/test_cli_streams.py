"""The streams of the command line: nobody reads, no room for the result, none at all."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import pytest

from fewlabels.cli import main

pytest_plugins = ("run_fixtures",)


@contextmanager
def unread() -> Iterator[None]:
    """Standard output is a pipe that nobody reads any more, as after `| head`."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream, redirect_stdout(stream):
        yield


@pytest.mark.parametrize(
    "arguments",
    [
        ("data", "SOURCE"),
        ("data", "SOURCE", "--json"),
        ("predict", "RUN", "SOURCE"),
        ("evaluate", "RUN"),
        ("report", "RUN"),
    ],
)
def test_a_command_whose_output_nobody_reads_ends_quietly(
    arguments, tiny_run: Path, tiny_folder: Path, capfd
):
    paths = {"SOURCE": str(tiny_folder), "RUN": str(tiny_run)}
    with unread():
        code = main([paths.get(part, part) for part in arguments])

    assert 141 == code
    assert "" == capfd.readouterr().err


def ended(command: str) -> tuple[int, str]:
    """The exit code and the standard error of a command of its own, run by a shell."""
    program = f"{sys.executable} -m fewlabels"
    done = subprocess.run(
        ["bash", "-c", command.replace("fewlabels", program)], capture_output=True, text=True
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("options", ["--help", "--version", "fit --help", "data digits"])
def test_a_process_whose_reader_leaves_says_nothing_at_its_end(options: str):
    # `true` has ended long before anything is printed
    assert (141, "") == ended(f"fewlabels {options} | true; exit ${{PIPESTATUS[0]}}")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_the_output_is_one_line():
    code, error = ended("fewlabels data digits > /dev/full")

    assert 2 == code
    assert 1 == len(error.splitlines())
    assert error.startswith("fewlabels: the result cannot be printed (No space left on device)")


def test_a_closed_output_is_no_error():
    assert (0, "") == ended("fewlabels data digits >&-")
