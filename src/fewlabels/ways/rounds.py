"""The schedule *rounds*: new networks learn from labels and the surest answers of the last ones.

Several networks that learned the labels alone answer first, together, as they err on different
images. New ones learn from the answers as they are, as sure as they are right; of their classes
alone they learned no more than the last ones knew. They see each of many images a few times only,
and learn most where these are changed less than the few labelled ones are (docs/accuracy.md).

Shapes: M unlabelled images, C of them chosen, L classes.
Source: Lee, ICML workshop 2013 (pseudo-labels); Xie et al., Noisy Student, CVPR 2020 (a new
network, strong augmentation, classes balanced, soft answers); Guo et al., ICML 2017 (the
temperature).
"""

import numpy as np
import torch
from torch import Tensor

from fewlabels import ensembles
from fewlabels.augment import Augmentation
from fewlabels.graph import Graph
from fewlabels.joined import Joined
from fewlabels.progress import note, say, stage
from fewlabels.training import cross_entropy
from fewlabels.ways import pseudo_labels
from fewlabels.ways.course import Course
from fewlabels.ways.labels import USUAL_ALONE, USUAL_OF_ANSWERS, LabelledImages
from fewlabels.ways.usable import Usable
from fewlabels.ways.watching import Watch

STAGE = "round"
# most of what is learned are answers, not labels: to agree with them is not to be right
AGREEMENT = cross_entropy(accuracy="accuracy_answers")


def train(
    course: Course,
    baseline: Graph,
    usable: Usable,
    prior_L: Tensor,
    aligns: bool,
    watch: Watch,
) -> tuple[Graph, int]:
    """The networks, as one, of the last round that there were time and confident answers for.

    Beside them stands how many unlabelled images they learned from; where there was no such round,
    the baseline. A round learns from more answers than the one before, up to `round_share` of the
    images.
    """
    config, graph, n_used = course.parts.consistency, baseline, 0
    for number in range(1, config.n_rounds + 1):
        name = f"round-{number}"
        if _is_too_late(course, name, number):
            return graph, n_used
        answers_ML = course.answers(
            graph,
            usable.images,
            "answers to unlabelled images",
            flips=course.parts.labels.flips,
            temperature=watch.temperature(graph, USUAL_ALONE if number == 1 else USUAL_OF_ANSWERS),
        )
        if _is_too_late(course, name, number):  # answers of several networks take their time
            return graph, n_used
        weights_M = torch.from_numpy(usable.weights)
        if aligns:
            mean_L = pseudo_labels.weighted_mean(answers_ML, weights_M)
            answers_ML = pseudo_labels.aligned(answers_ML, mean_L, prior_L)
        n_most = round(config.round_share * number / config.n_rounds * len(usable))
        classes_M, sure_M = _sure(course, answers_ML, weights_M)
        chosen = pseudo_labels.balanced_choice(classes_M, sure_M, n_most, prior_L).numpy()
        with stage(STAGE, total=1):
            note(STAGE, round=number, n_chosen=len(chosen), share=len(chosen) / len(usable))
            if not len(chosen):
                say(f"round {number}: no answer to an unlabelled image is sure enough: the end")
                return graph, n_used
            graph = ensembles.joined(
                _students(course, usable, chosen, answers_ML.numpy()[chosen], number)
            )
        n_used = len(chosen)
    return graph, n_used


def _students(
    course: Course, usable: Usable, chosen: np.ndarray, answers_CL: np.ndarray, number: int
) -> list[Graph]:
    """Networks that learned from labels and from answers in round `number`, as time allows."""
    config = course.parts.consistency
    graphs: list[Graph] = []
    for student, member in enumerate(ensembles.members(course.parts.mild, config.n_students)):
        name = f"round-{number}" + (f"-{student + 1}" if student else "")
        if graphs and course.is_too_late_for(name):
            say(
                f"round {number} has {student} of {config.n_students} networks, as there is no "
                "time for more: raise --budget or lower consistency.n_students"
            )
            return graphs
        drawn = config.n_alone + (number - 1) * config.n_students + student
        graph = member.network(course.new_network(drawn))
        course.train(
            name,
            graph,
            mixed(course, usable, chosen, answers_CL, member.changes, student),
            course.parts.rounds,
            course.time_for(name, (config.n_rounds - number + 1) * config.n_students - student),
            AGREEMENT,
        )
        graphs.append(graph)
    return graphs


def _is_too_late(course: Course, name: str, number: int) -> bool:
    too_late = course.is_too_late_for(name)
    if too_late:
        say(f"there is no time for round {number}: raise --budget")
    return too_late


def _sure(course: Course, answers_ML: Tensor, weights_M: Tensor) -> tuple[Tensor, Tensor]:
    """The class of each answer, and how sure it is, 0 where that is too little to learn from.

    The threshold is low, as an unsure answer pulls little; `balanced_choice` sees to the classes.
    """
    config = course.parts.consistency
    fixed = config.thresholds == "fixed"
    threshold = config.threshold if fixed else config.least_threshold
    thresholds_L = torch.full((course.n_classes,), threshold)
    classes_M, confident_M = pseudo_labels.confident(answers_ML, thresholds_L)
    return classes_M, answers_ML.amax(1) * weights_M * confident_M


def mixed(
    course: Course,
    usable: Usable,
    chosen: np.ndarray,
    answers_CL: np.ndarray,
    changes: Augmentation,
    number: int = 0,
) -> LabelledImages:
    """Labelled images and the chosen others, whose pixels are read when they are shown.

    Labelled images are repeated until there is one for `unlabelled_ratio` others.

    Parameters
    ----------
    chosen : int64 indices (C,) into the usable images; answers_CL : float32, what they are
    changes : of the images; another number draws others
    """
    n_labelled = len(course.labels)
    wanted = -(-len(chosen) // course.parts.consistency.unlabelled_ratio)
    n_times = max(1, -(-wanted // n_labelled))
    repeated = np.tile(np.arange(n_labelled), n_times)
    pixels = Joined(
        [course.pixels, usable.images.pixels], np.concatenate([repeated, n_labelled + chosen])
    )
    known_NL = np.eye(course.n_classes, dtype=np.float32)[course.labels[repeated]]
    return course.examples(pixels, np.concatenate([known_NL, answers_CL]), changes, number)
