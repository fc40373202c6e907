"""Learning from unlabelled images in rounds: what they learn from, who teaches, who learns."""

from dataclasses import replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from fewlabels import ensembles, progress
from fewlabels.errors import TooShortError
from fewlabels.graph import Graph
from fewlabels.training import TrainingConfig
from fewlabels.ways import consistency, rounds, starts, usable
from fewlabels.ways.course import Course
from fewlabels.ways.watching import Watch
from small_consistency import (
    PARTS,
    Heard,
    coloured,
    course_of,
    learn,
    parts_with,
    unlabelled,
)


def test_a_round_learns_from_labels_and_the_chosen_answers():
    others = usable.Usable(images=unlabelled(), weights=np.ones(90, np.float32))
    chosen = np.arange(0, 90, 2)

    answers = np.random.default_rng(0).dirichlet([1, 1, 1], 45).astype(np.float32)
    images = rounds.mixed(course_of(), others, chosen, answers, PARTS.mild)

    # 45 chosen ones and 12 labels, as 12 * 4 > 45; the pixels lie where they lay
    assert (12 + 45) == len(images)
    assert np.array_equal(np.eye(3)[course_of().labels], images.labels[:12])
    assert np.array_equal(answers, images.labels[12:])
    assert np.array_equal(images.pixels[np.arange(12, 57)], others.images.pixels[chosen])
    few = rounds.mixed(
        course_of(parts_with(unlabelled_ratio=1)), others, chosen, answers, PARTS.mild
    )
    assert 4 * 12 + 45 == len(few)  # labels again, until there is one for each other


def test_rounds_keep_a_balanced_share():
    _, heard = learn(
        coloured(), unlabelled((60, 15, 15)), parts_with(schedule="rounds", round_share=0.5)
    )

    shares = [facts["share"] for stage, facts in heard.notes if stage == "round"]
    # of 90 at most 45, of the smaller classes no more than there are
    assert 2 == len(shares)
    assert all(15 / 90 <= share <= 45 / 90 for share in shares)


def test_several_networks_of_labels_are_the_baseline_and_teach_the_first_round(
    tmp_path, monkeypatch
):
    answered, learned, answers, joined = [], [], Course.answers, ensembles.joined

    def heard(course, graph, *a, **k):
        answered.append(graph)
        return answers(course, graph, *a, **k)

    monkeypatch.setattr(Course, "answers", heard)
    monkeypatch.setattr(
        ensembles, "joined", lambda graphs, *a: learned.append(graphs) or joined(graphs, *a)
    )
    parts = parts_with(schedule="rounds", n_teachers=3, n_students=2)
    learn(coloured(), unlabelled(), parts, folder=tmp_path)

    # whether answers are to be aligned, and then each of the two rounds
    looked_at, first, second = answered
    # in the end with their teachers too, to see which are better
    assert [3, 2, 2, 2, 3, 5] == [len(graphs) for graphs in learned] and looked_at is first
    assert "network3_linear" not in first.layers and "network3_flat" in first.layers
    assert "network2_flat" in second.layers and "network3_flat" not in second.layers
    names = {"labels", "labels-2", "labels-3", "round-1", "round-1-2", "round-2", "round-2-2"}
    assert names == {path.name for path in tmp_path.iterdir()}


class Training(NamedTuple):
    name: str
    graph: Graph
    examples: Any
    config: TrainingConfig
    seconds: float


def trained_by(monkeypatch, seconds_of_one: float | None = None, too_short: str = ""):
    """What each training of rounds is given, which takes so many seconds, or those it has.

    too_short : the training whose first step takes longer than its time
    """
    seen = []

    def train(course, name, graph, examples, config, seconds, *a, **k):
        seen.append(Training(name, graph, examples, config, seconds))
        if name == too_short:
            with torch.no_grad():
                graph.layers["linear"].weight.zero_()
            raise TooShortError("too short for one step")
        course.time.before += seconds if seconds_of_one is None else seconds_of_one

    monkeypatch.setattr(Course, "train", train)
    return seen


def rounds_of(parts, budget: float, share: float = 1.0):
    others = usable.Usable(images=unlabelled(), weights=np.ones(90, np.float32), share=share)
    course = course_of(parts, budget=budget)
    course.first = starts.first_layer(coloured(seed=9), parts, seed=0)
    watch = Watch(held=coloured((2, 2, 2)), flips=True, device="cpu")
    return rounds.train(course, course.new_network(), others, torch.full((3,), 1 / 3), None, watch)


