import math

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fewlabels.averaging import Averaged, keeping
from small_training import small_graph


def test_the_average_is_the_one_worked_out_by_hand():
    graph = small_graph()
    bias = graph.layers["logits"].bias
    with torch.no_grad():
        bias.fill_(1.0)
    averaged = Averaged(graph, 0.15)

    with torch.no_grad():
        for step, value in enumerate((2.0, 4.0)):
            bias.fill_(value)
            averaged.update(step)

    # keeps 1/10 in the first step, then min(0.15, 2/11): 0.1 + 0.9 * 2 = 1.9; 0.285 + 0.85 * 4
    expected = 0.15 * 1.9 + 0.85 * 4
    assert math.isclose(expected, float(averaged.graph.layers["logits"].bias[0]), rel_tol=1e-6)
    assert 4.0 == float(bias[0].detach())


def test_after_the_first_steps_it_is_torchs_average():
    graph = small_graph()
    averaged = Averaged(graph, 0.9)
    trusted = AveragedModel(graph, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    trusted.n_averaged += 1  # else its first update takes the weights over

    for step in range(1000, 1003):
        assert 0.9 == keeping(0.9, step)
        graph(torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(step)))
        with torch.no_grad():
            graph.layers["conv"].weight.add_(step)
        averaged.update(step)
        trusted.update_parameters(graph)

    expected, found = trusted.module.state_dict(), averaged.graph.state_dict()
    for name, value in expected.items():
        if value.is_floating_point():
            torch.testing.assert_close(found[name], value)
    assert 3 == int(found["layers.norm.num_batches_tracked"])  # counts are no averages
    assert not torch.equal(
        graph.layers["norm"].running_mean, averaged.graph.layers["norm"].running_mean
    )


def test_the_graph_gets_its_average_back():
    graph = small_graph()
    averaged = Averaged(graph, 0.9)
    expected = {name: value.clone() for name, value in graph.state_dict().items()}
    with torch.no_grad():
        graph.layers["conv"].weight.add_(1)
        graph.layers["norm"].running_mean.add_(1)

    averaged.give_back()

    assert all(torch.equal(expected[name], value) for name, value in graph.state_dict().items())
    assert all(weight.requires_grad for weight in graph.parameters())
    assert not any(weight.requires_grad for weight in averaged.graph.parameters())


def test_an_average_of_what_has_learned_keeps_as_much_from_the_first_step_on():
    graph = small_graph()
    averaged = Averaged(graph, 0.75, from_new=False)
    weight = averaged.graph.state_dict()["layers.conv.weight"]
    before = weight.clone()
    with torch.no_grad():
        graph.state_dict()["layers.conv.weight"].add_(4.0)

    averaged.update(0)

    assert torch.allclose(before + 1.0, weight)
