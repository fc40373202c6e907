"""The fourth way to fill a network: from labels, and from its own answers on unlabelled images.

A network of labels alone comes first. It is what the way starts from, and the baseline: labelled
images that neither learned from tell whether the result is worse, and then it is not taken.

Shapes: N labelled images, M unlabelled ones, L classes.
"""

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fewlabels.architectures import FirstLayer
from fewlabels.graph import Graph
from fewlabels.heads import Head
from fewlabels.images import Images
from fewlabels.joined import Joined
from fewlabels.progress import say
from fewlabels.training import Measure, train
from fewlabels.ways import labels as labels_way
from fewlabels.ways import pseudo_labels
from fewlabels.ways.answering import answered
from fewlabels.ways.consistency_config import ConsistencyConfig as ConsistencyConfig
from fewlabels.ways.consistency_config import ConsistencyParts as ConsistencyParts
from fewlabels.ways.steps import PseudoLabelStep
from fewlabels.ways.views import Views
from fewlabels.ways.watching import Watch, difference, is_worse

N_LOOKED_AT = 5000  # unlabelled images whose answers tell how often each class is among them

now = time.monotonic


@dataclass(frozen=True, kw_only=True, eq=False)
class Learned:
    """A network that ends in logits, its head, and what should be known of how it learned."""

    graph: Graph
    head: Head
    facts: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Usable:
    """Unlabelled images that may be of a class: `weights`, float32 (n_images,), tell how surely."""

    images: Images
    weights: np.ndarray


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
) -> Learned:
    """Learn from labels and from unlabelled images, none of which is among the labelled ones.

    Parameters
    ----------
    first : as `labels.first_layer` gives it
    budget_seconds : for all of this
    folder, resume, measure : see `training.train`; each training has a folder of its own in it

    Raises DataError if the labels are of fewer than two classes, and what `train` raises.
    """
    assert labelled.labels is not None, "labelled images have labels"
    began = now()
    how = {"seed": seed, "device": device, "precision": precision, "resume": resume}
    course = _Course(labelled, n_classes, parts, first, folder, how, measure)
    if not len(unlabelled):
        say("there are no unlabelled images: the network learns from the labels alone")
        return course.labels_alone(budget_seconds)
    config = parts.consistency
    held = labels_way.held_out(labelled.labels, config.held_out, seed, config.most_held_out)
    kept = np.setdiff1d(np.arange(len(labelled)), held)
    if not len(held):
        say(
            "too few labels to hold some out: nothing watches that the unlabelled images do not "
            "make the network worse"
        )
    share = None if budget_seconds is None else config.labels_part * budget_seconds
    watch = Watch(
        held=labelled.take(held), flips=parts.labels.flips, device=device, precision="fp32"
    )
    baseline = course.new_network()
    trained = labels_way.train_network(
        baseline,
        labelled.take(kept),
        parts.training,
        parts.strong,
        **course.training_of("labels", share),
        measure=watch.measure(measure),
    )
    spent = max(trained.seconds, now() - began) - (now() - began)  # a resumed one took longer
    how["precision"] = trained.precision
    usable = _usable(baseline, labelled.take(kept), unlabelled, config, how)
    if not len(usable.weights):
        say("no unlabelled image belongs to one of the classes: learning from the labels alone")
        return course.labels_alone(_left(budget_seconds, spent + now() - began))
    prior_L = pseudo_labels.class_shares(torch.from_numpy(labelled.labels), n_classes)
    mean_L = _mean_answer(baseline, usable, how)
    step = PseudoLabelStep(
        config,
        prior_L=prior_L,
        answered_L=mean_L,
        aligns=aligns(config, mean_L, prior_L),
        label_smoothing=parts.steps.label_smoothing,
    )
    graph = copy.deepcopy(baseline)
    examples = Views(
        pixels=np.asarray(labelled.pixels[kept]),
        labels=labelled.labels[kept],
        unlabelled=usable.images.pixels,
        weights=usable.weights,
        ratio=config.unlabelled_ratio,
        n_groups=config.steps_per_epoch * parts.steps.batch_size,
        strong=parts.strong,
        weak=parts.weak,
        seed=seed,
    )
    train(
        graph,
        examples,
        parts.steps,
        **course.training_of("steps", _left(budget_seconds, spent + now() - began)),
        measure=watch.measure(measure),
        step=step,
    )
    graph, facts = better(baseline, graph, watch)
    head = labels_way.head_of(graph, watch.held, n_classes, flips=parts.labels.flips, device=device)
    facts |= {"aligned": step.aligns, "n_unlabeled_used": len(usable.weights)}
    return Learned(graph=graph, head=head, facts=facts)


