import json
import logging
import math
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fewlabels import batches, graph_files, training_loop
from fewlabels.batches import epoch_order
from fewlabels.errors import ConfigError, DataError
from fewlabels.progress import watching
from fewlabels.runs import Diary
from fewlabels.training import TrainingConfig, cross_entropy, train
from fewlabels.training_config import rate_factor
from small_training import MadeExamples, small_graph

FAST = {"batch_size": 8, "learning_rate": 0.1, "head_learning_rate": 0.3}


def settings(**changes) -> TrainingConfig:
    return TrainingConfig(**{**FAST, **changes})


def trained(config: TrainingConfig, graph=None, examples=None, **how):
    graph = graph or small_graph()
    how = {"seed": 5, "precision": "fp32", **how}
    return graph, train(graph, MadeExamples() if examples is None else examples, config, **how)


def accuracy(graph) -> dict[str, float]:
    assert not graph.training
    examples = MadeExamples()
    return {"accuracy": (graph(examples.images).argmax(1) == examples.labels_N).float().mean()}


def test_a_network_learns_to_tell_classes_apart():
    before = accuracy(small_graph().eval())["accuracy"]

    graph, result = trained(settings(epochs=8, averaging=0.9), measure=accuracy)

    assert before < 0.6
    assert accuracy(graph)["accuracy"] > 0.9
    assert result.history[-1]["accuracy"] == pytest.approx(float(accuracy(graph)["accuracy"]))
    assert (40, 8) == (result.steps, len(result.history))
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert result.history[-1]["accuracy_train"] > result.history[0]["accuracy_train"]


def test_a_training_equals_a_loop_of_plain_torch():
    config = settings(
        epochs=2, optimizer="sgd", averaging=0.0, weight_decay=1e-4, clip=0.5, label_smoothing=0.1
    )
    graph, _ = trained(config, small_graph(dropout=0.0))

    slow, examples = small_graph(dropout=0.0), MadeExamples()
    groups = {
        0.1: [slow.layers["conv"].weight],
        0.3: [slow.layers["logits"].weight],
        0.053: [*slow.layers["norm"].parameters(), slow.layers["logits"].bias],
    }
    optimizer = torch.optim.SGD(
        [
            {"params": weights, "peak": peak, "weight_decay": 8e-4 / peak}
            for peak, weights in groups.items()
        ],
        lr=0.1,
        momentum=0.85,
        nesterov=True,
    )
    for step in range(10):
        epoch, position = divmod(step, 5)
        order = np.random.default_rng([5, epoch]).permutation(40)
        images, labels = examples.batch(order[position * 8 : position * 8 + 8], epoch)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate_factor((step + 0.5) / 10, config)
        optimizer.zero_grad()
        F.cross_entropy(slow(images), labels, label_smoothing=0.1).backward()
        nn.utils.clip_grad_norm_(slow.parameters(), 0.5)
        optimizer.step()

    for name, value in slow.state_dict().items():
        torch.testing.assert_close(graph.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_the_same_seed_gives_the_same_weights_and_another_other_ones():
    state = torch.get_rng_state()
    first, second, other = (
        trained(settings(epochs=2), seed=seed)[0].state_dict() for seed in (5, 5, 6)
    )

    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["layers.conv.weight"], other["layers.conv.weight"])
    assert torch.equal(state, torch.get_rng_state())  # nobody else's draws were touched


def test_every_image_is_seen_once_in_an_epoch_in_an_order_of_its_own():
    seen: list[tuple[int, list[int]]] = []

    class Noted(MadeExamples):
        def batch(self, indices_N, epoch):
            seen.append((epoch, indices_N.tolist()))
            return super().batch(indices_N, epoch)

    trained(settings(epochs=2, batch_size=10), examples=Noted())

    orders = [[i for e, batch in seen if e == epoch for i in batch] for epoch in (0, 1)]
    assert [list(range(40))] * 2 == [sorted(order) for order in orders]
    assert orders[0] != orders[1]
    assert orders[1] == epoch_order(40, 5, 1).tolist()


