"""How far stated probabilities are from what comes true."""

import numpy as np

N_BINS = 15


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
