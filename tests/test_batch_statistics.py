"""Batch norm's running statistics, taken anew from images as they are answered."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from fewlabels import batch_statistics
from fewlabels.batch_norm import BatchNormActivation
from fewlabels.graph import Graph, node
from fewlabels.images import as_float
from fewlabels.training import TaughtStep, TrainingConfig, cross_entropy, train

CONFIG = TrainingConfig(batch_size=10, epochs=3, learning_rate=0.1, averaging=0.8)


def network() -> Graph:
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        return Graph(
            {
                "conv": node(nn.Conv2d(3, 8, 3, bias=False), "image"),
                "norm": node(BatchNormActivation(8, "relu"), "conv"),
                "deep": node(nn.Conv2d(8, 6, 3, bias=False), "norm"),
                "deep_norm": node(BatchNormActivation(6, "relu"), "deep"),
                "drop": node(nn.Dropout(0.5), "deep_norm"),
                "flat": node(nn.Flatten(), "drop"),
                "logits": node(nn.Linear(6 * 4, 3), "flat"),
            },
            inputs={"image": (3, 6, 6)},
            outputs=("logits",),
        )


def plain(graph: Graph) -> nn.Sequential:
    """The same network of torch's own modules."""
    modules: list[nn.Module] = []
    for module in copy.deepcopy(graph).layers.values():
        if isinstance(module, BatchNormActivation):
            norm = nn.BatchNorm2d(module.n_channels)
            norm.load_state_dict(module.state_dict())
            modules += [norm, nn.ReLU()]
        else:
            # update_bn has dropout on, which would change what a deeper norm sees
            modules.append(nn.Identity() if isinstance(module, nn.Dropout) else module)
    return nn.Sequential(*modules)


def images(n_images: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n_images, 3, 6, 6), np.uint8)


def statistics(graph: Graph) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in graph.state_dict().items() if "running" in k}


def test_they_are_those_that_torch_takes():
    pixels = images(400)  # two batches of 200
    graph = network()
    slow = plain(graph)
    order = np.random.default_rng(0).permutation(400)
    update_bn([as_float(pixels[part]) for part in (order[:200], order[200:])], slow)

    batch_statistics.settle(graph, pixels)

    for own, other in ((graph.layers["norm"], slow[1]), (graph.layers["deep_norm"], slow[4])):
        torch.testing.assert_close(own.running_mean, other.running_mean, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(own.running_var, other.running_var, rtol=1e-4, atol=1e-6)
    assert not any(module.training for module in graph.modules())


def test_all_images_of_up_to_two_thousand_count_alike():
    graph = Graph(
        {"norm": node(BatchNormActivation(3, "identity"), "image")},
        inputs={"image": (3, 6, 6)},
        outputs=("norm",),
    )
    pixels = images(504)  # three batches of 168

    batch_statistics.settle(graph, pixels)

    expected = torch.from_numpy(pixels / 255).mean((0, 2, 3)).float()
    torch.testing.assert_close(graph.layers["norm"].running_mean, expected)


def test_momentum_counts_and_frozen_nodes_stay_as_they_are():
    graph = network().freeze("norm")
    before = {k: v.clone() for k, v in graph.state_dict().items()}

    batch_statistics.settle(graph, images(20))

    after = graph.state_dict()
    changed = {key for key, value in before.items() if not torch.equal(value, after[key])}
    assert {"layers.deep_norm.running_mean", "layers.deep_norm.running_var"} == changed
    assert 0.1 == graph.layers["deep_norm"].momentum


def test_without_images_nothing_changes():
    graph = network()
    before = statistics(graph)

    batch_statistics.settle(graph, images(0))

    assert all(torch.equal(value, before[key]) for key, value in statistics(graph).items())


def test_inside_the_block_each_batch_has_its_own_statistics_and_dropout_is_off():
    graph = network().eval()
    pictures = as_float(images(30, seed=1))
    with torch.no_grad():
        expected = plain(graph).train()(pictures)  # its dropout is no module of its own

        with batch_statistics.of_each_batch(graph):
            found = graph(pictures)

    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not any(module.training for module in graph.modules())


class Changed:
    """Two classes, shown darker than they are."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels, self.labels = pixels, torch.arange(len(pixels)) % 2

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, indices_N, epoch):
        return as_float(self.pixels[indices_N]) / 2, self.labels[indices_N]


@pytest.mark.parametrize("averaging", [0.0, 0.8])
def test_a_training_ends_with_the_statistics_of_unchanged_images_and_the_same_weights(averaging):
    config = TrainingConfig(batch_size=10, epochs=3, learning_rate=0.1, averaging=averaging)
    pixels, as_shown, graph = images(40), network(), network()
    train(as_shown, Changed(pixels), config, seed=0, precision="fp32")
    seen: list[dict[str, Tensor]] = []

    def measure(graph: Graph) -> dict[str, float]:
        seen.append(statistics(graph))
        return {}

    how = {"measure": measure, "unchanged": pixels}
    train(graph, Changed(pixels), config, seed=0, precision="fp32", **how)

    for name, weights in as_shown.named_parameters():
        assert torch.equal(weights, graph.get_parameter(name))
    with torch.no_grad():
        maps = graph.layers["conv"](as_float(pixels))
    found = graph.layers["norm"].running_mean
    torch.testing.assert_close(found, maps.mean((0, 2, 3)), rtol=1e-4, atol=1e-6)
    assert all(torch.equal(value, seen[-1][key]) for key, value in statistics(graph).items())
    assert 3 == len(seen)


class Asked(TaughtStep):
    def __init__(self) -> None:
        super().__init__()
        self.answers: list[Tensor] = []

    def learn(self, network, teacher, batch):
        self.answers.append(teacher(batch[0]))
        return cross_entropy()(network, batch)


def test_a_teacher_normalises_what_it_is_shown_by_its_own_statistics():
    graph, step, examples = network(), Asked(), Changed(images(40))
    before = plain(graph).train()

    train(graph, examples, CONFIG, seed=0, step=step, precision="fp32")

    order = np.random.default_rng([0, 0]).permutation(40)[:10]
    with torch.no_grad():
        expected = before(examples.batch(order, 0)[0])
    torch.testing.assert_close(step.answers[0], expected, rtol=1e-4, atol=1e-5)
