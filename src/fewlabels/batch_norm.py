"""Batch normalization and the activation after it as one module, which keeps one tensor, not two.

Shapes: N images, C channels, M values of a channel: all places of all images of all processes.
Vectors have one number per channel; products of a vector and maps are per channel.

Forward, with m and v the mean and the biased variance of a channel of the input x:

    x' = (x - m) / sqrt(v + eps)        z = weight x' + bias        y = activation(z)

Backward, from g = dL/dy. The activation first, then weight and bias, which every place shares:

    h = dL/dz = g activation'(z)        dL/dweight = sum h x'       dL/dbias = sum h

x acts on L through its own x', with dL/dx' = weight h, and through m and v. With f = 1/sqrt(v+eps):
dx'/dx = f, dm/dx = 1/M, dv/dx = 2 (x - m)/M, dx'/dm = -f, and dx'/dv = -x' f^2 / 2, so

    dL/dx = weight f (h - mean(h) - x' mean(h x'))

where the means are over all M values: the two sums above, added up over processes, divided by M.
(In v's path the factor 2 (x - m) f^2 / 2 is x' f; what v's dependence on m would add is zero, as
the x - m add up to zero.) Where the statistics are fixed (evaluation), m and v do not depend on x
and dL/dx = weight f h. With u standing for x (centre m, factor f), or for z (centre bias, factor
1/weight), x' is (u - centre) factor, and dL/dx is one linear form in h and u.

What is kept for it, beside four vectors. torch's pair keeps x and z, or x and y for ReLU; the
convolution after it keeps y as well, and the one before it does not need x again:

    activation     float32, float64     bfloat16, float16     kept of what torch's pair keeps
    gelu           z                    x                     2/3
    silu           z                    z                     2/3
    leaky-relu     y, which gives z     z                     1/3; 2/3 in low precision
    identity       y, which is z        y, which is z         1/2
    relu           z                    z                     the same

of conv -> norm and activation -> conv. GELU, SiLU and ReLU cannot do with y alone: where y does not
tell z, the mean of h x' and the last term of dL/dx cannot be found. So they keep one tensor beside
y, and ReLU, whose y torch's pair shares with the next convolution, saves memory only where nothing
else keeps y. Large tensors keep x in the place of z: the activation then works in z's place, and z
is made again on the way back, where a new tensor costs more than that (see LARGE_BYTES).

x' from z (or y) loses digits as weight gets small against bias: it is off by the rounding of z,
divided by weight. So z is trusted where |bias| <= ROOM |weight| in every channel (and, in full
precision, the mean is at most ROOM deviations from 0); else x is kept in its place, which is exact.
In bfloat16 the x' so found is off, at random, by 0.4 % of itself and at most 1.6 % of the deviation
where bias is largest: about what the rounding of h, torch's and ours, does to the same sums. For
identity h is g, not rounded again, and there dL/dweight is known to about 0.3 %, torch's exactly.

Source: Ioffe and Szegedy, ICML 2015, algorithm 1 and section 3 (the gradient); Rota Bulo, Porzi and
Kontschieder, CVPR 2018 (leaky-relu undone from y); Chan, Golub and LeVeque, 1979, equation
2.1 (statistics of parts to those of the whole).
"""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from fewlabels.batch_norm_gradient import (
    ACTIVATIONS,
    NormActivation,
    Normalised,
    affine,
    channels_last,
    is_low,
    n_processes,
)
from fewlabels.graph_files import register


