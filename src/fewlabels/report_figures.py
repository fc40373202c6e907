"""The figures of the report that this project grew from: a set of images -> pictures and captions.

Shapes: K filters, 3 channels, H W height and width, F filters that are shown, P patches of each.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from fewlabels import excitations, figures, galleries, settings, surrogates
from fewlabels.devices import resolve
from fewlabels.errors import FewlabelsError
from fewlabels.figure_material import Drawn, Material
from fewlabels.map_figures import draw_map_of_features, draw_map_of_pixels
from fewlabels.network_figure import draw_networks
from fewlabels.ways import filters


def draw_surrogates(material: Material) -> Drawn:
    """Figure 3.1: each row a source image, its patch framed, and surrogates of it."""
    config, gallery = material.config.surrogates, material.config.gallery
    asked = config.n_classes
    if len(material.pool) < asked:
        config = replace(config, n_classes=len(material.pool))
    made = surrogates.surrogate_set(material.pool, config, material.seed)
    sources, corners, pictures = made.rows(gallery.surrogate_rows, gallery.surrogates_per_row)
    sheet = figures.surrogate_gallery(sources, corners, config.patch_size, pictures.numpy())
    fewer = "" if config.n_classes == asked else f" (of {asked:,} asked; there are no more images)"
    caption = (
        f"Surrogate images. Each row: an image without a label, its patch framed, and "
        f"{pictures.shape[1]} of its {config.n_each:,} surrogates of {config.size} x {config.size} "
        f"pixels: turned by up to {config.max_rotation_deg:g} degrees, moved by up to "
        f"{config.max_shift:g} of the side, {config.min_scale:g} to {config.max_scale:g} times as "
        f"large, their colours changed. {config.n_classes:,} images{fewer} make "
        f"{len(made):,} surrogates in as many classes as images."
    )
    used = material.part("surrogates", "gallery")
    used["surrogates"] = settings.as_plain(config)
    numbers = {"n_classes": config.n_classes, "n_surrogates": len(made)}
    return Drawn(picture=sheet, caption=caption, settings=used, numbers=numbers, photographs=True)


def draw_filters(material: Material) -> Drawn:
    """Figure 3.2: the centroids of k-means, edges by orientation, then blobs by colour."""
    layer, contrast = material.config.filters.layers[0], material.config.gallery.contrast
    pictures_K3HW = filters.gallery(material.graph).numpy()
    sheet = figures.filter_gallery(pictures_K3HW, per_filter_contrast=contrast == "each")
    n_images = min(layer.n_images, len(material.pool))
    n_patches = n_images * layer.patches_per_image
    scaled = "each filter by itself" if contrast == "each" else "all filters by one factor"
    caption = (
        f"{layer.n_filters:,} centroids of {layer.patch_size} x {layer.patch_size} pixels, found "
        f"by k-means on whitened patches, {layer.patches_per_image} of each of {n_images:,} images "
        f"without labels ({n_patches:,} in all). Edges stand by their orientation, then blobs by "
        f"their colour; contrast scales {scaled}."
    )
    used = material.part("filters", "gallery")
    numbers = {"n_filters": len(pictures_K3HW), "n_images": n_images, "n_patches": n_patches}
    return Drawn(picture=sheet, caption=caption, settings=used, numbers=numbers)


def draw_deeper_filters(material: Material) -> Drawn:
    """Filters above the first layer, by the patches that excite each most."""
    config, gallery = material.config.deeper, material.config.gallery
    graph = filters.learn(material.pool, config, **material.how)
    name = f"layer{len(config.layers)}"
    chosen = np.random.default_rng(material.seed).permutation(len(material.pool))
    searched = material.pool.take(np.sort(chosen[: gallery.searched_images]))
    n_filters = graph.shapes[name][0]
    shown = np.unique(np.linspace(0, n_filters - 1, gallery.deeper_filters).astype(np.int64))
    found = excitations.strongest(
        graph,
        name,
        searched,
        shown,
        n_patches=gallery.patches_per_filter,
        device=resolve(material.device),
    )
    sheet = galleries.patch_gallery(found.patches_FP3SS)
    n_shown, n_patches, _, size, _ = found.patches_FP3SS.shape
    caption = (
        f"What {n_shown:,} of the {n_filters:,} filters of layer {len(config.layers)} look for: "
        f"each block shows the {n_patches} patches that excite one filter most, among all places "
        f"of {len(searched):,} images without labels, each of another image, the strongest at the "
        f"upper left. A patch is what the filter sees, {size} x {size} pixels."
    )
    return Drawn(
        picture=sheet,
        caption=caption,
        settings=material.part("deeper", "gallery"),
        numbers={"n_filters": n_filters, "receptive_field": size, "n_images": len(searched)},
        photographs=True,
    )


@dataclass(frozen=True)
class Kind:
    """A figure that can be asked for: its number in the report, its title, what draws it."""

    number: str
    title: str
    draw: Callable[[Material], Drawn]


# in the order of work: what is slow comes last
KINDS: dict[str, Kind] = {
    "surrogates": Kind("3.1", "Surrogate images", draw_surrogates),
    "filters": Kind("3.2", "Centroids of k-means", draw_filters),
    "deeper-filters": Kind("3.2", "What deeper filters look for", draw_deeper_filters),
    "map-of-pixels": Kind("3.4", "t-SNE of pixels", draw_map_of_pixels),
    "map-of-features": Kind("3.5", "t-SNE of learned features", draw_map_of_features),
    "networks": Kind("3.3", "Three layers against two", draw_networks),
}


def no_picture(material: Material, reason: FewlabelsError) -> Drawn:
    """A picture that says why there is no other."""
    text = f"{material.image_set.name}: {reason}"
    return Drawn(picture=galleries.words(text), caption=f"No picture: {text}", settings={})
