"""The two passes of batch normalization with activation; `batch_norm` derives and explains them.

Shapes: C channels; values are (places, C) where channels lie side by side in memory (channels_last
and flat inputs), else (N, C, places). Vectors have one number per channel. x input, z normalised,
y output, g = dL/dy, h = dL/dz, u is x or z.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

ROOM = {False: 16.0, True: 4.0}  # by "is it low precision": largest |bias / weight| that is undone
SMALLEST_WEIGHT = 1e-3  # z of a smaller one leaves the range of float16
BLOCK_VALUES = 2**18  # taken through all steps at a time: 1 MB of float32 stays in the cache
# tensors of this size the C library gives back to the system at once, and the pages of a new one
# cost more than passes over those that are there: from here on the work is done in place
LARGE_BYTES = {False: 2**24, True: 2**25}  # by "is it low precision"
aten = torch.ops.aten


class Activation(NamedTuple):
    """How z becomes y and g becomes h; `into` is written, and may be z itself.

    kept : in full and in low precision: "input" (x), "normed" (z) or "output" (y); where x may
        stand for z, large ones keep x
    undo : z from y, where that can be; no functions for identity
    """

    kept: tuple[str, str]
    plain: Callable[[Tensor], Tensor]
    forward: Callable[[Tensor, Tensor], Any] | None = None  # z, into
    backward: Callable[[Tensor, Tensor, Tensor], Any] | None = None  # g, z, into
    undo: Callable[[Tensor], Tensor] | None = None  # y


SLOPE = 0.01  # of leaky-relu below zero, as nn.LeakyReLU's
ACTIVATIONS = {
    "identity": Activation(("output", "output"), lambda z: z),
    "relu": Activation(
        ("normed", "normed"),
        F.relu,
        lambda z, into: torch.clamp_min(z, 0, out=into),
        lambda g, z, into: aten.threshold_backward.grad_input(g, z, 0, grad_input=into),
    ),
    "leaky-relu": Activation(
        ("output", "normed"),
        lambda z: F.leaky_relu(z, SLOPE),
        lambda z, into: aten.leaky_relu.out(z, SLOPE, out=into),
        lambda g, z, into: aten.leaky_relu_backward.grad_input(g, z, SLOPE, False, grad_input=into),
        lambda y: F.leaky_relu(y, 1 / SLOPE),
    ),
    "gelu": Activation(
        ("normed", "input"),
        F.gelu,
        lambda z, into: aten.gelu.out(_dense(z), out=_dense(into)),
        lambda g, z, into: aten.gelu_backward.grad_input(
            _dense(g), _dense(z), grad_input=_dense(into)
        ),
    ),
    "silu": Activation(
        ("normed", "normed"),
        F.silu,
        lambda z, into: aten.silu.out(z, out=into),
        lambda g, z, into: aten.silu_backward.grad_input(g, z, grad_input=into),
    ),
}


def is_low(dtype: torch.dtype) -> bool:
    return dtype in (torch.bfloat16, torch.float16)


def n_processes() -> int:
    running = dist.is_available() and dist.is_initialized()
    return dist.get_world_size() if running else 1


def channels_last(maps: Tensor) -> bool:
    """Do the channels of a place lie side by side in memory?"""
    if maps.ndim == 4:
        return maps.is_contiguous(memory_format=torch.channels_last)
    return maps.movedim(1, -1).is_contiguous()


def _dense(maps: Tensor) -> Tensor:
    """The same memory in an order of dimensions in which torch calls it contiguous.

    torch hands only such tensors to oneDNN, whose GELU of bfloat16 takes half the time. (In float32
    it is no faster, and torch's own is nearer to the truth.)
    """
    if maps.is_contiguous() or not is_low(maps.dtype):
        return maps
    return maps.permute(0, *range(2, maps.ndim), 1)


def _values(maps: Tensor, last: bool) -> Tensor:
    return maps.permute(0, *range(2, maps.ndim), 1).flatten(0, -2) if last else maps.flatten(2)


def _along(vector: Tensor, values: Tensor) -> Tensor:
    """A vector in a shape in which it stands for every place; channels are second, or last of 2."""
    return vector if values.ndim == 2 else vector.view(-1, *(1,) * (values.ndim - 2))


def _blocks(*tensors: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """Parts of the tensors, along their first dimension, that the cache holds."""
    first = tensors[0]
    if not first.numel():  # which torch's kernel does not take
        return ()
    n_blocks = 1 + (first.numel() - 1) // BLOCK_VALUES
    if n_blocks <= 1 or not first.is_cpu:
        return (tensors,)
    length = -(-len(first) // n_blocks)
    return zip(*(tensor.split(length) for tensor in tensors), strict=True)


def affine(maps: Tensor, scale: Tensor, shift: Tensor, into: Tensor) -> None:
    """scale * maps + shift per channel, computed in the type of scale."""
    if not is_low(maps.dtype):
        torch.addcmul(_along(shift, maps), maps, _along(scale, maps), out=into)
    else:  # torch's kernel for evaluation converts on its way
        zeros, none = torch.zeros_like(scale), scale.new_empty(0)
        fixed = (zeros, torch.ones_like(scale), False, 0.0, 0.0)
        aten.native_batch_norm.out(
            maps, scale, shift, *fixed, out=into, save_mean=none, save_invstd=none
        )


class Normalised(NamedTuple):
    """z, the mean and 1/sqrt(variance + eps) used, and over how many values; 0 if these are fixed.

    z is a tensor of its own, which may be written.
    """

    maps: Tensor
    mean: Tensor
    factor: Tensor
    n_values: int


class NormActivation(torch.autograd.Function):
    """The formulas of `batch_norm`'s head; `normalise` is given x and makes z of it."""

    @staticmethod
    def forward(
        ctx: Any,
        maps: Tensor,
        weight: Tensor,
        bias: Tensor,
        normalise: Callable[[Tensor], Normalised],
        activation: Activation,
        wanted: bool,
    ) -> Tensor:
        normed, mean, factor, n_values = normalise(maps)
        kept = "input"
        low = is_low(maps.dtype)
        if wanted and not (maps.nbytes >= LARGE_BYTES[low] and activation.kept[low] == "normed"):
            kept = activation.kept[low]
            if kept != "input" and not _is_trusted(maps.dtype, weight, bias, mean, factor):
                kept = "input"
        output = torch.empty_like(maps) if kept == "normed" else normed
        if activation.forward:
            activation.forward(normed, output)
        if wanted:
            tensor = {"input": maps, "normed": normed, "output": output}[kept]
            ctx.save_for_backward(tensor, weight, bias, mean, factor)
            ctx.kept, ctx.n_values, ctx.activation = kept, n_values, activation
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        kept, weight, bias, mean, factor = ctx.saved_tensors
        wants_maps, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        if gradient.stride() != kept.stride():
            gradient = torch.empty_like(kept).copy_(gradient)
        scale = weight * factor
        if ctx.kept == "input":
            line = _Line(scale, bias - mean * scale, mean, factor)
        else:
            line = _Line(scale, bias, bias.to(factor.dtype), weight.to(factor.dtype).reciprocal())
        one_pass = wants_maps and ctx.n_values > 0 and n_processes() == 1
        small = kept.nbytes < LARGE_BYTES[is_low(kept.dtype)] or ctx.activation.backward is None
        one_pass = one_pass and small
        answer, sums = (_at_once if one_pass else _in_blocks)(ctx, gradient, kept, line)
        return (
            answer if wants_maps else None,
            sums[0].to(weight.dtype) if wants_weight else None,
            sums[1].to(bias.dtype) if wants_bias else None,
            *(None,) * 3,
        )


class _Line(NamedTuple):
    """Vectors: z = scale x + shift, and x' = (u - centre) spread, of u that is kept."""

    scale: Tensor
    shift: Tensor
    centre: Tensor
    spread: Tensor


def _is_trusted(
    dtype: torch.dtype, weight: Tensor, bias: Tensor, mean: Tensor, factor: Tensor
) -> bool:
    """Whether x' can be found from z: see ROOM."""
    room = ROOM[is_low(dtype)]
    needed = (bias.abs() / room).clamp_(min=SMALLEST_WEIGHT)
    if not bool((needed <= weight.abs()).all()):
        return False
    # z's own rounding is that of scale x + shift; in low precision that of its type is larger
    return is_low(dtype) or float((mean * factor).abs_().amax()) <= room


def _at_once(ctx: Any, gradient: Tensor, kept: Tensor, line: _Line) -> tuple[Tensor, Any]:
    """torch's kernel finds sums and answer at once, faster than two passes."""
    h, z, u = gradient, kept, kept
    if ctx.activation.backward is not None:
        h = torch.empty_like(kept)
        if ctx.kept == "input":
            z = h
            affine(kept, line.scale, line.shift, z)
        elif ctx.kept == "output":
            z = u = ctx.activation.undo(kept)
        ctx.activation.backward(gradient, z, h)
    answer, *sums = _torch_backward(h, u, line, line.scale / line.spread, True)
    return answer, sums


def _in_blocks(ctx: Any, gradient: Tensor, kept: Tensor, line: _Line) -> tuple[Tensor, Any]:
    """Two passes over blocks: h and its sums, then the answer in h's place."""
    activation, fixed, wants_maps = ctx.activation, ctx.n_values == 0, ctx.needs_input_grad[0]
    summed = any(ctx.needs_input_grad[1:3]) or (wants_maps and not fixed)
    answer = torch.empty_like(kept)
    last = channels_last(kept)
    gradients, sources, answers = (_values(part, last) for part in (gradient, kept, answer))
    sums = torch.zeros(2, len(line.scale), dtype=line.scale.dtype, device=kept.device)
    for g, u, h in _blocks(gradients, sources, answers):
        into = h
        if activation.backward is None:
            h = g
        elif ctx.kept == "input":
            affine(u, line.scale, line.shift, h)
            activation.backward(g, h, h)
        else:
            u = activation.undo(u) if ctx.kept == "output" else u
            activation.backward(g, u, h)
        if summed:
            seen = (h.T[None, :, :, None], u.T[None, :, :, None]) if last else (h, u)
            sums += torch.stack(_torch_backward(*seen, line, line.scale, False)[1:])
        if fixed and wants_maps:
            torch.mul(h, _along(line.scale, h), out=into)
    if wants_maps and not fixed:
        mean_h_x, mean_h = _over_processes(sums) / ctx.n_values
        slope = -line.scale * mean_h_x * line.spread
        offset = -line.scale * mean_h - slope * line.centre
        hs = gradients if activation.backward is None else answers
        for h, u, into in _blocks(hs, sources, answers):
            if ctx.kept == "output" and activation.undo:
                u = activation.undo(u)
            part = torch.addcmul(_along(offset, u), u, _along(slope, u))
            torch.addcmul(part, h, _along(line.scale, h), out=into)
    return answer, sums


def _torch_backward(
    h: Tensor, u: Tensor, line: _Line, weight: Tensor, answer: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """dL/dx (None unless asked for), sum h x' and sum h per channel, by torch's own kernel."""
    of_batch = (None, None, line.centre, line.spread, True, 0.0)
    return aten.native_batch_norm_backward(h, u, weight, *of_batch, [answer, True, True])


def _over_processes(sums: Tensor) -> Tensor:
    if n_processes() > 1:
        sums = sums.clone()
        dist.all_reduce(sums)
    return sums
