"""Figures 3.4 and 3.5 of the report: labelled images on maps by t-SNE.

Shapes: N images, D values of an image.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fewlabels import features, map_pictures, maps
from fewlabels.devices import resolve
from fewlabels.figure_material import Drawn, Material, percent


def draw_map_of_pixels(material: Material) -> Drawn:
    """t-SNE of the pixels of one channel, the images drawn at their places."""
    images, _ = material.shown
    channel = material.config.map.channel
    values_ND = np.asarray(images.pixels[:])[:, channel].reshape(len(images), -1)
    colour = ("first channel (red)", "second channel (green)", "third channel (blue)")[channel]
    return _map(material, values_ND, f"the {colour}", material.part("map"))


def draw_map_of_features(material: Material) -> Drawn:
    """The same on features that were learned without labels."""
    images, _ = material.shown
    device = resolve(material.device)
    values_ND = features.extract(material.graph, images, flips=False, device=device).numpy()
    layer = material.config.filters.layers[0]
    what = f"the answers of {layer.n_filters:,} learned filters in a {layer.features_grid} x "
    used = material.part("map", "filters")
    return _map(material, values_ND, f"{what}{layer.features_grid} grid", used)


def _map(material: Material, values_ND: np.ndarray, what: str, used: Mapping[str, Any]) -> Drawn:
    images, which = material.shown
    config, class_names = material.config.map, material.image_set.class_names
    found = maps.embed(values_ND, perplexity=config.perplexity, seed=material.seed)
    labels_N = np.full(len(images), -1) if images.labels is None else images.labels
    trust = maps.trustworthiness(values_ND, found.positions_N2, seed=material.seed)
    near = maps.neighbour_accuracy(found.positions_N2, labels_N)
    drawn = np.arange(len(images))
    if len(images) > map_pictures.MOST_DRAWN:
        drawn = np.random.default_rng(material.seed).permutation(drawn)[: map_pictures.MOST_DRAWN]
    pixels = np.asarray(images.pixels[drawn])
    frames = map_pictures.class_colours(labels_N[drawn], len(class_names))
    if material.grid:
        cells, size = map_pictures.snapped(found.positions_N2[drawn])
        sheet = map_pictures.gridded(cells, size, pixels, frames)
    else:
        sheet = map_pictures.scattered(found.positions_N2[drawn], pixels, frames)
    if frames is not None:
        sheet = map_pictures.with_legend(sheet, class_names)
    numbers = {
        "n_images": len(images),
        "n_values": values_ND.shape[1],
        "perplexity": found.perplexity,
        "trustworthiness": round(trust, 4),
        "nearest_neighbour_accuracy": None if near is None else round(near, 4),
    }
    placed = "snapped to a grid without overlap" if material.grid else "at their places"
    some = "" if len(drawn) == len(images) else f", {len(drawn):,} of them drawn"
    framed = "" if frames is None else ", framed in the colour of their class"
    caption = (
        f"t-SNE of {which} by {what}, {values_ND.shape[1]:,} values each; the images are drawn "
        f"{placed}{some}{framed}. Perplexity {found.perplexity:.4g}, trustworthiness {trust:.3f}"
        + (
            "."
            if near is None
            else f"; {percent(near)} have an image of their own class as the nearest."
        )
    )
    return Drawn(picture=sheet, caption=caption, settings=used, numbers=numbers, photographs=True)
