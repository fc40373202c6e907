import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fewlabels.errors import ConfigError
from fewlabels.optimizers import Muon, build, orthogonal, set_rates
from fewlabels.training_config import TrainingConfig
from small_training import small_graph


def with_gradients(*shapes: tuple[int, ...], seed: int = 0) -> list[nn.Parameter]:
    draws = torch.Generator().manual_seed(seed)
    weights = [
        nn.Parameter(torch.randn(shape, generator=draws, dtype=torch.float64)) for shape in shapes
    ]
    for weight in weights:
        weight.grad = torch.randn(weight.shape, generator=draws, dtype=torch.float64)
    return weights


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 1000))
def test_the_singular_values_of_an_orthogonal_step_lie_about_one(rows, columns, seed):
    matrix = torch.randn(
        rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)

    found = orthogonal(matrix, 5, torch.float64)

    # the slow way: U and V stay, and each singular value goes through the polynomial by itself
    values = S / (S.norm() + 1e-7)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    torch.testing.assert_close(found, U @ torch.diag(values) @ Vh, rtol=1e-9, atol=1e-9)
    large = S / S.norm() > 0.003
    assert bool(((values[large] > 0.68) & (values[large] < 1.21)).all())


def test_bfloat16_steps_are_orthogonal_too():
    matrix = torch.randn(16, 72, generator=torch.Generator().manual_seed(0))

    found = orthogonal(matrix, 5, torch.bfloat16)

    assert torch.float32 == found.dtype
    values = torch.linalg.svdvals(found)
    assert 0.65 < values.min() and values.max() < 1.25


def transcribed(weight, gradient, buffer, rate, momentum):
    """One step as airbench94_muon.py writes it, in its own type."""
    buffer = buffer * momentum + gradient
    g = gradient + momentum * buffer
    weight = weight * (len(weight) ** 0.5 / weight.norm())
    G = g.reshape(len(g), -1)
    X = G / (G.norm() + 1e-7)
    if G.size(0) > G.size(1):
        X = X.T
    for _ in range(3):
        A = X @ X.T
        B = -4.7750 * A + 2.0315 * A @ A
        X = 3.4445 * X + B @ X
    if G.size(0) > G.size(1):
        X = X.T
    return weight - rate * X.reshape(g.shape), buffer


def test_muon_moves_as_a_plain_transcription_does():
    weights = with_gradients((6, 2, 3, 3), (20, 1, 2, 2))
    weights[0].data = weights[0].data.contiguous(memory_format=torch.channels_last)
    slow = [(weight.detach().clone(), torch.zeros_like(weight)) for weight in weights]
    optimizer = Muon(weights, rate=0.24, momentum=0.6, dtype=torch.float64)

    for rate in (0.24, 0.1):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        slow = [
            transcribed(value, weight.grad, buffer, rate, 0.6)
            for weight, (value, buffer) in zip(weights, slow, strict=True)
        ]
        for weight in weights:
            weight.grad = weight.grad.flip(0) * 2

    for weight, (value, _) in zip(weights, slow, strict=True):
        torch.testing.assert_close(weight.data, value, rtol=1e-12, atol=1e-12)


def test_filters_keep_a_mean_length_of_one():
    (weight,) = with_gradients((9, 2, 3, 3))
    optimizer = Muon([weight], rate=0.0)

    optimizer.step()

    assert math.isclose(9.0, float(weight.detach().square().sum()))


def test_each_weight_gets_the_rate_of_its_kind():
    graph = small_graph()
    config = TrainingConfig(
        batch_size=100, learning_rate=0.2, head_learning_rate=0.5, bias_learning_rate=0.1
    )

    muon, sgd = build(graph, config, torch.float32)

    assert [graph.layers["conv"].weight] == muon.param_groups[0]["params"]
    assert [graph.layers["logits"].weight] == sgd.param_groups[0]["params"]
    norm = graph.layers["norm"]
    assert [norm.weight, norm.bias, graph.layers["logits"].bias] == sgd.param_groups[1]["params"]
    # 100 images of 2e-6 each are the part lost in a step at the highest rate
    for group, peak in zip(sgd.param_groups, (0.5, 0.1), strict=True):
        assert (peak, 2e-4) == (group["lr"], pytest.approx(group["lr"] * group["weight_decay"]))
    set_rates([muon, sgd], 0.5)
    assert [0.1, 0.25, 0.05] == [g["lr"] for o in (muon, sgd) for g in o.param_groups]


def test_sgd_learns_the_filters_too_where_it_is_asked_to():
    graph = small_graph()

    (sgd,) = build(graph, TrainingConfig(optimizer="sgd", learning_rate=0.3), torch.float32)

    assert [graph.layers["conv"].weight] == sgd.param_groups[0]["params"]
    assert 0.3 == sgd.param_groups[0]["lr"]


def test_frozen_nodes_are_left_alone():
    graph = small_graph().freeze("conv", "norm")

    optimizers = build(graph, TrainingConfig(), torch.float32)

    learned = [w for o in optimizers for group in o.param_groups for w in group["params"]]
    assert {id(w) for w in graph.layers["logits"].parameters()} == {id(w) for w in learned}
    with pytest.raises(ConfigError, match="no weight of this network can learn: unfreeze"):
        build(graph.freeze(), TrainingConfig(), torch.float32)


def test_muon_takes_no_closure():
    with pytest.raises(TypeError, match="takes no closure"):
        Muon(with_gradients((2, 1, 1, 1)), rate=0.1).step(lambda: None)
