"""How long does the patch encoder take, beside the matrix product in it and a plain unfold?

    python benchmarks/encoder.py --out docs/measured/encoder.json

The first layer of `kmeans-1` on random 32 x 32 images: 1,600 filters of 6 x 6 at 31 x 31 places,
soft threshold, the largest of 3 x 3 places. All take turns in one process, so that a busy machine
slows all; seconds are medians over rounds, ratios are medians of the ratios within a round.

    product         the answers' matrix product alone, image by image, whole batches side by side
    encoder         `PatchEncoder`, whole batches side by side, one a core: what is shipped
    encoder_split   `PatchEncoder`, a batch at a time, each operation split over the cores
    unfold          the same numbers by `F.unfold` and a pass over all answers for each step

In bf16 too where `precision=auto` takes it on this machine; else `bf16` is null.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from fewlabels import precision
from fewlabels.features import BATCH, one_batch_a_core, single_threaded
from fewlabels.layers import PatchEncoder
from fewlabels.threads import in_threads
from fewlabels.whole_files import write_file
from kmeans import processor

SIDE, PATCH, PADDING = 32, 6, 2  # pixels
N_VALUES = 3 * PATCH**2
CONTRAST_EPSILON, THRESHOLD, POOL = 0.01, 0.2, 3


def made_encoder(n_filters: int, kind: str) -> PatchEncoder:
    """An encoder with a whitening and centroids of noise."""
    generator = torch.Generator().manual_seed(0)
    encoder = PatchEncoder(
        3,
        PATCH,
        N_VALUES,
        n_filters,
        padding=PADDING,
        pool=POOL,
        activation="soft-threshold",
        threshold=THRESHOLD,
        precision=kind,
    )
    encoder.set_group(
        0,
        torch.arange(3),
        CONTRAST_EPSILON,
        torch.randn(N_VALUES, generator=generator) / 10,
        torch.randn(N_VALUES, N_VALUES, generator=generator) / N_VALUES**0.5,
        torch.randn(n_filters, N_VALUES, generator=generator),
    )
    return encoder.eval()


def by_unfold(encoder: PatchEncoder, images_NCHW: Tensor) -> Tensor:
    """What the encoder's docstring says, each step over the patches of all images."""
    padded = F.pad(images_NCHW, (PADDING,) * 4, mode="reflect")
    patches_NPD = F.unfold(padded, PATCH).transpose(1, 2)
    n_images, n_places, _ = patches_NPD.shape
    variance, mean = torch.var_mean(patches_NPD, dim=2, correction=0, keepdim=True)
    normal = (patches_NPD - mean) / (variance + CONTRAST_EPSILON).sqrt()
    whitened = normal @ encoder.project_GETss[0].flatten(1).T - encoder.offset_GE[0]
    directions_KE = F.normalize(encoder.centroids_GKE[0], dim=1)
    kind = torch.bfloat16 if encoder.precision == "bf16" else torch.float32
    cosines = (F.normalize(whitened, dim=2).to(kind) @ directions_KE.to(kind).T).float()
    answers = F.relu(cosines - THRESHOLD)
    places = round(n_places**0.5)
    maps_NKHW = answers.transpose(1, 2).reshape(n_images, -1, places, places)
    return F.max_pool2d(maps_NKHW, POOL, ceil_mode=True)


def product_alone(encoder: PatchEncoder) -> Callable[[Tensor], None]:
    """The product of one image's whitened patches with the centroids, as often as images come."""
    kind = torch.bfloat16 if encoder.precision == "bf16" else torch.float32
    places = SIDE + 2 * PADDING - PATCH + 1
    whitened_BE = torch.randn(places**2, N_VALUES).to(kind)
    centroids_EK = encoder.centroids_GKE[0].T.to(kind)

    def multiply(images_NCHW: Tensor) -> None:
        for _ in images_NCHW:
            whitened_BE @ centroids_EK

    return multiply


def side_by_side(work: Callable[[Tensor], object], batches: list[Tensor]) -> None:
    """Whole batches, one a core, as `features.extract` runs them."""

    def alone(batch: Tensor) -> None:
        with torch.inference_mode():
            work(batch)

    with one_batch_a_core("cpu") as cores:
        for _ in in_threads(alone, batches, n_threads=cores, prepare=single_threaded):
            pass


def in_turn(work: Callable[[Tensor], object], batches: list[Tensor]) -> None:
    """A batch at a time, each operation split over the cores."""
    with torch.inference_mode():
        for batch in batches:
            work(batch)


def measured(kind: str, n_filters: int, n_images: int, rounds: int) -> dict[str, object]:
    """Milliseconds an image of each way, and how often the product's, in one precision."""
    encoder = made_encoder(n_filters, kind)
    generator = torch.Generator().manual_seed(1)
    images_NCHW = torch.rand(n_images, 3, SIDE, SIDE, generator=generator)
    batches = list(images_NCHW.split(BATCH))
    apart = check_equal(encoder, images_NCHW[:2])
    multiply = product_alone(encoder)
    ways: dict[str, Callable[[], None]] = {
        "product": lambda: side_by_side(multiply, batches),
        "encoder": lambda: side_by_side(encoder, batches),
        "encoder_split": lambda: in_turn(encoder, batches),
        "unfold": lambda: in_turn(lambda batch: by_unfold(encoder, batch), batches),
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        order = list(ways) if number % 2 else list(ways)[::-1]
        for name in order:
            start = time.perf_counter()
            ways[name]()
            if number:  # the first round warms up
                spent[name].append(1000 * (time.perf_counter() - start) / n_images)
    return {
        "milliseconds_an_image": {name: round(statistics.median(spent[name]), 3) for name in ways},
        "times_the_product": {
            name: round(
                statistics.median(
                    mine / bare for mine, bare in zip(spent[name], spent["product"], strict=True)
                ),
                3,
            )
            for name in ways
        },
        "largest_difference_of_encoder_and_unfold": apart,
    }


def check_equal(encoder: PatchEncoder, images_NCHW: Tensor) -> float:
    """The ways must give the same numbers, or their times say nothing."""
    with torch.inference_mode():
        apart = float((encoder(images_NCHW) - by_unfold(encoder, images_NCHW)).abs().max())
    allowed = 0.02 if encoder.precision == "bf16" else 1e-4
    if apart > allowed:
        raise SystemExit(f"encoder and unfold differ by {apart:g}, over {allowed:g}")
    return apart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="write the numbers to this JSON file")
    parser.add_argument("--filters", type=int, default=1600)
    parser.add_argument("--images", type=int, default=4 * BATCH, help="of a round")
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    sizes = asked.filters, asked.images, asked.rounds
    faster = precision.choose("auto") == "bf16"
    results = {
        "n_filters": asked.filters,
        "n_images": asked.images,
        "rounds": asked.rounds,
        "fp32": measured("fp32", *sizes),
        "bf16": measured("bf16", *sizes) if faster else None,
        "speedup_of_a_bf16_product": round(precision.speedup_of_bf16("cpu"), 3),
        "machine": {
            "processor": processor(),
            "n_cores": os.cpu_count(),
            "n_threads": torch.get_num_threads(),
            "load_before": load,
            "torch": str(torch.__version__),
        },
    }
    text = json.dumps(results, indent=1)
    print(text)
    if asked.out:
        write_file(asked.out, text + "\n")


if __name__ == "__main__":
    main()