@register
class BatchNormActivation(nn.Module):
    """`nn.BatchNorm2d`, then an activation: same numbers, same state, less memory in training.

    Parameters
    ----------
    n_channels : C; the input is of shape (N, C, ...), the output of the same
    activation : "identity", "relu", "leaky-relu" (slope 0.01), "gelu" (exact, as nn.GELU()) or
        "silu"
    eps : added to the variance
    momentum : weight of the new batch in the running statistics; None for the mean of all batches

    State: as nn.BatchNorm2d's, so either loads the other's. In training, statistics are of the
    batches of all processes where torch.distributed runs several (each must then call the module
    equally often; the gradient of a parameter is of the process's own images, as everywhere). A
    channel with a single value is normalised to `bias`, and leaves the running variance as it is.
    A low-precision input has its statistics in float32, with parameters of either. The gradient
    cannot be differentiated again.

    Raises ValueError if an argument or the input's shape does not fit.  Source: the file's head.
    """

    def __init__(
        self,
        n_channels: int,
        activation: str = "gelu",
        eps: float = 1e-5,
        momentum: float | None = 0.1,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is one of {', '.join(ACTIVATIONS)}; got {activation!r}")
        if not eps > 0:
            raise ValueError(f"eps is above 0 (it divides constant channels); got {eps}")
        if momentum is not None and not 0 <= momentum <= 1:
            raise ValueError(f"momentum is in [0, 1], or None; got {momentum}")
        self.n_channels, self.activation = n_channels, activation
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(n_channels))
        self.bias = nn.Parameter(torch.zeros(n_channels))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.num_batches_tracked: Tensor
        self.register_buffer("running_mean", torch.zeros(n_channels))
        self.register_buffer("running_var", torch.ones(n_channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0, dtype=torch.long))

    def extra_repr(self) -> str:
        return f"{self.n_channels}, {self.activation}, eps={self.eps}, momentum={self.momentum}"

    def forward(self, maps: Tensor) -> Tensor:
        if maps.ndim < 2 or maps.shape[1] != self.n_channels:
            raise ValueError(
                f"expected maps of shape (N, {self.n_channels}, ...); got {tuple(maps.shape)}"
            )
        activation = ACTIVATIONS[self.activation]
        if not self.training and (torch.compiler.is_compiling() or torch.jit.is_tracing()):
            state = (self.running_mean, self.running_var, self.weight, self.bias)
            return activation.plain(F.batch_norm(maps, *state, eps=self.eps))
        if not channels_last(maps):
            maps = maps.contiguous()
        wanted = torch.is_grad_enabled() and any(
            tensor.requires_grad for tensor in (maps, self.weight, self.bias)
        )
        return NormActivation.apply(
            maps, self.weight, self.bias, self._normalised, activation, wanted
        )

    @torch.no_grad()
    def _normalised(self, maps: Tensor) -> Normalised:
        """z by the batch's statistics, which the running ones follow, or by the running ones."""
        kind = torch.float32 if is_low(maps.dtype) else maps.dtype
        running = self.running_mean, self.running_var
        n_values = 0
        if not self.training:
            mean, variance = running[0].to(kind), running[1].to(kind)
        else:
            self.num_batches_tracked += 1
            share = self.momentum
            if share is None:
                share = 1 / float(self.num_batches_tracked)
            n_values = maps.numel() // self.n_channels
            usual = n_values > 1 and n_processes() == 1
            if usual and {tensor.dtype for tensor in (*running, self.weight, self.bias)} == {kind}:
                state = (self.weight, self.bias, *running, True, share, self.eps)
                return Normalised(*torch.native_batch_norm(maps, *state), n_values)
            mean, variance, n_values = statistics(maps, kind)
            self._follow(mean, variance, n_values, share)
        factor = (variance + self.eps).rsqrt()
        scale = self.weight * factor
        normed = torch.empty_like(maps)
        affine(maps, scale, self.bias - mean * scale, normed)
        return Normalised(normed, mean, factor, n_values)

    def _follow(self, mean: Tensor, variance: Tensor, n_values: int, share: float) -> None:
        if n_values > 0:
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        if n_values > 1:
            unbiased = variance * (n_values / (n_values - 1))
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)


def statistics(maps: Tensor, kind: torch.dtype) -> tuple[Tensor, Tensor, int]:
    """Mean and biased variance per channel over all places, images and processes; their count.

    One all_reduce, of a table with a row for each process: sums of squares would lose digits.
    """
    n_channels = maps.shape[1]
    n_here = maps.numel() // n_channels
    mean = variance = maps.new_zeros(n_channels, dtype=kind)
    if n_here:
        unused = mean.clone(), mean.clone()  # their type is that of the result
        mean, variance = torch.batch_norm_update_stats(maps, *unused, 0.0)
    if n_processes() == 1:
        return mean, variance, n_here
    table = torch.zeros(n_processes(), 1 + 2 * n_channels, dtype=torch.float64, device=mean.device)
    table[dist.get_rank()] = torch.cat([mean.new_full((1,), n_here), mean, variance])
    dist.all_reduce(table)
    counts, means, variances = table.split([1, n_channels, n_channels], dim=1)
    share = counts / counts.sum().clamp(min=1)
    mean = (means * share).sum(0)
    variance = ((variances + (means - mean).square()) * share).sum(0)
    return mean.to(kind), variance.to(kind), int(counts.sum())
