import os
import subprocess
import sys
from pathlib import Path

import pytest

from fewlabels import runs, unfinished
from fewlabels.errors import CheckpointError, ConfigError


def cut_off(out: Path, error: type[BaseException] = KeyboardInterrupt, **how) -> None:
    """A run that leaves a checkpoint and another file."""
    with pytest.raises(error), runs.claim(out, **how) as folder:
        (folder / "checkpoints" / "labels").mkdir(parents=True)
        (folder / "checkpoints" / "labels" / "training.safetensors").write_text("step 7")
        (folder / "metrics.jsonl").write_text("half\n")
        raise error


def finished(out: Path, content: str = "new", **how) -> None:
    with runs.claim(out, **how) as folder:
        runs.write_toml(folder / "config.toml", {"run": {"content": content}})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("error", [KeyboardInterrupt, ConfigError, RuntimeError])
def test_a_run_that_was_cut_off_keeps_its_checkpoints_under_another_name(tmp_path, error):
    cut_off(tmp_path / "run", error)

    assert ["run.unfinished"] == names(tmp_path)
    text = r"run\.unfinished holds a run that was cut off: go on with --resume, or .* --overwrite"
    with pytest.raises(CheckpointError, match=text):
        finished(tmp_path / "run")
    place = tmp_path / "run.unfinished" / "checkpoints" / "labels" / "training.safetensors"
    assert "step 7" == place.read_text()


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (KeyboardInterrupt(), "run.unfinished keeps what was trained: go on with --resume"),
        (KeyboardInterrupt("step 7 is saved"), "step 7 is saved"),
    ],
)
def test_an_interrupt_tells_of_the_checkpoints_once(tmp_path: Path, raised, told):
    with pytest.raises(KeyboardInterrupt) as caught, runs.claim(tmp_path / "run") as folder:
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "training.safetensors").write_text("step 7")
        raise raised

    assert str(caught.value).endswith(told)
    with pytest.raises(KeyboardInterrupt) as caught, runs.claim(tmp_path / "other"):
        raise KeyboardInterrupt
    assert "" == str(caught.value)


def test_a_resumed_run_goes_on_from_the_checkpoints_alone(tmp_path: Path):
    cut_off(tmp_path / "run")

    with runs.claim(tmp_path / "run", resume=True) as folder:
        place = folder / "checkpoints" / "labels" / "training.safetensors"
        assert "step 7" == place.read_text()
        assert not (folder / "metrics.jsonl").exists()
        runs.write_toml(folder / "config.toml", {})

    assert ["run"] == names(tmp_path)
    assert ["config.toml"] == names(tmp_path / "run")
    with pytest.raises(CheckpointError, match="holds another run: give another --out"):
        finished(tmp_path / "run", resume=True)
    finished(tmp_path / "run", overwrite=True)
    assert ["config.toml"] == names(tmp_path / "run")


def test_a_run_that_was_to_replace_another_is_gone_on_with_by_both_words(tmp_path: Path):
    finished(tmp_path / "run")
    cut_off(tmp_path / "run", overwrite=True)

    with pytest.raises(CheckpointError, match="go on with --resume --overwrite"):
        finished(tmp_path / "run", resume=True)
    with runs.claim(tmp_path / "run", resume=True, overwrite=True) as folder:
        assert (folder / "checkpoints" / "labels" / "training.safetensors").exists()
        runs.write_toml(folder / "config.toml", {})

    assert ["run"] == names(tmp_path)


def test_a_complete_run_has_no_checkpoints_but_its_curves(tmp_path: Path):
    with runs.claim(tmp_path / "run") as folder:
        for fold in ("fold-0", "clean/fold-0"):
            (folder / "checkpoints" / fold / "tensorboard").mkdir(parents=True)
            (folder / "checkpoints" / fold / "training.safetensors").write_text("step 7")
            (folder / "checkpoints" / fold / "tensorboard" / "events").write_text(fold)
        runs.write_toml(folder / "config.toml", {})

    assert ["config.toml", "tensorboard"] == names(tmp_path / "run")
    for fold in ("fold-0", "clean/fold-0"):
        assert fold == (tmp_path / "run" / "tensorboard" / fold / "events").read_text()
    finished(tmp_path / "run", overwrite=True)  # a run with curves is a run


def test_overwrite_starts_anew(tmp_path: Path):
    cut_off(tmp_path / "run")

    finished(tmp_path / "run", overwrite=True)

    assert ["run"] == names(tmp_path)
    assert ["config.toml"] == names(tmp_path / "run")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ConfigError, RuntimeError])
