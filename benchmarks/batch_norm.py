"""Time and memory of batch normalization with activation, against torch's pair of modules.

    python benchmarks/batch_norm.py --out batch_norm.json

Time is of one module, forward and backward, channels_last. The two take turns in one process, so
that a busy machine slows both; a ratio is the median over rounds of (ours / torch's of the same
round). At most 1.0 is wanted. Memory is of a chain of 4 blocks, convolution -> norm and activation,
and a last convolution, that starts from an image of 3 channels: bytes kept for the way back, each
piece of memory once (at most 0.7 wanted), and the most bytes held at a time in one step of
training, as PyTorch's profiler counts them (with convolutions' own and gradients).
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from fewlabels.batch_norm import BatchNormActivation
from fewlabels.runs import write_json

SIZES = ((128, 64, 32, 32), (128, 128, 16, 16), (256, 256, 8, 8))
OF_TORCH: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "relu": nn.ReLU,
    "leaky-relu": nn.LeakyReLU,
    "identity": nn.Identity,
}
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def norms(activation: str, n_channels: int) -> dict[str, nn.Module]:
    return {
        "torch": nn.Sequential(nn.BatchNorm2d(n_channels), OF_TORCH[activation]()),
        "ours": BatchNormActivation(n_channels, activation),
    }


def like_images(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.randn(shape).to(dtype).contiguous(memory_format=torch.channels_last)


def step_seconds(module: nn.Module, maps: Tensor, gradient: Tensor) -> float:
    maps.grad = None
    module.zero_grad()
    start = time.perf_counter()
    module(maps).backward(gradient)
    return time.perf_counter() - start


def times(
    activation: str, shape: tuple[int, ...], dtype: torch.dtype, rounds: int
) -> dict[str, float]:
    """Medians over rounds, in which the two take turns at going first; parameters are float32."""
    modules = norms(activation, shape[1])
    maps, gradient = like_images(shape, dtype).requires_grad_(), like_images(shape, dtype)
    spent: dict[str, list[float]] = {name: [] for name in modules}
    for i in range(rounds + 2):
        for name in sorted(modules, reverse=i % 2 == 0):
            took = step_seconds(modules[name], maps, gradient)
            if i >= 2:  # the first rounds warm up
                spent[name].append(took)
    ratios = [ours / torchs for ours, torchs in zip(spent["ours"], spent["torch"], strict=True)]
    return {
        **{f"{name}_milliseconds": 1e3 * statistics.median(spent[name]) for name in spent},
        "ratio": statistics.median(ratios),
    }


def chain(activation: str, n_channels: int, which: str, dtype: torch.dtype) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, n_channels, 3, padding=1).to(dtype)]
    for _ in range(4):
        convolution = nn.Conv2d(n_channels, n_channels, 3, padding=1).to(dtype)
        layers += [norms(activation, n_channels)[which], convolution]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def kept_bytes(module: nn.Module, images: Tensor) -> int:
    """Bytes that the graph of gradients keeps, each storage once, without parameters."""
    parameters = {p.untyped_storage().data_ptr() for p in module.parameters()}
    held: dict[int, Tensor] = {}  # held, as freed memory could come again under its address

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in parameters:
            held.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        module(images)
    return sum(tensor.untyped_storage().nbytes() for tensor in held.values())


def peak_bytes(module: nn.Module, images: Tensor) -> int:
    """The most bytes that a step of training holds beyond what was there before it."""
    module(images).float().sum().backward()  # gradients of parameters are there from now on
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        module(images).float().sum().backward()
    results = watched.profiler.kineto_results
    moves = [event for event in results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(moves, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def memory(activation: str, shape: tuple[int, ...], dtype: torch.dtype) -> dict[str, float]:
    n_images, n_channels, *sides = shape
    images = like_images((n_images, 3, *sides), dtype)
    found: dict[str, float] = {}
    for measure in (kept_bytes, peak_bytes):
        mib = {
            which: measure(chain(activation, n_channels, which, dtype), images) / 2**20
            for which in ("torch", "ours")
        }
        found |= {f"{which}_{measure.__name__[:4]}_mib": round(mib[which], 1) for which in mib}
        found[f"{measure.__name__[:4]}_ratio"] = mib["ours"] / mib["torch"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="write the numbers to this JSON file")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--activations", nargs="+", choices=OF_TORCH, default=list(OF_TORCH))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    cases = []
    for activation in arguments.activations:
        for precision, dtype in TYPES.items():
            for shape in SIZES:
                case = {
                    "activation": activation,
                    "precision": precision,
                    "shape": list(shape),
                    **times(activation, shape, dtype, arguments.rounds),
                }
                if shape == SIZES[1]:  # in units of a map, memory is the same for every size
                    case |= memory(activation, shape, dtype)
                cases.append(case)
                print({key: round(v, 3) if isinstance(v, float) else v for key, v in case.items()})
    machine = {
        "processor": platform.processor() or platform.machine(),
        "n_cores": os.cpu_count(),
        "n_threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
    }
    if arguments.out:
        write_json(arguments.out, {"cases": cases, "machine": machine})


if __name__ == "__main__":
    main()
