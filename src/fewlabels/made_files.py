"""Files that a command makes in a folder of its user's choice: never over what is not its own.

They are known again by the JSON among them, which names the command as `made_by`.
"""

import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from fewlabels import runs
from fewlabels.errors import ConfigError
from fewlabels.whole_files import is_made_by, write_files


def check_free(folder: Path, names: Collection[str], maker: str, what: str) -> None:
    """Before any work: whether files of these names may be written into the folder.

    Parameters
    ----------
    names : of the files; one that ends in .json tells who made them
    maker : the command, as its JSON names it; what : its files, in a word

    Raises ConfigError where the folder is none, cannot be written, or holds files of these names
    that another made; all stays as it is, but for the folder, which is made.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file, and {what} need a folder: give another --out")
    taken = [name for name in names if os.path.lexists(folder / name)]
    (described,) = [folder / name for name in names if name.endswith(".json")]
    if taken and not is_made_by(described, maker):
        raise ConfigError(
            f"{folder / taken[0]} was not written by {maker}, and is left as it is: give another "
            "--out"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritable(folder, what, error) from error


def write(folder: Path, files: Mapping[str, bytes | str], what: str) -> None:
    """Write files by their names, all or none.

    Raises CheckpointError where the disk is full, ConfigError where they cannot be written.
    """
    try:
        with runs.disk_full_is_said(folder):
            folder.mkdir(parents=True, exist_ok=True)
            write_files({folder / name: content for name, content in files.items()})
    except OSError as error:
        raise _unwritable(folder, what, error) from error


def _unwritable(folder: Path, what: str, error: OSError) -> ConfigError:
    return ConfigError(
        f"{what} cannot be written into {folder} ({error.strerror}): give another --out"
    )
