"""How far stated probabilities are from what comes true, and the temperature that brings them near.

Shapes: N images, L classes.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

N_BINS = 15
# of the logarithm of a temperature about its usual one ("Held out for the temperature" in
# docs/accuracy.md)
SPREAD = 0.2


def calibration_error(confidence_N: np.ndarray, right_N: np.ndarray, n_bins: int = N_BINS) -> float:
    """Expected calibration error: how far stated probabilities are from the share of right ones.

    sum over bins of (images in the bin / all images) * |accuracy - mean confidence| in the bin,
    with 15 bins (n_bins) of equal width, each closed above: (0, 1/15], (1/15, 2/15], ...

    Parameters
    ----------
    confidence_N : probabilities of the answered classes; right_N : bool, whether these are true

    Source: C. Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3.
    """
    bins_N = np.clip(np.ceil(confidence_N * n_bins).astype(int) - 1, 0, n_bins - 1)
    gap = np.bincount(bins_N, weights=right_N - confidence_N.astype(np.float64), minlength=n_bins)
    return float(np.abs(gap).sum() / len(confidence_N))


def fit_temperature(answers_NL: Tensor, labels_N: Tensor, usual: float | None = None) -> float:
    """The temperature that gives the labels the highest likelihood, on a grid of factors of 1.05.

    Where all N answers are right, the surer the likelier, without an end: there the labels count
    as certain to (N + 1/2) / (N + 1) only.

    Parameters
    ----------
    usual : what it is of such answers elsewhere: the most likely value before anything is seen,
        with a logarithm of deviation `SPREAD` about its own. It decides where images are few

    Source: Guo et al., ICML 2017, section 4.2; that few images need more than their likelihood,
    Platt, Probabilistic outputs for support vector machines, 1999, section 2.2; 1/2, the prior of
    Jeffreys, as Platt's 1 was too cautious.
    """
    spread = answers_NL[answers_NL.isfinite()].std().clamp(min=1e-6)
    candidates = spread * 1.05 ** torch.arange(-100.0, 61.0)
    n_images, n_classes = answers_NL.shape
    all_right = bool((answers_NL.argmax(1) == labels_N).all())
    # smoothing gives a share of it back to the label
    unsure = n_classes / (n_classes - 1) / (2 * n_images + 2) if all_right else 0.0
    losses = torch.stack(
        [F.cross_entropy(answers_NL / t, labels_N, label_smoothing=unsure) for t in candidates]
    )
    if usual is not None:
        losses = losses + ((candidates / usual).log() / SPREAD).square() / (2 * n_images)
    return float(candidates[losses.argmin()])
