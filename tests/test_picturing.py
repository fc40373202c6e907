"""Which images a page shows, where they lie, and what it says where there is nothing to show."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fewlabels import (
    features,
    fitting,
    maps,
    pictures_file,
    picturing,
    protocol,
    recipes,
    splits,
)
from fewlabels.cli import main
from fewlabels.images import ImageSet
from fewlabels.model import Model
from fewlabels.report.pictures import PARTS
from fewlabels.shown_images import (
    behind_cells,
    evenly,
    least_sure,
    mapped_images,
    parts_of,
    shares_of,
)
from small_runs import FAST

pytest_plugins = ("run_fixtures",)


@pytest.fixture(scope="module")
def model(tiny_set: ImageSet) -> Model:
    return fitting.fit(tiny_set, "kmeans-1", labels=40, settings=FAST)


@pytest.fixture(scope="module")
def plan(tiny_set: ImageSet) -> splits.Plan:
    return splits.plan(tiny_set, labels=40)


@pytest.mark.parametrize(
    ("counts", "n_images", "expected"),
    [
        ({"labelled": 1000, "unlabelled": 9000, "test": 8000}, 1000, [250, 250, 500]),
        ({"labelled": 10, "unlabelled": 9000, "test": 8000}, 1000, [10, 330, 660]),
        ({"labelled": 10, "test": 20}, 1000, [10, 20]),
        ({"labelled": 10, "unlabelled": 10, "test": 10}, 2, [1, 0, 1]),
    ],
)
def test_half_of_a_map_are_test_images_and_what_is_lacking_goes_to_the_others(
    counts, n_images, expected
):
    shares = shares_of(counts, n_images)

    assert sum(expected) == sum(shares.values())
    assert expected == pytest.approx(list(shares.values()), abs=1)


def test_images_are_spread_evenly():
    assert [0, 33, 66, 99] == evenly(100, 4).tolist()
    assert [] == evenly(100, 0).tolist()


def test_a_map_tells_parts_labels_and_names_of_its_images(tiny_set: ImageSet, plan):
    shown = mapped_images(tiny_set, plan, 10_000)
    parts = [PARTS[part] for part in shown.part_N]

    assert (40, 120, 60) == tuple(parts.count(part) for part in PARTS)
    assert plan.folds[0].tolist() == shown.index_N[:40].tolist()
    assert (tiny_set.train.labels[plan.folds[0]] == shown.truth_N[:40]).all()
    assert (shown.truth_N[40:160] == -1).all()  # unlabelled
    assert (tiny_set.test.pixels == shown.images.pixels[160:]).all()


def test_without_unlabelled_images_those_that_kept_no_label_are_shown_without_it(tiny_set, plan):
    bare = replace(tiny_set, unlabeled=None)
    unlabelled = parts_of(bare, plan)["unlabelled"]

    assert sorted(set(range(80)) - set(plan.folds[0].tolist())) == unlabelled.index_N.tolist()
    assert (unlabelled.truth_N == -1).all()


def test_positions_answers_and_thumbnails_are_of_the_same_image(tiny_set, plan, model):
    (scores,) = protocol.evaluate((model,), tiny_set.test)
    kept = picturing.kept_of(model, tiny_set, plan, 90, scores=scores)
    pictures = kept.pictures
    names = {name: i for i, name in enumerate(tiny_set.test.names)} or {
        f"test image {i}": i for i in range(60)
    }
    test = [i for i in range(len(pictures)) if pictures.part_N[i] == PARTS.index("test")]

    assert (90, 2) == pictures.positions_M2.shape
    for i in test:
        place = names[pictures.names[i]]
        assert scores.answered_N[place] == pictures.answer_N[i]
        assert scores.confidence_N[place] == pytest.approx(pictures.confidence_N[i], abs=1e-5)
        assert tiny_set.test.labels[place] == pictures.truth_N[i]
    # every test image is shown once
    assert len({pictures.names[i] for i in test}) == len(test)
    # neighbours by t-SNE of the features are neighbours here
    mapped = mapped_images(tiny_set, plan, 90)
    features_ND, _ = picturing.seen_by(model, mapped.images, "cpu")
    where = {name: i for i, name in enumerate(mapped.images.names)}
    order = [where[name] for name in pictures.names[:90]]
    assert maps.trustworthiness(features_ND[order], pictures.positions_M2) > 0.8


def test_cells_open_the_most_confident_wrong_answers_that_are_not_on_the_map(tiny_set, plan, model):
    (scores,) = protocol.evaluate((model,), tiny_set.test)
    mapped = mapped_images(tiny_set, plan, 20)
    behind = behind_cells(scores, tiny_set, mapped)
    on_map = mapped.index_N[mapped.part_N == PARTS.index("test")]
    wrong = set(np.flatnonzero(scores.answered_N != tiny_set.test.labels).tolist())

    assert wrong - set(on_map.tolist()) == set(behind.index_N.tolist())  # few: all of them
    assert (behind.answer_N == scores.answered_N[behind.index_N]).all()
    assert (behind.truth_N == tiny_set.test.labels[behind.index_N]).all()


def test_the_least_sure_are_of_the_unlabelled_images(tiny_set, plan):
    shown = mapped_images(tiny_set, plan, 10_000)
    confidence = np.linspace(1, 0, len(shown)).astype(np.float32)
    answered = shown.answered(np.zeros(len(shown), int), confidence)

    assert [159, 158, 157] == least_sure(answered, 3).tolist()


def test_neighbours_on_the_map_follow_one_another():
    rng = np.random.default_rng(0)
    positions = rng.random((2000, 2))
    order = picturing.nearby_first(positions)
    steps = np.linalg.norm(np.diff(positions[order], axis=0), axis=1)

    assert sorted(order.tolist()) == list(range(2000))
    assert steps.mean() < 0.1 * np.linalg.norm(np.diff(positions, axis=0), axis=1).mean()


def test_large_sets_are_brought_to_components_block_by_block(tiny_set, plan, model, monkeypatch):
    images = mapped_images(tiny_set, plan, 10_000).images
    features_ND, answers_NL = picturing.seen_by(model, images, "cpu")
    monkeypatch.setattr(picturing, "MOST_VALUES", 1)
    monkeypatch.setattr(picturing, "COMPONENTS", 5)
    extract, looks = features.extract, []

    def counted(graph, some, **how):
        looks.append(len(some))
        return extract(graph, some, **how)

    monkeypatch.setattr(features, "extract", counted)
    fewer_N5, same_NL = picturing.seen_by(model, images, "cpu")

    assert (len(images), 5) == fewer_N5.shape
    assert (answers_NL == same_NL).all()
    assert [len(images)] == looks  # fewer than are looked at, so each once
    # the components keep the largest part of the distances
    kept = np.var(fewer_N5, axis=0).sum() / np.var(features_ND, axis=0).sum()
    assert 0.4 < kept <= 1.001


@pytest.mark.parametrize(
    ("features_ND", "why"),
    [
        (np.ones((50, 4), np.float32), "same features"),
        (np.full((50, 4), np.nan, np.float32), "not finite"),
        (np.eye(3, dtype=np.float32), "at least 4 images"),
    ],
)
def test_a_map_that_cannot_be_made_is_a_sentence(features_ND, why):
    positions, no_map = picturing.positions(features_ND, 0)

    assert 0 == len(positions)
    assert why in no_map


def test_a_network_that_ends_in_classes_is_mapped_by_what_its_last_layer_reads(tiny_set, plan):
    settings = {"network.widths": "4,6", "training.batch_size": "10", "training.epochs": "1"}
    recipe = recipes.named("labels", settings)
    (model,) = fitting.fit_folds(tiny_set, recipe, plan, precision="fp32")
    images = mapped_images(tiny_set, plan, 12).images
    features_ND, answers_NL = picturing.seen_by(model, images, "cpu")

    assert (12, 3) == features_ND.shape  # pairs of filters of the last convolution
    expected = model.predict(np.asarray(images.pixels[:])).probabilities
    assert expected == pytest.approx(answers_NL, abs=1e-6)


def test_report_makes_the_map_again_with_other_images(tiny_run: Path, tmp_path: Path, capsys):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    before = pictures_file.load(run).pictures

    assert 0 == main(["report", str(run), "--map", "30"])
    after = pictures_file.load(run).pictures
    assert 30 == len(after.positions_M2) < len(before.positions_M2)
    answers = dict(zip(before.names, before.answer_N, strict=True))
    assert all(
        answers[name] == answer for name, answer in zip(after.names, after.answer_N, strict=True)
    )
    assert 0 == main(["report", str(run), "--map", "0"])
    assert pictures_file.load(run).pictures is None
    assert 'id="canvas"' not in (run / "report.html").read_text()
    capsys.readouterr()
    assert 2 == main(["report", str(run), "--images", "shapes"])
    assert "say with --map" in capsys.readouterr().err


def test_a_fit_without_test_images_has_a_map_and_no_score(tiny_folder: Path, tmp_path: Path):
    bare = tmp_path / "bare"
    shutil.copytree(tiny_folder, bare)
    shutil.rmtree(bare / "test")
    words = [word for name, value in FAST.items() for word in ("--set", f"{name}={value}")]

    assert 0 == main(
        ["fit", str(bare), "--recipe", "kmeans-1", "--out", str(tmp_path / "run"), *words]
    )
    html = (tmp_path / "run" / "report.html").read_text()
    assert "There is no score" in html and 'id="canvas"' in html and "Label these next" in html


def test_equal_images_give_a_page_that_says_so(tiny_set: ImageSet, plan, model):
    equal = replace(tiny_set.unlabeled, pixels=np.full_like(tiny_set.unlabeled.pixels[:], 7))
    grey = replace(tiny_set.train, pixels=np.full_like(tiny_set.train.pixels[:], 7))
    strange = replace(tiny_set, train=grey, unlabeled=equal, test=None)
    kept = picturing.kept_of(model, strange, plan, 50)

    assert "same features" in kept.pictures.no_map
    assert 50 == len(kept.pictures) and 0 == len(kept.pictures.positions_M2)


def test_a_recipe_with_surrogates_keeps_a_gallery_of_them(tiny_set: ImageSet, plan):
    settings = {"surrogates.n_classes": "10", "surrogates.size": "8", "surrogates.patch_size": "8"}
    recipe = recipes.named("surrogate", settings)

    gallery = picturing.surrogates_of(tiny_set, plan, recipe, 0)
    assert b"WEBP" == gallery[8:12]
    assert picturing.surrogates_of(tiny_set, plan, recipes.named("kmeans-1"), 0) is None
