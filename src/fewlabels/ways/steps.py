"""The schedule *steps*: in every step the average teaches the network on unlabelled images.

Shapes: N labelled images of a batch, U unlabelled ones, C of these with confident answers, L
classes.
Source: Sohn et al., FixMatch, NeurIPS 2020 (weak and strong view); Xie et al., UDA, NeurIPS 2020
(sharpened answers); Tarvainen and Valpola, Mean Teacher, NeurIPS 2017; thresholds and alignment,
see `pseudo_labels`.
"""

import copy
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewlabels.batches import Batch, channels_last
from fewlabels.graph import Graph
from fewlabels.processes import shared_mean
from fewlabels.progress import say
from fewlabels.training import TaughtStep, Teacher
from fewlabels.ways import pseudo_labels
from fewlabels.ways.consistency_config import ConsistencyConfig
from fewlabels.ways.course import Course
from fewlabels.ways.usable import Usable
from fewlabels.ways.views import Views

NO_TIME = "there is no time for the unlabelled images: raise --budget"


def train(
    course: Course, baseline: Graph, usable: Usable, step: "PseudoLabelStep"
) -> tuple[Graph, int]:
    """What the baseline became in the time that is left, and from how many unlabelled images.

    Itself, where no time is left.
    """
    if course.is_too_late_for("steps"):
        say(NO_TIME)
        return baseline, 0
    graph = copy.deepcopy(baseline)
    parts = course.parts
    examples = Views(
        pixels=course.pixels,
        labels=course.labels,
        unlabelled=usable.images.pixels,
        weights=usable.weights,
        ratio=parts.consistency.unlabelled_ratio,
        n_groups=parts.consistency.steps_per_epoch * parts.steps.batch_size,
        strong=parts.strong,
        weak=parts.weak,
        seed=course.seed,
    )
    seconds = course.time_for("steps")
    learned = course.train_if_time(
        "steps", graph, examples, parts.steps, seconds, step, settings="steps"
    )
    if not learned:
        say(NO_TIME)
        return baseline, 0
    return graph, len(usable)


class PseudoLabelStep(TaughtStep):
    """Cross-entropy of labelled images, and of strong views with the teacher's confident answers.

    loss = H(labelled) + weight * mean over U of (w * confident * H(strong view, teacher's answer))

    where w is how surely an image belongs to a class at all, and the answer is sharpened: of
    classes alone a network learned less (docs/accuracy.md).

    Parameters
    ----------
    prior_L : shares of the classes, those among the labels or likely ones
    answered_L : the mean answer to start from, for the alignment
    aligns : whether answers are aligned, with these shares
    label_smoothing : of labelled images

    Attributes
    ----------
    answered_L : moving mean of the teacher's answers; aligned_L : of those it is taken at
    overall : moving mean of their highest probability
    """

    prior_L: Tensor
    answered_L: Tensor
    aligned_L: Tensor
    overall: Tensor

    def __init__(
        self,
        config: ConsistencyConfig,
        *,
        prior_L: Tensor,
        answered_L: Tensor,
        aligns: bool,
        label_smoothing: float,
    ) -> None:
        super().__init__()
        self.config, self.aligns, self.label_smoothing = config, aligns, label_smoothing
        self.register_buffer("prior_L", prior_L.clone(), persistent=False)
        self.register_buffer("answered_L", answered_L.clone())
        self.register_buffer("aligned_L", torch.full_like(prior_L, 1 / len(prior_L)))
        self.register_buffer("overall", torch.tensor(config.threshold))

    def learn(
        self, network: nn.Module, teacher: Teacher, batch: Batch
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        pictures, labels_N, weak_U3HW, weights_U = batch
        answers_UL = teacher(weak_U3HW).softmax(1)
        answers_UL, confident_U, thresholds_L = self.judged(answers_UL, weights_U)
        chosen_C = torch.nonzero(confident_U).flatten()  # the others would be computed for nothing
        shown = torch.cat([pictures[: len(labels_N)], pictures[len(labels_N) :][chosen_C]])
        logits = network(channels_last(shown))
        logits_NL, logits_CL = logits[: len(labels_N)], logits[len(labels_N) :]
        loss = F.cross_entropy(logits_NL, labels_N, label_smoothing=self.label_smoothing)
        answers_CL = pseudo_labels.sharpened(answers_UL[chosen_C], self.config.sharpening)
        losses_C = F.cross_entropy(logits_CL, answers_CL, reduction="none")
        loss_unlabelled = (losses_C * weights_U[chosen_C]).sum() / len(weights_U)
        with torch.no_grad():
            agreed_C = (logits_CL.argmax(1) == answers_CL.argmax(1)).float()
            facts = {
                "accuracy_train": (logits_NL.argmax(1) == labels_N).float().mean(),
                "loss_unlabelled": loss_unlabelled.detach(),
                "share_confident": confident_U.float().mean(),
                "share_agreed": agreed_C.sum() / max(1, len(chosen_C)),
                "threshold_min": thresholds_L.min(),
                "threshold_max": thresholds_L.max(),
            }
        return loss + self.config.unlabelled_weight * loss_unlabelled, facts

    @torch.no_grad()
    def judged(self, answers_UL: Tensor, weights_U: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Answers, whether they are learned from, and thresholds; the moving means move first.

        The answers are aligned where the step aligns.

        Source: FreeMatch, section 4.1.
        """
        self._move(self.answered_L, answers_UL, weights_U)
        if self.aligns:
            answers_UL = pseudo_labels.aligned(answers_UL, self.answered_L, self.prior_L)
        if self.config.thresholds == "fixed":
            thresholds_L = torch.full_like(self.prior_L, self.config.threshold)
        else:
            self._move(self.aligned_L, answers_UL, weights_U)
            self._move(self.overall, answers_UL.amax(1), weights_U)
            thresholds_L = pseudo_labels.class_thresholds(
                self.overall, self.aligned_L, self.config.least_threshold
            )
        _, confident_U = pseudo_labels.confident(answers_UL, thresholds_L)
        return answers_UL, confident_U, thresholds_L

    def _move(self, moving: Tensor, values: Tensor, weights_U: Tensor) -> None:
        mean = shared_mean(pseudo_labels.weighted_mean(values, weights_U))
        moving.lerp_(mean, 1 - self.config.momentum)
