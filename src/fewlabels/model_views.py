"""What a model sees of images: few numbers for each, to compare images by, and its answers.

Shapes: N images, B in a block, D features, K values of a sketch, L classes.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fewlabels import features
from fewlabels.devices import resolve
from fewlabels.images import Images
from fewlabels.model import Model
from fewlabels.sketches import last_features, projection


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """Of a part of a set.

    sketches_NK : float32 array of shape (n_images, at most 512), whose distances are about those
        of the features that the model's head or last layer reads; of a committee, of those that
        were learned without labels
    probabilities_NL : float32 array of shape (n_images, n_classes), calibrated
    """

    sketches_NK: np.ndarray
    probabilities_NL: np.ndarray


def features_of(model: Model, images: Images, *, device: str = "cpu", what: str) -> Tensor:
    """What the model's head or last layer reads of each image: (n_images, n_features)."""
    node, _ = _seen(model)
    return features.extract(
        model.graph,
        images,
        flips=model.recipe.flips,
        device=resolve(device),
        wanted=node,
        what=what,
    )


def view(model: Model, images: Images, *, device: str = "cpu", seed: int, what: str) -> View:
    """A model's view of images, block by block: of a large set, features need not fit in memory.

    Sketches are by `sketches.projection`, the same for a seed.
    """
    node, modules = _seen(model)
    device = resolve(device)
    n_features = int(np.prod(model.graph.shapes[node]))
    project_DK = projection(n_features, seed)
    sketches, answers = list[Tensor](), list[Tensor]()
    rows = features.blocks(
        model.graph, images, flips=model.recipe.flips, device=device, wanted=node, what=what
    )
    for rows_BD in rows:
        sketches.append(_sketch(model, rows_BD, project_DK))
        logits_BL = rows_BD
        with torch.inference_mode():
            for module in modules:  # linear, so the mean of image and mirror image goes through
                logits_BL = module(logits_BL.to(device))
        answers.append(model.head.probabilities(logits_BL.cpu()))
    return View(
        sketches_NK=torch.cat(sketches).numpy(), probabilities_NL=torch.cat(answers).numpy()
    )


def sketches_of(model: Model, features_ND: Tensor, *, seed: int) -> np.ndarray:
    """The sketches of images whose features, by `features_of`, are there already; as in `view`."""
    project_DK = projection(features_ND.shape[1], seed)
    blocks = features_ND.split(features.ROWS)  # not all of them scaled at once: gigabytes
    return torch.cat([_sketch(model, rows_BD, project_DK) for rows_BD in blocks]).numpy()


def _sketch(model: Model, rows_BD: Tensor, project_DK: Tensor | None) -> Tensor:
    head = model.head
    if head.kind != "logits":
        rows_BD = (rows_BD - head.tensors["mean"]) * head.tensors["scale"]
    if model.recipe.is_committee:
        rows_BD[:, : len(model.class_names)] = 0  # logits: labelled images are known by heart
    return rows_BD if project_DK is None else rows_BD @ project_DK


def _seen(model: Model) -> tuple[str, tuple[nn.Module, ...]]:
    if model.head.kind != "logits":
        return model.graph.outputs[0], ()
    return last_features(model.graph)