@dataclass(frozen=True, eq=False)
class _Course:
    """What the trainings of one `learn` share."""

    labelled: Images
    n_classes: int
    parts: ConsistencyParts
    first: FirstLayer | None
    folder: Path | None
    how: dict[str, Any]
    measure: Measure | None

    def new_network(self) -> Graph:
        network, filters = self.parts.network, self.parts.filters
        size, seed = self.labelled.size, self.how["seed"]
        return labels_way.build(network, self.first, filters, self.n_classes, size, seed)

    def training_of(self, name: str, seconds: float | None) -> dict[str, Any]:
        """How a training runs: `name` is its folder."""
        folder = None if self.folder is None else self.folder / name
        return {**self.how, "budget_seconds": seconds, "folder": folder}

    def labels_alone(self, seconds: float | None) -> Learned:
        graph, head = labels_way.learn(
            self.labelled,
            self.n_classes,
            self.parts.network,
            self.first,
            self.parts.labels,
            self.parts.training,
            self.parts.strong,
            filters_config=self.parts.filters,
            **self.training_of("labels-alone", seconds),
            measure=self.measure,
        )
        return Learned(graph=graph, head=head, facts={"fell_back": True, "n_unlabeled_used": 0})


def _left(budget_seconds: float | None, spent: float) -> float | None:
    """What is left of a budget; so little that a training says so where it is used up."""
    return None if budget_seconds is None else max(1e-3, budget_seconds - spent)


def in_class_weights(
    graph: Graph, labelled: Images, unlabelled: Images, how: Mapping[str, Any]
) -> np.ndarray:
    """How surely each unlabelled image belongs to one of the labelled classes: (n_images,)."""
    return np.ones(len(unlabelled), np.float32)


def _usable(
    graph: Graph,
    labelled: Images,
    unlabelled: Images,
    config: ConsistencyConfig,
    how: Mapping[str, Any],
) -> Usable:
    weights_M = in_class_weights(graph, labelled, unlabelled, how).astype(np.float32)
    chosen = np.flatnonzero((weights_M >= config.least_weight) & (weights_M > 0))
    if len(chosen) < len(weights_M):
        say(
            f"{len(weights_M) - len(chosen):,} of {len(weights_M):,} unlabelled images seem to "
            "belong to no class, and take no part"
        )
    pixels = Joined([unlabelled.pixels], chosen)
    return Usable(images=Images(pixels=pixels), weights=weights_M[chosen])


def _mean_answer(graph: Graph, usable: Usable, how: Mapping[str, Any]) -> Tensor:
    """The mean probabilities for some of the images, each with its weight."""
    draw = np.random.default_rng(how["seed"])
    chosen = np.sort(draw.permutation(len(usable.weights))[:N_LOOKED_AT])
    logits_ML = answered(
        graph,
        Images(pixels=Joined([usable.images.pixels], chosen)),
        device=how["device"],
        precision=how["precision"],
        what="answers to unlabelled images",
    )["logits"]
    weights_M = torch.from_numpy(usable.weights[chosen])
    return pseudo_labels.weighted_mean(logits_ML.softmax(1), weights_M)


def aligns(config: ConsistencyConfig, mean_L: Tensor, prior_L: Tensor) -> bool:
    """Whether answers are aligned; for "auto", where the mean answer is near the labels' shares."""
    if config.alignment != "auto":
        return config.alignment == "on"
    moved = pseudo_labels.imbalance(mean_L, prior_L)
    balanced = moved <= config.balance_tolerance
    verdict, aligned = ("", "are") if balanced else ("not ", "are not")
    say(
        f"the unlabelled images are {verdict}shared among the classes as the labels are: "
        f"{100 * moved:.0f} % of the answers lie elsewhere, so answers {aligned} aligned"
    )
    return balanced


def better(baseline: Graph, graph: Graph, watch: Watch) -> tuple[Graph, dict[str, Any]]:
    """The graph, or the baseline where the graph is worse on what was held out; and the facts."""
    before_N, after_N = watch.right(baseline), watch.right(graph)
    facts: dict[str, Any] = {"fell_back": is_worse(before_N, after_N), "n_held_out": len(before_N)}
    if len(before_N):
        change, error = difference(before_N, after_N)
        facts |= {"accuracy_held_out": float(after_N.mean()), "gain_held_out": change}
        facts |= {"gain_held_out_error": error}
        told = f"{100 * before_N.mean():.1f} % -> {100 * after_N.mean():.1f} %"
        say(f"of the {len(before_N)} labelled images held out, right with unlabelled ones: {told}")
    if facts["fell_back"]:
        say(
            "WARNING: the unlabelled images made the network worse on the labelled images held "
            "out, so the network of labels alone is kept"
        )
        graph = baseline
    return graph, facts