def test_a_step_of_ones_own_is_taken():
    def step(network, batch):
        images, _ = batch
        features = network(images, wanted=("flat",))["flat"]
        return features.square().mean(), {"mean_feature": features.mean()}

    graph, result = trained(settings(epochs=4), step=step)

    assert {"loss", "mean_feature"} <= set(result.history[0])
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    expected = small_graph().state_dict()["layers.logits.weight"]
    assert torch.equal(expected, graph.state_dict()["layers.logits.weight"])  # it had no part


def test_labels_may_be_parts_of_classes():
    images, labels = MadeExamples().batch(np.arange(6), 0)
    graph = small_graph(dropout=0.0).eval()

    hard = cross_entropy(0.2)(graph, (images, labels))
    soft = cross_entropy(0.2)(graph, (images, F.one_hot(labels, 3).float()))

    torch.testing.assert_close(hard[0], soft[0])
    assert hard[1] == soft[1]


def test_offsets_are_added_to_the_logits_while_they_learn():
    images, labels = MadeExamples().batch(np.arange(6), 0)
    graph, offsets_L = small_graph(dropout=0.0).eval(), torch.tensor([1.0, 0.0, -2.0])

    loss, _ = cross_entropy(offsets_L=offsets_L)(graph, (images, labels))

    torch.testing.assert_close(loss, F.cross_entropy(graph(images) + offsets_L, labels))


def test_frozen_nodes_stay_as_they_are():
    expected = small_graph().freeze("conv", "norm").state_dict()

    graph, _ = trained(settings(epochs=2), small_graph().freeze("conv", "norm"))

    for name, value in graph.state_dict().items():
        assert torch.equal(expected[name], value) == (not name.startswith("layers.logits"))


def test_bfloat16_learns_as_well_and_keeps_float32_weights():
    graph, result = trained(settings(epochs=8), precision="bf16")

    assert "bf16" == result.precision
    assert {torch.float32} == {weight.dtype for weight in graph.parameters()}
    assert accuracy(graph)["accuracy"] > 0.9


@pytest.fixture
def seconds(monkeypatch) -> list[float]:
    """A clock that goes on by a second with every batch."""
    passed = [0.0]
    monkeypatch.setattr(training_loop, "now", lambda: passed[0])
    return passed


class Slow(MadeExamples):
    def __init__(self, seconds: list[float]) -> None:
        super().__init__()
        self.seconds = seconds

    def batch(self, indices_N, epoch):
        self.seconds[0] += 1
        return super().batch(indices_N, epoch)


def test_a_budget_of_time_is_filled_and_the_rate_follows_the_time(seconds):
    _, result = trained(settings(warmup=0.0), examples=Slow(seconds), budget_seconds=20.0)

    assert (20, 20.0) == (result.steps, result.seconds)  # 5 steps make an epoch
    assert [1, 2, 3, 4] == [record["epoch"] for record in result.history]
    rates = [record["learning_rate"] for record in result.history]
    # the last step of an epoch began, batch in hand, after 5, 10, 15 and 20 of the 20 seconds
    assert pytest.approx([0.075, 0.05, 0.025, 0.0]) == rates


def test_a_training_with_time_for_more_ends_after_its_most_epochs(seconds):
    config = settings(warmup=0.0, most_epochs=3)
    _, result = trained(config, examples=Slow(seconds), budget_seconds=100.0)

    assert (15, [1, 2, 3]) == (result.steps, [record["epoch"] for record in result.history])
    # by the steps: the middle of the last one of each epoch is the 4.5th of 15, and so on
    rates = [record["learning_rate"] for record in result.history]
    assert [0.1 * (1 - part / 15) for part in (4.5, 9.5, 14.5)] == pytest.approx(rates)

    short, ended = replace(config, least_steps=17), seconds[0]
    _, result = trained(short, examples=Slow(seconds), budget_seconds=100.0)
    assert 20 == result.steps  # four epochs, as three are too few steps
    _, result = trained(config, examples=Slow(seconds), budget_seconds=10.0)
    assert (10, ended + 30.0) == (result.steps, seconds[0])


