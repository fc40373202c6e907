"""The fourth way to fill a network: from labels, and from its own answers on unlabelled images.

Networks of labels alone come first, one or several that answer together. They are what the way
starts from, and the baseline: labelled images that none learned from tell whether the result is
worse, and then it is not taken.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fewlabels import ensembles, origins
from fewlabels.architectures import FirstLayer
from fewlabels.graph import Graph
from fewlabels.heads import Head
from fewlabels.images import Images
from fewlabels.progress import say
from fewlabels.training import Measure
from fewlabels.ways import labels as labels_way
from fewlabels.ways import pseudo_labels, rounds, starts, steps
from fewlabels.ways.consistency_config import ConsistencyParts
from fewlabels.ways.course import Course, Time
from fewlabels.ways.usable import answers_to_some, target_shares, usable
from fewlabels.ways.watching import Watch, difference, is_worse

LABELS_ALONE = "labels-alone"  # the training that has all of the time
# Where fewer of the unlabelled images than this seem to be of a class, these are taken for it by
# mistake: where all were strangers it was 0.03 of them, and 12 points were lost to them ("Odd sets"
# in docs/accuracy.md).
LEAST_SHARE = 0.1
# why what the labels alone taught answers
NONE_THERE = "there are none"
NONE_FITS = "hardly one of them seems to belong to one of the classes"
WORSE = "with them fewer of the labelled images held out were answered rightly"
NO_TIME = "no time was left for them, or no answer to one was sure enough"


@dataclass(frozen=True, kw_only=True, eq=False)
class Learned:
    """A network that ends in logits, its head, and what should be known of how it learned.

    facts : "fell_back", whether the unlabelled images were of no use; "n_unlabeled_used", and
        "why_none_used" where that is 0; where labels could be held out "n_held_out",
        "accuracy_held_out" of the network, and, in parts of 1, "gain_held_out" over the baseline
        with its standard error; "aligned"
    """

    graph: Graph
    head: Head
    facts: Mapping[str, Any]


def learn(
    labelled: Images,
    unlabelled: Images,
    n_classes: int,
    parts: ConsistencyParts,
    first: FirstLayer | None,
    *,
    seed: int,
    device: str = "cpu",
    precision: str = "auto",
    budget_seconds: float | None = None,
    folder: Path | None = None,
    resume: bool = False,
    measure: Measure | None = None,
    made_from: Mapping[str, str] | None = None,
) -> Learned:
    """Learn from labels and from unlabelled images, none of which is among the labelled ones.

    Parameters
    ----------
    first : as `starts.first_layer` gives it
    budget_seconds : for all of this
    folder, resume, measure : see `training.train`; each training has a folder of its own in it
    made_from : digests of what `first` was learned from, see `training.train`

    Raises DataError if the labels are of fewer than two classes, and what `train` raises.
    """
    assert labelled.labels is not None, "labelled images have labels"
    config = parts.consistency
    held = labels_way.held_out(labelled.labels, config.held_out, seed, config.most_held_out)
    kept = np.setdiff1d(np.arange(len(labelled)), held)
    made_from = {
        "labelled images": origins.of_images(labelled.pixels),
        "labels": origins.of_labels(labelled.labels),
        "unlabelled images": origins.of_images(unlabelled.pixels),
        "settings": origins.of_settings(parts),
        "--budget": "none" if budget_seconds is None else f"{budget_seconds:g}",
        **(made_from or {}),
    }
    watch = Watch(held=labelled.take(held), flips=parts.labels.flips, device=device)
    course = Course(
        pixels=np.asarray(labelled.pixels[kept]),
        labels=labelled.labels[kept],
        n_classes=n_classes,
        parts=parts,
        first=first,
        folder=folder,
        how={"seed": seed, "device": device, "precision": precision, "resume": resume}
        | {"made_from": made_from},
        measure=watch.measure(measure),
        time=Time(budget_seconds, device),
        body={},
    )
    if not len(unlabelled):
        say("there are no unlabelled images: the network learns from the labels alone")
        return _labels_alone(course, labelled, measure)
    if not len(held):
        say(
            "too few labels to hold some out: nothing watches that the unlabelled images do not "
            "make the network worse"
        )
    course.body = starts.body(course, unlabelled)
    teachers = _alone(course)
    baseline = ensembles.joined(teachers)
    if course.is_too_late_for("steps" if config.schedule == "steps" else "round-1"):
        say(steps.NO_TIME)  # nor to look which of them are of the classes
        return _with_head(baseline, watch, n_classes, none_used(NO_TIME))
    found = usable(course, unlabelled)
    if found.share < LEAST_SHARE:
        say(
            "hardly an unlabelled image belongs to one of the classes: what the labels taught is "
            "kept"
        )
        return _with_head(baseline, watch, n_classes, none_used(NONE_FITS))
    prior_L = pseudo_labels.class_shares(torch.from_numpy(labelled.labels), n_classes)
    answers_ML, weights_M = answers_to_some(course, baseline, found)
    mean_L = pseudo_labels.weighted_mean(answers_ML, weights_M)
    temperature = watch.temperature(baseline, labels_way.USUAL_ALONE)
    sure_ML = pseudo_labels.sharpened(answers_ML, temperature)
    target_L = target_shares(
        config,
        pseudo_labels.weighted_mean(sure_ML, weights_M),
        pseudo_labels.likely_shares(sure_ML, weights_M, prior_L),
        prior_L,
        float(weights_M.sum()),
    )
    if config.schedule == "steps":
        step = steps.PseudoLabelStep(
            config,
            prior_L=prior_L if target_L is None else target_L,
            answered_L=mean_L,
            aligns=target_L is not None,
            label_smoothing=parts.steps.label_smoothing,
        )
        graph, n_used = steps.train(course, baseline, found, step)
    else:
        students, n_used = rounds.train(course, baseline, found, prior_L, target_L, watch)
        graph = beside_teachers(teachers, students, config.teachers_part, watch)
    graph, facts = better(baseline, graph, watch)
    facts |= {
        "aligned": target_L is prior_L,
        "n_unlabeled_used": 0 if facts["fell_back"] else n_used,
    }
    if facts["n_unlabeled_used"] == 0:
        facts |= {"fell_back": True, "why_none_used": WORSE if facts["fell_back"] else NO_TIME}
    return _with_head(graph, watch, n_classes, facts)


def _alone(course: Course) -> list[Graph]:
    """Networks of the labels alone."""
    parts, graphs = course.parts, []
    training, config = parts.training, parts.consistency
    # batches of a few labels are small: they are seen as often as `least_steps` full ones show
    least = math.ceil(training.least_steps * training.batch_size / len(course.labels))
    training = replace(training, most_epochs=max(config.labels_epochs, least))
    for number, member in enumerate(ensembles.members(parts.strong, config.n_alone)):
        graph = member.network(course.new_network(number))
        course.train(
            "labels" if number == 0 else f"labels-{number + 1}",
            graph,
            course.examples(course.pixels, course.labels, member.changes, number),
            training,
            course.time.part(config.labels_part / config.n_alone),
        )
        graphs.append(graph)
    return graphs


def _labels_alone(course: Course, labelled: Images, measure: Measure | None) -> Learned:
    """The recipe `labels` in all of the time."""
    graph, head = labels_way.learn(
        labelled,
        course.n_classes,
        course.parts.network,
        course.first,
        course.parts.labels,
        course.parts.training,
        course.parts.strong,
        filters_config=course.parts.filters,
        **course.how,
        budget_seconds=course.time_for(LABELS_ALONE),
        folder=course.folder_of(LABELS_ALONE),
        measure=measure,
    )
    return Learned(graph=graph, head=head, facts=none_used(NONE_THERE))


def none_used(why: str) -> dict[str, Any]:
    """The facts where the unlabelled images were of no use from the start."""
    return {"fell_back": True, "n_unlabeled_used": 0, "why_none_used": why}


def _with_head(graph: Graph, watch: Watch, n_classes: int, facts: Mapping[str, Any]) -> Learned:
    alone = facts["n_unlabeled_used"] == 0
    usual = labels_way.USUAL_ALONE if alone else labels_way.USUAL_OF_ANSWERS
    head = labels_way.head_of(
        graph, watch.held, n_classes, usual, flips=watch.flips, device=watch.device
    )
    return Learned(graph=graph, head=head, facts=facts)


def beside_teachers(
    teachers: Sequence[Graph], students: Sequence[Graph], part: float, watch: Watch
) -> Graph:
    """The students as one, with their teachers where labels held out are likelier so.

    What students of a few epochs do not know yet their teachers may, and they err on other images
    ("Teachers beside their students" in docs/accuracy.md). Where there are no students, or none
    is held out, those that there are.

    Parameters
    ----------
    part : of the logits, over their temperatures, what is the teachers'
    """
    if not students:
        return ensembles.joined(teachers)
    alone = ensembles.joined(students)
    if not part or not len(watch.held):
        return alone
    usual = labels_way.USUAL_OF_ANSWERS
    theirs = watch.temperature(ensembles.joined(teachers), labels_way.USUAL_ALONE)
    of_each_teacher = part / theirs / len(teachers)
    of_each_student = (1 - part) / watch.temperature(alone, usual) / len(students)
    weights = [of_each_teacher] * len(teachers) + [of_each_student] * len(students)
    both = ensembles.joined([*teachers, *students], weights)
    if watch.loss(both, usual) >= watch.loss(alone, usual):
        return alone
    say("the networks of labels alone answer too: labels held out are likelier so")
    return both


def better(baseline: Graph, graph: Graph, watch: Watch) -> tuple[Graph, dict[str, Any]]:
    """The graph, or the baseline where the graph is worse on what was held out; and the facts."""
    before_N, after_N = watch.right(baseline), watch.right(graph)
    fell_back = is_worse(before_N, after_N)
    facts: dict[str, Any] = {"fell_back": fell_back, "n_held_out": len(before_N)}
    if len(before_N):
        change, error = difference(before_N, after_N)
        kept_N = before_N if fell_back else after_N
        facts |= {"accuracy_held_out": float(kept_N.mean())}
        facts |= {"gain_held_out": change, "gain_held_out_error": error}
        say(
            f"of {len(before_N):,} labelled images held out, right from labels alone: "
            f"{100 * before_N.mean():.1f} %; with unlabelled images: {100 * after_N.mean():.1f} %"
        )
    if fell_back:
        say(
            "WARNING: the unlabelled images made the network worse on the labelled images held "
            "out, so what the labels alone taught is kept"
        )
        return baseline, facts
    return graph, facts
