"""Which networks answer in the end: the students alone, or with their teachers."""

from dataclasses import dataclass

import pytest
import torch

from fewlabels import progress
from fewlabels.errors import ConfigError
from fewlabels.graph import Graph
from fewlabels.images import as_float
from fewlabels.ways import starts
from fewlabels.ways.consistency import beside_teachers
from fewlabels.ways.consistency_config import ConsistencyConfig
from small_consistency import NOTHING, Heard, coloured, course_of

IMAGES = coloured((2, 2, 2), seed=3)


@dataclass
class Judge:
    """A watch whose temperatures and losses are told for one network, and for several."""

    held: object = IMAGES
    loss_of_both: float = 0.4

    def temperature(self, graph: Graph, usual: float) -> float:
        return {2: 0.5, 1: 2.0}[n_networks(graph)]

    def loss(self, graph: Graph, usual: float) -> float:
        return self.loss_of_both if n_networks(graph) == 3 else 0.5


def n_networks(graph: Graph) -> int:
    return max(1, sum(name.endswith("_flat") for name in graph.nodes))


def three() -> list[Graph]:
    course = course_of()
    course.first = starts.first_layer(coloured(seed=9), course.parts, seed=0)
    return [course.new_network(number).eval() for number in range(3)]


@torch.no_grad()
def test_both_answer_by_their_shares_over_their_temperatures():
    one, two, student = three()
    pictures = as_float(IMAGES.pixels)

    with progress.watching(Heard()) as heard:
        both = beside_teachers([one, two], [student], 0.25, Judge())

    # a quarter over 0.5 of the mean of two, and three quarters over 2
    expected = 0.25 * (one(pictures) + two(pictures)) + 0.375 * student(pictures)
    torch.testing.assert_close(expected, both(pictures), rtol=0, atol=1e-5)
    assert "the networks of labels alone answer too" in heard.text


@pytest.mark.parametrize(
    ("part", "judge"), [(0.25, Judge(loss_of_both=0.6)), (0.0, Judge()), (0.25, Judge(NOTHING))]
)
def test_students_answer_alone_where_nothing_says_that_both_are_better(part, judge):
    one, two, student = three()

    assert student is beside_teachers([one, two], [student], part, judge)


def test_where_there_is_no_student_the_teachers_answer():
    one, _, _ = three()

    assert one is beside_teachers([one], [], 0.25, Judge())


def test_a_model_has_at_most_the_networks_of_both():
    assert 6 == ConsistencyConfig().n_together
    assert 3 == ConsistencyConfig(teachers_part=0.0).n_together
    assert 1 == ConsistencyConfig(schedule="steps").n_together
    with pytest.raises(ConfigError, match=r"consistency\.teachers_part is a part, in"):
        ConsistencyConfig(teachers_part=1.0)
