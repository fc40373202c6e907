"""A model and its images -> the pictures of its page: which are shown, and where they lie.

Shapes: N images, M of them on the map, D values of an image, L classes.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA

from fewlabels import features, splits
from fewlabels.devices import resolve
from fewlabels.errors import DataError
from fewlabels.figures import surrogate_gallery
from fewlabels.images import Images, ImageSet
from fewlabels.model import Model, probabilities
from fewlabels.pictures_file import Kept
from fewlabels.progress import say, stage
from fewlabels.protocol import Scores
from fewlabels.recipes import Recipe
from fewlabels.report.findings import Suggestion
from fewlabels.report.pictures import PARTS, Pictures, thumbnail_budget
from fewlabels.report.thumbnails import sheets_within, webp
from fewlabels.shown_images import Shown, behind_cells, least_sure, mapped_images
from fewlabels.sketches import last_features
from fewlabels.surrogates import surrogate_set

N_SUGGESTED = 24
MOST_VALUES = 5e7  # features in memory at once: 200 MB; more are brought to components first
COMPONENTS, N_FOR_COMPONENTS = 50, 500  # the second at most: these images are seen twice
PERPLEXITY = 30.0
N_SURROGATE_ROWS, N_SURROGATE_CLASSES = 6, 500
GALLERY_QUALITY = 85


def kept_of(
    model: Model,
    image_set: ImageSet,
    plan: splits.Plan,
    n_mapped: int,
    *,
    scores: Scores | None = None,
    device: str = "cpu",
    seed: int = 0,
) -> Kept:
    """What a run keeps for its page.

    Parameters
    ----------
    model : of the first fold of `plan`
    n_mapped : images on the map, at most; 0 for no map and no pictures
    scores : of that model on all test images, for the pictures behind the confusion matrix
    """
    gallery = surrogates_of(image_set, plan, model.recipe, seed)
    if not n_mapped:
        return Kept(surrogates=gallery)
    device = resolve(device)
    mapped = mapped_images(image_set, plan, n_mapped)
    features_MD, answers_ML = seen_by(model, mapped.images, device)
    mapped = mapped.answered(answers_ML.argmax(1), answers_ML.max(1))
    suggestions = suggested(mapped, model.class_names)
    positions_M2, no_map = positions(features_MD, seed)
    if no_map:
        say(f"the report has no map: {no_map}")
    else:
        # neighbours on the map share a sheet: what is looked at together is decoded together
        order_M = nearby_first(positions_M2)
        mapped, positions_M2 = mapped.take(order_M), positions_M2[order_M]
    shown = mapped
    if scores is not None:
        shown = mapped.followed_by(behind_cells(scores, image_set, mapped))
    return Kept(
        pictures=_pictures(shown, positions_M2, no_map),
        suggestions=suggestions,
        surrogates=gallery,
    )


def _pictures(shown: Shown, positions_M2: np.ndarray, no_map: str) -> Pictures:
    with stage("thumbnails", total=len(shown), unit="images") as advance:
        n_bytes = thumbnail_budget(len(positions_M2), len(shown), shown.images.names)
        sheets = sheets_within(shown.images.pixels, n_bytes)
        advance(len(shown))
    return Pictures(
        positions_M2=positions_M2.astype(np.float32),
        truth_N=shown.truth_N.astype(np.int32),
        answer_N=shown.answer_N.astype(np.int32),
        confidence_N=shown.confidence_N.astype(np.float32),
        part_N=shown.part_N.astype(np.uint8),
        names=shown.images.names,
        sheets=sheets,
        no_map=no_map,
    )


def suggested(mapped: Shown, class_names: Sequence[str]) -> list[Suggestion]:
    """The least sure answers, of unlabelled images where there are some, else of test images."""
    return [
        Suggestion(
            pixels=np.ascontiguousarray(mapped.images.pixels[i]),
            name=mapped.images.names[i],
            part=PARTS[mapped.part_N[i]],
            answer=class_names[mapped.answer_N[i]],
            probability=float(mapped.confidence_N[i]),
        )
        for i in least_sure(mapped, N_SUGGESTED)
    ]


def seen_by(model: Model, images: Images, device: str) -> tuple[np.ndarray, np.ndarray]:
    """What the head sees of each image, (M, D) or its components, and the answers, (M, L).

    Of a network that ends in the classes it is what its last layer reads.
    """
    (output,) = model.graph.outputs
    how: dict[str, Any] = {"flips": model.recipe.flips, "device": device}
    if model.head.kind == "logits":
        answers_ML = probabilities((model,), images, device=device, what="answers for the map")[0]
        output, _ = last_features(model.graph)
    n_values = int(np.prod(model.graph.shapes[output]))
    components = None
    if len(images) * n_values > MOST_VALUES and n_values > COMPONENTS:
        n_seen = min(len(images), N_FOR_COMPONENTS)
        some = images.take(np.linspace(0, len(images) - 1, n_seen).astype(np.int64))
        sample = features.extract(
            model.graph, some, wanted=output, what="a look at features", **how
        )
        components = PCA(COMPONENTS, random_state=0).fit(sample.numpy())
    kept, answered = [], []
    blocks = features.blocks(model.graph, images, wanted=output, what="features for the map", **how)
    for rows_BD in blocks:
        if model.head.kind != "logits":
            answered.append(model.head.probabilities(rows_BD))
        rows = rows_BD.numpy()
        kept.append(rows if components is None else components.transform(rows))
    if answered:
        answers_ML = torch.cat(answered).numpy()
    return np.concatenate(kept), answers_ML


def positions(features_MD: np.ndarray, seed: int) -> tuple[np.ndarray, str]:
    """Where the images lie, float64 (M, 2), and ""; or no positions, and why there are none."""
    from fewlabels import maps  # openTSNE takes seconds to load, and a page without a map is told

    perplexity = max(1.0, min(PERPLEXITY, (len(features_MD) - 1) / 3))
    try:
        return maps.embed(features_MD, perplexity=perplexity, seed=seed).positions_N2, ""
    except DataError as error:
        return np.empty((0, 2)), str(error)


def nearby_first(positions_M2: np.ndarray) -> np.ndarray:
    """An order in which neighbours on the plane mostly follow one another (Morton's curve)."""
    low_2, span_2 = positions_M2.min(0), np.ptp(positions_M2, axis=0)
    cells_M2 = ((positions_M2 - low_2) / np.where(span_2 > 0, span_2, 1) * 1023).astype(np.int64)
    code_M = np.zeros(len(positions_M2), np.int64)
    for bit in range(10):
        code_M |= (cells_M2[:, 0] >> bit & 1) << 2 * bit
        code_M |= (cells_M2[:, 1] >> bit & 1) << 2 * bit + 1
    return np.argsort(code_M, kind="stable")


def surrogates_of(
    image_set: ImageSet, plan: splits.Plan, recipe: Recipe, seed: int
) -> bytes | None:
    """A WebP file of the first surrogate classes, where the recipe has some.

    The images and their patches are those that were learned from. The axes along which colours
    change are those of at most 500 images.
    """
    if recipe.surrogates is None:
        return None
    fewer = min(recipe.surrogates.n_classes, N_SURROGATE_CLASSES)
    examples = surrogate_set(
        splits.pool(image_set, plan.withheld), replace(recipe.surrogates, n_classes=fewer), seed
    )
    sources_R3HW, corner_R2, surrogates_RC3SS = examples.rows(N_SURROGATE_ROWS)
    size = recipe.surrogates.patch_size
    return webp(
        surrogate_gallery(sources_R3HW, corner_R2, size, surrogates_RC3SS.numpy()), GALLERY_QUALITY
    )
