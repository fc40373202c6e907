"""Suggestions -> one HTML page of thumbnails that needs no network, no script and no other file."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from fewlabels.images import ImageSet
from fewlabels.suggestions import KINDS, Place, Suggestion

MOST_PIXELS = 128  # the longer side of a thumbnail
JPEG_QUALITY = 88  # a hundred thumbnails of each kind as PNG are ten megabytes


def render(
    found: Sequence[Suggestion], image_set: ImageSet, run: str, notes: Sequence[str] = ()
) -> str:
    """The page's HTML: a section for each kind, a picture (or two) and the reason for each."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    parts = image_set.parts()

    def picture(place: Place) -> str:
        return thumbnail(parts[place.part].pixels[place.number])

    sections = [
        (kind, title, [one for one in found if one.kind == kind]) for kind, title in KINDS.items()
    ]
    return environment.get_template("suggested.html").render(
        sections=sections, source=image_set.name, run=run, notes=notes, picture=picture
    )


def thumbnail(pixels_3HW: np.ndarray) -> str:
    """A uint8 image of shape (3, height, width) as the address of a picture in the page itself."""
    image = Image.fromarray(np.ascontiguousarray(pixels_3HW.transpose(1, 2, 0)))
    image.thumbnail((MOST_PIXELS, MOST_PIXELS))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
