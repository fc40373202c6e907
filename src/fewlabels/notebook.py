"""What a notebook shows of an object: HTML that needs no other file, every text escaped."""

import base64
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

DOTS_PER_INCH = 90


def block(title: str, parts: Iterable[str]) -> str:
    """A heading line (text) and what stands below it (HTML)."""
    return "\n".join((f"<div><div><b>{escape(title)}</b></div>", *parts, "</div>"))


def line(text: str) -> str:
    return f"<div>{escape(text)}</div>"


def preformatted(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


def picture(drawn: "np.ndarray | Figure", description: str) -> str:
    """A uint8 RGB array or a drawing of lines as an image."""
    # only here, as matplotlib takes a second to load, and few graphs are shown in a notebook
    from fewlabels.figures import to_png

    return _image("png", to_png(drawn, dots_per_inch=DOTS_PER_INCH), description)


def drawing(svg: str, description: str) -> str:
    """An SVG as an image, in which it can run nothing and load nothing."""
    return _image("svg+xml", svg.encode(), description)


def _image(kind: str, content: bytes, description: str) -> str:
    address = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    # drawings are black on nothing, which a dark page would swallow
    style = "max-width: 100%; height: auto; background: white"
    return f'<img src="{address}" alt="{escape(description)}" style="{style}">'
