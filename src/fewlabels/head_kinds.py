"""Kinds of heads: for each setting that it tries, a kind gives answers and what makes them.

Shapes: N images to learn from, M to answer for, D features, L classes. Targets of the two ridge
kinds are 1 for the image's class and 0 elsewhere, less the mean.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from fewlabels.errors import ConfigError
from fewlabels.solving import gaussian, solve, solve_ridge, squared_distances


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """Settings of a head.

    kind : "ridge", "kernel" (kernel ridge with a Gaussian kernel) or "logistic"
    flips : average the features of an image and its mirror image, in training and in test
    folds : of the cross-validation inside the given labels; fewer where a class has fewer images
    strengths : of the regularisation, tried in turn, as a part of the mean diagonal of the
        matrix that it is added to; for "logistic" the penalty per image
    widths : of the kernel, tried in turn: exp(-width * d2 / mean d2); for "kernel" alone
    """

    kind: str = "kernel"
    flips: bool = True
    folds: int = 5
    strengths: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3)
    widths: tuple[float, ...] = (0.25, 0.5, 1.0)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"head.kind is one of {', '.join(KINDS)}; got {self.kind!r}")
        if self.folds < 2:
            raise ConfigError(f"head.folds is at least 2; got {self.folds}")
        for name, values in (("strengths", self.strengths), ("widths", self.widths)):
            if not values or min(values) <= 0:
                raise ConfigError(f"head.{name} are numbers over 0, at least one; got {values}")


# A kind of head is a function: from labelled features it says, for each setting that it tries, the
# setting, its answers for other images, and its tensors. `fit` chooses among them.
Trial = tuple[dict[str, float], Tensor, dict[str, Tensor]]
Kind = Callable[[Tensor, Tensor, Tensor, HeadConfig], Iterator[Trial]]


def _ridge(
    features_ND: Tensor, targets_NL: Tensor, others_MD: Tensor, config: HeadConfig
) -> Iterator[Trial]:
    mean_L = targets_NL.mean(0)
    solutions = solve_ridge(features_ND, targets_NL - mean_L, config.strengths)
    for strength, weights_DL in zip(config.strengths, solutions, strict=True):
        tensors = {"weights": weights_DL, "bias": mean_L}
        yield {"strength": strength}, others_MD @ weights_DL + mean_L, tensors


def _kernel(
    features_ND: Tensor, targets_NL: Tensor, others_MD: Tensor, config: HeadConfig
) -> Iterator[Trial]:
    mean_L = targets_NL.mean(0)
    squared_NN = squared_distances(features_ND, features_ND)
    squared_MN = squared_distances(others_MD, features_ND)
    mean_squared = squared_NN.mean().clamp(min=1e-12).item()
    for relative in config.widths:
        width = relative / mean_squared
        kernel_NN = gaussian(squared_NN.clone(), width)
        others_MN = gaussian(squared_MN.clone(), width)
        for strength in config.strengths:
            duals_NL = solve(kernel_NN.clone(), strength, targets_NL - mean_L)
            settings = {"strength": strength, "width": width, "relative_width": relative}
            tensors = {"support": features_ND, "duals": duals_NL, "bias": mean_L}
            yield settings, others_MN @ duals_NL + mean_L, tensors


def _logistic(
    features_ND: Tensor, targets_NL: Tensor, others_MD: Tensor, config: HeadConfig
) -> Iterator[Trial]:
    labels = targets_NL.argmax(1).numpy()
    for strength in config.strengths:
        # scikit-learn's C weighs the sum over images against the penalty
        model = LogisticRegression(C=1 / (strength * len(labels)), max_iter=300)
        model.fit(features_ND.numpy(), labels)
        weights_DL, bias_L = _columns(model, targets_NL.shape[1])
        tensors = {"weights": weights_DL, "bias": bias_L}
        yield {"strength": strength}, others_MD @ weights_DL + bias_L, tensors


def _columns(model: LogisticRegression, n_classes: int) -> tuple[Tensor, Tensor]:
    """scikit-learn's coefficients as (D, L) and (L,), of classes without a label too."""
    coefficients, intercepts = model.coef_, model.intercept_
    if len(coefficients) == 1:  # two classes share one row
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    weights_DL = torch.zeros(coefficients.shape[1], n_classes)
    bias_L = torch.full((n_classes,), -torch.inf)
    weights_DL[:, model.classes_] = torch.tensor(coefficients.T).float()
    bias_L[model.classes_] = torch.tensor(intercepts).float()
    return weights_DL, bias_L


KINDS: dict[str, Kind] = {"ridge": _ridge, "kernel": _kernel, "logistic": _logistic}
