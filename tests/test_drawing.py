"""Pictures of a graph: rails by hand, and an SVG that parses whether `dot` is there or not."""

import shutil
from xml.etree import ElementTree

import graphviz
import pytest
import torch
from torch import Tensor, nn

from fewlabels.drawing import as_svg, as_text
from fewlabels.graph import Graph, node


class Add(nn.Module):
    def forward(self, *tensors: Tensor) -> Tensor:
        return torch.stack(tensors).sum(0)


def diamond(odd_name: str = "sum") -> Graph:
    return Graph(
        {
            "stem": node(nn.Conv2d(3, 8, 5), "image"),
            "left": node(nn.ReLU(), "stem"),
            "right": node(nn.Sequential(nn.BatchNorm2d(8), nn.Tanh()), "stem"),
            odd_name: node(Add(), "left", "right"),
        },
        inputs={"image": (3, 96, 96)},
        outputs=(odd_name,),
    ).freeze("stem")


def squeezed(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_a_diamond_is_drawn_with_rails_shapes_counts_and_totals():
    assert [
        "name module output parameters buffers reads",
        "o image input 3 x 96 x 96",
        "o stem Conv2d(3, 8, 5x5, stride=1x1) 8 x 92 x 92 608 frozen <- image",
        "+-o left ReLU() 8 x 92 x 92 <- stem",
        "o | right BatchNorm2d > Tanh 8 x 92 x 92 16 17 <- stem",
        "o-' sum Add() 8 x 92 x 92 output <- left, right",
        "4 nodes, 624 parameters (608 frozen), 17 values in buffers",
    ] == squeezed(as_text(diamond()))


def test_columns_stand_one_under_another():
    lines = as_text(diamond()).splitlines()

    assert 1 == len({line.index("8 x 92 x 92") for line in lines if "8 x 92 x 92" in line})
    assert 1 == len({line.index("<-") for line in lines if "<-" in line})


def test_rails_end_at_outputs_and_pass_by_what_is_read_later():
    graph = Graph(
        {
            "a": node(nn.ReLU(), "x"),
            "unused": node(nn.ReLU(), "a"),
            "b": node(nn.ReLU(), "a"),
            "c": node(nn.ReLU(), "b"),
            "d": node(Add(), "a", "b", "c"),
            "e": node(Add(), "y", "d"),
        },
        inputs={"x": (2,), "y": (2,)},
        outputs=("e", "c"),
    )
    rails = [line.split("  ")[0].rstrip() for line in as_text(graph).splitlines()[1:-1]]

    assert [
        "o",  # x
        "| o",  # y, read only at the end
        "o |",  # a
        "+-|-o",  # unused
        "+-|-o",  # b
        "| | +-o",  # c
        "o-|-'-'",  # d reads a, b and c, each for the last time
        "o-'",  # e
    ] == rails


def test_a_shared_module_is_counted_once_and_named():
    shared = nn.Linear(4, 4)
    graph = Graph({"a": node(shared, "x"), "b": node(shared, "a")}, {"x": (4,)}, ("b",))
    text = as_text(graph)

    assert "shared: a" in text
    assert "2 nodes, 20 parameters (0 frozen)" in text


def test_a_graph_of_random_depth_draws_every_node_in_one_line():
    names = [f"layer{i}" for i in range(40)]
    nodes = {n: node(nn.ReLU(), m) for n, m in zip(names, ["x", *names], strict=False)}
    lines = as_text(Graph(nodes, {"x": (2,)}, (names[-1],))).splitlines()

    assert [["o", name] for name in ["x", *names]] == [line.split()[:2] for line in lines[1:-1]]


NAMES = ("sum", "<b>&\"'", "<html>", "a:b", "back\\slash \\n", "größe")


def texts_in(svg: str) -> str:
    root = ElementTree.fromstring(svg)

    assert "{http://www.w3.org/2000/svg}svg" == root.tag
    return "\n".join("".join(part.itertext()) for part in root.iter() if part.tag.endswith("text"))


@pytest.mark.parametrize("name", NAMES)
def test_without_dot_the_svg_is_the_text_drawing(name, monkeypatch):
    def absent(*_: object, **__: object) -> str:
        raise graphviz.ExecutableNotFound(["dot"])

    monkeypatch.setattr(graphviz.Digraph, "pipe", absent)
    graph = diamond(name)

    assert as_text(graph).splitlines() == texts_in(as_svg(graph)).splitlines()


def test_a_machine_without_the_program_gets_an_svg(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))

    assert "4 nodes" in texts_in(as_svg(diamond()))


@pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz's program dot is not here")
@pytest.mark.parametrize("name", NAMES)
def test_with_dot_every_node_has_a_box_and_every_reading_an_arrow(name):
    svg = as_svg(diamond(name))
    root = ElementTree.fromstring(svg)
    classes = [part.get("class") for part in root.iter() if part.get("class")]

    assert svg.startswith("<svg")
    assert 5 == classes.count("node")
    assert 5 == classes.count("edge")
    assert {name, "3 x 96 x 96", "608 parameters", "frozen"} <= set(texts_in(svg).splitlines())
