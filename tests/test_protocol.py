import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fewlabels import enough, fitting, protocol, recipes, scores_file, splits
from fewlabels.errors import ConfigError, DataError
from fewlabels.images import Images, ImageSet
from fewlabels.learning import Learned
from fewlabels.progress import watching
from fewlabels.protocol import (
    calibration_error,
    evaluate,
    mean_and_deviation,
    measure,
    score,
    shared,
)
from fewlabels.runs import Diary
from small_runs import FAST, SMALL

# maps of these small images have a few places only: coarser cells, and grids that stay
RECIPE = recipes.named(
    "kmeans-1", FAST | {"filters.features_grid": "4", "filters.features_shift": "0"}
)


def test_scores_are_those_counted_by_hand():
    answers = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.6, 0.4, 0], [0, 0.3, 0.7]], np.float32)

    scores = measure(answers, np.array([0, 1, 1, 1]))

    assert 0.5 == scores.accuracy
    assert (1.0, pytest.approx(1 / 3), None) == scores.accuracy_per_class
    assert [[1, 0, 0], [1, 1, 1], [0, 0, 0]] == scores.confusion.tolist()
    assert 4 == scores.n_test
    # the most confident mistake first
    assert [(3, 1, 2), (2, 1, 0)] == [(m.index, m.truth, m.label) for m in scores.mistakes]


def test_the_calibration_error_is_the_one_worked_out_by_hand():
    # bins of 1/15: 0.95 and 0.99 fall into the last, 0.6 into the ninth (8/15, 9/15]
    confidence = np.array([0.95, 0.99, 0.6, 0.6])
    right = np.array([True, False, True, False])

    expected = 2 / 4 * abs(0.5 - 0.97) + 2 / 4 * abs(0.5 - 0.6)

    assert expected == pytest.approx(calibration_error(confidence, right))


@given(st.lists(st.tuples(st.floats(0.01, 1), st.booleans()), min_size=1, max_size=40))
def test_the_calibration_error_agrees_with_a_slow_loop(pairs):
    confidence, right = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    slow = 0.0
    for number in range(15):
        inside = (np.ceil(confidence * 15) - 1).astype(int) == number
        if inside.any():
            slow += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())

    assert slow == pytest.approx(calibration_error(confidence, right))


def test_the_deviation_over_folds_divides_by_one_less():
    assert (2.0, pytest.approx(1.0)) == mean_and_deviation([1.0, 2.0, 3.0])
    assert (5.0, None) == mean_and_deviation([5.0])


def test_copies_are_found_on_both_sides():
    test = Images(pixels=np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1).repeat(3, 1))
    pool = Images(pixels=np.array([9, 2, 2, 7], np.uint8).reshape(4, 1, 1, 1).repeat(3, 1))

    leaked, copies = shared(test, pool)

    assert [False, False, True, False] == leaked.tolist()
    assert [False, True, True, False] == copies.tolist()


def test_the_label_free_part_is_learned_once_for_all_folds(tiny_set: ImageSet, monkeypatch):
    pools = recorded_pools(monkeypatch)
    clean = replace(tiny_set, unlabeled=tiny_set.unlabeled.take(not_copied(tiny_set)))

    outcome = score(clean, RECIPE, splits.plan(clean, folds=range(4)))

    assert [len(clean.unlabeled) + len(clean.train)] == pools
    assert 4 == len(outcome.scores)
    assert 0 == outcome.n_leaked
    assert outcome.clean == tuple(one.accuracy for one in outcome.scores)


def test_the_clean_score_is_of_a_model_that_saw_no_copy_of_a_test_image(
    tiny_set: ImageSet, monkeypatch
):
    pools = recorded_pools(monkeypatch)
    clean = replace(tiny_set, unlabeled=tiny_set.unlabeled.take(not_copied(tiny_set)))

    outcome = score(tiny_set, RECIPE, splits.plan(tiny_set, folds=[0]))

    assert 5 == outcome.n_leaked
    assert [200, 195] == pools
    assert outcome.clean == score(clean, RECIPE, splits.plan(clean, folds=[0])).clean


def test_a_fold_of_many_is_the_same_as_that_fold_alone(tiny_set: ImageSet):
    several = fitting.fit_folds(tiny_set, RECIPE, splits.plan(tiny_set, folds=[0, 3]))
    alone = fitting.fit(tiny_set, RECIPE, fold=3)

    first, second = (model.predict(tiny_set.test).probabilities for model in (several[1], alone))

    # sums over rows of other batches may differ in the last bit
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_test_labels_change_scores_and_nothing_else(tiny_set: ImageSet):
    turned = Images(pixels=tiny_set.test.pixels, labels=(tiny_set.test.labels + 1) % 10)
    plan = splits.plan(tiny_set, folds=[0])

    honest, other = (score(s, RECIPE, plan) for s in (tiny_set, replace(tiny_set, test=turned)))

    first, second = (o.models[0].predict(tiny_set.test).probabilities for o in (honest, other))
    assert (first == second).all()
    assert honest.scores[0].accuracy != other.scores[0].accuracy


