"""Files that are whole or not there."""

import errno
import os
from pathlib import Path

import pytest

from fewlabels.whole_files import is_full, whole_folder, write_file, write_files


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_a_file_is_written_and_written_over(tmp_path: Path):
    write_file(tmp_path / "a.txt", "Füchse")
    write_file(tmp_path / "a.txt", b"second")

    assert b"second" == (tmp_path / "a.txt").read_bytes()
    assert ["a.txt"] == names(tmp_path)


def test_text_is_utf_8_whatever_the_machine(tmp_path: Path):
    write_file(tmp_path / "a.txt", "ü\n")

    assert b"\xc3\xbc\n" == (tmp_path / "a.txt").read_bytes()


def test_files_that_belong_together_change_together_or_not_at_all(tmp_path: Path, monkeypatch):
    (tmp_path / "a").write_bytes(b"old a")
    flushed = []

    def full_at_the_second(descriptor: int) -> None:
        flushed.append(descriptor)
        if len(flushed) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_at_the_second)

    with pytest.raises(OSError, match="No space left") as caught:
        write_files({tmp_path / "a": b"new a", tmp_path / "b": b"new b"})
    assert is_full(caught.value)
    assert b"old a" == (tmp_path / "a").read_bytes()
    assert ["a"] == names(tmp_path)


def test_an_interrupted_writing_leaves_the_old_file(tmp_path: Path, monkeypatch):
    (tmp_path / "a").write_bytes(b"old")

    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)

    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "a", b"new")
    assert b"old" == (tmp_path / "a").read_bytes()
    assert ["a"] == names(tmp_path)


def test_a_folder_appears_whole_and_takes_the_place_of_another(tmp_path: Path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "old").write_text("")

    with whole_folder(tmp_path / "set") as folder:
        (folder / "new").write_text("")
        assert ["old"] == names(tmp_path / "set")

    assert ["new"] == names(tmp_path / "set")
    assert ["set"] == names(tmp_path)


def test_a_folder_whose_making_fails_leaves_the_other(tmp_path: Path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "old").write_text("")

    with pytest.raises(ValueError, match="half"), whole_folder(tmp_path / "set") as folder:
        (folder / "new").write_text("")
        raise ValueError("half")

    assert ["old"] == names(tmp_path / "set")
    assert ["set"] == names(tmp_path)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (RuntimeError("I/O error: No space left on device (os error 28)"), True),  # safetensors'
        (OSError(errno.EACCES, "Permission denied"), False),
        (None, False),
    ],
)
def test_a_full_disk_is_told_from_other_reasons(error: BaseException | None, expected: bool):
    assert expected == is_full(error)
