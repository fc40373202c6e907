import json
from pathlib import Path

import pytest

from fewlabels import demo, sources
from fewlabels.cli import main
from fewlabels.sources import made
from fewlabels.sources.pixels import Options
from small_runs import FAST

pytest_plugins = ("run_fixtures",)


@pytest.fixture
def small_demo(monkeypatch):
    """The demo on a set and with settings that take a moment."""
    small = made.shapes(Options(size=16), n_train_per_class=3, n_test_per_class=2, n_unlabeled=30)
    monkeypatch.setattr("fewlabels.jobs.read", lambda *arguments, **options: small)
    monkeypatch.setattr(demo, "SETTINGS", tuple(f"{name}={value}" for name, value in FAST.items()))
    assert "shapes" in sources._named()  # what the demo reads


def test_the_demo_makes_a_scored_run_and_says_what_to_try_next(small_demo, tmp_path, capsys):
    out = tmp_path / "demo"

    assert 0 == main(["demo", "--out", str(out)])
    printed = capsys.readouterr().out

    scores = json.loads((out / "scores.json").read_text())
    assert 0 <= scores["accuracy"] <= 1
    assert f"Open {out / 'report.html'} in a browser" in printed
    assert f"fewlabels evaluate {out}" in printed


def test_a_demo_replaces_an_earlier_demo_and_no_other_run(
    small_demo, tiny_run: Path, tmp_path: Path, capsys
):
    assert 0 == main(["demo", "--out", str(tmp_path / "demo")])
    assert 0 == main(["demo", "--out", str(tmp_path / "demo"), "--json"])
    capsys.readouterr()

    assert 2 == main(["demo", "--out", str(tiny_run)])
    assert "holds another run" in capsys.readouterr().err


def test_the_settings_of_the_demo_are_those_of_its_recipe():
    from fewlabels.fitting import as_recipe
    from fewlabels.options import settings_of

    assert demo.RECIPE == as_recipe(demo.RECIPE, settings_of(demo.SETTINGS)).name
