"""Learning from unlabelled images: schedules, odd sets, and the way back to labels alone."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fewlabels import progress
from fewlabels.errors import ConfigError, DataError
from fewlabels.images import Images
from fewlabels.ways import consistency, course, first_layers, labels, steps, usable
from fewlabels.ways.consistency_config import ConsistencyConfig
from fewlabels.ways.course import Time
from small_consistency import (
    NOTHING,
    PARTS,
    TRAINING,
    Heard,
    accuracy,
    coloured,
    course_of,
    learn,
    parts_with,
    unlabelled,
)


@pytest.mark.parametrize("schedule", ["steps", "rounds"])
def test_classes_of_unlabelled_images_are_learned(schedule: str):
    learned, heard = learn(coloured(), unlabelled(), parts_with(schedule=schedule))

    assert accuracy(learned, coloured(seed=7)) > 0.9
    assert not learned.facts["fell_back"]
    # a tenth of 20 are held out of each class, though 4 may be; a round learns from the surest
    assert 6 == learned.facts["n_held_out"]
    n_used = learned.facts["n_unlabeled_used"]
    assert "why_none_used" not in learned.facts
    assert 90 == n_used if schedule == "steps" else 60 <= n_used <= 81
    assert learned.head.temperature > 0
    assert not learned.graph.training
    assert "labelled images held out, right from labels alone" in heard.text


def test_an_epoch_of_steps_tells_how_much_is_learned_from():
    _, heard = learn(coloured(), unlabelled())

    records = [facts for stage, facts in heard.notes if "share_confident" in facts]
    assert [4, 8] == [facts["step"] for facts in records]
    for facts in records:
        assert 0 <= facts["share_confident"] <= 1
        assert 0.4 <= facts["threshold_min"] <= facts["threshold_max"] <= 1
        assert 0 <= facts["held_out_accuracy"] <= 1


def test_without_unlabelled_images_it_is_the_way_of_labels():
    learned, heard = learn(coloured(), NOTHING)
    first = first_layers.first_layer(coloured(seed=9), PARTS.network, None, seed=0)
    graph, head = labels.learn(
        coloured(), 3, PARTS.network, first, PARTS.labels, TRAINING, PARTS.strong,
        seed=0, precision="fp32",
    )  # fmt: skip

    assert "there are no unlabelled images" in heard.text
    assert consistency.none_used(consistency.NONE_THERE) == learned.facts
    state = learned.graph.state_dict()
    assert all(torch.equal(state[key], value) for key, value in graph.state_dict().items())
    assert head.temperature == learned.head.temperature


@pytest.mark.parametrize("n_taken_for_some", [0, 8])
def test_where_all_unlabelled_images_are_of_no_class_the_networks_of_labels_answer(
    n_taken_for_some: int, monkeypatch
):
    weights_M = (np.arange(90) < n_taken_for_some).astype(float)
    monkeypatch.setattr(usable, "in_class_weights", lambda course, images: weights_M)
    parts = parts_with(schedule="rounds", n_teachers=2, least_weight=0.5)
    learned, heard = learn(coloured(), unlabelled(), parts)
    # without a round the same networks answer
    monkeypatch.undo()
    monkeypatch.setattr(Time, "is_up", lambda time: True)
    alone, _ = learn(coloured(), unlabelled(), parts)

    assert "hardly an unlabelled image belongs to one of the classes" in heard.text
    assert consistency.none_used(consistency.NONE_FITS) == learned.facts
    assert consistency.NO_TIME == alone.facts["why_none_used"]
    assert accuracy(learned, coloured(seed=7)) > 0.6
    state = learned.graph.state_dict()
    assert all(torch.equal(state[key], value) for key, value in alone.graph.state_dict().items())
    assert alone.head.temperature == learned.head.temperature > 0


@pytest.mark.parametrize("schedule", ["steps", "rounds"])
def test_a_second_phase_that_is_on_the_disk_is_kept_however_late_it_is(
    schedule: str, monkeypatch, tmp_path: Path
):
    parts = parts_with(schedule=schedule)
    first, _ = learn(coloured(), unlabelled(), parts, folder=tmp_path)
    monkeypatch.setattr(Time, "is_up", lambda time: True)
    again, heard = learn(coloured(), unlabelled(), parts, folder=tmp_path, resume=True)

    assert "there is no time" not in heard.text
    assert first.facts == again.facts
    state = again.graph.state_dict()
    assert all(torch.equal(state[key], value) for key, value in first.graph.state_dict().items())


def test_images_of_no_class_take_no_part_and_others_have_their_weight(monkeypatch):
    weights_M = np.where(np.arange(90) % 3 == 0, 0.2, 0.75)
    monkeypatch.setattr(usable, "in_class_weights", lambda course, images: weights_M)
    seen = []
    original = steps.PseudoLabelStep.judged

    def judged(self, answers_UL, weights_U):
        seen.append(weights_U)
        return original(self, answers_UL, weights_U)

    monkeypatch.setattr(steps.PseudoLabelStep, "judged", judged)
    learned, heard = learn(coloured(), unlabelled(), parts_with(least_weight=0.5))

    assert "30 of 90 unlabelled images seem to belong to no class" in heard.text
    assert 60 == learned.facts["n_unlabeled_used"]
    assert {0.75} == set(torch.cat(seen).tolist())


def test_images_of_no_class_are_told_by_filters_from_those_like_the_labelled_ones():
    draw = np.random.default_rng(3)
    stripes = np.zeros((600, 3, 8, 8), np.uint8)
    stripes[:, :, ::2] = draw.integers(150, 250, (600, 1, 1, 1))
    others = Images(pixels=np.concatenate([unlabelled((200, 200, 200)).pixels, stripes]))
    labelled = coloured((100, 100, 100))
    course = replace(course_of(), pixels=labelled.pixels, labels=labelled.labels)

    weights_M = usable.in_class_weights(course, others)

    assert weights_M[:600].min() > weights_M[600:].max()
    assert weights_M[:600].mean() > 0.8
    assert weights_M[600:].max() < 0.01


@pytest.mark.parametrize(("n_strangers", "looks"), [(0, [30]), (1, [30, 90])])
def test_all_take_part_where_hardly_one_of_some_drawn_first_is_of_no_class(
    n_strangers: int, looks: list[int], monkeypatch
):
    monkeypatch.setattr(usable, "N_SAMPLED", 30)
    monkeypatch.setattr(usable, "NEARLY_ALL", 29.5 / 30)
    seen: list[Images] = []

    def scores(labelled: Images, others: Images, **how) -> np.ndarray:
        seen.append(others)
        return np.where(np.arange(len(others)) < n_strangers, 0.2, 0.75)

    monkeypatch.setattr(usable, "scores_by_new_filters", scores)
    some = unlabelled()
    with progress.watching(Heard()) as heard:
        weights_M = usable.in_class_weights(course_of(parts_with(least_weight=0.5)), some)

    assert looks == [len(images) for images in seen]
    assert all((some.pixels == one).all((1, 2, 3)).any() for one in seen[0].pixels)
    told = "hardly one of 30 unlabelled images seems to belong to no class" in heard.text
    assert told == (n_strangers == 0)
    assert [0.2] * n_strangers + [0.75 if n_strangers else 1.0] * (
        90 - n_strangers
    ) == pytest.approx(weights_M.tolist())


def test_few_images_let_all_unlabelled_images_take_part():
    course = course_of(parts_with(least_weight=0.5))
    labelled = coloured((30, 30, 30))
    with progress.watching(Heard()) as heard:
        usable.usable(course, unlabelled((400, 400, 400)))
        found = usable.usable(
            replace(course, pixels=labelled.pixels, labels=labelled.labels), unlabelled()
        )

    assert 2 == heard.text.count("too few or too small images to tell")
    assert 90 == len(found) and {1.0} == set(found.weights.tolist())


def test_the_share_of_images_that_may_be_of_a_class_is_known(monkeypatch):
    weights_M = np.repeat([0.9, 0.5, 0.1], 30)
    monkeypatch.setattr(usable, "in_class_weights", lambda course, images: weights_M)

    found = usable.usable(course_of(parts_with(least_weight=0.5)), unlabelled())

    assert (60, 2 / 3) == (len(found), found.share)


def test_images_smaller_than_a_filter_all_take_part():
    small = np.random.default_rng(0).integers(0, 256, (1200, 3, 5, 5), dtype=np.uint8)
    course = replace(course_of(), pixels=small[:90], labels=np.arange(90) % 3)
    with progress.watching(Heard()) as heard:
        weights_M = usable.in_class_weights(course, Images(pixels=small))

    assert 1 == heard.text.count("too few or too small images to tell")
    assert 1200 == len(weights_M) and {1.0} == set(weights_M.tolist())


@pytest.mark.parametrize("schedule", ["steps", "rounds"])
def test_one_label_per_class_is_learned_from_though_nothing_can_be_held_out(schedule: str):
    learned, heard = learn(coloured((1, 1, 1)), unlabelled(), parts_with(schedule=schedule))

    assert "too few labels to hold some out" in heard.text
    assert 0 == learned.facts["n_held_out"]
    assert not learned.facts["fell_back"]
    assert 1.0 == learned.head.temperature
    assert "accuracy_held_out" not in learned.facts


@pytest.mark.parametrize("schedule", ["steps", "rounds"])
def test_a_class_that_the_unlabelled_images_lack_is_still_told_apart(schedule: str):
    others = unlabelled((45, 45, 0))
    learned, _ = learn(coloured(), others, parts_with(schedule=schedule))

    assert not learned.facts["aligned"]
    assert accuracy(learned, coloured((0, 0, 30), seed=7)) > 0.6
    assert accuracy(learned, coloured(seed=7)) > 0.7


@pytest.mark.parametrize("schedule", ["steps", "rounds"])
def test_a_fifth_of_wrong_labels_is_outvoted(schedule: str):
    images = coloured((30, 30, 30))
    wrong = np.random.default_rng(2).permutation(90)[:18]
    labels_N = images.labels.copy()
    labels_N[wrong] = (labels_N[wrong] + 1) % 3

    learned, _ = learn(
        replace(images, labels=labels_N), unlabelled(), parts_with(schedule=schedule)
    )

    assert accuracy(learned, coloured(seed=7)) > 0.7


def test_labels_of_one_class_are_refused():
    with pytest.raises(DataError, match="at least 2 classes"):
        learn(coloured((20, 0, 0)), unlabelled())


def ruined(course, graph, *others):
    """A second phase after which every image is of the last class."""
    with torch.no_grad():
        graph.layers["linear"].weight.zero_()
    return graph


def test_a_network_that_got_worse_is_not_taken_and_a_warning_says_so(monkeypatch):
    kept = []

    def spoil(course, graph, *others):
        kept.append({key: value.clone() for key, value in graph.state_dict().items()})
        return ruined(course, copy.deepcopy(graph)), 90

    monkeypatch.setattr(steps, "train", spoil)
    learned, heard = learn(coloured(), unlabelled())

    assert learned.facts["fell_back"]
    assert learned.facts["gain_held_out"] < -learned.facts["gain_held_out_error"]
    assert "WARNING: the unlabelled images made the network worse" in heard.text
    state = learned.graph.state_dict()
    assert all(torch.equal(state[key], value) for key, value in kept[0].items())
    assert accuracy(learned, coloured(seed=7)) > 0.6
    assert learned.facts["accuracy_held_out"] > 0.4  # of the network that is kept
    assert 0 == learned.facts["n_unlabeled_used"]  # which saw none of them
    assert consistency.WORSE == learned.facts["why_none_used"]


def test_auto_aligns_only_where_the_answers_lie_as_the_labels_do():
    config, prior_L = ConsistencyConfig(balance_tolerance=0.1), torch.tensor([0.4, 0.3, 0.3])
    with progress.watching(Heard()) as heard:
        near = usable.target_shares(config, torch.tensor([0.45, 0.3, 0.25]), prior_L, prior_L)
        far = usable.target_shares(config, torch.tensor([0.6, 0.3, 0.1]), prior_L, prior_L)
        without_one = torch.tensor([0.58, 0.4, 0.02])
        low = torch.tensor([0.46, 0.37, 0.17])
        tolerant = replace(config, balance_tolerance=0.2)
        missing = usable.target_shares(tolerant, low, without_one, prior_L, n_images=70)
        # one of 18 images may be missing by chance, and none is where the mean is not low
        few = usable.target_shares(tolerant, low, without_one, prior_L, n_images=60)
        not_low = usable.target_shares(
            config, torch.tensor([0.45, 0.3, 0.25]), without_one, prior_L
        )

    assert near is few is not_low is prior_L
    assert far is None
    assert missing is without_one
    assert "of 1 of the 3 classes there is hardly an unlabelled image" in heard.said_[2]
    assert "5 % of the answers lie elsewhere, so answers are aligned" in heard.said_[0]
    assert "not shared among the classes as the labels are: 20 %" in heard.said_[1]
    on, off = (replace(config, alignment=word) for word in ("on", "off"))
    first = torch.tensor([1.0, 0, 0])
    assert usable.target_shares(on, first, first, prior_L) is prior_L
    assert usable.target_shares(off, prior_L, prior_L, prior_L) is None


@pytest.mark.parametrize("schedule", ["steps", "rounds"])
def test_a_training_that_diverges_names_its_own_settings(schedule: str, monkeypatch):
    def spoilt(*arguments, settings="training", **how):
        if settings != "training":
            graph = arguments[0]
            with torch.no_grad():
                graph.layers["linear"].weight.fill_(torch.nan)
        return train(*arguments, settings=settings, **how)

    train = course.train
    monkeypatch.setattr(course, "train", spoilt)
    name = rf"diverged: .* lower {schedule}\.learning_rate \(now 0\.1\)"
    with pytest.raises(ConfigError, match=name):
        learn(coloured(), unlabelled(), parts_with(schedule=schedule))