def test_measuring_takes_a_twentieth_of_a_budget(seconds):
    asked = []

    def measure(graph):
        asked.append(seconds[0])
        seconds[0] += 1
        return {"accuracy": 0.5}

    _, result = trained(settings(), examples=Slow(seconds), budget_seconds=100.0, measure=measure)

    assert 4 <= len(asked) <= 6
    assert "accuracy" in result.history[-1]
    assert 100.0 == result.seconds


def test_in_a_long_time_not_every_short_epoch_is_a_record(seconds):
    """Each is in every checkpoint, and a file of measurements of every step helps nobody."""
    _, result = trained(settings(), examples=Slow(seconds), budget_seconds=4000.0)

    assert result.steps >= 3900  # of a second each
    assert 300 <= len(result.history) <= 401
    assert result.steps == result.history[-1]["step"]


def test_a_budget_too_short_for_one_step_is_named(seconds):
    with pytest.raises(ConfigError, match=r"budget of 0.5 s is too short for one step: .*--budget"):
        trained(settings(), examples=Slow(seconds), budget_seconds=0.5)


@pytest.mark.parametrize(
    ("epochs", "budget", "text"),
    [
        (3, 60.0, "given both: give one"),
        (0, None, "given neither: give one"),
        (0, 0.0, "a budget is some seconds, over 0; got 0.0"),
        (0, math.nan, "a budget is some seconds, over 0; got nan"),
    ],
)
def test_a_training_ends_after_epochs_or_a_time(epochs, budget, text):
    with pytest.raises(ConfigError, match=text):
        trained(settings(epochs=epochs), budget_seconds=budget)


def test_fewer_images_than_a_batch_are_one_batch():
    said = []

    class Listener(Diary):
        def said(self, message):
            said.append(message)

    with watching(Listener(Path(os.devnull))):
        _, result = trained(settings(epochs=3, batch_size=64), examples=MadeExamples(5))

    assert 3 == result.steps
    assert [
        "there are 5 images, fewer than training.batch_size 64: every step takes all of them"
    ] == said
    with pytest.raises(DataError, match="there is no image to train on: give"):
        trained(settings(epochs=1), examples=MadeExamples(0))


@pytest.mark.parametrize(
    ("least", "epochs", "per_record"),
    [
        # 40 images in batches of 8 are 5 steps: 3 epochs are 15 steps
        (0, 3, 1),
        (15, 3, 1),
        (16, 4, 2),
        (33, 7, 3),
    ],
)
def test_few_images_are_seen_more_often(least: int, epochs: int, per_record: int):
    said, watcher = [], Diary(Path(os.devnull))
    watcher.said = said.append

    config = settings(epochs=3, least_steps=least, warmup=0.0)
    with watching(watcher):
        _, result = trained(config, measure=lambda graph: {"asked": 1.0})

    assert 5 * epochs == result.steps
    expected = [*range(per_record, epochs, per_record), epochs]
    assert expected == [record["epoch"] for record in result.history]
    assert all("asked" in record for record in result.history)
    # the rate falls to 0 over all steps, wherever the records are
    rates = [record["learning_rate"] for record in result.history]
    steps = [record["step"] for record in result.history]
    assert [0.1 * (1 - (step - 0.5) / (5 * epochs)) for step in steps] == pytest.approx(rates)
    text = "3 epochs are 15 steps, and training.least_steps is {}: training for {} epochs"
    assert ([text.format(least, epochs)] if epochs > 3 else []) == said


def test_a_budget_of_time_knows_no_least_steps(seconds):
    _, result = trained(settings(least_steps=500), examples=Slow(seconds), budget_seconds=20.0)

    assert (20, [1, 2, 3, 4]) == (result.steps, [record["epoch"] for record in result.history])


class Poisoned(MadeExamples):
    """From a call on, the images are infinite, or far too bright."""

    def __init__(self, call: int, factor: float) -> None:
        super().__init__()
        self.calls, self.call, self.factor = 0, call, factor

    def batch(self, indices_N, epoch):
        images, labels = super().batch(indices_N, epoch)
        self.calls += 1
        return images * (self.factor if self.calls >= self.call else 1.0), labels


