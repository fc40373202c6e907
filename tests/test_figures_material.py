"""Figures of odd sets: equal images, few images, no labels to test on, names of any kind."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from fewlabels import figures_job, settings
from fewlabels.errors import DataError
from fewlabels.figure_material import Material
from fewlabels.figure_settings import FiguresConfig
from fewlabels.images import Images, ImageSet
from fewlabels.map_figures import draw_map_of_pixels
from fewlabels.network_figure import draw_networks
from fewlabels.options import FigureName
from fewlabels.report_figures import KINDS, draw_surrogates
from small_runs import SMALL_FIGURES


def made_set(n_images: int = 40, *, names: tuple[str, ...] = ("cat", "dog"), equal: bool = False):
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (n_images, 3, 12, 12), dtype=np.uint8)
    pixels = np.repeat(pixels[:1], n_images, axis=0) if equal else pixels
    labels_N = np.arange(n_images) % len(names)
    return ImageSet(name="pets", class_names=names, train=Images(pixels=pixels, labels=labels_N))


def test_images_that_are_all_equal_have_no_map():
    with pytest.raises(DataError, match="all 40 images have the same features"):
        draw_map_of_pixels(Material(image_set=made_set(equal=True)))


def test_few_images_get_a_map_of_a_lower_perplexity():
    drawn = draw_map_of_pixels(Material(image_set=made_set(9)))

    assert pytest.approx(8 / 3) == drawn.numbers["perplexity"]
    assert "all 9 training images" in drawn.caption and "Perplexity 2.667" in drawn.caption


def test_class_names_of_any_kind_do_no_harm(tmp_path):
    names = ("<img src=x onerror=alert(1)>", "long " * 100, "$x$", "猫")
    drawn = draw_map_of_pixels(Material(image_set=made_set(names=names)))
    told = figures_job._facts("map-of-pixels", drawn, None)
    figures_job._write(tmp_path, "map-of-pixels", drawn, told)

    assert drawn.picture.dtype == np.uint8
    assert "<img src=x" not in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_the_page_escapes_what_captions_and_settings_hold(tmp_path):
    drawn = draw_surrogates(small_material())
    told = figures_job._facts("surrogates", drawn, None) | {"command": "<script>1</script>"}
    told["caption"] = "<script>2</script>"
    figures_job._write(tmp_path, "surrogates", drawn, told)

    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "&lt;script&gt;1" in page and "&lt;script&gt;2" in page
    assert "<script>" not in (tmp_path / "3.1-surrogates.svg").read_text()


def small_material(image_set: ImageSet | None = None) -> Material:
    config = FiguresConfig()
    for key, text in SMALL_FIGURES.items():
        config = settings.changed(config, key, text)
    return Material(image_set=image_set or made_set(), config=config)


def test_fewer_images_than_surrogate_classes_are_all_taken_and_it_is_said():
    material = small_material(made_set(15))
    asked = replace(material.config.surrogates, n_classes=4000)
    material = replace(material, config=replace(material.config, surrogates=asked))
    drawn = draw_surrogates(material)

    assert 15 == drawn.numbers["n_classes"] == drawn.settings["surrogates"]["n_classes"]
    assert "15 images (of 4,000 asked; there are no more images)" in drawn.caption


def test_without_labelled_test_images_the_networks_show_training_alone():
    drawn = draw_networks(small_material())

    assert "There are no labelled test images" in drawn.caption
    for of_network in drawn.numbers.values():
        assert of_network["test_accuracy"] is None
        assert of_network["training_accuracy"] is not None


def test_validation_images_come_first_and_are_drawn_by_the_seed():
    whole = made_set(40)
    image_set = replace(whole, validation=whole.train, test=whole.train.take(np.arange(5)))
    config = FiguresConfig()
    config = replace(config, map=replace(config.map, n_images=10))
    images, which = Material(image_set=image_set, config=config).shown
    again, _ = Material(image_set=image_set, config=config).shown
    others, _ = Material(image_set=image_set, config=config, seed=1).shown

    assert "10 of 40 validation images" == which
    assert np.array_equal(images.pixels, again.pixels)
    assert not np.array_equal(images.pixels, others.pixels)


def test_a_test_part_without_labels_gives_way_to_labelled_images():
    whole = made_set(40)
    bare = replace(whole, test=Images(pixels=whole.train.pixels[:5]))

    assert "all 40 training images" == Material(image_set=bare).shown[1]


def test_the_numbers_of_the_report_are_the_defaults():
    config = FiguresConfig()
    surrogates, (layer,) = config.surrogates, config.filters.layers

    assert (4000, 100, 32) == (surrogates.n_classes, surrogates.n_each, surrogates.size)
    assert (20.0, 0.1) == (surrogates.max_rotation_deg, surrogates.max_shift)
    assert (0.7, 1.4) == (surrogates.min_scale, surrogates.max_scale)
    assert (1600, 22) == (layer.n_filters, layer.patch_size)
    assert (20_000, 16) == (layer.n_images, layer.patches_per_image)
    assert (1000, 0) == (config.map.n_images, config.map.channel)


def test_the_command_line_names_the_figures_that_there_are():
    assert set(KINDS) == set(get_args(FigureName))
