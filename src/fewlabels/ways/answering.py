"""What a trained network answers to images, in the precision in which it learned.

Shapes: N images, L classes.
"""

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
    *,
    flips: bool = False,
    device: str = "cpu",
    precision: str = "fp32",
    what: str = "answers",
) -> Tensor:
    """The logits of every image, float32 (N, L) on the CPU; the graph is then in evaluation mode.

    It is `features.extract` for more images than labels: in larger batches, and in "bf16" where
    the network learned in it.

    Parameters
    ----------
    flips : the mean for an image and for its mirror image
    what : name of the stage, for the progress bar
    """
    graph.to(device).eval()
    kind = torch.device(device).type

    @torch.no_grad()  # holds for a thread, as the precision does
    def answer(start: int) -> Tensor:
        with torch.autocast(kind, torch.bfloat16, enabled=precision == "bf16"):
            pictures = as_float(images.pixels[start : start + BATCH]).to(device)
            pictures = pictures.contiguous(memory_format=torch.channels_last)
            logits_NL = graph(pictures).float()
            if flips:
                logits_NL = (logits_NL + graph(pictures.flip(3))) / 2
            return logits_NL.cpu()

    parts = []
    starts = range(0, len(images), BATCH)
    with (
        stage(what, total=len(images), unit="images") as advance,
        one_batch_a_core(device) as cores,
    ):
        for _, logits_NL in in_threads(answer, starts, n_threads=cores, prepare=single_threaded):
            parts.append(logits_NL)
            advance(len(logits_NL))
    return torch.cat(parts)
