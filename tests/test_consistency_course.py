"""Learning from unlabelled images: what is started from, and the time."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fewlabels import progress
from fewlabels.architectures import ReportNetwork
from fewlabels.errors import ConfigError
from fewlabels.images import as_float
from fewlabels.ways import consistency, starts
from fewlabels.ways.consistency_config import ConsistencyConfig
from fewlabels.ways.course import Course, Time
from small_consistency import (
    TRAINING,
    Heard,
    accuracy,
    coloured,
    course_of,
    learn,
    parts_with,
    unlabelled,
)


def test_centroids_as_a_first_layer_have_answers_of_mean_0_and_deviation_1():
    first = starts.first_layer(coloured(seed=9), parts_with(start="filters"), seed=0)

    images = as_float(coloured(seed=9).pixels)
    answers = torch.nn.functional.conv2d(images, first.filters_F3kk, first.offset_F)
    assert (8, 3, 5, 5) == first.filters_F3kk.shape
    spread_F, mean_F = torch.std_mean(answers, (0, 2, 3))
    torch.testing.assert_close(mean_F, torch.zeros(8), atol=0.15, rtol=0)
    torch.testing.assert_close(spread_F, torch.ones(8), atol=0.15, rtol=0)


def test_a_network_starts_from_filters():
    parts = parts_with(start="filters")
    learned, _ = learn(coloured(), unlabelled(), parts)

    first = starts.first_layer(coloured(seed=9), parts, seed=0, precision="fp32")
    found = learned.graph.layers["first"].weight
    assert torch.equal(found[:8], first.filters_F3kk)
    assert torch.equal(found[8:], first.filters_F3kk.flip(3))
    assert accuracy(learned, coloured(seed=7)) > 0.7


def test_a_network_starts_from_surrogates_with_a_last_layer_of_its_own(tmp_path: Path):
    parts = parts_with(start="surrogate", surrogate_classes=10)
    learned, heard = learn(coloured(), unlabelled(), parts, folder=tmp_path)

    assert {"surrogate", "labels", "steps"} == {path.name for path in tmp_path.iterdir()}
    assert any("accuracy_surrogate" in facts for _, facts in heard.notes)
    assert (3, 4) == learned.graph.layers["linear"].weight.shape
    assert accuracy(learned, coloured(seed=7)) > 0.7


def test_a_network_starts_from_two_views_with_a_last_layer_of_its_own(tmp_path: Path):
    parts = parts_with(start="selfsupervised", selfsupervised_epochs=2)
    learned, heard = learn(coloured(), unlabelled(), parts, folder=tmp_path)

    assert {"selfsupervised", "labels", "steps"} == {path.name for path in tmp_path.iterdir()}
    records = [facts for _, facts in heard.notes if "invariance" in facts]
    assert [1, 2] == [facts["epoch"] for facts in records]
    assert not any("accuracy" in name for facts in records for name in facts)
    assert (3, 4) == learned.graph.layers["linear"].weight.shape
    assert not [name for name in learned.graph.nodes if name.startswith("projector")]
    assert accuracy(learned, coloured(seed=7)) > 0.7


def test_a_start_from_two_views_is_resumed_bit_for_bit(tmp_path: Path):
    parts = parts_with(start="selfsupervised", selfsupervised_epochs=2)
    whole, _ = learn(coloured(), unlabelled(), parts, folder=tmp_path / "whole")

    (tmp_path / "cut").mkdir()
    (tmp_path / "whole" / "selfsupervised").rename(tmp_path / "cut" / "selfsupervised")
    again, _ = learn(coloured(), unlabelled(), parts, folder=tmp_path / "cut", resume=True)

    states = [one.graph.state_dict() for one in (whole, again)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(("budget", "expected"), [(60.0, (0, 15.0)), (None, (7, None))])
def test_a_start_from_two_views_has_its_part_of_the_time_and_its_own_rates(
    budget, expected, monkeypatch
):
    parts = parts_with(start="selfsupervised", selfsupervised_part=0.25, selfsupervised_epochs=7)
    course = course_of(parts, budget)
    course.first = starts.first_layer(coloured(seed=9), parts, seed=0)
    seen = []
    monkeypatch.setattr(Course, "train", lambda course, *words, **how: seen.append(words))

    starts.body(course, unlabelled())

    ((name, _, examples, config, seconds, _),) = seen
    assert ("selfsupervised", 90) == (name, len(examples))
    assert expected == (config.epochs, seconds)
    # slopes of this loss may be huge, those of labels are not cut
    assert (0.0, 1.0) == (TRAINING.clip, config.clip)
    assert 0.0 == config.weight_decay < TRAINING.weight_decay


@pytest.mark.parametrize("start", ["surrogate", "selfsupervised"])
def test_one_unlabelled_image_is_too_few_to_start_from(start: str):
    course = course_of(parts_with(start=start))

    with progress.watching(Heard()) as heard:
        found = starts.body(course, unlabelled((1, 0, 0)))

    assert {} == found
    assert "too few unlabelled images to tell apart: the network starts anew" in heard.text


@pytest.mark.parametrize(
    "settings",
    [
        {"start": "surrogate", "surrogate_classes": 10},
        {"start": "selfsupervised", "selfsupervised_epochs": 1},
    ],
)
def test_a_body_is_all_but_the_last_layer(settings: dict):
    parts = parts_with(**settings)
    course = course_of(parts)
    course.first = starts.first_layer(coloured(seed=9), parts, seed=0)
    new = course.new_network().state_dict()

    course.body = starts.body(course, unlabelled())

    # nor a projector
    assert {key for key in new if not key.startswith("layers.linear")} == set(course.body)
    assert any((value != new[key]).any() for key, value in course.body.items())
    state = course.new_network().state_dict()
    assert all(torch.equal(state[key], value) for key, value in course.body.items())
    assert torch.equal(state["layers.linear.weight"], new["layers.linear.weight"])


def test_other_networks_start_from_new_weights_alone():
    for start in ("filters", "selfsupervised"):
        with pytest.raises(ConfigError, match=f"start={start} is for the whitened network"):
            replace(parts_with(start=start), network=ReportNetwork())


def test_batches_of_one_image_are_refused_where_they_are_compared():
    one = replace(TRAINING, batch_size=1)

    with pytest.raises(ConfigError, match=r"training\.batch_size is at least 2 to learn from two"):
        replace(parts_with(start="selfsupervised"), training=one)
    assert 1 == replace(parts_with(start="labels"), training=one).training.batch_size


# --- time


def test_a_resumed_training_counts_whole_in_the_budget(monkeypatch):
    clock = iter([100.0, 105.0, 106.0, 108.0, 109.0, 200.0, 201.0, 0.0])
    monkeypatch.setattr("fewlabels.ways.course.now", lambda: next(clock))
    time = Time(60.0)  # at 100

    assert 55 == time.left()  # at 105
    time.took(20.0, began=105.0)  # at 106: of 20 seconds 19 were before the break
    assert 60 - 8 - 19 == time.left()
    assert not time.is_up()  # at 109
    assert 0 < time.left() < 0.01
    assert time.is_up()
    assert 15 == time.part(0.25)
    endless = Time(None)
    assert (None, None, False) == (endless.left(), endless.part(0.5), endless.is_up())


@pytest.mark.parametrize("schedule", ["steps", "rounds"])
def test_without_time_for_unlabelled_images_the_network_of_labels_is_kept(schedule, monkeypatch):
    monkeypatch.setattr(Time, "is_up", lambda time: True)
    learned, heard = learn(coloured(), unlabelled(), parts_with(schedule=schedule))

    assert "there is no time for" in heard.text
    assert consistency.none_used(consistency.NO_TIME) == learned.facts
    assert accuracy(learned, coloured(seed=7)) > 0.6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "both"}, "consistency.schedule is one of steps, rounds; got 'both'"),
        ({"labels_part": 1.0}, "consistency.labels_part is a part, over 0 and under 1; got 1.0"),
        ({"momentum": 1.0}, "consistency.momentum is a part"),
        ({"unlabelled_ratio": 0}, "consistency.unlabelled_ratio is at least 1; got 0"),
        ({"threshold": 1.5}, "consistency.threshold is a part, from 0 to 1; got 1.5"),
        ({"unlabelled_weight": float("nan")}, "consistency.unlabelled_weight is a number of 0"),
        ({"surrogate_classes": 1}, "consistency.surrogate_classes is at least 2; got 1"),
        ({"start": "views"}, "start is one of labels, filters, surrogate, selfsupervised; got"),
        ({"selfsupervised_part": 0.0}, "selfsupervised_part is a part, over 0 and under 1"),
        (
            {"start": "selfsupervised", "labels_part": 0.6},
            "labels_part 0.6 and consistency.selfsupervised_part 0.4 leave no time for",
        ),
        ({"selfsupervised_epochs": 0}, "consistency.selfsupervised_epochs is at least 1; got 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict, message: str):
    with pytest.raises(ConfigError) as refused:
        ConsistencyConfig(**settings)

    assert message in str(refused.value)
