"""How long does a t-SNE map take, and how good is it, beside scikit-learn's?

    python benchmarks/tsne.py --source ../shared/data/nette96 --out docs/measured/tsne.json

    small   1,000 images x 9,216 values (their first channel): ours and scikit-learn's take turns in
            one process, so that a busy machine slows both; seconds are medians over rounds, the
            ratio is the median of the ratios within a round
    large   20,000 images x 6,400 values, once: k-means answers of 400 filters in a 4 x 4 grid

Trustworthiness (12 neighbours, all values) and nearest-neighbour accuracy are of the last round.
Without --source both are of made values: ten broad groups in few directions, and noise.
The targets: small at most 3 s, at least 2 times faster than scikit-learn's, with a trustworthiness
no more than 0.005 lower; large at most 180 s.
"""

import argparse
import json
import os
import statistics
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from sklearn.manifold import TSNE

from fewlabels import features, maps
from fewlabels.sources import read
from fewlabels.splits import pool
from fewlabels.ways import filters
from fewlabels.ways.filters import FiltersConfig, LayerConfig
from fewlabels.whole_files import write_file
from kmeans import processor

SMALL, N_PIXELS = 1000, 9216
LARGE, N_FILTERS, GRID = 20_000, 400, 4
N_GROUPS, N_DIRECTIONS = 10, 60


def made_values(n_images: int, n_values: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Broad groups in some directions of falling weight, with noise; and the group of each."""
    draw = np.random.default_rng(seed)
    labels_N = np.arange(n_images) % N_GROUPS
    weights = 1 / np.sqrt(1 + np.arange(N_DIRECTIONS))
    middles = 1.5 * draw.normal(size=(N_GROUPS, N_DIRECTIONS))
    places = (middles[labels_N] + draw.normal(size=(n_images, N_DIRECTIONS))) * weights
    values_ND = places.astype(np.float32) @ draw.normal(size=(N_DIRECTIONS, n_values)).astype("f4")
    values_ND += draw.normal(size=values_ND.shape).astype("f4")
    return values_ND, labels_N


def real_pixels(source: str) -> tuple[np.ndarray, np.ndarray]:
    """The first channel of 1,000 test images drawn by a seed, and their labels."""
    test = read(source, parts=("test",)).test
    if test is None or test.labels is None or len(test) < SMALL:
        raise SystemExit(f"{source} has fewer than {SMALL:,} labelled test images")
    drawn = np.sort(np.random.default_rng(0).permutation(len(test))[:SMALL])
    return test.pixels[drawn][:, 0].reshape(SMALL, -1).astype(np.float32), test.labels[drawn]


def real_features(source: str) -> tuple[np.ndarray, np.ndarray]:
    """Features of 20,000 images of the pool, without labels (-1)."""
    images = pool(read(source))
    if len(images) < LARGE:
        raise SystemExit(f"{source} has fewer than {LARGE:,} images to learn from")
    images = replace(images, pixels=images.pixels[np.arange(LARGE)])
    layer = LayerConfig(n_filters=N_FILTERS, patch_size=8, stride=2, features_grid=GRID)
    graph = filters.learn(images, FiltersConfig(layers=(layer,), iterations=5), seed=0)
    return features.extract(graph, images, flips=False).numpy(), np.full(LARGE, -1)


def qualities(values_ND: np.ndarray, labels_N: np.ndarray, places_N2: np.ndarray) -> dict:
    near = maps.neighbour_accuracy(places_N2, labels_N)
    return {
        "trustworthiness": round(maps.trustworthiness(values_ND, places_N2), 4),
        "neighbour_accuracy": None if near is None else round(near, 4),
    }


def measured_small(values_ND: np.ndarray, labels_N: np.ndarray, rounds: int) -> dict:
    """Ours and scikit-learn's in turn."""
    # as scikit-learn's users call it: neighbours by n_jobs, the rest by OpenMP's own count
    ways = {
        "fewlabels": lambda: maps.embed(values_ND).positions_N2,
        "scikit_learn": lambda: TSNE(random_state=0, n_jobs=torch.get_num_threads()).fit_transform(
            values_ND
        ),
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, np.ndarray] = {}
    for number in range(rounds + 1):
        for name in list(ways) if number % 2 else list(ways)[::-1]:
            start = time.perf_counter()
            found[name] = ways[name]()
            if number:  # the first round warms up
                spent[name].append(time.perf_counter() - start)
    ratios = [b / a for a, b in zip(*spent.values(), strict=True)]
    return {
        "n_images": len(values_ND),
        "n_values": values_ND.shape[1],
        "rounds": rounds,
        "seconds": {name: round(statistics.median(spent[name]), 3) for name in ways},
        "times_faster": round(statistics.median(ratios), 3),
        **{name: qualities(values_ND, labels_N, found[name]) for name in ways},
    }


def measured_large(values_ND: np.ndarray, labels_N: np.ndarray) -> dict:
    start = time.perf_counter()
    found = maps.embed(values_ND)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    found.transform(values_ND[:SMALL])
    return {
        "n_images": len(values_ND),
        "n_values": values_ND.shape[1],
        "seconds": round(seconds, 3),
        "seconds_to_place_1000_more": round(time.perf_counter() - start, 3),
        "fewlabels": qualities(values_ND, labels_N, found.positions_N2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", help="real images, such as ../shared/data/nette96")
    parser.add_argument("--out", type=Path, help="write the numbers to this JSON file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("small", "large"))
    asked = parser.parse_args()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    results: dict[str, object] = {"source": asked.source or "made values"}
    if asked.only != "large":
        small = real_pixels(asked.source) if asked.source else made_values(SMALL, N_PIXELS, 0)
        results["small"] = measured_small(*small, asked.rounds)
    if asked.only != "small":
        n_features = N_FILTERS * GRID**2
        large = real_features(asked.source) if asked.source else made_values(LARGE, n_features, 1)
        results["large"] = measured_large(*large)
    results["machine"] = {
        "processor": processor(),
        "n_cores": os.cpu_count(),
        "n_threads": torch.get_num_threads(),
        "load_before": load,
        "openTSNE": version("openTSNE"),
        "scikit_learn": version("scikit-learn"),
    }
    text = json.dumps(results, indent=1)
    print(text)
    if asked.out:
        write_file(asked.out, text + "\n")


if __name__ == "__main__":
    main()
