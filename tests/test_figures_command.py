"""`fewlabels figures`: every figure with its caption and settings, and what it refuses."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from fewlabels import figures_job
from fewlabels.cli import main
from small_runs import SMALL_FIGURES

pytest_plugins = ("run_fixtures",)
SETTINGS = [part for name, value in SMALL_FIGURES.items() for part in ("--set", f"{name}={value}")]
STEMS = [
    "3.1-surrogates",
    "3.2-deeper-filters",
    "3.2-filters",
    "3.3-networks",
    "3.4-map-of-pixels",
    "3.5-map-of-features",
]


@pytest.fixture(scope="module")
def drawn(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all figures of the tiny set."""
    out = tmp_path_factory.mktemp("figures") / "all"
    assert 0 == main(["figures", str(tiny_folder), "--out", str(out), *SETTINGS])
    return out


@pytest.fixture
def refused(capsys):
    """Runs `fewlabels figures`, which must refuse; gives its one line."""

    def refusal(*arguments: Path | str) -> str:
        capsys.readouterr()
        code = main(["figures", *map(str, arguments)])
        printed = capsys.readouterr()
        assert (2, "") == (code, printed.out)
        lines = [line for line in printed.err.splitlines() if line.startswith("fewlabels: ")]
        assert 1 == len(lines) and "Traceback" not in printed.err
        return lines[0]

    return refusal


def facts(folder: Path, stem: str) -> dict:
    return json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))


def size_of(path: Path) -> tuple[int, int]:
    """(width, height) of a picture that can be read to its end."""
    with Image.open(path) as picture:
        picture.load()
        return picture.size


def test_every_figure_is_there_as_png_and_svg_with_caption_settings_and_versions(drawn):
    files = [f"{stem}{suffix}" for stem in STEMS for suffix in (".json", ".png", ".svg")]
    assert sorted([*files, "index.html"]) == sorted(path.name for path in drawn.iterdir())
    for stem in STEMS:
        assert min(size_of(drawn / f"{stem}.png")) > 20
        ElementTree.parse(drawn / f"{stem}.svg")
        told = facts(drawn, stem)
        assert stem == f"{told['figure']}-{told['name']}"
        assert told["error"] is None
        assert len(told["caption"]) > 40 and told["settings"]
        assert {"seed": 0, "device": "cpu"}.items() <= told.items()
        assert "torch" in told["versions"] and "figures" in told["command"]


def test_captions_and_numbers_tell_what_was_drawn(drawn):
    surrogates = facts(drawn, "3.1-surrogates")
    assert {"n_classes": 20, "n_surrogates": 2000} == surrogates["numbers"]
    assert "turned by up to 20 degrees" in surrogates["caption"]
    filters = facts(drawn, "3.2-filters")
    # 30 unlabelled and 30 training images, 16 patches of each
    assert {"n_filters": 12, "n_images": 60, "n_patches": 960} == filters["numbers"]
    assert "16 of each of 60 images without labels (960 in all)" in filters["caption"]
    deeper = facts(drawn, "3.2-deeper-filters")
    assert "4 of the 6 filters of layer 2" in deeper["caption"]
    pixels, learned = facts(drawn, "3.4-map-of-pixels"), facts(drawn, "3.5-map-of-features")
    assert (256, 12 * 9) == (pixels["numbers"]["n_values"], learned["numbers"]["n_values"])
    for told in (pixels["numbers"], learned["numbers"]):
        assert 20 == told["n_images"]
        assert 0 < told["trustworthiness"] <= 1 and 0 <= told["nearest_neighbour_accuracy"] <= 1
    assert "all 20 test images by the first channel (red), 256 values each" in pixels["caption"]


def test_both_networks_are_measured_on_training_and_test_images(drawn):
    told = facts(drawn, "3.3-networks")

    assert {"2-layer", "3-layer"} == set(told["numbers"])
    for of_network in told["numbers"].values():
        assert 0 <= of_network["training_accuracy"] <= 1
        assert 0 <= of_network["test_accuracy"] <= 1
    assert 2 == told["settings"]["training"]["epochs"]
    assert "30 labelled images for 2 epochs" in told["caption"]


def test_the_page_shows_all_figures_in_the_order_of_the_report(drawn):
    page = (drawn / "index.html").read_text(encoding="utf-8")

    shown = re.findall(r'<img src="([^"]+)\.png"', page)
    assert sorted(STEMS) == sorted(shown) and sorted(shown, key=lambda s: s[:3]) == shown
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")


def test_one_figure_alone_joins_those_that_are_there(drawn, tiny_folder, capsys):
    before = facts(drawn, "3.2-filters")
    asked = ["--out", str(drawn), "--only", "surrogates", *SETTINGS, "--seed", "7", "--json"]
    assert 0 == main(["figures", str(tiny_folder), *asked])

    result = json.loads(capsys.readouterr().out)
    assert ["surrogates"] == [one["name"] for one in result["figures"]]
    assert 7 == facts(drawn, "3.1-surrogates")["seed"]
    assert before == facts(drawn, "3.2-filters")
    assert 6 == (drawn / "index.html").read_text().count("<figure")


