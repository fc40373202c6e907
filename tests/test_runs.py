import errno
import json
import os
import subprocess
from pathlib import Path

import pytest

from fewlabels import runs
from fewlabels.errors import CheckpointError, ConfigError
from fewlabels.progress import note, stage, stand, watching


def a_run(folder: Path, content: str = "first") -> Path:
    with runs.claim(folder) as partial:
        runs.write_toml(partial / "config.toml", {"run": {"content": content}})
    return folder


def content_of(folder: Path) -> str:
    return runs.read_config(folder)["run"]["content"]


def test_a_run_stands_under_its_name_only_when_it_is_whole(tmp_path: Path):
    out = tmp_path / "deep" / "run"

    with runs.claim(out) as partial:
        (partial / "config.toml").write_text("")
        assert not out.exists()

    assert ["config.toml"] == [path.name for path in out.iterdir()]
    assert [out] == list(out.parent.iterdir())


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_run_that_is_interrupted_leaves_what_was_there(tmp_path: Path, error):
    out = a_run(tmp_path / "run")

    with pytest.raises(error), runs.claim(out, overwrite=True) as partial:
        (partial / "config.toml").write_text("half")
        raise error

    assert "first" == content_of(out)
    assert [out] == list(tmp_path.iterdir())


def test_another_run_is_replaced_only_when_asked(tmp_path: Path):
    out = a_run(tmp_path / "run")

    with pytest.raises(CheckpointError, match=r"another run: .*--overwrite"), runs.claim(out):
        pass
    assert "first" == content_of(out)
    with runs.claim(out, overwrite=True) as partial:
        runs.write_toml(partial / "config.toml", {"run": {"content": "second"}})
        assert "first" == content_of(out)  # until the end

    assert "second" == content_of(out)
    assert [out] == list(tmp_path.iterdir())


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_with_anything_else_is_never_replaced(tmp_path: Path, overwrite: bool):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").write_text("precious")
    out = a_run(tmp_path / "run")
    (out / "notes.txt").write_text("mine too")

    for folder, found in ((tmp_path / "photos", "mine.jpg"), (out, "notes.txt")):
        with (
            pytest.raises(ConfigError, match=rf"holds something that is no run \({found}\)"),
            runs.claim(folder, overwrite),
        ):
            pass

    assert "precious" == (tmp_path / "photos" / "mine.jpg").read_text()
    assert "mine too" == (out / "notes.txt").read_text()


def test_a_file_is_no_place_for_a_run(tmp_path: Path):
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="is a file, and a run is a folder"):
        with runs.claim(tmp_path / "file"):
            pass
    with pytest.raises(ConfigError, match="a run cannot be written into"):
        with runs.claim(tmp_path / "file" / "run"):
            pass


def test_an_empty_folder_is_taken(tmp_path: Path):
    (tmp_path / "run").mkdir()

    assert "first" == content_of(a_run(tmp_path / "run"))


FULL_DISKS = [
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EDQUOT, "Disk quota exceeded"),
    RuntimeError("I/O error: No space left on device (os error 28)"),  # as safetensors says it
]


@pytest.mark.parametrize("error", FULL_DISKS, ids=["full", "quota", "safetensors"])
def test_a_full_disk_is_one_line_and_leaves_no_half_written_run(tmp_path: Path, error):
    out = a_run(tmp_path / "run")

    with pytest.raises(CheckpointError) as caught, runs.claim(out, overwrite=True) as partial:
        (partial / "config.toml").write_text("half")
        raise error

    assert f"the disk is full, so nothing was written to {out}: free" in str(caught.value)
    assert "first" == content_of(out)
    assert [out] == list(tmp_path.iterdir())


def test_a_text_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch):
    path = tmp_path / "scores.json"
    runs.write_json(path, {"accuracy": 0.5})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        runs.write_json(path, {"accuracy": 0.9})

    assert {"accuracy": 0.5} == runs.read_scores(tmp_path)
    assert [path] == list(tmp_path.iterdir())


def test_a_config_is_read_back_without_what_is_none(tmp_path: Path):
    written = {"run": {"labels": None, "seed": 3, "size": [24, 24], "name": "naïve"}, "x": (1, 2)}

    runs.write_toml(tmp_path / "config.toml", written)

    expected = {"run": {"seed": 3, "size": [24, 24], "name": "naïve"}, "x": [1, 2]}
    assert expected == runs.read_config(tmp_path)


def test_scores_that_are_absent_or_damaged_are_named(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"scores\.json cannot be read \(No such file"):
        runs.read_scores(tmp_path)
    (tmp_path / "scores.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"scores\.json cannot be read"):
        runs.read_scores(tmp_path)


def test_the_diary_has_a_line_for_each_stage_as_it_ends(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"

    with watching(runs.Diary(path)), stage("all"):
        with stage("clustering", total=5) as advance:
            advance(2)
            advance(3)
        early = path.read_text().splitlines()

    assert 1 == len(early)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [("clustering", 5), ("all", 0)] == [(line["stage"], line["count"]) for line in lines]
    assert all(line["seconds"] >= 0 for line in lines)


def test_versions_and_memory_are_those_of_this_process():
    assert {"python", "torch", "numpy", "fewlabels"} <= set(runs.versions())
    assert 10 < runs.peak_memory_mib() < 1_000_000  # MiB: torch is loaded


def test_the_commit_is_that_of_the_packages_own_checkout(monkeypatch, tmp_path: Path):
    top = Path(runs.__file__).resolve().parents[2]
    if not (top / ".git").exists():
        pytest.skip("this is no checkout")
    expected = subprocess.run(
        ["git", "-C", top, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()

    assert expected == runs.commit().removesuffix("-dirty")


def test_a_package_inside_somebody_elses_repository_has_no_commit(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(runs, "_git", lambda folder, *arguments: str(tmp_path))

    assert runs.commit() is None


def test_the_diary_has_a_line_for_each_note_and_none_for_a_glance(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"

    with watching(runs.Diary(path)), stage("training"):
        stand("training", loss=3.0)
        note("training", epoch=1, loss=2.5)

    first, last = (json.loads(line) for line in path.read_text().splitlines())
    assert {"stage": "training", "epoch": 1, "loss": 2.5} == first
    assert "seconds" in last
