"""Pictures of a graph: a text that a terminal shows, and an SVG for pages.

    o    image  input                     3 x 96 x 96
    o    stem   Conv2d(3, 8, 5x5, ...)    8 x 92 x 92  608  frozen  <- image
    +-o  left   ReLU()                    8 x 92 x 92               <- stem
    o |  right  Tanh()                    8 x 92 x 92               <- stem
    o-'  sum    Add()                     8 x 92 x 92       output  <- left, right

Every line is a value (o) with a rail below it for as long as it is read: `+` is read and goes on,
`'` is read for the last time, `|` passes by.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import graphviz
from torch import nn

from fewlabels.graph import Graph, NodeFacts
from fewlabels.graph_checks import Shape

LONGEST_MODULE = 44  # characters
FONT_SIZE = 13  # of the plain SVG, in pixels


@dataclass(frozen=True, kw_only=True)
class Arrow:
    """How an edge is drawn: a label of several lines, width in points, colour as #rrggbb."""

    label: str
    width: float
    colour: str
    style: str = "solid"


@dataclass(frozen=True, kw_only=True)
class Notes:
    """What is drawn beside the graph itself.

    title : lines above the drawing; key : (a colour, what it means), below them
    lines : more lines in the box of a node or input, by its name
    arrows : how edges are drawn, by (source, target, position among the target's inputs)
    table : what stands below the plain text, where `dot` is not there to draw arrows
    """

    title: Sequence[str] = ()
    key: Sequence[tuple[str, str]] = ()
    lines: Mapping[str, Sequence[str]] = field(default_factory=dict)
    arrows: Mapping[tuple[str, str, int], Arrow] = field(default_factory=dict)
    table: str = ""


def as_text(graph: Graph) -> str:
    """A table of the inputs and nodes in order of execution, their rails before, totals below."""
    facts = graph.describe()
    rails = _rails({**{name: () for name in graph.inputs}, **graph.sources})
    rows: list[tuple[str, ...]] = [
        ("", "name", "module", "output", "parameters", "buffers", "", "reads")
    ]
    for name, shape in graph.inputs.items():
        rows.append((rails[name], name, "input", _shape(shape), "", "", "", ""))
    for fact in facts:
        counts = [f"{n:,}" if n else "" for n in (fact.n_parameters, fact.n_buffer_values)]
        if fact.shared_with is not None:
            counts[0] = f"shared: {fact.shared_with}"
        rows.append(
            (
                rails[fact.name],
                fact.name,
                _module(fact.module),
                _shape(fact.shape),
                *counts,
                ", ".join(_marks(fact)),
                f"<- {', '.join(fact.inputs)}",
            )
        )
    return table(rows, right_aligned=(4, 5)) + f"\n{_totals(graph, facts)}\n"


def as_svg(graph: Graph, notes: Notes | None = None) -> str:
    """An SVG element: boxes and arrows by graphviz where `dot` is there, else the text drawing."""
    notes = notes or Notes()
    try:
        drawn = _boxes(graph, notes).pipe(format="svg", encoding="utf-8", quiet=True)
    except (graphviz.ExecutableNotFound, graphviz.CalledProcessError):
        parts = ("\n".join(notes.title), as_text(graph), notes.table)
        return _plain_svg("\n".join(part for part in parts if part))
    return drawn[drawn.index("<svg") :]  # without the XML prologue it can stand inside a page


def _boxes(graph: Graph, notes: Notes) -> graphviz.Digraph:
    """The graph in graphviz's words; nodes are numbered, as names may hold any character."""
    boxes = graphviz.Digraph(
        graph_attr={"rankdir": "TB", "bgcolor": "transparent"},
        node_attr={"shape": "box", "style": "rounded", "fontname": "Helvetica", "fontsize": "11"},
        edge_attr={
            "color": "#666666",
            "arrowsize": "0.7",
            "fontname": "Helvetica",
            "fontsize": "9",
        },
    )
    if notes.title:
        boxes.attr(label=_heading(notes), labelloc="t", fontname="Helvetica", fontsize="11")
    numbers = {name: f"n{i}" for i, name in enumerate((*graph.inputs, *graph.layers))}
    for name, shape in graph.inputs.items():
        lines = [name, "input", _shape(shape), *notes.lines.get(name, ())]
        boxes.node(numbers[name], _label(lines), shape="oval", style="")
    for fact in graph.describe():
        lines = [fact.name, _module(fact.module), _shape(fact.shape)]
        if fact.n_parameters and fact.shared_with is None:
            lines.append(f"{fact.n_parameters:,} parameters")
        lines += _marks(fact)
        if fact.shared_with is not None:
            lines.append(f"shared with {fact.shared_with}")
        lines += notes.lines.get(fact.name, ())
        style = {"style": "rounded,filled", "fillcolor": "#e0e8f0"} if fact.frozen else {}
        boxes.node(
            numbers[fact.name],
            _label(lines),
            penwidth="2" if fact.is_output else "1",
            **style,
        )
        for position, source in enumerate(fact.inputs):
            arrow = notes.arrows.get((source, fact.name, position))
            boxes.edge(numbers[source], numbers[fact.name], **_drawn_as(arrow))
    return boxes