def test_a_loss_that_is_not_finite_names_the_step_and_the_setting(tmp_path: Path):
    config = settings(epochs=3, checkpoint_minutes=1e-9)

    with pytest.raises(ConfigError) as caught:
        trained(config, examples=Poisoned(7, math.inf), folder=tmp_path)

    text = str(caught.value)
    assert (
        "diverged: the loss is nan at step 7 of 15: lower training.learning_rate (now 0.1)" in text
    )
    assert f"the checkpoint of step 6 is still in {tmp_path}" in text
    found = training_loop.checkpoints.load(tmp_path)
    assert 6 == found.step
    assert all(value.isfinite().all() for value in found.tensors.values())


def test_a_loss_that_grows_without_end_is_stopped_too():
    # without batch norm the loss grows with the images
    with pytest.raises(ConfigError, match=r"diverged: the loss is \S+ at step \d+ of 40"):
        trained(settings(epochs=8), small_graph(norm=False), Poisoned(7, 1e6))


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path):
    def step(network, batch):
        loss = network(batch[0]).square().mean()
        # finite, with a gradient that is not
        return loss + 0 * torch.sqrt(network.layers["logits"].bias.sum() * 0), {}

    with pytest.raises(ConfigError, match="the loss is nan at step 2 of 10"):
        trained(settings(epochs=2, checkpoint_minutes=1e-9), step=step, folder=tmp_path)

    assert [] == list(tmp_path.iterdir())


def test_metrics_have_a_line_for_each_epoch(tmp_path: Path):
    with watching(Diary(tmp_path / "metrics.jsonl")):
        _, result = trained(settings(epochs=3), measure=accuracy)

    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [{"stage": "training", **record} for record in result.history] == lines[:3]
    assert {"stage": "training", "count": 15} == {k: lines[3][k] for k in ("stage", "count")}
    assert {"epoch", "step", "seconds", "loss", "accuracy", "learning_rate"} <= set(lines[0])


def test_tensorboard_gets_the_curves_when_asked(tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, result = trained(settings(epochs=3, tensorboard=True), folder=tmp_path)

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    curve = [(point.step, point.value) for point in events.Scalars("training/loss")]
    assert [(5 * i + 5, pytest.approx(r["loss"])) for i, r in enumerate(result.history)] == curve


def test_without_tensorboard_the_extra_is_named(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)

    with pytest.raises(ConfigError, match=r"pip install 'fewlabels\[track\]'"):
        trained(settings(epochs=1, tensorboard=True), folder=tmp_path)
    with pytest.raises(ConfigError, match="tensorboard needs a folder"):
        trained(settings(epochs=1, tensorboard=True))


def test_fabric_keeps_quiet(caplog, capsys):
    with caplog.at_level(logging.WARNING):
        trained(settings(epochs=1), precision="bf16")

    assert ("", "") == tuple(capsys.readouterr())
    assert [] == caplog.records


def test_a_trained_network_is_trained_again_and_saved(tmp_path: Path):
    graph, _ = trained(settings(epochs=1))
    _, result = trained(settings(epochs=2), graph)

    assert 10 == result.steps
    graph_files.save(graph, tmp_path)
    images = MadeExamples().images
    assert torch.equal(graph(images), graph_files.load(tmp_path)(images))


def test_a_budget_in_real_seconds_is_kept():
    _, result = trained(settings(), budget_seconds=2.0)

    assert result.seconds >= 2.0  # no less; how much more, the machine decides
    assert result.history[-1]["step"] == result.steps > 1


def test_the_first_part_of_a_training_sees_smaller_images(monkeypatch):
    monkeypatch.setattr(batches, "LEAST_SHRUNK", 4)
    sides = []

    def step(network, batch):
        sides.append(tuple(batch[0].shape[2:]))
        return cross_entropy()(network, batch)

    trained(settings(epochs=4, small_part=0.5, small_side=0.75), step=step)
    side = MadeExamples().images.shape[-1]
    small = round(0.75 * side)

    assert [(small, small)] * 10 + [(side, side)] * 10 == sides
