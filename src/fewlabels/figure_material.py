"""What the figures of the report are made from, and what each one is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from fewlabels import settings, splits
from fewlabels.devices import resolve
from fewlabels.figure_settings import FiguresConfig
from fewlabels.graph import Graph
from fewlabels.images import Images, ImageSet
from fewlabels.ways import filters


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """A figure.

    picture : uint8 RGB array of shape (height, width, 3), or a drawing of lines
    settings : all that it was made with, beside the images; numbers : what was measured
    photographs : whether its pixels may lose a little in a file
    """

    picture: np.ndarray | Figure
    caption: str
    settings: Mapping[str, Any]
    numbers: Mapping[str, Any] = field(default_factory=dict)
    photographs: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """What figures are made from; what two of them need is made once.

    grid : whether maps are snapped to a grid
    """

    image_set: ImageSet
    config: FiguresConfig = field(default_factory=FiguresConfig)
    seed: int = 0
    device: str = "cpu"
    precision: str = "auto"
    grid: bool = False

    @property
    def how(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "device": resolve(self.device),
            "precision": self.precision,
        }

    @cached_property
    def pool(self) -> Images:
        """All images to learn from, without labels."""
        return splits.pool(self.image_set)

    @cached_property
    def graph(self) -> Graph:
        """The network of the report's filters."""
        return filters.learn(self.pool, self.config.filters, **self.how)

    @cached_property
    def shown(self) -> tuple[Images, str]:
        """The images of the maps, at most as many as asked, and what they are, in words."""
        image_set, wanted = self.image_set, self.config.map.n_images
        parts = {"validation": image_set.validation, "test": image_set.test}
        named = [(name, part) for name, part in parts.items() if part is not None]
        # labelled ones first; training images, which always are, where there are no others
        named = [(name, part) for name, part in named if part.labels is not None]
        name, part = (*named, ("training", image_set.train))[0]
        if len(part) <= wanted:
            return part, f"all {len(part):,} {name} images"
        drawn = np.random.default_rng(self.seed).permutation(len(part))[:wanted]
        return part.take(np.sort(drawn)), f"{wanted:,} of {len(part):,} {name} images"

    def part(self, *names: str) -> dict[str, Any]:
        """Parts of the settings, as plain data."""
        return {name: settings.as_plain(getattr(self.config, name)) for name in names}


def percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.1f} %"
