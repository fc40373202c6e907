"""Two processes with parts of a batch normalise as one process with the whole of it."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor

from fewlabels.batch_norm import BatchNormActivation
from fewlabels.batch_norm_gradient import ACTIVATIONS

PARTS = {"even": (4, 4), "uneven": (7, 1), "one without": (8, 0)}
DTYPES = (torch.float32, torch.bfloat16)


def batch(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Maps far from zero, whose squares would lose digits when summed, and an upstream gradient."""
    generator = torch.Generator().manual_seed(3)
    maps, gradient = torch.randn(2, 8, 3, 4, 4, generator=generator, dtype=torch.float64)
    maps += 20 * torch.arange(8).view(8, 1, 1, 1)  # the processes' means differ
    return tuple(
        part.to(dtype).contiguous(memory_format=torch.channels_last) for part in (maps, gradient)
    )


def passed(activation: str, dtype: torch.dtype, part: slice) -> dict[str, Tensor]:
    own = BatchNormActivation(3, activation)
    with torch.no_grad():
        own.weight.copy_(torch.tensor([1.0, -0.5, 2.0]))
        own.bias.copy_(torch.tensor([0.3, -0.2, 0.0]))
    maps, gradient = (tensor[part] for tensor in batch(dtype))
    maps.requires_grad_()
    output = own(maps)
    output.backward(gradient)
    parameters = {name: parameter.grad for name, parameter in own.named_parameters()}
    return {"output": output.detach(), "maps": maps.grad, **parameters, **dict(own.named_buffers())}


def run_process(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    found = {}
    for name, sizes in PARTS.items():
        part = slice(0, sizes[0]) if rank == 0 else slice(sizes[0], None)
        for activation in ACTIVATIONS:
            for dtype in DTYPES:
                found[name, activation, str(dtype)] = passed(activation, dtype, part)
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one_with_the_whole_batch(tmp_path):
    torch.multiprocessing.spawn(run_process, args=(str(tmp_path),), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]

    for name in PARTS:
        for activation in ACTIVATIONS:
            for dtype in DTYPES:
                first, second = (part[name, activation, str(dtype)] for part in found)
                whole = passed(activation, dtype, slice(None))
                room = {"atol": 1e-5, "rtol": 1e-4} if dtype == torch.float32 else {}
                for key, expected in whole.items():
                    if key in ("output", "maps"):
                        both = torch.cat([first[key], second[key]])
                        torch.testing.assert_close(both, expected, **room or bf16_room(expected))
                    elif key in ("weight", "bias"):  # each of its own images
                        both = first[key] + second[key]
                        torch.testing.assert_close(both, expected, **room or bf16_room(expected))
                    else:
                        assert torch.equal(first[key], second[key])
                        torch.testing.assert_close(first[key], expected, atol=1e-5, rtol=1e-5)


def bf16_room(expected: Tensor) -> dict[str, float]:
    return {"atol": 0.01 * expected.abs().max().item(), "rtol": 0.02}