def test_students_share_the_time_of_the_rounds_and_see_unlike_images(monkeypatch):
    seen = trained_by(monkeypatch)
    parts = parts_with(schedule="rounds", n_rounds=3, n_students=3, least_threshold=0.0)
    parts = replace(parts, mild=replace(parts.mild, tones=0.2))

    students, _ = rounds_of(parts, budget=1200.0)

    ends = ("", "-2", "-3")
    names = [f"round-{number}{end}" for number in (1, 2, 3) for end in ends]
    assert names == [one.name for one in seen]
    # of 12 parts each of the first three has 2, each of the others 1
    assert 3 * [200.0] + 6 * [100.0] == pytest.approx([one.seconds for one in seen], abs=10.0)
    assert 3 * [0.0, 0.2, 0.2] == [one.examples.examples.augmentation.tones for one in seen]
    assert 9 == len({one.examples.examples.seed for one in seen})
    assert 3 * [False, True, False] == ["gray" in one.graph.nodes for one in seen]
    assert [one.graph for one in seen[:3]] == students
    weights = [one.graph.layers["linear"].weight for one in seen[:3]]
    assert not any(torch.equal(one, two) for one, two in combinations(weights, 2))


@pytest.mark.parametrize("sure", [0.0, 0.34, 0.36, 1.0])
def test_images_whose_answers_are_sure_take_turns_and_labelled_ones_do_not(sure, monkeypatch):
    seen = trained_by(monkeypatch)
    parts = parts_with(
        schedule="rounds", n_rounds=1, n_students=1, least_threshold=0.0, sure=sure, sure_turns=3
    )

    rounds_of(parts, budget=1200.0)

    (one,) = seen
    answers = one.examples.examples.labels
    n_labelled = int((answers.max(1) == 1).sum())  # no answer of a new network is so sure
    assert 0 < n_labelled < len(answers) and 3 == one.examples.n_turns
    sure_ones = [i for i in range(n_labelled, len(answers)) if answers[i].max() >= sure]
    assert sure_ones == one.examples.seldom.tolist()
    assert {0.0: len(answers) - n_labelled, 1.0: 0}.get(sure, len(sure_ones)) == len(sure_ones)


def test_students_of_later_rounds_go_on_with_what_they_know_at_lower_rates(monkeypatch):
    seen = trained_by(monkeypatch)
    parts = parts_with(
        schedule="rounds", n_rounds=2, n_students=2, least_threshold=0.0, later_rate=0.5
    )
    parts = replace(parts, rounds=replace(parts.rounds, small_part=0.4, bias_learning_rate=0.2))

    rounds_of(parts, budget=1200.0)

    (first, second), later = seen[:2], seen[2:]
    assert [first.graph, second.graph] == [one.graph for one in later]
    assert 2 * [parts.rounds] == [first.config, second.config]
    half = {"learning_rate": 0.05, "head_learning_rate": 0.15, "bias_learning_rate": 0.1}
    gentle = replace(parts.rounds, small_part=0.0, **half)
    assert 2 * [gentle] == [one.config for one in later]


@pytest.mark.parametrize(
    ("n_students", "share", "n_rounds"), [(2, 1.0, 3), (2, 0.91, 3), (2, 0.89, 1), (1, 1.0, 1)]
)
def test_students_learn_once_where_nobody_or_images_of_no_class_would_teach_them_again(
    n_students, share, n_rounds, monkeypatch
):
    seen = trained_by(monkeypatch)
    parts = parts_with(schedule="rounds", n_rounds=3, n_students=n_students, least_threshold=0.0)

    rounds_of(parts, 1200.0, share)

    assert n_rounds * n_students == len(seen)
    assert 1200.0 == pytest.approx(sum(one.seconds for one in seen), abs=20.0)


@pytest.mark.parametrize(
    ("seconds", "answering", "n_rounds"),
    [
        (None, 10.0, 4),  # any time
        # 6 times the answers for the first round, 4 times for each that follows
        (60.0, 10.0, 1),
        (99.0, 10.0, 1),
        (101.0, 10.0, 2),
        (141.0, 10.0, 3),
        (1e6, 10.0, 4),  # no more than told
        (1e-3, 10.0, 1),
        (100.0, 0.0, 4),
    ],
)
def test_as_many_rounds_as_are_worth_the_time_of_their_answers(seconds, answering, n_rounds):
    assert n_rounds == rounds.rounds_worth(seconds, answering, 4)


