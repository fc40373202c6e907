"""A trace as a picture, a table and a sentence: where time goes, and where gradients vanish.

Arrows are as wide and dark as the gradient on them is strong, a step for each power of ten below
the strongest. Colours are five of viridis and a vermilion, which differ in lightness too, so that
people who see few colours, and printers, tell them apart.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fewlabels.drawing import Arrow, Notes, table

# a colour and what it says, for a gradient up to 10, 100, ... times weaker than the strongest
STEPS = (
    ("#440154", "the strongest gradient, to 1/10 of it"),
    ("#3b528b", "to 1/100"),
    ("#21918c", "to 1/1,000"),
    ("#5ec962", "to 1/10,000"),
)
VANISHED, ABSENT = ("#d55e00", "weaker, or 0"), ("#999999", "none, or not finite")
WIDEST, THINNEST = 5.0, 0.8  # points
MOST_PARAMETERS = 4  # that a box names

Size = float | str | None  # a root mean square; "nan" or "inf"; None where there is none


def notes(traced: Mapping[str, Any]) -> Notes:
    """What a picture of the graph shows of a trace (as `Trace.as_dict` gives it)."""
    edges = traced["edges"]
    strongest = _strongest(edges)
    return Notes(
        title=_title(traced),
        key=(*STEPS, VANISHED, ABSENT),
        lines={node["name"]: _lines(node, traced["parameters"]) for node in traced["nodes"]},
        arrows={
            (edge["source"], edge["target"], edge["position"]): _arrow(edge, strongest)
            for edge in edges
        },
        table=_tables(traced),
    )


def text(traced: Mapping[str, Any]) -> str:
    """What `fewlabels trace` prints."""
    written = [f"drawn in {traced['svg']}, the numbers are in {traced['json']}"]
    return "\n".join([*_title(traced), "", _tables(traced), *written])


def _title(traced: Mapping[str, Any]) -> list[str]:
    images = f"{traced['n_images']} images of {traced['images']}"
    lines = [
        f"{traced['run']}: {images}, in training mode, on {traced['device']}",
        f"loss: {traced['loss']}",
        "sizes are root mean squares: of values on their way forwards, of gradients on their way "
        "back",
    ]
    if all(parameter["frozen"] for parameter in traced["parameters"]):
        lines.append("no parameter of this network learns, so only values have gradients")
    return lines


def _lines(node: Mapping[str, Any], parameters: Sequence[Mapping[str, Any]]) -> list[str]:
    """What stands in the box of a node or an input, below its shape."""
    if node["value_rms"] is None:
        return ["not run: no output needs it"]
    lines = []
    if node["forward_seconds"] is not None:
        back = _milliseconds(node["backward_seconds"])
        lines.append(f"forwards {_milliseconds(node['forward_seconds'])} ms, back {back} ms")
    lines.append(f"{node['output_mib']:.3g} MiB, size {size(node['value_rms'])}")
    if node["gradient_rms"] is not None:
        lines.append(f"gradient {size(node['gradient_rms'])}")
    own = [one for one in parameters if one["node"] == node["name"]]
    if any(one["frozen"] for one in own):
        lines.append("frozen parameters have no gradient")
    own = [one for one in own if not one["frozen"]]
    for one in own[:MOST_PARAMETERS]:
        name = one["name"].split(".", 2)[2]
        lines.append(f"gradient of {name} {size(one['gradient_rms'])}")
    if len(own) > MOST_PARAMETERS:
        lines.append(f"and of {len(own) - MOST_PARAMETERS} more: see the table")
    return lines


def _arrow(edge: Mapping[str, Any], strongest: float | None) -> Arrow:
    label = f"value {size(edge['value_rms'])}\ngradient {size(edge['gradient_rms'])}"
    gradient = edge["gradient_rms"]
    if strongest is None or not _is_finite(gradient):
        return Arrow(label=label, width=THINNEST, colour=ABSENT[0], style="dotted")
    weaker = math.log10(strongest / gradient) if gradient else math.inf  # powers of ten
    if weaker >= len(STEPS):
        return Arrow(label=label, width=THINNEST, colour=VANISHED[0], style="dashed")
    width = WIDEST - (WIDEST - THINNEST) * weaker / len(STEPS)
    return Arrow(label=label, width=width, colour=STEPS[int(weaker)][0])


def _tables(traced: Mapping[str, Any]) -> str:
    nodes = [("node", "output", "parameters", "forwards ms", "back ms", "MiB", "value", "gradient")]
    for node in traced["nodes"]:
        nodes.append(
            (
                node["name"],
                _shape(node["shape"]),
                f"{node['n_parameters']:,}" if node["n_parameters"] else "",
                _milliseconds(node["forward_seconds"]),
                _milliseconds(node["backward_seconds"]),
                "" if node["output_mib"] is None else f"{node['output_mib']:.3g}",
                size(node["value_rms"]),
                size(node["gradient_rms"]),
            )
        )
    strongest = _strongest(traced["edges"])
    edges = [("edge", "value", "gradient", "part of the strongest")]
    for edge in traced["edges"]:
        gradient = edge["gradient_rms"]
        part = f"{gradient / strongest:.2g}" if strongest and _is_finite(gradient) else "-"
        edges.append((_named(edge), size(edge["value_rms"]), size(gradient), part))
    parameters = [("parameter", "shape", "value", "gradient")]
    for one in traced["parameters"]:
        gradient_text = "frozen" if one["frozen"] else size(one["gradient_rms"])
        shape = _shape(one["shape"]) or "1"
        parameters.append((one["name"], shape, size(one["value_rms"]), gradient_text))
    parts = [
        table(nodes, right_aligned=(2, 3, 4, 5, 6, 7)),
        table(edges, right_aligned=(1, 2, 3)),
        table(parameters, right_aligned=(2, 3)) if len(parameters) > 1 else "",
        _weakest(traced["edges"], strongest),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _strongest(edges: Sequence[Mapping[str, Any]]) -> float | None:
    """The largest finite gradient of an edge, None where there is none above 0."""
    sizes = [edge["gradient_rms"] for edge in edges if _is_finite(edge["gradient_rms"])]
    return max(sizes, default=0.0) or None


def _weakest(edges: Sequence[Mapping[str, Any]], strongest: float | None) -> str:
    broken = [edge for edge in edges if isinstance(edge["gradient_rms"], str)]
    if broken:
        return f"gradients are not finite from {_named(broken[-1])} on back"
    flowing = [edge for edge in edges if edge["gradient_rms"] is not None]
    if strongest is None:
        return "no gradient flows along any edge"
    edge = min(flowing, key=lambda edge: edge["gradient_rms"])
    part = edge["gradient_rms"] / strongest
    return f"the weakest gradient is on {_named(edge)}: {part:.2g} of the strongest"


def _named(edge: Mapping[str, Any]) -> str:
    return f"{edge['source']} -> {edge['target']}" + (
        f" [{edge['position']}]" if edge["position"] else ""
    )


def size(value: Size) -> str:
    """0.0123 -> "0.0123", 0.00001234 -> "1.23e-05", None -> "-"."""
    return "-" if value is None else value if isinstance(value, str) else f"{value:.3g}"


def _is_finite(value: Size) -> bool:
    return isinstance(value, float)


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:.2f}"


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
