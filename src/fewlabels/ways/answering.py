"""What a trained network answers to images, in the precision in which it learned.

Shapes: N images, L classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fewlabels.features import one_batch_a_core, single_threaded
from fewlabels.graph import Graph
from fewlabels.images import Images, as_float
from fewlabels.progress import stage
from fewlabels.threads import in_threads

BATCH = 125  # images that a core answers together


def answered(
    graph: Graph,
    images: Images,
    wanted: Sequence[str] = ("logits",),
    *,
    flips: bool = False,
    device: str = "cpu",
    precision: str = "fp32",
    what: str = "answers",
) -> dict[str, Tensor]:
    """What nodes give for every image, a row each; the graph is then in evaluation mode.

    It is `features.extract` for more images than labels: in large batches, and in "bf16" where
    the network learned in it.

    Parameters
    ----------
    wanted : names of nodes
    flips : the mean for an image and for its mirror image
    what : name of the stage, for the progress bar

    Returns
    -------
    float32 tensors of shape (n_images, n_values) on the CPU, by name
    """
    graph.to(device).eval()
    kind = torch.device(device).type

    @torch.no_grad()  # holds for a thread, as the precision does
    def answer(start: int) -> dict[str, Tensor]:
        with torch.autocast(kind, torch.bfloat16, enabled=precision == "bf16"):
            pictures = as_float(images.pixels[start : start + BATCH]).to(device)
            pictures = pictures.contiguous(memory_format=torch.channels_last)
            found = graph(pictures, wanted=tuple(wanted))
            if flips:
                mirrored = graph(pictures.flip(3), wanted=tuple(wanted))
                found = {name: (found[name].float() + mirrored[name]) / 2 for name in wanted}
            return {name: found[name].flatten(1).float().cpu() for name in wanted}

    rows: dict[str, list[Tensor]] = {name: [] for name in wanted}
    starts = range(0, len(images), BATCH)
    with (
        stage(what, total=len(images), unit="images") as advance,
        one_batch_a_core(device) as cores,
    ):
        for _, found in in_threads(answer, starts, n_threads=cores, prepare=single_threaded):
            for name in wanted:
                rows[name].append(found[name])
            advance(len(found[wanted[0]]))
    return {name: torch.cat(parts) for name, parts in rows.items()}
