"""A batch in parts side by side is the parts one after another."""

import copy
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fewlabels import processes
from fewlabels.batch_norm import BatchNormActivation
from fewlabels.batch_statistics import of_each_batch
from fewlabels.features import single_threaded
from fewlabels.graph import Graph, node
from fewlabels.side_by_side import LEAST, InParts, in_parts, sharing, teacher
from fewlabels.training import TrainingConfig, train
from small_training import MadeExamples, small_graph

IMAGES = torch.randn(2 * LEAST + 7, 3, 6, 6, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(len(IMAGES)) % 3


@pytest.fixture
def two_cores():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def normed_graph() -> Graph:
    with torch.random.fork_rng([]):
        torch.manual_seed(5)
        return Graph(
            {
                "conv": node(nn.Conv2d(3, 8, 3, bias=False), "image"),
                "norm": node(BatchNormActivation(8), "conv"),
                "pool": node(nn.AdaptiveAvgPool2d(2), "norm"),
                "flat": node(nn.Flatten(), "pool"),
                "logits": node(nn.Linear(32, 3), "flat"),
            },
            inputs={"image": (3, 6, 6)},
            outputs=("logits",),
        )


def fabric():
    return processes.join("cpu", "fp32")


def test_answers_and_gradients_are_those_of_the_parts(two_cores):
    graph, twin = normed_graph(), normed_graph()
    with in_parts(graph, fabric()) as network:
        assert isinstance(network, InParts) and len(network.graphs) == 2
        answers = network(IMAGES)
        F.cross_entropy(answers, LABELS).backward()
    expected = torch.cat([twin(part) for part in IMAGES.chunk(2)])
    F.cross_entropy(expected, LABELS).backward()
    torch.testing.assert_close(answers, expected)
    for found, wanted in zip(graph.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad)


def test_what_is_wanted_by_name_is_of_the_whole_batch(two_cores):
    graph, twin = normed_graph(), normed_graph()
    with in_parts(graph, fabric()) as network:
        found = network(IMAGES, wanted=("pool",))
    assert torch.equal(found["pool"], twin(IMAGES, wanted=("pool",))["pool"])


def test_a_weight_moves_for_all_parts(two_cores):
    graph = normed_graph()
    with in_parts(graph, fabric()) as network, torch.no_grad():
        graph.layers["logits"].weight.zero_()
        graph.layers["logits"].bias.fill_(2.0)
        assert torch.equal(network(IMAGES), torch.full((len(IMAGES), 3), 2.0))


def test_running_statistics_follow_the_first_part(two_cores):
    graph, twin = normed_graph(), normed_graph()
    with in_parts(graph, fabric()) as network:
        network(IMAGES)
    twin(IMAGES.chunk(2)[0])
    for found, wanted in zip(graph.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(found, wanted)


def test_fewer_images_than_two_parts_stay_whole(two_cores):
    graph, twin = normed_graph(), normed_graph()
    few = IMAGES[: 2 * LEAST - 1]
    with in_parts(graph, fabric()) as network:
        assert torch.equal(network(few), twin(few))


@pytest.mark.parametrize("n_threads, dropout", [(1, 0.0), (2, 0.2)])
def test_one_core_and_draws_keep_batches_whole(n_threads, dropout, two_cores):
    torch.set_num_threads(n_threads)
    with in_parts(small_graph(dropout=dropout), fabric()) as network:
        assert not isinstance(network, InParts)


def test_a_sharing_graph_has_the_weights_but_not_the_statistics():
    graph = normed_graph()
    other = sharing(graph)
    pairs = list(zip(graph.parameters(), other.parameters(), strict=True))
    assert all(one is two for one, two in pairs)
    with of_each_batch(other):
        other(IMAGES)
    assert int(graph.layers["norm"].num_batches_tracked) == 0
    assert int(other.layers["norm"].num_batches_tracked) == 1


def test_a_teacher_answers_by_each_part_and_follows_the_weights_and_fixed_statistics(two_cores):
    graph = small_graph(dropout=0.0).requires_grad_(False).eval()  # nn.BatchNorm2d: fixed
    normed = normed_graph().requires_grad_(False).eval()
    with teacher(graph, fabric()) as fixed, teacher(normed, fabric()) as by_part:
        graph.layers["norm"].running_mean.fill_(0.5)
        normed.layers["logits"].bias.fill_(3.0)
        answers, of_parts = fixed(IMAGES), by_part(IMAGES)
    torch.testing.assert_close(answers, graph(IMAGES))
    assert not normed.layers["norm"].training
    assert int(normed.layers["norm"].num_batches_tracked) == 0
    torch.testing.assert_close(of_parts, torch.cat([normed.train()(p) for p in IMAGES.chunk(2)]))


def test_without_gradients_nothing_is_kept(two_cores):
    graph = normed_graph().requires_grad_(False)
    with in_parts(graph, fabric()) as network:
        assert not network(IMAGES).requires_grad


def test_frozen_weights_get_no_gradient(two_cores):
    graph = normed_graph().freeze("conv")
    with in_parts(graph, fabric()) as network:
        network(IMAGES).square().mean().backward()
    assert graph.layers["conv"].weight.grad is None
    assert graph.layers["logits"].weight.grad is not None


def test_an_error_in_a_part_is_told():
    graph = normed_graph()
    with ThreadPoolExecutor(2, initializer=single_threaded) as pool:
        network = InParts([graph, sharing(graph)], pool, nullcontext)
        with pytest.raises(Exception, match=r"input 'image' is of shape"):
            network(IMAGES[:, :, :5])


def test_a_training_in_parts_ends_the_same_bit_for_bit(two_cores):
    examples = MadeExamples(n_images=3 * LEAST)
    config = TrainingConfig(batch_size=2 * LEAST, epochs=4, warmup=0.25)
    graphs = [normed_graph(), normed_graph().eval()]  # one that answers before it goes on
    for graph in graphs:
        train(graph, examples, config, seed=3)
    before = copy.deepcopy(normed_graph().state_dict())
    first, second = (graph.state_dict() for graph in graphs)
    assert all(torch.equal(first[name], second[name]) for name in first)
    # a batch of each of 4 epochs, by the part that the graph itself has
    assert 4 == int(first["layers.norm.num_batches_tracked"])
    assert not torch.equal(first["layers.logits.weight"], before["layers.logits.weight"])
