"""A step that the averaged network teaches: its loss, its moving means, its checkpoint."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fewlabels import checkpoints
from fewlabels.errors import CheckpointError, ConfigError
from fewlabels.training import TaughtStep, TrainingConfig, train
from fewlabels.ways.consistency_config import ConsistencyConfig
from fewlabels.ways.steps import PseudoLabelStep
from small_training import MadeExamples, small_graph

CONFIG = TrainingConfig(
    batch_size=10, epochs=3, learning_rate=0.1, head_learning_rate=0.3, averaging=0.9
)


def step_of(aligns=False, prior=(0.5, 0.25, 0.25), **settings) -> PseudoLabelStep:
    return PseudoLabelStep(
        ConsistencyConfig(**settings),
        prior_L=torch.tensor(prior),
        answered_L=torch.tensor([0.4, 0.4, 0.2]),
        aligns=aligns,
        label_smoothing=0.1,
    )


ANSWERS_UL = torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.3, 0.3, 0.4]])


def test_moving_means_and_thresholds_by_hand():
    step = step_of(momentum=0.75, threshold=0.7, least_threshold=0.0)

    weights_U = torch.tensor([1.0, 1.0, 0.0])
    answers_UL, confident_U, thresholds_L = step.judged(ANSWERS_UL, weights_U)

    # the mean answer of the first two is (.5, .35, .15), of their highest 0.7
    assert [0.425, 0.3875, 0.1875] == pytest.approx(step.answered_L.tolist())
    assert [0.375, 0.3375, 0.2875] == pytest.approx(step.aligned_L.tolist())
    assert 0.7 == pytest.approx(float(step.overall))
    assert [0.7, 0.7 * 0.9, 0.7 * 23 / 30] == pytest.approx(thresholds_L.tolist())
    assert answers_UL is ANSWERS_UL
    assert [True, False, False] == confident_U.tolist()


def test_aligned_answers_are_those_that_are_judged():
    step = step_of(aligns=True, prior=(0.2, 0.2, 0.6), thresholds="fixed", threshold=0.5)

    # factors of nearly 1/2, 1/2 and 3: the first .4 : .05 : .3, the third .15 : .15 : 1.2
    answers_UL, confident_U, thresholds_L = step.judged(ANSWERS_UL, torch.ones(3))

    assert [0, 2, 2] == answers_UL.argmax(1).tolist()
    assert [0.1, 0.1, 0.8] == pytest.approx(answers_UL[2].tolist(), abs=0.02)
    assert [True, True, True] == confident_U.tolist()
    assert [0.5, 0.5, 0.5] == thresholds_L.tolist()


class Given(nn.Module):
    """A network that answers what was put into its pictures."""

    def forward(self, logits: Tensor) -> Tensor:
        return logits


def smoothed_loss(logits: Tensor, label: int, smoothing: float) -> float:
    target = np.full(3, smoothing / 3)
    target[label] += 1 - smoothing
    logs = np.log(np.exp(logits.numpy()) / np.exp(logits.numpy()).sum())
    return float(-(target * logs).sum())


@pytest.mark.parametrize("sharpening", [0.0, 0.5, 1.0])
def test_the_loss_is_that_of_a_twin_that_goes_image_by_image(sharpening: float):
    draws = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 3, generator=draws)
    weak = torch.tensor([[2.0, 0, 0.5], [0, 0.2, 0.1], [-1, 1, 1.5]])
    labels_N = torch.tensor([2, 0])
    weights_U = torch.tensor([1.0, 0.5, 0.75])
    settings = {"unlabelled_weight": 2.0, "sharpening": sharpening}
    step = step_of(threshold=0.55, thresholds="fixed", **settings)

    loss, facts = step.learn(Given(), lambda weak: weak, (logits, labels_N, weak, weights_U))

    labelled = np.mean([smoothed_loss(logits[i], int(labels_N[i]), 0.1) for i in range(2)])
    terms = []
    for i in range(3):
        answer = weak[i].softmax(0)
        sure = float(answer.max()) >= 0.55
        target = answer ** (1 / sharpening) if sharpening else answer == answer.max()
        own = -float((target / target.sum() * logits[2 + i].log_softmax(0)).sum())
        terms.append(float(weights_U[i]) * own if sure else 0.0)
    n_sure = sum(term > 0 for term in terms)
    assert 0 < n_sure < 3
    assert labelled + 2 * np.mean(terms) == pytest.approx(float(loss), rel=1e-5)
    assert n_sure / 3 == pytest.approx(float(facts["share_confident"]))
    assert 0.55 == pytest.approx(float(facts["threshold_min"]))


def test_an_image_of_no_class_pulls_at_nothing():
    logits = torch.zeros(3, 3, requires_grad=True)
    weak = torch.tensor([[9.0, 0, 0], [0, 9.0, 0]])
    batch = (logits, torch.tensor([1]), weak, torch.tensor([1.0, 0.0]))

    loss, _ = step_of().learn(Given(), lambda weak: weak, batch)
    loss.backward()

    assert (logits.grad[1] != 0).any()
    assert (logits.grad[2] == 0).all()


class Taught(TaughtStep):
    """Pulls at what the teacher answers to the images themselves, and counts its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("n_steps", torch.zeros(()))
        self.register_buffer("mean_L", torch.zeros(3))
        self.asked: list[Tensor] = []

    def learn(self, network, teacher, batch):
        images, labels = batch
        answers = teacher(images)
        assert not answers.requires_grad
        self.asked.append(answers)
        self.n_steps += 1
        self.mean_L.lerp_(answers.softmax(1).mean(0), 0.2)
        loss = nn.functional.cross_entropy(network(images), labels)
        return loss + ((network.training * 0.1) * self.mean_L.sum()), {}


