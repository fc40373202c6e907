"""Closed forms of the heads: distances, the Gaussian kernel, ridge regression.

Shapes: N and M images, D features, L classes.
"""

from collections.abc import Iterator, Sequence

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


def in_own_span(features_ND: Tensor) -> Tensor:
    """The same images in at most N values each: (N, min(N, D)), with equal inner products.

    Where D > N, the rows of a square root of X X^T. Distances, ridge and logistic
    regression among these images do not change, and cost N / D of what they did.
    """
    n_images, n_values = features_ND.shape
    if n_values <= n_images:
        return features_ND
    gram_NN = (features_ND @ features_ND.T).double()
    # images that are equal or nearly so make the matrix singular
    gram_NN.diagonal().add_(1e-6 * gram_NN.diagonal().mean() + 1e-12)
    factor_NN, failed = torch.linalg.cholesky_ex(gram_NN)
    if failed:  # by float32's rounding: its square root by eigenvectors always exists
        values_N, vectors_NN = torch.linalg.eigh(gram_NN)
        factor_NN = vectors_NN * values_N.clamp(min=0).sqrt()
    return factor_NN.to(features_ND.dtype)


def solve_ridge(
    features_ND: Tensor, targets_NL: Tensor, strengths: Sequence[float]
) -> Iterator[Tensor]:
    """Weights (D, L) that minimise |X w - t|^2 + lambda |w|^2, in closed form, for each strength.

    The smaller of two systems is solved: X^T X + lambda I, D x D, or X X^T + lambda I, N x N; both
    give the same weights. lambda = strength * |X|^2 / min(N, D), so that strength is a part of the
    mean of that system's diagonal.
    """
    n_images, n_values = features_ND.shape
    # over 0 also for features that are 0 everywhere, whose weights are 0
    mean_diagonal = max(features_ND.square().sum().item() / min(n_images, n_values), 1e-12)
    if n_values <= n_images:
        gram_DD, right_DL = features_ND.T @ features_ND, features_ND.T @ targets_NL
        for strength in strengths:
            yield solve(gram_DD.clone(), strength * mean_diagonal, right_DL)
    else:
        gram_NN = features_ND @ features_ND.T
        for strength in strengths:
            yield features_ND.T @ solve(gram_NN.clone(), strength * mean_diagonal, targets_NL)


def solve(matrix: Tensor, penalty: float, right: Tensor) -> Tensor:
    """(matrix + penalty I)^-1 right, for a positive semi-definite matrix, which is overwritten.

    penalty : over 0
    """
    matrix.diagonal().add_(penalty)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if not failed:
        return torch.cholesky_solve(right, factor)
    # rounding made an eigenvalue negative, and by more than the penalty
    values, vectors = torch.linalg.eigh(matrix.double())
    turned = vectors.T @ right.double()
    return (vectors @ (turned / values.clamp(min=penalty)[:, None])).to(right.dtype)
