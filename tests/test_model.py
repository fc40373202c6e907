from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fewlabels import features, fitting, recipes
from fewlabels.devices import resolve
from fewlabels.errors import CheckpointError, ConfigError, DataError
from fewlabels.fitting import fit
from fewlabels.images import Images, ImageSet
from fewlabels.model import Model, image_files, probabilities
from fewlabels.progress import watching
from fewlabels.sources.pixels import fit_to_size
from small_runs import FAST

RECIPE = recipes.named("kmeans-1", FAST)


@pytest.fixture(scope="module")
def model(tiny_set: ImageSet) -> Model:
    return fit(tiny_set, RECIPE)


def picture(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.transpose(1, 2, 0)).save(path)
    return path


def test_a_prediction_names_a_class_and_its_probability(model: Model, tiny_set: ImageSet):
    answered = model.predict(tiny_set.test)

    assert (60, 10) == answered.probabilities.shape
    np.testing.assert_allclose(answered.probabilities.sum(1), 1, atol=1e-5)
    best = answered.probabilities.argmax(1)
    assert tuple(tiny_set.class_names[label] for label in best) == answered.labels
    assert answered.probabilities.max(1).tolist() == answered.probability.tolist()
    assert tiny_set.test.names == answered.names


def test_a_saved_and_loaded_model_answers_the_same_bit_for_bit(
    model: Model, tiny_set: ImageSet, tmp_path: Path
):
    replace(model, info={"run": {"seed": 7, "labels": None}}).save(tmp_path / "run")

    loaded = Model.load(tmp_path / "run")

    before, after = model.predict(tiny_set.test), loaded.predict(tiny_set.test)
    assert before.probabilities.tobytes() == after.probabilities.tobytes()
    assert before.labels == after.labels
    assert (model.recipe, model.class_names, (24, 24)) == (
        loaded.recipe,
        loaded.class_names,
        loaded.image_size,
    )
    assert {"run": {"seed": 7}} == loaded.info


def test_a_model_names_its_recipe_and_its_accuracy_in_a_line(model: Model):
    height, width = model.image_size
    classes = f"{len(model.class_names)} classes"
    line = f"<Model: {model.recipe.name}; {classes}; {height} x {width} pixels"
    assert repr(replace(model, scores={})) == f"{line}>"
    assert repr(replace(model, scores={"accuracy": 0.73456})) == f"{line}; accuracy 0.735>"


def test_no_file_of_a_model_is_a_pickle(model: Model, tmp_path: Path):
    model.save(tmp_path)

    names = {"config.toml", "graph.json", "weights.safetensors", "head.safetensors"}
    assert names == {path.name for path in tmp_path.iterdir()}
    # a pickle of protocol 2 and up starts with 0x80, torch's own archives are zip files
    assert not any(path.read_bytes().startswith((b"\x80", b"PK")) for path in tmp_path.iterdir())


def test_images_of_any_size_are_fitted_by_the_rule_of_the_sources(model: Model):
    wide = np.random.default_rng(0).integers(0, 256, (2, 3, 30, 50), np.uint8)
    fitted = np.stack([fit_to_size(image, 24) for image in wide])

    assert (model.predict(wide).probabilities == model.predict(fitted).probabilities).all()


def test_a_file_is_answered_as_its_pixels_are(model: Model, tiny_set: ImageSet, tmp_path: Path):
    path = picture(tmp_path / "some.png", tiny_set.test.pixels[3])

    expected = model.predict(tiny_set.test.pixels[3:4])

    for given in (path, str(path), [path]):
        answered = model.predict(given)
        assert (expected.probabilities == answered.probabilities).all()
        assert (str(path),) == answered.names


