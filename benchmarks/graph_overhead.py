"""How much longer does a Graph's forward take than nn.Sequential of the very same modules?

    python benchmarks/graph_overhead.py --out graph_overhead.json

Both run in turns in one process, so that a busy machine slows both; the ratio is the median over
rounds of (Graph's seconds / Sequential's seconds of the same round). At most 1.02 is wanted.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from fewlabels.graph import Graph, node


def small_convolutional_net() -> tuple[list[nn.Module], Tensor]:
    """A usual case: what a user of this package runs, on 8 images."""
    modules: list[nn.Module] = []
    for n_in, n_out in ((3, 32), (32, 64), (64, 128)):
        modules += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.ReLU()]
        modules += [nn.MaxPool2d(2)]
    modules += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)]
    return modules, torch.randn(8, 3, 32, 32)


def many_small_layers() -> tuple[list[nn.Module], Tensor]:
    """The worst case: 200 modules with next to nothing to compute."""
    modules: list[nn.Module] = []
    for _ in range(100):
        modules += [nn.Linear(8, 8), nn.ReLU()]
    return modules, torch.randn(1, 8)


def chain(modules: list[nn.Module], shape: tuple[int, ...]) -> Graph:
    """The modules, each reading the one before, as a Graph."""
    names = ["input", *(f"layer{i}" for i in range(len(modules)))]
    nodes = {names[i + 1]: node(module, names[i]) for i, module in enumerate(modules)}
    return Graph(nodes, inputs={"input": shape}, outputs=(names[-1],))


def seconds(run: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return time.perf_counter() - start


def compare(
    modules: list[nn.Module], batch: Tensor, rounds: int, repeats: int
) -> dict[str, object]:
    """Medians over rounds, in which the two take turns at going first."""
    sequential = nn.Sequential(*modules).eval()
    graph = chain(modules, tuple(batch.shape[1:])).eval()
    assert torch.equal(sequential(batch), graph(batch))
    runs = {"sequential": lambda: sequential(batch), "graph": lambda: graph(batch)}
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for i in range(rounds + 2):
        for name in sorted(runs, reverse=i % 2 == 0):
            took = seconds(runs[name], repeats)
            if i >= 2:  # the first rounds warm up
                spent[name].append(took / repeats)
    ratios = [g / s for g, s in zip(spent["graph"], spent["sequential"], strict=True)]
    return {
        "n_modules": len(modules),
        "sequential_microseconds": statistics.median(spent["sequential"]) * 1e6,
        "graph_microseconds": statistics.median(spent["graph"]) * 1e6,
        "ratio": statistics.median(ratios),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="write the numbers to this JSON file")
    parser.add_argument("--rounds", type=int, default=200)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    with torch.inference_mode():
        results: dict[str, dict[str, object]] = {
            case.__name__: compare(*case(), arguments.rounds, repeats)
            for case, repeats in ((small_convolutional_net, 1), (many_small_layers, 5))
        }
    results["machine"] = {
        "processor": platform.processor() or platform.machine(),
        "n_cores": os.cpu_count(),
        "n_threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
    }
    text = json.dumps(results, indent=2)
    print(text)
    if arguments.out:
        partial = arguments.out.with_name(f".{arguments.out.name}.partial")
        partial.write_text(text + "\n")
        partial.replace(arguments.out)


if __name__ == "__main__":
    main()