def test_students_of_a_later_round_that_there_is_no_time_for_stay_as_they_were(monkeypatch):
    seen = trained_by(monkeypatch, seconds_of_one=100.0)
    parts = parts_with(schedule="rounds", n_rounds=2, n_students=2, least_threshold=0.0)

    with progress.watching(Heard()) as heard:
        students, _ = rounds_of(parts, budget=300.0)

    assert ["round-1", "round-1-2", "round-2"] == [one.name for one in seen]
    assert "round 2 has 1 of 2 networks" in heard.text
    assert [one.graph for one in seen[:2]] == students


def test_students_that_there_is_no_time_for_are_left_out(monkeypatch):
    seen = trained_by(monkeypatch, seconds_of_one=50.0)
    parts = parts_with(schedule="rounds", n_rounds=1, n_students=3, least_threshold=0.0)

    with progress.watching(Heard()) as heard:
        students, _ = rounds_of(parts, budget=100.0)

    assert "round 1 has 2 of 3 networks" in heard.text
    assert ["round-1", "round-1-2"] == [one.name for one in seen]
    assert [one.graph for one in seen] == students


@pytest.mark.parametrize(
    ("too_short", "n_networks", "names"),
    [
        ("round-1", 0, ["round-1"]),
        ("round-1-2", 1, ["round-1", "round-1-2", "round-2"]),
        ("round-2-2", 2, ["round-1", "round-1-2", "round-2", "round-2-2"]),
    ],
)
def test_a_student_without_time_for_a_step_takes_nothing_from_what_was_learned(
    too_short, n_networks, names, monkeypatch
):
    seen = trained_by(monkeypatch, too_short=too_short)
    parts = parts_with(schedule="rounds", n_rounds=2, n_students=2, least_threshold=0.0)

    with progress.watching(Heard()) as heard:
        students, n_used = rounds_of(parts, budget=300.0)

    assert names == [one.name for one in seen]
    number, n_learned = ("1", n_networks) if "round-1" in too_short else ("2", 1)
    assert f"round {number} has {n_learned} of 2 networks" in heard.text
    assert (n_used == 0) == (n_networks == 0)
    # none, one or both, and none was spoiled
    kept = [seen[names.index(name)].graph for name in ("round-1", "round-1-2")[:n_networks]]
    assert kept == students
    assert all(one.layers["linear"].weight.abs().sum() > 0 for one in students)


def test_rounds_that_had_begun_before_a_break_are_gone_on_with(monkeypatch):
    seen = trained_by(monkeypatch)
    monkeypatch.setattr(rounds, "rounds_worth", lambda *a: 1)  # the answers took longer than before
    monkeypatch.setattr(Course, "has_begun", lambda course, name: name in ("round-1", "round-2"))

    rounds_of(parts_with(schedule="rounds", n_rounds=3, n_students=2, least_threshold=0.0), 300.0)

    assert ["round-1", "round-1-2", "round-2", "round-2-2"] == [one.name for one in seen]


def test_teachers_share_the_time_of_the_labels_and_see_other_changes(monkeypatch):
    seen = []

    def train(course, name, graph, examples, config, seconds, *a, **k):
        seen.append(Training(name, graph, examples, config, seconds))

    monkeypatch.setattr(Course, "train", train)
    parts = parts_with(schedule="rounds", n_teachers=3, labels_part=0.6, labels_epochs=7)
    parts = replace(parts, strong=replace(parts.strong, tones=0.2))
    course = course_of(parts, budget=100.0)
    course.first = starts.first_layer(coloured(seed=9), parts, seed=0)
    consistency._alone(course)

    assert ["labels", "labels-2", "labels-3"] == [one.name for one in seen]
    assert [20.0] * 3 == pytest.approx([one.seconds for one in seen])
    assert [7] * 3 == [one.config.most_epochs for one in seen]
    assert [0.0, 0.2, 0.2] == [one.examples.augmentation.tones for one in seen]
    assert [False, True, False] == ["gray" in one.graph.nodes for one in seen]
    assert 3 == len({one.examples.seed for one in seen})