def test_files_are_answered_in_order_over_several_chunks(
    model: Model, tiny_set: ImageSet, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr("fewlabels.model.CHUNK", 2)
    paths = [picture(tmp_path / f"{i}.png", tiny_set.test.pixels[i]) for i in range(5)]

    answered = model.predict(paths)

    expected = model.predict(tiny_set.test.pixels[:5]).probabilities
    np.testing.assert_allclose(expected, answered.probabilities, atol=1e-5)
    assert tuple(map(str, paths)) == answered.names


def test_a_damaged_file_among_good_ones_is_named_and_answered_by_nobody(
    model: Model, tiny_set: ImageSet, tmp_path: Path
):
    good = picture(tmp_path / "photos" / "deep" / "good.png", tiny_set.test.pixels[0])
    (tmp_path / "photos" / "bad.jpg").write_text("no picture")
    (tmp_path / "photos" / "notes.txt").write_text("not meant")

    answered = model.predict(tmp_path / "photos")

    assert (str(good),) == answered.names
    assert [str(tmp_path / "photos" / "bad.jpg")] == [file.name for file in answered.damaged]
    assert "is no image of a known format" == answered.damaged[0].reason


def test_nothing_to_predict_is_an_error_that_names_it(model: Model, tmp_path: Path):
    (tmp_path / "bad.jpg").write_text("no picture")
    (tmp_path / "empty").mkdir()

    with pytest.raises(DataError, match=r"none of the 1 files can be read.*bad\.jpg"):
        model.predict(tmp_path / "bad.jpg")
    with pytest.raises(DataError, match="absent does not exist"):
        model.predict(tmp_path / "absent")
    with pytest.raises(DataError, match="empty holds no images"):
        model.predict([tmp_path / "empty"])
    with pytest.raises(DataError, match="there is no image to predict"):
        model.predict(np.zeros((0, 3, 24, 24), np.uint8))
    with pytest.raises(DataError, match="there is no image to predict"):
        image_files([])
    with pytest.raises(DataError, match=r"images are uint8 of shape \(n_images, 3, height, width"):
        model.predict(np.zeros((1, 24, 24, 3), np.uint8))


def test_a_model_of_oblong_images_refuses_others(model: Model):
    oblong = replace(model, image_size=(24, 32))

    with pytest.raises(DataError, match="takes images of 24 x 32, got 24 x 24"):
        oblong.predict(np.zeros((1, 3, 24, 24), np.uint8))


def test_a_folder_without_a_run_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match="holds no run: expected a folder"):
        Model.load(tmp_path)
    with pytest.raises(CheckpointError, match="absent is no folder"):
        Model.load(tmp_path / "absent")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[run]\nseed = 0", "is of `fewlabels score`, which keeps no model"),
        ("[model]\nimage_size = 3", "holds no model that can be read"),
        ("= broken", "cannot be read"),
    ],
)
def test_a_config_that_tells_of_no_model_is_refused(tmp_path: Path, content: str, message: str):
    (tmp_path / "config.toml").write_text(content)

    with pytest.raises(CheckpointError, match=message):
        Model.load(tmp_path)


def test_models_with_graphs_of_their_own_answer_as_each_alone(model: Model, tiny_set: ImageSet):
    other = fit(tiny_set, RECIPE, seed=1)

    together = probabilities((model, other, model), tiny_set.test)

    alone = [probabilities((one,), tiny_set.test)[0] for one in (model, other, model)]
    assert [answers.tobytes() for answers in alone] == [a.tobytes() for a in together]
    assert (together[0] != together[1]).any()


def test_models_that_share_a_graph_share_its_features(
    model: Model, tiny_set: ImageSet, monkeypatch
):
    extracted: list[str] = []
    blocks = features.blocks

    def counted(*arguments, **options):
        extracted.append(options["what"])
        return blocks(*arguments, **options)

    monkeypatch.setattr(features, "blocks", counted)
    probabilities((model, replace(model), replace(model)), tiny_set.test, what="once")

    assert ["once"] == extracted


def test_the_same_seed_gives_the_same_model(model: Model, tiny_set: ImageSet):
    again, other = (fit(tiny_set, RECIPE, seed=seed).predict(tiny_set.test) for seed in (0, 1))
    first = model.predict(tiny_set.test).probabilities

    assert (first == again.probabilities).all()
    assert (first != other.probabilities).any()


def test_a_recipe_is_named_with_settings_or_given_whole():
    assert 12 == fitting.as_recipe("kmeans-1", FAST).filters.layers[0].n_filters
    assert RECIPE is fitting.as_recipe(RECIPE)
    with pytest.raises(TypeError, match="settings change a named recipe"):
        fitting.as_recipe(RECIPE, FAST)


def test_fit_takes_one_fold(tiny_set: ImageSet):
    many = replace(tiny_set, folds=(np.arange(1000) % 80, np.arange(1000) % 80))

    with pytest.raises(ConfigError, match=r"folds-1000 has 2 folds: say which one \(--fold\)"):
        fit(many, RECIPE, protocol="folds-1000")


def test_without_unlabelled_images_the_training_images_are_learned_from(tiny_set: ImageSet):
    said: list[str] = []

    class Listener:
        def started(self, stage, total, unit): ...
        def advanced(self, stage, count): ...
        def ended(self, stage, seconds): ...
        def said(self, message):
            said.append(message)

    with watching(Listener()):
        fit(replace(tiny_set, unlabeled=None), RECIPE)

    assert ["the set has no unlabelled images"] == [text.split(":")[0] for text in said]


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    assert "cpu" == resolve("auto")
    with pytest.raises(ConfigError, match="--device cuda needs a GPU"):
        resolve("cuda")
    with pytest.raises(ConfigError, match="a device is auto, cpu or cuda; got 'tpu'"):
        resolve("tpu")


def test_pixels_that_are_given_are_not_written_to(model: Model, tiny_set: ImageSet):
    pixels = tiny_set.test.pixels[:4].copy()
    kept = pixels.copy()

    model.predict(Images(pixels=pixels))

    assert (kept == pixels).all()


def test_saving_over_another_model_is_refused_unless_asked(model: Model, tmp_path: Path):
    model.save(tmp_path / "run")
    before = sorted((p.name, p.read_bytes()) for p in (tmp_path / "run").iterdir())

    with pytest.raises(CheckpointError, match="holds another run"):
        model.save(tmp_path / "run")
    assert before == sorted((p.name, p.read_bytes()) for p in (tmp_path / "run").iterdir())

    model.save(tmp_path / "run", overwrite=True)
    assert Model.load(tmp_path / "run").class_names == model.class_names
