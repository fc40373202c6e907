"""Which images to label next: those that a model is unsure of, and unlike one another.

Shapes: N images, L classes, D features.
"""

import numpy as np


def uncertainty(probabilities_NL: np.ndarray) -> np.ndarray:
    """Entropy of calibrated probabilities over its largest value, log L: 0 sure, 1 even.

    Parameters
    ----------
    probabilities_NL : float array of shape (n_images, n_classes), at least 2 classes

    Returns
    -------
    float64 array of shape (n_images,), in [0, 1]

    Source: C. E. Shannon, Bell Syst. Tech. J. 27, 1948; as a query, B. Settles, 2009, section 3.1.
    """
    probabilities_NL = np.asarray(probabilities_NL, np.float64)
    logs_NL = np.log(np.maximum(probabilities_NL, np.finfo(np.float64).tiny))
    entropy_N = -(probabilities_NL * logs_NL).sum(1)
    return np.clip(entropy_N / np.log(probabilities_NL.shape[1]), 0, 1)


def spread_out(
    features_ND: np.ndarray, weights_N: np.ndarray, n_wanted: int, *, seed: int
) -> np.ndarray:
    """Draw images of large weight that lie far from one another.

    The first is drawn with a probability as its weight, each next one as its weight times the
    squared distance to the nearest of those drawn: the start of k-means++, weighted. Features are
    brought to length 1, and an image in the place of a drawn one is never drawn.

    Parameters
    ----------
    features_ND : float array of shape (n_images, n_features)
    weights_N : float array of shape (n_images,), not negative

    Returns
    -------
    int64 array of at most n_wanted indices, in the order drawn; fewer where nothing of any weight
    is left that differs

    Source: Ash et al., ICLR 2020 (BADGE), algorithm 1; Arthur and Vassilvitskii, SODA 2007.
    """
    features_ND = np.asarray(features_ND, np.float32)
    features_ND = features_ND / np.maximum(np.linalg.norm(features_ND, axis=1, keepdims=True), 1e-9)
    draw = np.random.default_rng(seed)
    nearest_N = np.ones(len(features_ND))
    drawn: list[int] = []
    while len(drawn) < min(n_wanted, len(features_ND)):
        mass_N = np.asarray(weights_N, np.float64) * nearest_N
        total = mass_N.sum()
        if total <= 0:
            break
        chosen = int(draw.choice(len(mass_N), p=mass_N / total))
        drawn.append(chosen)
        squared_N = 2 - 2 * (features_ND @ features_ND[chosen]).astype(np.float64)
        squared_N[squared_N < 1e-5] = 0  # float32's rounding is no distance
        nearest_N = squared_N if len(drawn) == 1 else np.minimum(nearest_N, squared_N)
        nearest_N[chosen] = 0
    return np.array(drawn, np.int64)
