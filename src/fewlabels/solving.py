"""Closed forms of the heads: distances, the Gaussian kernel, ridge regression.

Shapes: N and M images, D features, L classes.
"""

import torch
from torch import Tensor


def squared_distances(left_MD: Tensor, right_ND: Tensor) -> Tensor:
    """(M, N) squared Euclidean distances, by one matrix product."""
    squares_N = right_ND.square().sum(1)
    distances_MN = torch.addmm(squares_N, left_MD, right_ND.T, alpha=-2)
    return distances_MN.add_(left_MD.square().sum(1, keepdim=True)).clamp_(min=0)


def gaussian(squared_MN: Tensor, width: float) -> Tensor:
    """exp(-width * d2), written over the distances."""
    return squared_MN.mul_(-width).exp_()


def solve_ridge(features_ND: Tensor, targets_NL: Tensor, strength: float) -> Tensor:
    """Weights (D, L) that minimise |X w - t|^2 + lambda |w|^2, in closed form.

    lambda = strength * trace(X^T X) / D in the primal, strength * trace / N in the dual: the
    smaller of the two systems is solved, and lambda is the same in both.
    """
    n_images, n_values = features_ND.shape
    penalty = strength * features_ND.square().sum().item() / min(n_images, n_values)
    if n_values <= n_images:
        gram_DD = features_ND.T @ features_ND
        return solve(gram_DD, penalty, features_ND.T @ targets_NL)
    gram_NN = features_ND @ features_ND.T
    return features_ND.T @ solve(gram_NN, penalty, targets_NL)


def solve(matrix: Tensor, penalty: float, right: Tensor) -> Tensor:
    """(matrix + penalty I)^-1 right, for a positive semi-definite matrix, which is overwritten."""
    matrix.diagonal().add_(penalty)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if failed:  # rounding made a tiny eigenvalue negative: float64 has room for it
        factor = torch.linalg.cholesky(matrix.double())
        return torch.cholesky_solve(right.double(), factor).to(right.dtype)
    return torch.cholesky_solve(right, factor)
