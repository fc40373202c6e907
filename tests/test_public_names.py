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


@pytest.mark.parametrize("module", ["fewlabels", "fewlabels.cli", "fewlabels.terminal"])
def test_torch_is_not_loaded_before_it_is_needed(module: str):
    program = f"import sys, {module}; sys.exit('torch' in sys.modules)"

    assert 0 == subprocess.run([sys.executable, "-c", program], check=False).returncode


def test_the_readme_way_works_from_python(tiny_set, tmp_path):
    settings = {"filters.n_filters": "8", "filters.n_images": "40", "head.kind": "ridge"}

    model = fewlabels.fit(tiny_set, "kmeans-1", labels=40, settings=settings)
    model.save(tmp_path / "run")
    answer = fewlabels.Model.load(tmp_path / "run").predict(tiny_set.test)

    assert set(answer.labels) <= set(tiny_set.class_names)