def taught(folder: Path | None = None, resume=False):
    graph, step = small_graph(), Taught()
    how = {"folder": folder, "resume": resume, "precision": "fp32"}
    train(graph, MadeExamples(), CONFIG, seed=0, step=step, **how)
    return graph, step


def test_the_teacher_is_the_average_in_evaluation_mode():
    graph = small_graph()
    before = copy.deepcopy(graph).eval()
    step, examples = Taught(), MadeExamples()

    train(graph, examples, CONFIG, seed=0, step=step, precision="fp32")

    # the first step asks the network as it was before; dropout and batch statistics are off
    order = np.random.default_rng([0, 0]).permutation(40)[:10]
    with torch.no_grad():
        expected = before(examples.batch(order, 0)[0])
    torch.testing.assert_close(step.asked[0], expected)
    assert 12 == int(step.n_steps)


def test_what_a_taught_step_keeps_is_in_the_checkpoint_and_a_resumed_training_is_the_same(
    tmp_path: Path, monkeypatch
):
    whole, step = taught()
    saved = checkpoints.save

    def save_and_stop(checkpoint, folder):
        saved(checkpoint, folder)
        if checkpoint.step == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "save", save_and_stop)
    monkeypatch.setattr("fewlabels.training_loop.now", iter(range(0, 10**6, 100)).__next__)
    with pytest.raises(KeyboardInterrupt):
        taught(tmp_path)
    monkeypatch.undo()
    kept = checkpoints.load(tmp_path)
    assert 7 == int(kept.tensors["step/n_steps"])

    resumed, again = taught(tmp_path, resume=True)

    assert all(torch.equal(a, resumed.state_dict()[key]) for key, a in whole.state_dict().items())
    assert 12 == int(again.n_steps)
    assert torch.equal(step.mean_L, again.mean_L)


def test_a_checkpoint_without_the_step_is_refused(tmp_path: Path):
    graph = small_graph()
    train(graph, MadeExamples(), CONFIG, seed=0, folder=tmp_path, precision="fp32")

    with pytest.raises(CheckpointError, match="step/n_steps"):
        taught(tmp_path, resume=True)


def test_a_taught_step_needs_an_average():
    config = replace(CONFIG, averaging=0.0)

    with pytest.raises(ConfigError, match=r"training\.averaging is over 0"):
        train(small_graph(), MadeExamples(), config, seed=0, step=Taught())