def _drawn_as(arrow: Arrow | None) -> dict[str, str]:
    """An arrow in graphviz's words; its head grows less than its line."""
    if arrow is None:
        return {}
    return {
        "label": _label([f"  {line}" for line in arrow.label.splitlines()]),
        "penwidth": f"{arrow.width:.2f}",
        "arrowsize": f"{0.4 + 0.1 * arrow.width:.2f}",
        "color": arrow.colour,
        "fontcolor": "#222222",
        "style": arrow.style,
    }


def _heading(notes: Notes) -> str:
    """Title and key as one of graphviz's tables, which alone can have several colours."""
    rows = [f'<tr><td align="left">{escape(line)}</td></tr>' for line in notes.title]
    if notes.key:
        cells = "".join(
            f'<td bgcolor="{colour}" width="26"></td><td>{escape(meaning)}  </td>'
            for colour, meaning in notes.key
        )
        rows.append(f'<tr><td align="left"><table border="0"><tr>{cells}</tr></table></td></tr>')
    return f'<<table border="0" cellspacing="0">{"".join(rows)}</table>>'


def _label(lines: Iterable[str]) -> str:
    return graphviz.nohtml("\\n".join(graphviz.escape(line) for line in lines))


def _plain_svg(text: str) -> str:
    lines = text.splitlines()
    line_height, character_width = FONT_SIZE * 1.4, FONT_SIZE * 0.61
    width = (max(map(len, lines)) + 2) * character_width
    height = (len(lines) + 1) * line_height
    drawn = "\n".join(
        f'<text x="{character_width:.1f}" y="{(i + 1) * line_height:.1f}" xml:space="preserve">'
        f"{escape(line)}</text>"
        for i, line in enumerate(lines)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="monospace" '
        f'font-size="{FONT_SIZE}">\n{drawn}\n</svg>\n'
    )


def _rails(sources: dict[str, Sequence[str]]) -> dict[str, str]:
    """For each value, in order, the line's start: its own mark and the rails that pass it."""
    last_reader = {read: name for name, reads in sources.items() for read in reads}
    lanes: list[str | None] = []  # the value whose rail stands in each column
    drawn = {}
    for name, reads in sources.items():
        before = list(lanes)
        ending = {value for value in reads if last_reader[value] == name}
        lanes = [None if value in ending else value for value in lanes]
        own = lanes.index(None) if None in lanes else len(lanes)
        lanes[own : own + 1] = [name]
        touched = [own, *(i for i, value in enumerate(before) if value in reads)]
        columns = []
        for i in range(max(len(before), len(lanes))):
            was = before[i] if i < len(before) else None
            if i == own:
                mark = "o"
            elif was is not None and was not in reads:
                mark = "|"
            elif was is not None:
                mark = "+" if lanes[i] is not None else "'"
            else:
                mark = "-" if min(touched) < i < max(touched) else " "
            columns.append(mark + ("-" if min(touched) <= i < max(touched) else " "))
        drawn[name] = "".join(columns).rstrip()
        if name not in last_reader:  # an output, or unused
            lanes[own] = None
        while lanes and lanes[-1] is None:
            lanes.pop()
    return drawn


def table(rows: Sequence[Sequence[str]], right_aligned: Sequence[int]) -> str:
    """Columns as wide as their widest entry, two spaces apart."""
    columns = [column for column in zip(*rows, strict=True)]
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if i in right_aligned else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _totals(graph: Graph, facts: Sequence[NodeFacts]) -> str:
    parameters = list(graph.parameters())  # a shared one stands here once
    n_frozen = sum(p.numel() for p in parameters if not p.requires_grad)
    return (
        f"{len(facts):,} nodes, {sum(p.numel() for p in parameters):,} parameters "
        f"({n_frozen:,} frozen), {sum(b.numel() for b in graph.buffers()):,} values in buffers"
    )


def _marks(fact: NodeFacts) -> list[str]:
    return ["frozen"] * fact.frozen + ["output"] * fact.is_output


def _shape(shape: Shape) -> str:
    return " x ".join(map(str, shape))


def _module(module: nn.Module) -> str:
    """The module in a few words; a sequence as the kinds in it, one after another."""
    if isinstance(module, nn.Sequential):
        short = " > ".join(type(part).__name__ for part in module) or "Sequential()"
    else:
        arguments = re.sub(r"(in_features|out_features|kernel_size)=", "", module.extra_repr())
        arguments = re.sub(r"\((\d+), (\d+)\)", r"\1x\2", arguments)
        short = " ".join(f"{type(module).__name__}({arguments})".split())
    return short if len(short) <= LONGEST_MODULE else short[: LONGEST_MODULE - 3] + "..."
