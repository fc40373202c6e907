"""The picture and the table of a trace: arrows by hand, nothing left out."""

import shutil
from xml.etree import ElementTree

import graphviz
import pytest
import torch
from torch import Tensor, nn

from fewlabels import drawing, trace_pictures
from fewlabels.graph import Graph, node
from fewlabels.trace_losses import half_squares
from fewlabels.trace_pictures import ABSENT, STEPS, THINNEST, VANISHED, WIDEST
from fewlabels.tracing import trace


def traced_chain(*gradients: float | str | None) -> dict:
    """Edges x -> n0 -> n1 -> ... with these gradients, and no parameters."""
    names = ["x", *(f"n{i}" for i in range(len(gradients)))]
    edges = [
        {"source": a, "target": b, "position": 0, "value_rms": 1.0, "gradient_rms": gradient}
        for a, b, gradient in zip(names, names[1:], gradients, strict=False)
    ]
    about = {"run": "r", "images": "s (test)", "device": "cpu", "svg": "t.svg", "json": "t.json"}
    return about | {"n_images": 2, "loss": "l", "nodes": [], "edges": edges, "parameters": []}


def arrows(*gradients: float | str | None) -> list[drawing.Arrow]:
    return list(trace_pictures.notes(traced_chain(*gradients)).arrows.values())


def test_an_arrow_is_thinner_and_paler_for_each_power_of_ten():
    drawn = arrows(2.0, 0.3, 0.1, 0.002 / 1.001, 0.0)
    colours = [colour for colour, _ in STEPS]

    assert [colours[0], colours[0], colours[1], colours[3], VANISHED[0]] == [
        one.colour for one in drawn
    ]
    assert [WIDEST, THINNEST] == [drawn[0].width, drawn[-1].width]
    assert sorted((one.width for one in drawn), reverse=True) == [one.width for one in drawn]
    assert ["solid"] * 4 + ["dashed"] == [one.style for one in drawn]


def test_a_gradient_that_is_not_there_or_not_finite_is_gray_and_dotted():
    for drawn in (*arrows(None, "nan"), *arrows(1.0, None)[1:]):
        assert (ABSENT[0], "dotted") == (drawn.colour, drawn.style)
    assert "value 1\ngradient nan" == arrows("nan")[0].label


def test_a_sentence_says_where_the_gradient_is_weakest_or_breaks():
    assert "weakest gradient is on x -> n0: 0.005 of the strongest" in trace_pictures.text(
        traced_chain(0.01, 2.0)
    )
    # n1 is the last in order, so the first on the way back
    assert "not finite from n0 -> n1 on back" in trace_pictures.text(
        traced_chain("nan", "inf", 1.0)
    )
    assert "no gradient flows" in trace_pictures.text(traced_chain(None))


class Add(nn.Module):
    def forward(self, *tensors: Tensor) -> Tensor:
        return torch.stack(tensors).sum(0)


def example() -> tuple[Graph, dict]:
    torch.manual_seed(0)
    graph = Graph(
        {
            "<stem>": node(nn.Conv2d(3, 4, 3), "image"),
            "fixed": node(nn.Conv2d(4, 4, 1), "<stem>"),
            "sum": node(Add(), "<stem>", "fixed", "fixed"),
            "many": node(nn.Sequential(*(nn.GroupNorm(1, 4) for _ in range(3))), "sum"),
            "unused": node(nn.Tanh(), "sum"),
        },
        inputs={"image": (3, 8, 8)},
        outputs=("many",),
    ).freeze("fixed")
    traced = trace(graph, torch.rand(2, 3, 8, 8), half_squares("many"), repeats=1).as_dict()
    about = {"run": "runs/a", "images": "set (test)", "device": "cpu"}
    return graph, traced | about | {"svg": "t.svg", "json": "t.json"}


def texts_in(svg: str) -> str:
    root = ElementTree.fromstring(svg)
    return "\n".join("".join(part.itertext()) for part in root.iter() if part.tag.endswith("text"))


@pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz's program dot is not here")
def test_the_picture_holds_every_fact_of_every_node_and_edge():
    graph, traced = example()
    svg = drawing.as_svg(graph, trace_pictures.notes(traced))
    seen = texts_in(svg)
    size = trace_pictures.size

    for one in traced["nodes"]:
        if one["name"] != "unused":
            assert f"{one['output_mib']:.3g} MiB, size {size(one['value_rms'])}" in seen
            assert f"gradient {size(one['gradient_rms'])}" in seen
    for edge in traced["edges"]:
        assert f"value {size(edge['value_rms'])}" in seen
        assert f"gradient {size(edge['gradient_rms'])}" in seen
    weight = next(p for p in traced["parameters"] if p["name"] == "layers.<stem>.weight")
    assert f"gradient of weight {size(weight['gradient_rms'])}" in seen
    for words in ("runs/a: 2 images of set (test)", "loss: half the sum of squared features",
                  "frozen parameters have no gradient", "and of 2 more: see the table",
                  "not run: no output needs it", "to 1/100"):  # fmt: skip
        assert words in seen
    for colour, _ in (*STEPS, VANISHED, ABSENT):
        assert colour in svg


def test_without_dot_the_picture_is_the_text_with_the_table(monkeypatch):
    def absent(*_: object, **__: object) -> str:
        raise graphviz.ExecutableNotFound(["dot"])

    monkeypatch.setattr(graphviz.Digraph, "pipe", absent)
    graph, traced = example()
    notes = trace_pictures.notes(traced)
    seen = texts_in(drawing.as_svg(graph, notes))

    assert drawing.as_text(graph).splitlines()[1] in seen
    assert [line for line in notes.table.splitlines() if line not in seen] == []
    assert notes.title[0] in seen


def test_the_table_names_each_node_edge_and_parameter():
    _, traced = example()
    lines = [line.split("  ")[0] for line in trace_pictures.text(traced).splitlines()]

    for name in ("image", "<stem>", "fixed", "sum", "many", "unused"):
        assert name in lines
    for edge in ("image -> <stem>", "<stem> -> sum", "fixed -> sum [1]", "fixed -> sum [2]"):
        assert edge in lines
    assert {p["name"] for p in traced["parameters"]} <= set(lines)


def test_a_network_that_does_not_learn_says_so():
    graph, _ = example()
    traced = trace(graph.freeze(), torch.rand(2, 3, 8, 8), half_squares("many"), repeats=1)
    about = {"run": "r", "images": "s", "device": "cpu", "svg": "t.svg", "json": "t.json"}

    assert "no parameter of this network learns" in trace_pictures.text(traced.as_dict() | about)
