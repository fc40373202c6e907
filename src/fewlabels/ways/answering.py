"""What a trained network answers to images, in the precision in which it learned.

Shapes: N images, L classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fewlabels.graph import Graph
from fewlabels.images import Images, as_float
from fewlabels.progress import stage

BATCH = 250  # images answered together


@torch.no_grad()
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
    rows: dict[str, list[Tensor]] = {name: [] for name in wanted}
    kind = torch.device(device).type
    with (
        stage(what, total=len(images), unit="images") as advance,
        torch.autocast(kind, torch.bfloat16, enabled=precision == "bf16"),
    ):
        for start in range(0, len(images), BATCH):
            pictures = as_float(images.pixels[start : start + BATCH]).to(device)
            pictures = pictures.contiguous(memory_format=torch.channels_last)
            found = graph(pictures, wanted=tuple(wanted))
            if flips:
                mirrored = graph(pictures.flip(3), wanted=tuple(wanted))
                found = {name: (found[name].float() + mirrored[name]) / 2 for name in wanted}
            for name in wanted:
                rows[name].append(found[name].flatten(1).float().cpu())
            advance(len(pictures))
    return {name: torch.cat(parts) for name, parts in rows.items()}
