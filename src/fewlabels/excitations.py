"""What excites filters most: the patches of images at which their answers are largest.

A filter above the first layer has no picture of its own, as it looks at answers; but each of its
answers comes from a square of the image, its receptive field, and the squares with the largest
answers show what it looks for.

Shapes: N images, F filters (channels of a node's maps), P patches of each, 3 channels, S side of a
receptive field.
Source: Zeiler and Fergus, ECCV 2014, section 4 (the strongest patches beside one another).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from fewlabels.errors import ConfigError, DataError
from fewlabels.features import BATCH, one_batch_a_core, single_threaded
from fewlabels.graph import Graph
from fewlabels.graph_checks import Shape, known
from fewlabels.images import Images, as_float
from fewlabels.layers import PatchEncoder
from fewlabels.progress import stage
from fewlabels.stack_layers import FilterBank
from fewlabels.threads import in_threads

WINDOWED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


@dataclass(frozen=True)
class Field:
    """In both directions, place i of a map sees `size` pixels, from start + i * step on.

    Where there is padding, some of them lie outside of the image.
    """

    size: int = 1
    step: int = 1
    start: int = 0

    def through(self, window: int, stride: int, padding: int) -> "Field":
        """The field of maps that a window of so many places makes of these."""
        return Field(
            self.size + (window - 1) * self.step,
            self.step * stride,
            self.start - padding * self.step,
        )


def receptive_field(graph: Graph, name: str) -> Field:
    """What a place of the maps of node `name` sees of the image.

    Raises ConfigError where there is no such node, or a node below it has no places.
    """
    known((name,), graph.layers, "the graph has no node")
    fields = {of_input: Field() for of_input in graph.inputs}
    for layer, module in graph.layers.items():
        read = graph.sources[layer]
        if not all(source in fields for source in read):
            continue
        windows = _windows(module, [graph.shapes[source] for source in read], graph.shapes[layer])
        if windows is None:
            continue
        field = _together([fields[source] for source in read])
        for window in windows:
            field = field.through(*window)
        fields[layer] = field
        if layer == name:
            return field
    raise ConfigError(
        f"the values of {name!r} belong to no places of the image, so no patch of it excites them: "
        "name a layer of maps"
    )


Window = tuple[int, int, int]  # size, stride, padding


def _windows(module: nn.Module, read: Sequence[Shape], made: Shape) -> list[Window] | None:
    """The windows that a module slides, one after the other; None where it has none."""
    if isinstance(module, PatchEncoder):
        if module.grid:
            return None
        return [(module.patch_size, module.stride, module.padding), (module.pool, module.pool, 0)]
    if isinstance(module, FilterBank):
        return [(module.patch_size, 1, module.patch_size // 2)]
    if isinstance(module, WINDOWED):
        sizes = (module.kernel_size, module.stride, module.padding, getattr(module, "dilation", 1))
        if any(isinstance(one, str) or len(set(np.atleast_1d(one))) > 1 for one in sizes):
            return None
        window, stride, padding, dilation = (int(np.atleast_1d(one)[0]) for one in sizes)
        return [(dilation * (window - 1) + 1, stride, padding)]
    if any(isinstance(inner, (*WINDOWED, PatchEncoder)) for inner in module.modules()):
        return None
    # all else that keeps the places apart answers each from itself, but for a common factor or the
    # contrast around it, which are not what a filter looks for
    same = len(made) == 3 and all(len(one) == 3 and one[1:] == made[1:] for one in read)
    return [] if same else None


def _together(fields: Sequence[Field]) -> Field:
    """What a place sees through several maps of equal size."""
    start = min(field.start for field in fields)
    end = max(field.start + field.size for field in fields)
    return Field(end - start, max(field.step for field in fields), start)


@dataclass(frozen=True, kw_only=True, eq=False)
class Excitations:
    """The patches that excite each filter most, the strongest first, each of another image.

    patches_FP3SS : uint8 pixels; a receptive field that reaches over the border is moved inside
    answers_FP : float32
    image_FP : int64 indices into the images
    """

    patches_FP3SS: np.ndarray
    answers_FP: np.ndarray
    image_FP: np.ndarray


def strongest(
    graph: Graph,
    name: str,
    images: Images,
    filters_F: np.ndarray,
    *,
    n_patches: int = 9,
    device: str = "cpu",
) -> Excitations:
    """Look for the largest answers of some channels of node `name` over all images.

    Parameters
    ----------
    graph : moved to `device` and set to evaluation
    filters_F : int array of channels
    n_patches : of each; fewer where there are fewer images

    Raises ConfigError as `receptive_field` does, DataError where there is no image.
    """
    field = receptive_field(graph, name)
    if not len(images):
        raise DataError("there is no image to excite a filter: give at least one")
    filters_F = np.asarray(filters_F, np.int64)
    columns = graph.shapes[name][2]
    answers_NF = np.empty((len(images), len(filters_F)), np.float32)
    places_NF = np.empty(answers_NF.shape, np.int64)
    graph.to(device).eval()

    def look(start: int) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode():  # holds for a thread, so each says it
            pixels = as_float(images.pixels[start : start + BATCH]).to(device)
            maps_NFHW = graph(pixels, wanted=(name,))[name][:, torch.from_numpy(filters_F)]
            largest = maps_NFHW.flatten(2).float().max(2)
            return largest.values.cpu().numpy(), largest.indices.cpu().numpy()

    with (
        stage(f"what excites {name}", total=len(images), unit="images") as advance,
        one_batch_a_core(device) as cores,
    ):
        starts = range(0, len(images), BATCH)
        for start, (answers, places) in in_threads(
            look, starts, n_threads=cores, prepare=single_threaded
        ):
            answers_NF[start : start + len(answers)] = answers
            places_NF[start : start + len(answers)] = places
            advance(len(answers))
    image_FP = np.argsort(-answers_NF, axis=0, kind="stable")[:n_patches].T
    answers_FP = np.take_along_axis(answers_NF.T, image_FP, axis=1)
    places_FP = np.take_along_axis(places_NF.T, image_FP, axis=1)
    corners_FP2 = field.start + field.step * np.stack(np.divmod(places_FP, columns), -1)
    return Excitations(
        patches_FP3SS=_cut(images, image_FP, corners_FP2, field.size),
        answers_FP=answers_FP,
        image_FP=image_FP,
    )


def _cut(images: Images, image_FP: np.ndarray, corner_FP2: np.ndarray, size: int) -> np.ndarray:
    size = min(size, *images.size)
    corner_FP2 = np.clip(corner_FP2, 0, np.array(images.size) - size)
    patches_FP3SS = np.empty((*image_FP.shape, 3, size, size), np.uint8)
    for place in np.ndindex(*image_FP.shape):
        top, left = corner_FP2[place]
        pixels_3HW = images.pixels[int(image_FP[place])]
        patches_FP3SS[place] = pixels_3HW[:, top : top + size, left : left + size]
    return patches_FP3SS
