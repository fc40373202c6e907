"""When a network is worse than its baseline: paired answers, by hand and beside a twin."""

import numpy as np
import pytest
import torch
from torch import nn

from fewlabels.graph import Graph, node
from fewlabels.images import Images
from fewlabels.ways.watching import Watch, difference, is_worse


def answers(both: int, only_before: int, only_after: int, neither: int):
    counts = (both, only_before, only_after, neither)
    before = np.repeat([True, True, False, False], counts)
    after = np.repeat([True, False, True, False], counts)
    return before, after


def test_the_error_of_a_paired_difference_by_hand():
    change, error = difference(*answers(70, 10, 4, 16))

    # (4 - 10) / 100, and sqrt((14 / 100 - 0.06 ** 2) / 100)
    assert -0.06 == pytest.approx(change)
    assert 0.1364**0.5 / 10 == pytest.approx(error)


def test_the_error_is_the_deviation_of_the_paired_differences():
    before, after = answers(31, 7, 12, 20)
    differences = after.astype(float) - before

    change, error = difference(before, after)

    assert differences.mean() == pytest.approx(change)
    assert differences.std() / len(differences) ** 0.5 == pytest.approx(error)


@pytest.mark.parametrize(
    ("counts", "worse"),
    [
        ((70, 10, 4, 16), True),  # -6 % with an error of 3.7 %
        ((70, 6, 4, 20), False),  # -2 % with an error of 3.2 %
        ((70, 4, 10, 16), False),
        ((70, 0, 0, 30), False),
        ((0, 3, 0, 0), True),  # every one lost
        ((9, 1, 0, 0), False),  # a single image tells nothing, however few there are
        ((8, 2, 0, 0), True),
    ],
)
def test_worse_means_by_more_than_one_standard_error(counts, worse):
    assert worse == is_worse(*answers(*counts))


def test_without_images_nothing_is_worse():
    assert not is_worse(np.empty(0, bool), np.empty(0, bool))


class Brightest(nn.Module):
    """The mean of each colour's left half: a mirrored image is another one."""

    def forward(self, images):
        return images[..., : images.shape[3] // 2].mean((2, 3))


def test_images_are_answered_with_their_mirror_images_and_measured_without():
    pixels = np.zeros((2, 3, 2, 4), np.uint8)
    pixels[0, 1] = 100
    pixels[1, 0, :, :2], pixels[1, 2, :, 2:] = 100, 200  # red at the left, more blue at the right
    graph = Graph({"logits": node(Brightest(), "image")}, {"image": (3, 2, 4)}, ("logits",))
    graph.layers["logits"].register_parameter("place", nn.Parameter(torch.zeros(1)))
    held = Images(pixels=pixels, labels=np.array([1, 2]))

    watched = Watch(held=held, flips=True, device="cpu")

    assert [True, True] == watched.right(graph).tolist()
    assert [True, False] == Watch(held=held, flips=False, device="cpu").right(graph).tolist()
    measured = watched.measure(lambda graph: {"test_accuracy": 0.25})
    assert {"test_accuracy": 0.25, "held_out_accuracy": 0.5} == measured(graph)


def test_the_loss_is_that_of_answers_as_sure_as_they_are_right():
    pixels = np.zeros((3, 3, 2, 4), np.uint8)
    pixels[[0, 1, 2], [0, 1, 2]] = 255  # each brightest in one colour, by 1
    graph = Graph({"logits": node(Brightest(), "image")}, {"image": (3, 2, 4)}, ("logits",))
    held = Images(pixels=pixels, labels=np.array([0, 1, 0]))  # the last is taken for another
    watched = Watch(held=held, flips=True, device="cpu")

    temperature = watched.temperature(graph, 0.75)
    sure = np.exp(1 / temperature) / (np.exp(1 / temperature) + 2)
    # two are right, and of the third the label has half of what is left
    expected = -(2 * np.log(sure) + np.log((1 - sure) / 2)) / 3
    assert expected == pytest.approx(watched.loss(graph, 0.75), abs=1e-5)


def test_without_images_held_out_nothing_more_is_measured():
    none = Images(pixels=np.empty((0, 3, 2, 4), np.uint8), labels=np.empty(0, np.int64))

    assert Watch(held=none, flips=True, device="cpu").measure(None) is None