def test_few_labels_are_seen_as_often_as_makes_the_least_steps(monkeypatch):
    seen = trained_by(monkeypatch)
    parts = parts_with(schedule="rounds", n_teachers=1, labels_epochs=7)
    parts = replace(parts, training=replace(parts.training, least_steps=10, batch_size=16))
    course = course_of(parts, budget=100.0)
    course.first = starts.first_layer(coloured(seed=9), parts, seed=0)

    consistency._alone(course)

    assert [14] == [one.config.most_epochs for one in seen]  # 12 labels, 10 * 16 = 13.3 * 12


def test_a_round_that_the_answers_left_no_time_for_is_left_out(monkeypatch):
    answers = Course.answers

    def slow(course, graph, images, what, **k):
        found = answers(course, graph, images, what, **k)
        if len(images) == 90:  # all of them, for a round
            course.time.before += 1e6
        return found

    monkeypatch.setattr(Course, "answers", slow)
    monkeypatch.setattr(usable, "N_LOOKED_AT", 50)
    parts = parts_with(schedule="rounds", n_teachers=1)
    none = {name: replace(getattr(parts, name), epochs=0) for name in ("training", "rounds")}
    learned, heard = learn(coloured(), unlabelled(), replace(parts, **none), budget_seconds=8.0)

    assert "there is no time for round 1: raise --budget" in heard.text
    assert 0 == learned.facts["n_unlabeled_used"]


def test_offsets_are_how_much_more_often_a_class_is_seen_than_it_is_to_be_answered():
    answers = np.array([[1, 0], [1, 0], [0.5, 0.5], [0, 1]], np.float32)

    # by half as much: 1 + 0.5 + 0.25 and 0.25 + 1 of 3, against a quarter and three
    found = rounds.offsets(answers, np.array([1, 2]), 2, torch.tensor([0.25, 0.75]))
    assert [1.75 / 3 / 0.25, 1.25 / 3 / 0.75] == pytest.approx(found.exp().tolist())


@pytest.mark.parametrize(("target", "n_offsets"), [("prior", 0), ("likely", 2), (None, 2)])
def test_students_who_see_other_shares_learn_to_answer_for_those_of_the_labels(
    target, n_offsets, monkeypatch
):
    seen, prior_L = [], torch.full((3,), 1 / 3)
    usual = rounds.cross_entropy

    def cross_entropy(**how):
        seen.append(how["offsets_L"])
        return usual(**how)

    monkeypatch.setattr(rounds, "cross_entropy", cross_entropy)
    parts = parts_with(schedule="rounds", n_rounds=1, n_students=2, least_threshold=0.0)
    course = course_of(parts)
    course.first = starts.first_layer(coloured(seed=9), parts, seed=0)
    others = usable.Usable(images=unlabelled((45, 45, 0)), weights=np.ones(90, np.float32))
    watch = Watch(held=coloured((2, 2, 2)), flips=True, device="cpu")
    targets = {"prior": prior_L, "likely": torch.tensor([0.5, 0.5, 0.0]), None: None}

    rounds.train(course, course.new_network(), others, prior_L, targets[target], watch)

    assert n_offsets == sum(one is not None for one in seen)
    if target == "likely":  # no answer is the third class, and a fifth of what is seen is labelled
        assert all(one[2] < -0.5 < one[0] for one in seen)


def test_rounds_end_where_no_answer_is_sure():
    parts = parts_with(schedule="rounds", thresholds="fixed", threshold=1.0)
    learned, heard = learn(coloured(), unlabelled(), parts)

    assert "round 1: hardly an answer to an unlabelled image is sure: the end" in heard.text
    assert 0 == learned.facts["gain_held_out"] == learned.facts["n_unlabeled_used"]


@pytest.mark.parametrize(("n_sure", "n_trained"), [(8, 0), (9, 1)])
def test_a_round_of_hardly_any_sure_answers_is_not_begun(n_sure, n_trained, monkeypatch):
    seen = trained_by(monkeypatch)
    answers_ML = torch.full((90, 3), 1 / 3)
    answers_ML[:n_sure] = torch.eye(3)[torch.arange(n_sure) % 3]
    monkeypatch.setattr(Course, "answers", lambda *arguments, **how: answers_ML)
    parts = parts_with(schedule="rounds", n_rounds=1, n_students=1, round_share=0.99)

    _, n_used = rounds_of(parts, budget=100.0)

    assert (n_trained, n_trained * n_sure) == (len(seen), n_used)
