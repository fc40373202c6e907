"""Accuracy, time and memory of what learns by gradients, and the throughput of its training.

    python benchmarks/training.py cifar10 labels --budget 5m --out cifar10-labels-5m.json
    python benchmarks/training.py cifar10 labels --budget 20m --set labels.n_networks=3 --out ...
    python benchmarks/training.py cifar10 surrogate --budget 60m --out cifar10-surrogate-60m.json
    python benchmarks/training.py nette96 labels --budget 20m --out nette96-labels-20m.json
    python benchmarks/training.py nette96 report-2 --out nette96-report-2.json
    python benchmarks/training.py cifar10 labels --epochs 20 --precision fp32 --out ...-fp32.json
    python benchmarks/training.py throughput --out training-throughput.json

`cifar10` is 400 labels per class drawn with the seed, the other training images unlabelled, all
10,000 test images; `nette96` is folds 0 to 2 of 1,000 labels, the budget for each of them. Each is
one call of the command line, and its seconds are of the whole command. Images are read from
../shared/data or $FEWLABELS_DATA.

`throughput` trains the network of `labels` on random images of 32 x 32 in batches of 256, as the
package does (its norms, channels_last, bf16 where that is faster, parts of a batch side by side,
freed memory kept), and as
default PyTorch does it: torch's own norms, contiguous, fp32, the same optimizers. Both take turns,
round by round; nothing but steps is counted: no augmentation, no measuring. Epochs are as long in
both, so `--epochs` with `--precision` tells what bf16 costs in accuracy.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from fewlabels import memory, optimizers, processes, recipes, side_by_side
from fewlabels.architectures import FirstLayer
from fewlabels.batch_norm import BatchNormActivation
from fewlabels.graph import Graph, Node
from fewlabels.precision import choose
from fewlabels.whitened import whitened_network
from kmeans import PROTOCOLS, REPOSITORY, processor

BATCH, SIDE = 256, 32
STEPS = 3  # of a round
LARGE = ("confusion", "accuracy_per_class", "run", "report")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", choices=[*PROTOCOLS, "throughput"])
    parser.add_argument("recipe", nargs="?", default="labels")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--budget", help="time for each training, such as 5m")
    length.add_argument("--epochs", help="in place of the recipe's own")
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"])
    parser.add_argument("--seed", default="0")
    parser.add_argument("--set", action="append", default=[], help="a setting, as for fewlabels")
    parser.add_argument("--folds", help="of nette96, in place of 0-2")
    parser.add_argument("--baseline", action="store_true", help="in half of the budget, too")
    parser.add_argument("--rounds", type=int, default=5, help="of the throughput")
    parser.add_argument("--out", type=Path, help="where to write the JSON")
    arguments = parser.parse_args()
    if arguments.images == "throughput":
        result = throughput(arguments.rounds, arguments.precision)
    else:
        result = measured(arguments)
    result |= {"machine": f"{os.cpu_count()} cores, {processor()}", "torch": torch.__version__}
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


def measured(asked: argparse.Namespace) -> dict:
    """Run the command, and put what it says beside how long it took and how far it trained."""
    data = Path(os.environ.get("FEWLABELS_DATA", REPOSITORY.parent / "shared" / "data"))
    command, *protocol = PROTOCOLS[asked.images]
    if asked.folds and asked.images == "nette96":
        protocol[-1] = asked.folds
    settings = [*asked.set, *([f"training.epochs={asked.epochs}"] if asked.epochs else [])]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        line = [
            *(sys.executable, "-m", "fewlabels", command, str(data / asked.images)),
            *("--recipe", asked.recipe, *protocol, "--seed", asked.seed),
            *(word for setting in settings for word in ("--set", setting)),
            *(("--budget", asked.budget) if asked.budget else ()),
            *(("--baseline",) if asked.baseline else ()),
            *("--precision", asked.precision, "--out", str(run), "--json"),
        ]
        start = time.perf_counter()
        done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
        seconds = time.perf_counter() - start
        trainings = trained(run / "metrics.jsonl")
    found = json.loads(done.stdout)
    for part in (found, *found.get("folds", ())):
        for large in LARGE:
            part.pop(large, None)
    return {
        "images": asked.images,
        "budget": asked.budget,
        "settings": settings,
        "precision": asked.precision,
        "seconds_in_all": round(seconds, 1),
        "trainings": trainings,
        **found,
    }


def trained(diary: Path) -> list[dict]:
    """The last epoch of each training: how many epochs, steps and seconds, and how it stood."""
    lines = [json.loads(line) for line in diary.read_text().splitlines()]
    epochs = [line for line in lines if "epoch" in line]
    ends = [
        one
        for one, following in zip(epochs, [*epochs[1:], {"step": 0}], strict=True)
        if following["step"] <= one["step"]
    ]
    return [{key: value for key, value in one.items() if key != "stage"} for one in ends]


def throughput(rounds: int, precision: str) -> dict:
    """Images per second of both ways, and how many times faster the package's is."""
    chosen = choose(precision)
    images = torch.rand(BATCH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(BATCH) % 10
    seconds: dict[str, list[float]] = {"fewlabels": [], "default_pytorch": []}
    with package_step(images, labels, chosen) as ours:
        steps = {"fewlabels": ours, "default_pytorch": default_step(images, labels)}
        for _ in range(rounds):
            for name, step in steps.items():
                with memory.kept() if name == "fewlabels" else nullcontext():
                    step()  # makes the libraries and the memory ready
                    start = time.perf_counter()
                    for _ in range(STEPS):
                        step()
                    seconds[name].append((time.perf_counter() - start) / STEPS)
    rates = {name: [BATCH / one for one in taken] for name, taken in seconds.items()}
    ratios = [a / b for a, b in zip(*rates.values(), strict=True)]
    return {
        "batch_size": BATCH,
        "threads": torch.get_num_threads(),
        "precision": chosen,
        "rounds": rounds,
        "images_per_second": {k: round(statistics.median(v), 1) for k, v in rates.items()},
        "images_per_second_best": {k: round(max(v), 1) for k, v in rates.items()},
        "times_faster": round(statistics.median(ratios), 2),
        "times_faster_by_round": [round(ratio, 2) for ratio in ratios],
    }


def new_network(mirrored: bool = True) -> Graph:
    config = recipes.named("labels").network
    drawn_F3kk = torch.randn(12, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    start = FirstLayer(torch.cat([drawn_F3kk, drawn_F3kk.flip(3)]), torch.zeros(24))
    return whitened_network(
        replace(config, mirrored=mirrored),
        start,
        stride=1,
        n_classes=10,
        image_size=(SIDE, SIDE),
        seed=0,
    )


@contextmanager
def package_step(
    images: torch.Tensor, labels: torch.Tensor, precision: str
) -> Iterator[Callable[[], None]]:
    graph = new_network().to(memory_format=torch.channels_last).train()
    images = images.contiguous(memory_format=torch.channels_last)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    with side_by_side.in_parts(graph, processes.join("cpu", precision)) as network:
        yield stepper(graph, network, images, labels, dtype)


def default_step(images: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    """A network of as many filters by torch's own convolutions, norms and activations."""
    nodes = {
        name: Node(plain(one.module), one.inputs) for name, one in new_network(False).nodes.items()
    }
    graph = Graph(nodes, {"image": (3, SIDE, SIDE)}, ("logits",)).freeze("first").train()
    return stepper(graph, graph, images, labels, torch.float32)


def plain(module: nn.Module) -> nn.Module:
    if isinstance(module, BatchNormActivation):
        return nn.Sequential(nn.BatchNorm2d(module.n_channels), nn.GELU())
    return module


def stepper(
    graph: Graph,
    network: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    dtype: torch.dtype,
) -> Callable[[], None]:
    config = recipes.named("labels").training
    assert config is not None
    built = optimizers.build(graph, replace(config, batch_size=BATCH), dtype)

    def step() -> None:
        smoothing = config.label_smoothing
        F.cross_entropy(network(images), labels, label_smoothing=smoothing).backward()
        for optimizer in built:
            optimizer.step()
            optimizer.zero_grad()

    return step


if __name__ == "__main__":
    main()
