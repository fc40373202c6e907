"""What the unlabelled images are worth: gains by hand, labels set aside, the baseline's recipe."""

from dataclasses import replace

import numpy as np
import pytest

from fewlabels import baseline, recipes, splits
from fewlabels.baseline import gain_of, mean_gain
from fewlabels.errors import ConfigError
from fewlabels.images import ImageSet
from fewlabels.progress import watching
from fewlabels.ways.watching import difference
from small_consistency import Heard
from small_runs import FAST, SMALL

BEFORE = np.array([1, 1, 0, 0, 0, 1, 0, 1, 1, 0], bool)
AFTER = np.array([1, 0, 1, 1, 0, 1, 1, 1, 1, 0], bool)


def test_a_gain_is_that_of_the_pairs_of_answers():
    gain = gain_of(BEFORE, AFTER, "test images")

    # 3 are right only after, 1 only before, of 10
    assert (0.5, pytest.approx(0.2)) == (gain.labels_only_accuracy, gain.gain)
    assert np.sqrt((4 - 2**2 / 10) / 10**2) == pytest.approx(gain.error)
    assert {"labels_only_accuracy", "gain", "gain_error", "gain_measured_on"} == set(gain.as_dict())


def test_the_mean_of_one_fold_is_that_fold():
    assert gain_of(BEFORE, AFTER, "x").as_dict() == pytest.approx(
        mean_gain([BEFORE], [AFTER], "x").as_dict()
    )


def test_the_error_of_a_mean_gain_is_of_images_and_of_folds():
    before = [BEFORE, BEFORE]
    after = [AFTER, BEFORE]  # the second fold gains nothing

    gain = mean_gain(before, after, "x")

    d = (AFTER.astype(float) - BEFORE) / 2
    of_images = (d**2).mean() - d.mean() ** 2
    of_folds = ((0.2 - 0.1) ** 2 + (0.0 - 0.1) ** 2) / (2 - 1)
    assert 0.1 == pytest.approx(gain.gain)
    assert np.sqrt(of_images / 10 + of_folds / 2) == pytest.approx(gain.error)


def test_the_error_covers_what_drawing_the_images_anew_changes():
    draw = np.random.default_rng(0)
    gains, errors = [], []
    for _ in range(2000):
        hard = draw.random(200)  # of an image, for both networks
        before, after = hard + 0.2 * draw.random(200) < 0.7, hard + 0.2 * draw.random(200) < 0.75
        gain, error = difference(before, after)
        gains.append(gain)
        errors.append(error)

    assert np.std(gains) == pytest.approx(np.mean(errors), rel=0.06)


def test_the_baseline_has_the_network_and_the_settings_of_its_recipe():
    recipe = recipes.named("consistency", SMALL["consistency"])
    own = baseline.recipe_of(recipe, (32, 32))

    assert ("labels", recipe.network, recipe.augmentation) == (
        own.name,
        own.network,
        own.augmentation,
    )
    assert (0, recipe.training.batch_size) == (own.training.epochs, own.training.batch_size)
    assert recipe.consistency.n_alone == own.labels.n_networks
    three = {
        **SMALL["consistency"],
        "consistency.schedule": "rounds",
        "consistency.n_teachers": "3",
    }
    assert 3 == baseline.recipe_of(recipes.named("consistency", three), (32, 32)).labels.n_networks
    plain = baseline.recipe_of(recipes.named("kmeans-1"), (32, 32))
    assert 1 == plain.labels.n_networks
    assert recipes.named("labels").network == plain.network
    photographs = baseline.recipe_of(recipes.named("kmeans-1"), (96, 96))
    assert recipes.as_recipe("labels", {}, (96, 96)).augmentation == photographs.augmentation
    assert plain.augmentation != photographs.augmentation


@pytest.mark.parametrize("name", ["committee", "consistency-committee"])
def test_the_baseline_of_a_committee_is_one_too(name: str):
    recipe = recipes.named(name, SMALL[name])

    own = baseline.recipe_of(recipe, (32, 32))

    assert own.is_committee and own.consistency is None
    assert (recipe.filters, recipe.head) == (own.filters, own.head)


def test_a_recipe_of_labels_alone_is_its_own_baseline(tiny_set: ImageSet):
    plan, bare = splits.plan(tiny_set), replace(tiny_set, unlabeled=None)
    few = splits.plan(bare, labels=40)

    assert baseline.is_own(recipes.named("labels"), tiny_set, plan)
    assert not baseline.is_own(recipes.named("consistency"), tiny_set, plan)
    assert not baseline.is_own(recipes.named("kmeans-1"), tiny_set, plan)
    assert baseline.is_own(recipes.named("consistency"), bare, plan)
    # training images whose labels are not used are unlabelled ones
    assert not baseline.is_own(recipes.named("consistency"), bare, few)


def test_labels_are_set_aside_only_where_nothing_else_measures_the_gain(tiny_set: ImageSet):
    plan = splits.plan(tiny_set)
    assert plan is baseline.set_aside(tiny_set, plan, 0)
    bare = replace(tiny_set, test=None)
    many = replace(bare, train=tiny_set.train.take(np.repeat(np.arange(80), 2)))

    with watching(Heard()) as heard:
        aside = baseline.set_aside(many, splits.plan(many), 0)
        few = baseline.set_aside(bare, plan, 0)

    assert "so 10 labelled ones are set aside" in heard.text  # a tenth of 16 of each class
    assert "too few labels to set some aside: the gain is not measured" in heard.text
    assert plan is few
    assert [1] * 10 == np.bincount(aside.validation.labels).tolist()
    assert 150 == len(aside.folds[0]) == len(np.setdiff1d(aside.folds[0], aside.withheld))
    pool = splits.pool(many, aside.withheld)
    assert len(tiny_set.unlabeled) + 150 == len(pool)


def test_a_baseline_needs_a_time_to_part():
    with pytest.raises(ConfigError, match="none is given: give a --budget"):
        baseline.check(recipes.named("consistency"), None)
    baseline.check(recipes.named("consistency"), 60.0)
    baseline.check(recipes.named("kmeans-1", FAST), None)  # takes as long as it takes
    assert 30.0 == baseline.half(60.0)
