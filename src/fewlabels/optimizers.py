"""Optimizers: Muon for the filters of convolutions, SGD for all the rest.

Shapes: O filters of a layer (its output channels), I values of a filter (channels x k x k).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from fewlabels.errors import ConfigError
from fewlabels.training_config import TrainingConfig

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic, with the steepest slope at 0


def build(graph: nn.Module, config: TrainingConfig, dtype: torch.dtype) -> list[Optimizer]:
    """The optimizers of every parameter that learns; `set_rates` gives them their rates.

    Parameters
    ----------
    dtype : of Muon's matrix products

    Raises ConfigError where no parameter learns.
    """
    learning = [weight for weight in graph.parameters() if weight.requires_grad]
    if not learning:
        raise ConfigError("no weight of this network can learn: unfreeze a node with parameters")
    filters = [weight for weight in learning if weight.ndim > 2]
    matrices = [weight for weight in learning if weight.ndim == 2]
    others = [weight for weight in learning if weight.ndim < 2]
    decay = config.weight_decay * config.batch_size
    groups: list[dict[str, Any]] = [
        # SGD decays by lr * weight_decay, which is `decay` at the highest rate
        {"params": weights, "lr": peak, "peak": peak, "weight_decay": decay / peak}
        for weights, peak in (
            (filters if config.optimizer == "sgd" else [], config.learning_rate),
            (matrices, config.head_learning_rate),
            (others, config.bias_learning_rate),
        )
        if weights
    ]
    optimizers: list[Optimizer] = []
    if config.optimizer == "muon" and filters:
        optimizers.append(
            Muon(filters, rate=config.learning_rate, momentum=config.filter_momentum, dtype=dtype)
        )
    if groups:
        nesterov = config.momentum > 0
        optimizers.append(SGD(groups, momentum=config.momentum, nesterov=nesterov, foreach=True))
    return optimizers


def set_rates(optimizers: Sequence[Optimizer], factor: float) -> None:
    """Give every group of parameters that part of its highest rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor


class Muon(Optimizer):
    """Momentum whose every step is made orthogonal: all directions of a layer's filters move alike.

    With B the momentum, G the gradient and m = `momentum`, both as matrices (O, I):

        B <- m B + G;   W <- W sqrt(O) / |W|;   W <- W - rate * orthogonal(G + m B)

    The second part keeps the filters at a mean length of 1, so a rate means the same in every
    layer and needs no weight decay.

    `torch.optim.Muon` (of torch 2.9 and newer) takes only matrices, whose steps it stretches by
    sqrt(O / I), multiplies in bfloat16 alone and does not keep the length: it is another optimizer.

    Parameters
    ----------
    parameters : weights of shape (O, ...)
    rate : the highest learning rate; momentum : in [0, 1)
    n_iterations : of Newton and Schulz, see `orthogonal`
    dtype : of the matrix products; bfloat16 only where the processor has it

    Source: Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024, as in
    airbench94_muon.py of KellerJordan/cifar10-airbench.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        rate: float,
        momentum: float = 0.6,
        n_iterations: int = 3,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.n_iterations, self.dtype = n_iterations, dtype
        super().__init__(parameters, {"lr": rate, "peak": rate, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        if closure is not None:
            raise TypeError("Muon takes no closure: compute the gradients, then call step()")
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, weight.grad, group["lr"], group["momentum"])

    def _move(self, weight: Tensor, gradient: Tensor, rate: float, momentum: float) -> None:
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        buffer = state["momentum_buffer"].mul_(momentum).add_(gradient)
        direction_OI = gradient.add(buffer, alpha=momentum).reshape(len(weight), -1)
        update_OI = orthogonal(direction_OI, self.n_iterations, self.dtype)
        weight.mul_(len(weight) ** 0.5 / weight.norm().clamp(min=1e-7))
        weight.sub_(update_OI.view(weight.shape), alpha=rate)


def orthogonal(
    matrix_OI: Tensor, n_iterations: int = 5, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Nearly U V^T, where the matrix is U S V^T: its directions, all about equally strong.

    Newton and Schulz's iteration X <- a X + (b A + c A A) X with A = X X^T, of matrix products
    alone. Its coefficients lift small singular values quickly, and so 5 iterations bring all
    over 0.003 of the matrix's norm into [0.68, 1.21] instead of to 1.

    Returns
    -------
    (O, I) of the matrix's own type

    Source: Jordan et al. 2024, as for `Muon`.
    """
    a, b, c = COEFFICIENTS
    wide = len(matrix_OI) <= matrix_OI.shape[1]
    X = (matrix_OI if wide else matrix_OI.T).to(dtype)
    X = X / (X.norm() + 1e-7)  # no singular value over 1
    for _ in range(n_iterations):
        A = X @ X.T
        X = torch.addmm(X, torch.addmm(A, A, A, beta=b, alpha=c), X, beta=a)
    return (X if wide else X.T).to(matrix_OI.dtype)
