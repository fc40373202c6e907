"""The loss of VICReg: two views of an image agree, and no value is constant or told by others.

With Z and Z' the embeddings of the two views, N images (rows) and D values (columns):

    invariance(Z, Z') = mean over n and d of (Z_nd - Z'_nd)^2
    variance(Z)       = mean over d of max(0, 1 - sqrt(C_dd + eps))
    covariance(Z)     = sum over d != e of C_de^2 / D

where C is the covariance matrix of Z over the batch (divided by N - 1). Agreeing alone has a
trivial answer, the same embedding for every image; the variance forbids it, and the covariance
that all values say the same. The loss is

    invariance(Z, Z') + mu (variance(Z) + variance(Z')) / 2 + nu (covariance(Z) + covariance(Z'))

with mu = 1 and nu = 1/25, which are the published 25, 25 and 1 over 25.

C is over the batches of all processes, so that several learn what one with the whole batch would.

Shapes: N images of a batch (two or more, over all processes), D values of an embedding.
Source: Bardes, Ponce and LeCun, ICLR 2022, equations 1 to 6; that the invariance is a mean over D
too, and the variance over the views, is as in the authors' code, whose weights these are.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from fewlabels.processes import summed

EPSILON = 1e-4  # under the root, whose slope has no bound at 0


class Terms(NamedTuple):
    """The three parts of the loss, and the mean deviation of a value, which collapse makes 0."""

    invariance: Tensor
    variance: Tensor
    covariance: Tensor
    deviation: Tensor


def terms(first_ND: Tensor, second_ND: Tensor) -> Terms:
    """The parts of the loss for the embeddings of two views of the same images, in one order.

    Each is a scalar. The invariance is of this process's images, the others of all processes';
    every process may hold another number of images.
    """
    variance, covariance, deviation = first_ND.new_zeros(3)
    for view_ND in (first_ND, second_ND):
        spread_DD = covariances(view_ND)
        deviation_D = (spread_DD.diagonal() + EPSILON).sqrt()
        # not the sum of all squares less those of the diagonal, which rounding may make negative
        others_DD = spread_DD - spread_DD.diagonal().diag()
        variance = variance + (1 - deviation_D).relu().mean() / 2
        covariance = covariance + others_DD.square().sum() / len(spread_DD)
        deviation = deviation + deviation_D.detach().mean() / 2
    return Terms((first_ND - second_ND).square().mean(), variance, covariance, deviation)


def covariances(embeddings_ND: Tensor) -> Tensor:
    """The covariance matrix (D, D) over the batch of all processes, divided by N - 1."""
    count = summed(torch.tensor(float(len(embeddings_ND)), device=embeddings_ND.device))
    centred_ND = embeddings_ND - summed(embeddings_ND.sum(0)) / count
    return summed(centred_ND.T @ centred_ND) / (count - 1)
