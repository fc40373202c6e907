"""A set and a run on disk, for the tests of the command line (a plugin: see `pytest_plugins`)."""

from pathlib import Path

import pytest

from fewlabels.cli import main
from fewlabels.sources import made
from fewlabels.sources.pixels import Options
from fewlabels.sources.writing import convert
from small_runs import FAST_SETTINGS


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders: 3 training and 2 test images of each of 10 classes, 30 unlabelled; 16 x 16."""
    folder = tmp_path_factory.mktemp("sets") / "tiny"
    tiny = made.shapes(
        Options(size=16), n_train_per_class=3, n_test_per_class=2, n_unlabeled=30, n_leaked=2
    )
    convert(tiny, folder, "folder")
    return folder


@pytest.fixture(scope="session")
def tiny_run(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `fewlabels fit` on that folder."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    assert 0 == main(["fit", str(tiny_folder), "--out", str(out), *FAST_SETTINGS])
    return out
