"""The schedule *rounds*: new networks learn from labels and the surest answers of the last ones.

Several networks that learned the labels alone answer first, together, as they err on different
images. New ones learn from the answers as they are, as sure as they are right; of their classes
alone they learned no more than the last ones knew. They see each of many images a few times only,
the surest ones in every second epoch, and learn most where these are changed less than the few
labelled ones are. What they answer together, each then goes on to learn (docs/accuracy.md).

Shapes: M unlabelled images, C of them chosen, L classes.
Source: Lee, ICML workshop 2013 (pseudo-labels); Xie et al., Noisy Student, CVPR 2020 (a new
network, strong augmentation, classes balanced, soft answers); Guo et al., ICML 2017 (the
temperature).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fewlabels import ensembles
from fewlabels.augment import Augmentation
from fewlabels.batches import InTurns
from fewlabels.graph import Graph
from fewlabels.joined import Joined
from fewlabels.progress import note, say, stage
from fewlabels.training import TrainingConfig, cross_entropy
from fewlabels.ways import pseudo_labels
from fewlabels.ways.course import Course, now
from fewlabels.ways.labels import USUAL_ALONE, USUAL_OF_ANSWERS, LabelledImages
from fewlabels.ways.usable import Usable
from fewlabels.ways.watching import Watch

STAGE = "round"
# The first round is as long as so many later ones, whose networks know something already.
FIRST = 2.0
# ... which pay where they learn so many times as long as it takes to answer (docs/accuracy.md).
LEARNING = 3.0
# Where fewer of the unlabelled images than this are of a class, others pass for some: they teach
# wrong answers once, and would teach them more surely with every round (docs/accuracy.md).
OF_CLASSES = 0.9
# Where fewer of the answers than this are sure enough, whoever gave them knows little: with one
# label of each class 0.01 of them were, and taught less than nothing ("Odd sets", there too).
LEAST_SURE = 0.1
# most of what is learned are answers, not labels: to agree with them is not to be right
AGREEMENT = "accuracy_answers"


def train(
    course: Course,
    baseline: Graph,
    usable: Usable,
    prior_L: Tensor,
    target_L: Tensor | None,
    watch: Watch,
) -> tuple[list[Graph], int]:
    """The networks of the last round that there were time and confident answers for; else none.

    Beside them stands how many unlabelled images they learned from.

    prior_L : shares of the classes among the labels; target_L : as of `usable.target_shares`
    """
    config, graph, n_used = course.parts.consistency, baseline, 0
    students: list[Graph] = []
    # a student alone has nobody to learn from in a second round
    again = config.n_students > 1 and usable.share >= OF_CLASSES
    number, n_rounds = 1, config.n_rounds if again else 1
    while number <= n_rounds:
        name, began = f"round-{number}", now()
        if _is_too_late(course, name, number):
            return students, n_used
        answers_ML = course.answers(
            graph,
            usable.images,
            "answers to unlabelled images",
            flips=course.parts.labels.flips,
            temperature=watch.temperature(graph, USUAL_OF_ANSWERS if students else USUAL_ALONE),
        )
        if _is_too_late(course, name, number):  # answers of several networks take their time
            return students, n_used
        if number == 1:
            answering = course.time.agreed(now() - began)
            n_rounds = max(
                rounds_worth(course.time.left(), answering, n_rounds),
                *(n for n in range(1, n_rounds + 1) if course.has_begun(f"round-{n}")),
                1,
            )
        weights_M = torch.from_numpy(usable.weights)
        if target_L is not None:
            mean_L = pseudo_labels.weighted_mean(answers_ML, weights_M)
            answers_ML = pseudo_labels.aligned(answers_ML, mean_L, target_L)
        n_most = round(config.round_share * len(usable))
        classes_M, sure_M = _sure(course, answers_ML, weights_M)
        shares_L = prior_L if target_L is None else target_L
        chosen = pseudo_labels.balanced_choice(classes_M, sure_M, n_most, shares_L).numpy()
        with stage(STAGE, total=1):
            note(STAGE, round=number, n_chosen=len(chosen), share=len(chosen) / len(usable))
            if len(chosen) < max(1, LEAST_SURE * n_most):
                say(f"round {number}: hardly an answer to an unlabelled image is sure: the end")
                return students, n_used
            taught = Taught(number, n_rounds - number, chosen, answers_ML.numpy()[chosen])
            shifted_L = None if target_L is prior_L else prior_L
            students = _learn(course, usable, taught, students, shifted_L)
            if not students:
                return students, n_used
            graph = ensembles.joined(students)
        n_used = len(chosen)
        number += 1
    return students, n_used


def rounds_worth(seconds: float | None, answering: float, n_most: int) -> int:
    """Of so many rounds those in which the students learn `LEARNING` times as long as they answer.

    Parameters
    ----------
    seconds : that are left for all of them; None for any time
    answering : seconds that the answers to all images take
    """
    if seconds is None:
        return n_most
    # n - 1 rounds answer once more, and FIRST + n - 1 parts are learned in
    n_later = (seconds - FIRST * LEARNING * answering) / max((LEARNING + 1) * answering, 1e-9)
    return min(n_most, 1 + max(0, int(n_later)))


@dataclass(frozen=True, eq=False)
class Taught:
    """What a round learns from: indices (C,) into the usable images, and answers (C, L).

    number : of the round, from 1; n_later : rounds after it
    """

    number: int
    n_later: int
    chosen: np.ndarray
    answers_CL: np.ndarray


def _learn(
    course: Course,
    usable: Usable,
    taught: Taught,
    before: Sequence[Graph],
    prior_L: Tensor | None,
) -> list[Graph]:
    """Networks that learned from labels and from answers, as time allows.

    New ones in the first round, or none; later those of the round before, of which some may stay as
    they were.

    prior_L : shares of the classes where the networks are to answer, if they see others here
    """
    config, training, number = course.parts.consistency, course.parts.rounds, taught.number
    n_students, graphs = len(before) or config.n_students, list(before)
    if before:
        training = gentler(training, config.later_rate)
    for student, member in enumerate(ensembles.members(course.parts.mild, n_students)):
        name = f"round-{number}" + (f"-{student + 1}" if student else "")
        if student and course.is_too_late_for(name):
            _say_too_few(number, student, n_students)
            break
        if not before:
            graphs.append(member.network(course.new_network(config.n_alone + student)))
        drawn = (number - 1) * n_students + student
        later = taught.n_later * n_students / (1 if before else FIRST)
        images = mixed(course, usable, taught.chosen, taught.answers_CL, member.changes, drawn)
        sure = np.flatnonzero(taught.answers_CL.max(1) >= config.sure)
        seldom = len(images) - len(taught.chosen) + sure
        offsets_L = None
        if prior_L is not None:
            offsets_L = offsets(images.labels, seldom, config.sure_turns, prior_L)
        learned = course.train_if_time(
            name,
            graphs[student],
            InTurns(examples=images, seldom=seldom, n_turns=config.sure_turns),
            training,
            course.time_for(name, n_students - student + later),
            cross_entropy(accuracy=AGREEMENT, offsets_L=offsets_L),
            settings="rounds",
        )
        if not learned:
            graphs = graphs if before else graphs[:student]
            _say_too_few(number, student, n_students)
            break
    return graphs


def offsets(answers_NL: np.ndarray, seldom: np.ndarray, n_turns: int, prior_L: Tensor) -> Tensor:
    """log(shares of the classes among what is seen / prior), see `training.cross_entropy`: (L,).

    A class that the unlabelled images lack would else be answered seldom: 6 points of all test
    images were lost where one of ten was missing ("Odd sets" in docs/accuracy.md).

    Parameters
    ----------
    answers_NL : of all images, of which those at `seldom` are seen in one of `n_turns` epochs
    """
    weights_N = torch.ones(len(answers_NL))
    weights_N[torch.from_numpy(seldom)] = 1 / n_turns
    shares_L = pseudo_labels.weighted_mean(torch.from_numpy(answers_NL), weights_N)
    least = pseudo_labels.SMALL
    return (shares_L.clamp(min=least) / prior_L.clamp(min=least)).log()


def _say_too_few(number: int, n_learned: int, n_students: int) -> None:
    say(
        f"round {number} has {n_learned} of {n_students} networks, as there is no time for more: "
        "raise --budget or lower consistency.n_students"
    )


def gentler(training: TrainingConfig, part: float) -> TrainingConfig:
    """Of a network that goes on: with that part of the rates, and no small images at first.

    At the rates of a new one it would forget most of what it knows.
    """
    return replace(
        training,
        learning_rate=part * training.learning_rate,
        head_learning_rate=part * training.head_learning_rate,
        bias_learning_rate=part * training.bias_learning_rate,
        small_part=0.0,
    )


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