def test_a_set_without_test_labels_is_learned_and_not_scored(tiny_set: ImageSet):
    unknown = replace(tiny_set, test=Images(pixels=tiny_set.test.pixels))

    outcome = score(unknown, RECIPE, splits.plan(unknown))

    assert (1, (), None) == (len(outcome.models), outcome.scores, outcome.n_leaked)
    with pytest.raises(DataError, match="the test images have no labels"):
        evaluate(outcome.models, unknown.test)


def test_validation_images_are_scored_apart(tiny_set: ImageSet):
    apart = replace(tiny_set, validation=tiny_set.test, test=None)

    outcome = score(apart, RECIPE, splits.plan(apart, protocol="report-split"))

    assert 1 == len(outcome.validation)
    assert () == outcome.scores


def test_learning_from_labels_beats_guessing(tiny_set: ImageSet):
    torch.manual_seed(0)  # whatever the global state is, the result is the seed's
    outcome = score(tiny_set, RECIPE, splits.plan(tiny_set))

    assert outcome.scores[0].accuracy > 0.2  # guessing: 0.1


def recorded_pools(monkeypatch) -> list[int]:
    """The number of images that `filters.learn` is given, each time it is called."""
    pools: list[int] = []
    learn = fitting.filters.learn

    def watched(unlabeled, *arguments, **options):
        pools.append(len(unlabeled))
        return learn(unlabeled, *arguments, **options)

    monkeypatch.setattr(fitting.filters, "learn", watched)
    return pools


def not_copied(image_set: ImageSet) -> np.ndarray:
    _, copies = shared(image_set.test, image_set.unlabeled)
    return np.flatnonzero(~copies)


def listening() -> tuple[list[str], "Diary"]:
    said: list[str] = []

    class Listener(Diary):
        def said(self, message):
            said.append(message)

    return said, Listener(Path(os.devnull))


def test_where_too_little_is_left_without_copies_it_is_said_first_and_left_out(
    tiny_set: ImageSet, monkeypatch
):
    # as many surrogate classes as images: without the 5 copies there are too few
    config = SMALL["surrogate"] | {"surrogates.n_classes": "200", "surrogates.n_each": "1"}
    recipe = recipes.named("surrogate", config | {"training.epochs": "1"})
    said, listener = listening()
    fitted: list[int] = []
    fit_folds = protocol.fit_folds

    def watched(*arguments, **how):
        fitted.append(len(said))
        return fit_folds(*arguments, **how)

    monkeypatch.setattr(protocol, "fit_folds", watched)

    with watching(listener):
        outcome = score(tiny_set, recipe, splits.plan(tiny_set), precision="fp32")

    assert "is left out: 200 surrogate classes need as many images, and 195 are left" in said[1]
    assert [2] == fitted  # once, with the reason said before
    assert (1, (), 5) == (len(outcome.scores), outcome.clean, outcome.n_leaked)
    learned = Learned(recipe=recipe, plan=splits.plan(tiny_set), outcome=outcome)
    scores = scores_file.fold_scores(learned, 0, tiny_set.class_names)
    assert (None, 5) == (scores["accuracy_clean"], scores["n_leaked"])
    mean = scores_file.mean_scores(learned, tiny_set.class_names)
    assert (None, None) == (mean["accuracy_clean"], mean["accuracy_clean_std"])


def test_a_second_training_that_fails_does_not_take_the_first_with_it(
    tiny_set: ImageSet, monkeypatch
):
    said, listener = listening()
    fit_folds = protocol.fit_folds

    def once(*arguments, pool, **how):
        if len(pool) < 200:
            raise ConfigError("the training diverged")
        return fit_folds(*arguments, pool=pool, **how)

    monkeypatch.setattr(protocol, "fit_folds", once)

    with watching(listener):
        outcome = score(tiny_set, RECIPE, splits.plan(tiny_set))

    assert (1, ()) == (len(outcome.scores), outcome.clean)
    assert "without copies of test images is left out: the training diverged" in said[-1]


@pytest.mark.parametrize(
    ("recipe", "settings", "text"),
    [
        ("kmeans-1", {"filters.n_filters": "801"}, "801 filters need as many patches, and 200 im"),
        ("surrogate", {"surrogates.n_classes": "201"}, "201 surrogate classes need as many"),
    ],
)
def test_too_few_images_are_known_before_learning(tiny_set: ImageSet, recipe, settings, text):
    plan, pool = splits.plan(tiny_set), splits.pool(tiny_set)
    small = {"filters.patches_per_image": "4"} if recipe == "kmeans-1" else {}
    one_fewer = {name: str(int(value) - 1) for name, value in settings.items()}

    enough.check_enough(tiny_set, recipes.named(recipe, small | one_fewer), plan, pool)
    with pytest.raises(DataError, match=text):
        enough.check_enough(tiny_set, recipes.named(recipe, small | settings), plan, pool)


def test_a_fold_of_one_class_is_too_few(tiny_set: ImageSet):
    twos = np.flatnonzero(tiny_set.train.labels == 2)
    single = splits.Plan(protocol="mine", numbers=(3,), folds=(twos,))

    with pytest.raises(DataError, match="images of fold 3 are of fewer than 2 classes"):
        enough.check_enough(tiny_set, RECIPE, single, splits.pool(tiny_set))
