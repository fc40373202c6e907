"""How much longer does a Graph take than the very same modules as plain PyTorch?

    python benchmarks/graph_overhead.py --out graph_overhead.json

Forward alone in evaluation, and forward and backward in training. Both ways hold the same modules
and run in turns in one process, so that a busy machine slows both; the ratio is the median over
rounds of (Graph's seconds / PyTorch's seconds of the same round). At most 1.02 is wanted. Beside
each stands the ratio of PyTorch's way to itself, measured alike, which is noise. The ratio of
processor time (of all threads) is the one to believe where other jobs run.
"""

import argparse
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from fewlabels.graph import Graph, node

Case = tuple[nn.Module, Graph, Tensor]  # plain PyTorch, the graph, a batch


class Add(nn.Module):
    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return left + right


class Residual(nn.Module):
    """What one would write without a Graph: a stem, then blocks with a shortcut each."""

    def __init__(self, stem: nn.Module, blocks: list[nn.Module], end: nn.Module) -> None:
        super().__init__()
        self.stem, self.blocks, self.end, self.add = stem, nn.ModuleList(blocks), end, Add()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = self.add(x, block(x))
        return self.end(x)


def small_convolutional_net() -> Case:
    """A usual case: what a user of this package runs, on 8 images."""
    modules: list[nn.Module] = []
    for n_in, n_out in ((3, 32), (32, 64), (64, 128)):
        modules += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.ReLU()]
        modules += [nn.MaxPool2d(2)]
    modules += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)]
    return nn.Sequential(*modules), chain(modules, (3, 32, 32)), torch.randn(8, 3, 32, 32)


def small_residual_net() -> Case:
    """The same with shortcuts: a true DAG, against a forward written by hand."""
    stem = nn.Conv2d(3, 32, 3, stride=2, padding=1)
    blocks: list[nn.Module] = [
        nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU())
        for _ in range(6)
    ]
    end = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    plain = Residual(stem, blocks, end)
    nodes = {"stem": node(stem, "image")}
    below = "stem"
    for i, block in enumerate(blocks):
        nodes[f"block{i}"] = node(block, below)
        nodes[f"sum{i}"] = node(plain.add, below, f"block{i}")
        below = f"sum{i}"
    nodes["end"] = node(end, below)
    graph = Graph(nodes, inputs={"image": (3, 32, 32)}, outputs=("end",))
    return plain, graph, torch.randn(8, 3, 32, 32)


def many_small_layers() -> Case:
    """The worst case: 200 modules with next to nothing to compute."""
    modules: list[nn.Module] = []
    for _ in range(100):
        modules += [nn.Linear(8, 8), nn.ReLU()]
    return nn.Sequential(*modules), chain(modules, (8,)), torch.randn(1, 8)


def chain(modules: list[nn.Module], shape: tuple[int, ...]) -> Graph:
    """The modules, each reading the one before, as a Graph."""
    names = ["input", *(f"layer{i}" for i in range(len(modules)))]
    nodes = {names[i + 1]: node(module, names[i]) for i, module in enumerate(modules)}
    return Graph(nodes, inputs={"input": shape}, outputs=(names[-1],))


def answer(network: nn.Module, batch: Tensor) -> None:
    with torch.inference_mode():
        network(batch)


def learn(network: nn.Module, batch: Tensor) -> None:
    network.zero_grad(set_to_none=True)
    network(batch).square().mean().backward()


def seconds(run: Callable[[], object], repeats: int) -> dict[str, float]:
    """By the clock on the wall, and of the processor."""
    clocks = {"wall": time.perf_counter, "processor": time.process_time}
    start = {name: clock() for name, clock in clocks.items()}
    for _ in range(repeats):
        run()
    return {name: (clock() - start[name]) / repeats for name, clock in clocks.items()}


def compare(
    case: Case, work: Callable[[nn.Module, Tensor], None], rounds: int, repeats: int
) -> dict[str, object]:
    """Medians over rounds, in which the ways take turns at random."""
    plain, graph, batch = case
    # both twice: what ran just before is still in the cache, so each must be as likely
    ways = {"plain": plain, "plain_again": plain, "graph": graph, "graph_again": graph}
    plain.train(work is learn)
    graph.train(work is learn)
    names, shuffle = list(ways), random.Random(0).shuffle
    spent: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for i in range(rounds + 2):
        shuffle(names)  # in turns alone, each would always follow the same one
        for name in names:
            took = seconds(lambda name=name: work(ways[name], batch), repeats)  # type: ignore[misc]
            if i >= 2:  # the first rounds warm up
                spent[name].append(took)

    def ratio(name: str, clock: str) -> float:
        pairs = zip(spent[name], spent["plain"], strict=True)
        return round(statistics.median(one[clock] / plain[clock] for one, plain in pairs), 4)

    def microseconds(name: str) -> float:
        return round(statistics.median(one["wall"] for one in spent[name]) * 1e6, 1)

    return {
        "n_nodes": len(graph.layers),
        "plain_microseconds": microseconds("plain"),
        "graph_microseconds": microseconds("graph"),
        "ratio": ratio("graph", "wall"),
        "noise": ratio("plain_again", "wall"),
        "ratio_of_processor_time": ratio("graph", "processor"),
        "noise_of_processor_time": ratio("plain_again", "processor"),
    }


def check(case: Case) -> None:
    """The two ways compute the same, forwards and backwards."""
    plain, graph, batch = case
    assert torch.equal(plain.eval()(batch), graph.eval()(batch))
    gradients = []
    for network in (plain, graph):
        learn(network, batch)
        gradients.append([parameter.grad for parameter in plain.parameters()])
    assert all(map(torch.equal, *gradients))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="write the numbers to this JSON file")
    parser.add_argument("--rounds", type=int, default=200)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    results: dict[str, dict[str, object]] = {}
    for make, repeats in ((small_convolutional_net, 1), (small_residual_net, 2),
                          (many_small_layers, 5)):  # fmt: skip
        case = make()
        check(case)
        for name, work in (("forward", answer), ("forward_and_backward", learn)):
            results[f"{make.__name__}_{name}"] = compare(case, work, arguments.rounds, repeats)
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
