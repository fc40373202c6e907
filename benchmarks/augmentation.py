"""How many images a second does each transformation take, in which way, on one and two threads?

    python benchmarks/augmentation.py --out augmentation.json

`fewlabels` is what the package does, random numbers and the output in [0, 1] included; the other
ways are what it was chosen over, on the same images with the same transformations. With two
threads each has half of the batch. The best of several rounds counts, as others may use the
machine; ways take turns within a round, so all of them see the same.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import grid_sample, pad

from fewlabels.augment import Augmentation, augment
from fewlabels.draws import image_keys
from fewlabels.images import Images
from fewlabels.resampling import interpolated
from fewlabels.surrogates import SurrogateConfig, surrogate_set
from kmeans import processor

Way = Callable[[slice], object]

BATCH = 512
SIZE = 32
SHIFT = Augmentation(flip=0.5, max_shift=0.125)
AFFINE = Augmentation(
    flip=0.5, max_shift=0.1, max_rotation_deg=20, min_scale=0.7, max_scale=1.4, max_shear=0.1
)
COLOUR = Augmentation(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)


def random_images(n_images: int, side: int) -> np.ndarray:
    shape = (n_images, 3, side, side)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def random_maps(side: int) -> np.ndarray:
    """Rotations of up to 20 degrees about the middle, from `side` to SIZE pixels."""
    angle = np.random.default_rng(0).uniform(-0.35, 0.35, BATCH)
    rows = np.stack([np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)], 1)
    linear_N22 = rows.reshape(-1, 2, 2) * side / SIZE
    offset_N2 = (side - 1) / 2 - linear_N22.sum(2) * (SIZE - 1) / 2
    return np.concatenate([linear_N22, offset_N2[:, :, None]], 2)


def places(map_N23: np.ndarray) -> np.ndarray:
    """(row, column) in the source of each output pixel: float32, (2, n_images, SIZE, SIZE)."""
    row, column = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    down, right, offset = map_N23.astype(np.float32).transpose(2, 1, 0)[..., None, None]
    return down * row + right * column + offset


def by_grid_sample(pixels: np.ndarray, map_N23: np.ndarray, layout: torch.memory_format) -> Tensor:
    """All of the batch at once, the grid as numpy makes it."""
    unit = (2 * places(map_N23) + 1) / pixels.shape[2] - 1
    grid = torch.from_numpy(np.ascontiguousarray(unit[::-1].transpose(1, 2, 3, 0)))
    images = torch.from_numpy(pixels).contiguous(memory_format=layout).float()
    return grid_sample(images, grid, padding_mode="reflection", align_corners=False) / 255


def by_gather(pixels: np.ndarray, map_N23: np.ndarray, library: str) -> object:
    """Four taps by flat indices; the edge is repeated, which is less work than a mirror."""
    n_images, _, height, width = pixels.shape
    place = places(map_N23).reshape(2, n_images, 1, -1).clip(0, np.float32(height - 1.001))
    first = place.astype(np.int64)
    down, right = place - first
    start = first[0] * width + first[1]
    steps = (0, 1, width, width + 1)
    weights = ((1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right)
    if library == "torch":
        flat = torch.from_numpy(pixels).view(n_images, 3, -1)
        index = torch.from_numpy(start).expand(-1, 3, -1)
        taps = (flat.gather(2, index + step) for step in steps)
        weights = tuple(torch.from_numpy(weight) for weight in weights)
        return sum(tap * weight for tap, weight in zip(taps, weights, strict=True)) / 255
    channels = (np.arange(3 * n_images) * height * width).reshape(n_images, 3, 1)
    index = start + channels
    taps = (pixels.take(index + step) for step in steps)
    return sum(tap * weight for tap, weight in zip(taps, weights, strict=True)) / np.float32(255)


def by_three_shears(pixels: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """A rotation as three shears, each a shift of whole rows or columns between two pixels.

    Blurs three times, and does neither scale nor shear: fewer operations, another result.
    """
    shown = pixels.astype(np.float32)
    side = shown.shape[2]
    offset = np.arange(side, dtype=np.float32) - (side - 1) / 2
    for factor in (-np.tan(angle / 2), np.sin(angle), -np.tan(angle / 2)):
        shift = factor.astype(np.float32)[:, None] * offset
        place = (np.arange(side, dtype=np.float32) + shift[:, :, None]).clip(0, side - 1.001)
        first = place.astype(np.int64)
        part = (place - first)[:, None]
        left, right = (np.take_along_axis(shown, first[:, None] + i, 3) for i in (0, 1))
        shown = np.ascontiguousarray((left + (right - left) * part).swapaxes(2, 3))
    return shown.swapaxes(2, 3) / 255


def by_pillow(pixels: np.ndarray, map_N23: np.ndarray) -> np.ndarray:
    shown = np.empty((len(pixels), SIZE, SIZE, 3), np.float32)
    for index, (image, (rows, columns)) in enumerate(zip(pixels, map_N23, strict=True)):
        # Pillow counts from the corner of a pixel, and takes x before y
        data = [
            *(columns[1], columns[0], columns[2] + 0.5 - columns[:2].sum() / 2),
            *(rows[1], rows[0], rows[2] + 0.5 - rows[:2].sum() / 2),
        ]
        shown[index] = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).transform(
            (SIZE, SIZE), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR
        )
    return shown / 255


def by_slices(pixels: np.ndarray) -> Tensor:
    """The usual padded random crop with a flip, image by image."""
    chosen = np.random.default_rng(0).integers(0, 9, (len(pixels), 2)).tolist()
    padded = pad(torch.from_numpy(pixels).float().div_(255), (4, 4, 4, 4), mode="reflect")
    cut = [
        image[:, top : top + SIZE, left : left + SIZE]
        for image, (top, left) in zip(padded, chosen, strict=True)
    ]
    return torch.stack([one.flip(2) if i % 2 else one for i, one in enumerate(cut)])


def by_steps_in_torch(pixels: np.ndarray) -> Tensor:
    """Brightness, contrast, saturation and hue one after another, on the whole batch."""
    factors = torch.rand(4, len(pixels), 1, 1, 1) * 0.8 + 0.6
    luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    shown = torch.from_numpy(pixels).float().div_(255)
    shown = (shown * factors[0]).clamp(0, 1)
    mean = (shown * luma).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    shown = (mean + factors[1] * (shown - mean)).clamp(0, 1)
    gray = (shown * luma).sum(1, keepdim=True)
    shown = (gray + factors[2] * (shown - gray)).clamp(0, 1)
    turns = torch.eye(3) + 0.01 * factors[3].view(-1, 1, 1)
    return (turns @ shown.flatten(2)).clamp(0, 1).view_as(shown)


def by_augment(pixels: np.ndarray, settings: Augmentation, part: slice) -> Tensor:
    keys = image_keys(0, 0, np.arange(BATCH)[part])
    return augment(pixels[part], settings, keys, SIZE)


def ways_of(side: int) -> dict[str, dict[str, Way]]:
    """Transformation -> way -> what does a part of the batch."""
    pixels, map_N23 = random_images(BATCH, side), random_maps(side)
    ours = partial(by_augment, pixels)
    affine: dict[str, Way] = {
        "fewlabels": partial(ours, AFFINE),
        "grid_sample, contiguous": lambda part: by_grid_sample(
            pixels[part], map_N23[part], torch.contiguous_format
        ),
        "grid_sample, channels_last": lambda part: by_grid_sample(
            pixels[part], map_N23[part], torch.channels_last
        ),
        "gather in numpy": lambda part: by_gather(pixels[part], map_N23[part], "numpy"),
        "gather in torch": lambda part: by_gather(pixels[part], map_N23[part], "torch"),
        "Pillow": lambda part: by_pillow(pixels[part], map_N23[part]),
    }
    config = SurrogateConfig(n_classes=BATCH)
    surrogates = surrogate_set(Images(pixels=pixels), config, seed=0)
    order = np.random.default_rng(0).permutation(len(surrogates))[:BATCH]
    ways = {
        f"affine, {side} to {SIZE}": affine,
        f"surrogates, {side} to {SIZE}": {"fewlabels": lambda part: surrogates.batch(order[part])},
    }
    if side == SIZE:
        angle = np.random.default_rng(0).uniform(-0.35, 0.35, BATCH)
        affine["three shears"] = lambda part: by_three_shears(pixels[part], angle[part])
        whole = np.tile([[1.0, 0, 3], [0, 1, -2]], (BATCH, 1, 1))
        ways[f"flip and shift, {side}"] = {
            "fewlabels": partial(ours, SHIFT),
            "general kernel": lambda part: interpolated(pixels[part], whole[part], (SIZE, SIZE)),
            "slices in torch": lambda part: by_slices(pixels[part]),
        }
        ways[f"colour, {side}"] = {
            "fewlabels": partial(ours, COLOUR),
            "steps in torch": lambda part: by_steps_in_torch(pixels[part]),
        }
    return ways


def measured(ways: dict[str, Way], n_threads: int, rounds: int) -> dict[str, int]:
    """Images a second of each way, the best round."""
    step = BATCH // n_threads
    parts = [slice(start, start + step) for start in range(0, BATCH, step)]
    best = dict.fromkeys(ways, float("inf"))
    with ThreadPoolExecutor(n_threads) as pool:
        for _ in range(rounds):
            for name, way in ways.items():
                start = time.perf_counter()
                list(pool.map(way, parts))
                best[name] = min(best[name], time.perf_counter() - start)
    return {name: round(BATCH / seconds) for name, seconds in best.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="write the numbers to this JSON file")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # threads are the benchmark's own, each with its part of the batch
    results: dict[str, object] = {
        "images_per_second": {
            transformation: {
                f"{n_threads} thread{'s' * (n_threads > 1)}": measured(
                    ways, n_threads, arguments.rounds
                )
                for n_threads in (1, 2)
            }
            for side in (SIZE, 96)
            for transformation, ways in ways_of(side).items()
        },
        "batch": BATCH,
        "machine": {
            "processor": processor(),
            "n_cores": os.cpu_count(),
            "load_average": os.getloadavg()[0],
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        },
    }
    text = json.dumps(results, indent=2)
    print(text)
    if arguments.out:
        partial_file = arguments.out.with_name(f".{arguments.out.name}.partial")
        partial_file.write_text(text + "\n")
        partial_file.replace(arguments.out)


if __name__ == "__main__":
    main()
