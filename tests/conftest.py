"""What many tests share: real images where they lie, a tiny made set, one thread per worker."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from fewlabels.images import ImageSet
from fewlabels.sources import made
from fewlabels.sources.pixels import Options

# a test that is slow because the machine is shared has not failed
settings.register_profile("fewlabels", deadline=None)
settings.load_profile("fewlabels")

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_configure() -> None:
    # several workers that each start a thread per core slow one another down
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)
        os.environ["OMP_NUM_THREADS"] = "1"  # of processes that tests start: sums round alike


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real images ($FEWLABELS_DATA or ../shared/data); skips where there is none."""
    given = os.environ.get("FEWLABELS_DATA")
    folder = Path(given) if given else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real images: {folder} is not a folder (set FEWLABELS_DATA)")
    return folder


@pytest.fixture(scope="session")
def tiny_set() -> ImageSet:
    """Made shapes, 24 x 24: 8 training and 6 test images of each of 10 classes, 120 unlabelled."""
    return made.shapes(
        Options(size=24), n_train_per_class=8, n_test_per_class=6, n_unlabeled=120, n_leaked=5
    )