def test_overwrite_keeps_the_checkpoints_until_there_are_new_ones(tmp_path: Path, error):
    cut_off(tmp_path / "run")

    with pytest.raises(error), runs.claim(tmp_path / "run", overwrite=True) as folder:
        assert not (folder / "checkpoints").exists()  # a training would go on from them
        (folder / "checkpoints" / "labels" / "tensorboard").mkdir(parents=True)
        raise error

    place = tmp_path / "run.unfinished" / "checkpoints" / "labels" / "training.safetensors"
    assert "step 7" == place.read_text()
    assert [".running", "checkpoints"] == names(tmp_path / "run.unfinished")
    with pytest.raises(error), runs.claim(tmp_path / "run", overwrite=True) as folder:
        new = folder / "checkpoints" / "labels" / "training.safetensors"
        new.parent.mkdir(parents=True)
        new.write_text("step 1")
        raise error
    assert "step 1" == place.read_text()
    assert [".running", "checkpoints"] == names(tmp_path / "run.unfinished")


def test_a_kill_soon_after_overwrite_loses_no_checkpoint(tmp_path: Path):
    cut_off(tmp_path / "run")
    with in_another_process(tmp_path / "run", "nothing", "kill", "--overwrite") as process:
        process.wait()

    with runs.claim(tmp_path / "run", resume=True) as folder:
        place = folder / "checkpoints" / "labels" / "training.safetensors"
        assert "step 7" == place.read_text()


def test_a_finished_run_stays_until_the_resumed_one_replaces_it(tmp_path: Path):
    finished(tmp_path / "run", "old")
    cut_off(tmp_path / "run", overwrite=True)
    assert "old" == runs.read_config(tmp_path / "run")["run"]["content"]

    finished(tmp_path / "run", "new", overwrite=True, resume=True)

    assert ["run"] == names(tmp_path)
    assert "new" == runs.read_config(tmp_path / "run")["run"]["content"]
    assert ["config.toml"] == names(tmp_path / "run")


def test_with_nothing_to_resume_a_run_starts_from_the_beginning(tmp_path: Path):
    finished(tmp_path / "run", resume=True)

    assert ["run"] == names(tmp_path)


KILLED = """
import os, sys
from fewlabels import runs
with runs.claim(sys.argv[1], overwrite="--overwrite" in sys.argv) as folder:
    if sys.argv[2] == "checkpoint":
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "training.safetensors").write_text("step 7")
    (folder / "config.toml").write_text("")
    print("ready", flush=True)
    if sys.argv[3] == "kill":
        os.kill(os.getpid(), 9)
    sys.stdin.read()
"""


def in_another_process(out: Path, *arguments: str) -> subprocess.Popen:
    paths = os.pathsep.join(filter(None, sys.path))
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(out), *arguments],
        env={**os.environ, "PYTHONPATH": paths},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and "ready\n" == process.stdout.readline()
    return process


def test_checkpoints_outlive_a_kill(tmp_path: Path):
    with in_another_process(tmp_path / "run", "checkpoint", "kill") as process:
        process.wait()

    assert ["run.unfinished"] == names(tmp_path)
    with runs.claim(tmp_path / "run", resume=True) as folder:
        assert "step 7" == (folder / "checkpoints" / "training.safetensors").read_text()


def test_a_killed_run_without_checkpoints_is_in_nobodys_way(tmp_path: Path):
    with in_another_process(tmp_path / "run", "nothing", "kill") as process:
        process.wait()

    finished(tmp_path / "run")

    assert ["run"] == names(tmp_path)


def test_two_processes_never_write_one_run(tmp_path: Path):
    with in_another_process(tmp_path / "run", "checkpoint", "wait") as process:
        for how in ({}, {"overwrite": True}, {"resume": True}):
            with pytest.raises(CheckpointError, match="is being written by another process: wait"):
                finished(tmp_path / "run", **how)
        assert process.stdin is not None
        process.stdin.close()
        assert 0 == process.wait()

    assert ["config.toml"] == names(tmp_path / "run")


@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True}])
def test_what_no_run_made_is_left_alone(tmp_path: Path, how):
    mine = tmp_path / "run.unfinished" / "novel.txt"
    mine.parent.mkdir()
    mine.write_text("chapter 1")

    with pytest.raises(ConfigError, match=r"run\.unfinished is where the run would be made, and h"):
        finished(tmp_path / "run", **how)

    assert "chapter 1" == mine.read_text()
    mine.unlink()
    finished(tmp_path / "run", **how)  # an empty folder is no loss
    assert ["run"] == names(tmp_path)


def test_links_in_an_unfinished_run_are_cut_not_followed(tmp_path: Path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").write_text("precious")
    cut_off(tmp_path / "run")
    (tmp_path / "run.unfinished" / "link").symlink_to(tmp_path / "photos")

    finished(tmp_path / "run", overwrite=True)

    assert "precious" == (tmp_path / "photos" / "mine.jpg").read_text()
    assert not unfinished.place_of(tmp_path / "run").exists()
