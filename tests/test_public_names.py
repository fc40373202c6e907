import subprocess
import sys

import pytest

import fewlabels


def test_the_public_names_are_these_and_no_others():
    expected = {"CheckpointError", "ConfigError", "DataError", "FewlabelsError"} | {
        "ImageSet",
        "Images",
        "Model",
        "Prediction",
        "fit",
        "read",
    }

    assert expected == set(fewlabels.__all__)
    assert expected <= set(dir(fewlabels))
    for name in expected:
        assert name == getattr(fewlabels, name).__name__


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'fewlabels' has no attribute 'train'"):
        _ = fewlabels.train


HEAVY = {"torch", "numpy", "scipy", "sklearn", "matplotlib", "PIL", "pooch", "lightning_fabric"}


@pytest.mark.parametrize(
    "program",
    [
        "import fewlabels, fewlabels.terminal",
        "from fewlabels.cli import main; main(['--help'])",
        "from fewlabels.cli import main; main(['fit', '--help'])",
        "from fewlabels.cli import main; main(['fit', 'images', '--labels', 'ten', '--out', 'x'])",
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(program: str):
    program = f"import sys; {program}; sys.stderr.write(' '.join({HEAVY} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert 0 == done.returncode
    assert set() == HEAVY & set(done.stderr.split())


def test_reading_images_loads_no_training():
    program = "import sys, fewlabels; fewlabels.read('digits'); print(*sys.modules)"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert 0 == done.returncode
    assert set() == {"lightning_fabric", "matplotlib"} & set(done.stdout.split())


def test_the_readme_way_works_from_python(tiny_set, tmp_path):
    settings = {"filters.n_filters": "8", "filters.n_images": "40", "head.kind": "ridge"}

    model = fewlabels.fit(tiny_set, "kmeans-1", labels=40, settings=settings)
    model.save(tmp_path / "run")
    answer = fewlabels.Model.load(tmp_path / "run").predict(tiny_set.test)

    assert set(answer.labels) <= set(tiny_set.class_names)