def test_a_grid_leaves_no_image_covered(tiny_folder, tmp_path, capsys):
    asked = ["--grid", "--only", "map-of-pixels", *SETTINGS, "--out", str(tmp_path / "grid")]
    assert 0 == main(["figures", str(tiny_folder), *asked])

    printed = capsys.readouterr().out
    assert "trustworthiness" in printed and "nearest-neighbour accuracy" in printed
    assert "snapped to a grid" in facts(tmp_path / "grid", "3.4-map-of-pixels")["caption"]
    # 20 images: 4 rows of 5, each 48 pixels and a line
    assert 5 * 49 + 1 == size_of(tmp_path / "grid" / "3.4-map-of-pixels.png")[0]


def test_the_same_seed_gives_the_same_pictures(drawn, tiny_folder, tmp_path):
    asked = ["--only", "filters", "map-of-features", *SETTINGS, "--out", str(tmp_path / "again")]
    assert 0 == main(["figures", str(tiny_folder), *asked])

    for stem in ("3.2-filters", "3.5-map-of-features"):
        for suffix in (".png", ".svg"):
            first = (drawn / f"{stem}{suffix}").read_bytes()
            assert first == (tmp_path / "again" / f"{stem}{suffix}").read_bytes()


def test_a_figure_that_cannot_be_drawn_is_a_picture_that_says_why(tiny_folder, tmp_path, capsys):
    out = tmp_path / "out"
    asked = ["--only", "surrogates", "filters", *SETTINGS, "--set", "filters.patch_size=22"]
    assert 0 == main(["figures", str(tiny_folder), "--out", str(out), *asked])

    printed = capsys.readouterr()
    assert "no picture of filters: patches of 22 x 22 need images at least as large" in printed.err
    assert "no picture: patches of 22 x 22" in printed.out
    told = facts(out, "3.2-filters")
    assert told["error"].startswith("patches of 22 x 22")
    assert size_of(out / "3.2-filters.png")[0] > 300
    assert "patches of 22 x 22" in (out / "index.html").read_text()


def test_where_no_figure_can_be_drawn_it_ends_in_a_line(tiny_folder, tmp_path, refused):
    asked = ["--only", "filters", *SETTINGS, "--set", "filters.patch_size=22"]

    assert "use larger images" in refused(tiny_folder, "--out", tmp_path / "out", *asked)


def test_wrong_names_and_settings_are_said_before_any_work(tiny_folder, tmp_path, refused):
    out = ["--out", tmp_path / "out"]
    assert 'Did you mean "filters"?' in refused(tiny_folder, *out, "--only", "filter")
    assert "did you mean 'map.perplexity'" in refused(tiny_folder, *out, "--set", "map.perplexty=3")
    assert "at least 1; got 0" in refused(tiny_folder, *out, "--set", "map.perplexity=0")
    assert "0, 1 or 2" in refused(tiny_folder, *out, "--set", "map.channel=3")
    assert "each, shared" in refused(tiny_folder, *out, "--set", "gallery.contrast=none")
    assert "leave network.n_layers out" in refused(tiny_folder, *out, "--set", "network.n_layers=4")
    assert not (tmp_path / "out").exists()


def test_what_is_not_ours_is_left_as_it_is(tiny_folder, tiny_run, tmp_path, refused):
    asked = ["--only", "surrogates", *SETTINGS]
    (tmp_path / "3.1-surrogates.png").write_bytes(b"mine")
    line = refused(tiny_folder, "--out", tmp_path, *asked)
    assert "3.1-surrogates.png was not written by fewlabels figures" in line
    assert b"mine" == (tmp_path / "3.1-surrogates.png").read_bytes()

    other = tmp_path / "site"
    other.mkdir()
    (other / "index.html").write_text("<h1>mine</h1>")
    assert "index.html was not written by" in refused(tiny_folder, "--out", other, *asked)
    assert "is the folder of a run" in refused(tiny_folder, "--out", tiny_run, *asked)
    assert "is a file" in refused(tiny_folder, "--out", other / "index.html", *asked)
    assert "which is only read" in refused(tiny_folder, "--out", tiny_folder / "new", *asked)


def test_a_folder_that_cannot_be_written_is_said_before_any_work(
    tiny_folder, tmp_path, refused, monkeypatch
):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(figures_job.tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr(figures_job.jobs, "read_source", lambda *_: pytest.fail("it was read"))
    line = refused(tiny_folder, "--out", tmp_path / "out", *SETTINGS)

    assert "figures cannot be written into" in line and "Permission denied" in line
