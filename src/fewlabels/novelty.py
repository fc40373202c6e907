"""Which unlabelled images belong to none of the labelled classes: learning from positives alone.

Labelled images are known to be of the classes, unlabelled ones are a mixture. What tells the two
apart is not whether an image has a label but whether it is of a class: where labelled images are
as dense among the unlabelled ones as the classes themselves, all images are of a class.

Shapes: N labelled images, M unlabelled ones, D features, A principal axes, K landmarks, F folds,
S penalties.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

N_AXES = 128
N_LANDMARKS = 1000  # of the kernel
WIDTH = 1.0  # of the kernel: exp(-WIDTH * d2 / mean d2)
PENALTIES = (0.0003, 0.001, 0.003, 0.01)  # of the kernel machine's mean square, tried in turn
N_FOLDS = 5
N_FOR_AXES = 10_000  # unlabelled images that say where the axes lie
TAIL = 0.1  # the share of the classes is read between quantiles TAIL and 1 - TAIL of scores
BLOCK = 4096  # images whose kernel is in memory together


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """How labelled each image looks to machines that did not learn from it; higher is more so.

    labelled_N, unlabelled_M : float64 arrays of shapes (n_labelled,) and (n_unlabelled,)
    """

    labelled_N: np.ndarray
    unlabelled_M: np.ndarray


def scores(
    labelled_features_ND: np.ndarray,
    labels_N: np.ndarray,
    unlabelled_features_MD: np.ndarray,
    *,
    seed: int,
) -> np.ndarray:
    """The probability that each unlabelled image belongs to one of the labelled classes.

    A kernel machine learns to tell labelled from unlabelled images, and scores those that it did
    not learn from. Its scores of labelled images say how images of the classes score; how many
    unlabelled ones score as high bounds the share of the classes among them; and both make
    probabilities. Classes weigh alike, whatever the number of their labels.

    Parameters
    ----------
    labelled_features_ND, unlabelled_features_MD : float arrays of (n_images, n_features), finite,
        of any scale
    labels_N : int array of shape (n_labelled,)

    Returns
    -------
    float64 array of shape (n_unlabelled,), in [0, 1]

    Raises ValueError if there are fewer than 2 labelled images, or shapes do not fit.

    Source: Elkan and Noto, KDD 2008 (labelled against unlabelled); Kanamori, Hido and Sugiyama,
    JMLR 10, 2009 (least squares); Blanchard, Lee and Scott, JMLR 11, 2010 (the share, by tails).
    """
    found = evidence(labelled_features_ND, labels_N, unlabelled_features_MD, seed=seed)
    return probabilities(found, share_of_classes(found))


def evidence(
    labelled_features_ND: np.ndarray,
    labels_N: np.ndarray,
    unlabelled_features_MD: np.ndarray,
    *,
    seed: int,
) -> Evidence:
    """The cross-fitted scores of `scores`, before they are made probabilities."""
    n_labelled, n_unlabelled = len(labelled_features_ND), len(unlabelled_features_MD)
    if n_labelled < 2 or len(labels_N) != n_labelled:
        raise ValueError(
            f"at least 2 labelled images, and a label for each; got {n_labelled} images and "
            f"{len(labels_N)} labels"
        )
    if labelled_features_ND.shape[1:] != unlabelled_features_MD.shape[1:]:
        raise ValueError(
            "labelled and unlabelled images have the same features; got "
            f"{labelled_features_ND.shape[1:]} and {unlabelled_features_MD.shape[1:]}"
        )
    if n_unlabelled == 0:
        return Evidence(labelled_N=np.ones(n_labelled), unlabelled_M=np.empty(0))
    draw = np.random.default_rng(seed)
    labelled_NA, unlabelled_MA = _on_axes(
        np.asarray(labelled_features_ND, np.float32),
        np.asarray(unlabelled_features_MD, np.float32),
        draw,
    )
    both_A = np.concatenate([labelled_NA, unlabelled_MA])
    # half of the landmarks among the few labelled images, or all these are
    from_labelled = draw.permutation(n_labelled)[: N_LANDMARKS // 2]
    others = n_labelled + draw.permutation(n_unlabelled)[: N_LANDMARKS - len(from_labelled)]
    landmarks_KA = both_A[np.concatenate([from_labelled, others])]
    fold = np.concatenate(
        [draw.permutation(count) % min(N_FOLDS, count) for count in (n_labelled, n_unlabelled)]
    )
    weight = np.concatenate(
        [_class_weights(labels_N) / 2, np.full(n_unlabelled, 1 / (2 * n_unlabelled))]
    )
    target = np.concatenate([np.full(n_labelled, 0.5), np.full(n_unlabelled, -0.5)])
    answered = _cross_fitted(both_A, landmarks_KA, fold, weight, target)
    return Evidence(labelled_N=answered[:n_labelled], unlabelled_M=answered[n_labelled:])


def _class_weights(labels_N: np.ndarray) -> np.ndarray:
    """Weights of images that add up to 1, those of each class to the same."""
    _, class_N, counts_L = np.unique(labels_N, return_inverse=True, return_counts=True)
    return 1 / (counts_L[class_N] * len(counts_L))


def _on_axes(
    labelled_ND: np.ndarray, unlabelled_MD: np.ndarray, draw: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Standardised features on their strongest axes, of mean squared distance 1."""
    some_MD = unlabelled_MD[draw.permutation(len(unlabelled_MD))[:N_FOR_AXES]]
    both_D = np.concatenate([labelled_ND, some_MD])
    mean_D, deviation_D = both_D.mean(0), both_D.std(0)
    # features that never change stay small
    scale_D = 1 / (deviation_D + 0.01 * deviation_D.mean() + 1e-12)
    scaled_D = (both_D - mean_D) * scale_D
    if scaled_D.shape[1] <= len(scaled_D):
        axes_DA = np.linalg.eigh(scaled_D.T @ scaled_D)[1][:, ::-1][:, :N_AXES]
    else:
        values, vectors = np.linalg.eigh(scaled_D @ scaled_D.T)
        kept = np.flatnonzero(values > 1e-6 * values[-1])[::-1][:N_AXES]
        axes_DA = scaled_D.T @ (vectors[:, kept] / np.sqrt(values[kept]))
    project_DA = scale_D[:, None] * axes_DA
    spread = np.sqrt(2 * (scaled_D @ axes_DA).var(0).sum()) + 1e-12
    return tuple((part - mean_D) @ project_DA / spread for part in (labelled_ND, unlabelled_MD))


def _cross_fitted(
    images_A: np.ndarray,
    landmarks_KA: np.ndarray,
    fold: np.ndarray,
    weight: np.ndarray,
    target: np.ndarray,
) -> np.ndarray:
    """Weighted kernel least squares; the images of a fold are answered by what the others taught.

    Of the penalties, the one whose answers are nearest to the targets in the weighted mean square.
    """
    n_folds, n_landmarks = int(fold.max()) + 1, len(landmarks_KA)
    squares_FKK = np.zeros((n_folds, n_landmarks, n_landmarks))
    right_FK = np.zeros((n_folds, n_landmarks))
    kernels_FK = np.zeros((n_folds, n_landmarks))
    weight_F = np.bincount(fold, weight)
    target_F = np.bincount(fold, weight * target)
    for start in range(0, len(images_A), BLOCK):
        here = slice(start, start + BLOCK)
        kernel_BK = _kernel(images_A[here], landmarks_KA)
        for one in range(n_folds):
            inside = fold[here] == one
            part_BK = kernel_BK[inside]
            weighted_BK = part_BK * weight[here][inside].astype(np.float32)[:, None]
            squares_FKK[one] += part_BK.T @ weighted_BK
            right_FK[one] += weighted_BK.T @ target[here][inside].astype(np.float32)
            kernels_FK[one] += weighted_BK.sum(0)
    smooth_KK = _kernel(landmarks_KA, landmarks_KA).astype(np.float64)
    taught_SKF = np.empty((len(PENALTIES), n_landmarks, n_folds))
    for one in range(n_folds):
        others = np.arange(n_folds) != one
        total = weight_F[others].sum()
        mean = target_F[others].sum() / total
        right_K = (right_FK[others].sum(0) - mean * kernels_FK[others].sum(0)) / total
        squares_KK = squares_FKK[others].sum(0) / total
        squares_KK[np.diag_indices(n_landmarks)] += 1e-6  # landmarks may be equal
        for place, penalty in enumerate(PENALTIES):
            taught_SKF[place, :, one] = np.linalg.solve(squares_KK + penalty * smooth_KK, right_K)
    answered_SN = np.empty((len(PENALTIES), len(images_A)))
    for start in range(0, len(images_A), BLOCK):
        here = slice(start, start + BLOCK)
        answers_SBF = _kernel(images_A[here], landmarks_KA) @ taught_SKF
        answered_SN[:, here] = np.take_along_axis(answers_SBF, fold[None, here, None], 2)[:, :, 0]
    error_S = (np.square(answered_SN - target) * weight).sum(1)
    return answered_SN[error_S.argmin()]


def _kernel(images_BA: np.ndarray, landmarks_KA: np.ndarray) -> np.ndarray:
    squared_BK = np.square(images_BA).sum(1)[:, None] + np.square(landmarks_KA).sum(1)
    squared_BK -= 2 * images_BA @ landmarks_KA.T
    return np.exp(-WIDTH * np.maximum(squared_BK, 0))


def share_of_classes(found: Evidence) -> float:
    """The share of the unlabelled images that are of the classes, in (0, 1].

    Of images of the classes, labelled or not, an equal part scores above any threshold; so the
    share is at most (part of the unlabelled above it) / (part of the labelled above it). The least
    of these bounds, over thresholds at quantiles of the labelled images' scores; each part is taken
    a standard error to the safe side, so that few labels do not make a bound too low by chance.
    """
    if not len(found.unlabelled_M):
        return 1.0
    thresholds = np.quantile(found.labelled_N, np.linspace(TAIL, 1 - TAIL, 25))
    labelled = (found.labelled_N[:, None] >= thresholds).mean(0)
    unlabelled = (found.unlabelled_M[:, None] >= thresholds).mean(0)
    above = unlabelled + np.sqrt(unlabelled * (1 - unlabelled) / len(found.unlabelled_M))
    below = labelled - np.sqrt(labelled * (1 - labelled) / len(found.labelled_N))
    least = 1 / (len(found.unlabelled_M) + 1)
    return float(np.clip((above / np.maximum(below, 1e-12)).min(), least, 1))


def probabilities(found: Evidence, share: float) -> np.ndarray:
    """Scores as probabilities to be of the classes, which are `share` of the unlabelled images.

    By Bayes' rule share * (density of labelled images) / (density of unlabelled ones) at a score.
    The ratio is fitted as one that rises with the score, and a logistic curve through what it
    gives keeps the order of the scores.

    Returns
    -------
    float64 array of shape (n_unlabelled,), in [0, 1], in the order of the scores
    """
    n_labelled, n_unlabelled = len(found.labelled_N), len(found.unlabelled_M)
    if not n_unlabelled:
        return np.empty(0)
    both = np.concatenate([found.labelled_N, found.unlabelled_M])
    is_labelled = np.arange(len(both)) < n_labelled
    weight = np.where(is_labelled, 1 / n_labelled, 1 / n_unlabelled)
    rising = IsotonicRegression(out_of_bounds="clip")
    odds = rising.fit_transform(both, is_labelled.astype(float), sample_weight=weight)[n_labelled:]
    of_classes_M = np.minimum(1, share * odds / np.maximum(1 - odds, 1e-12))
    # each image counts as one of the classes and one of none, by its probability
    centre, spread = both.mean(), both.std() + 1e-12
    scores_M1 = ((found.unlabelled_M - centre) / spread)[:, None]
    curve = LogisticRegression(C=1e3)
    curve.fit(
        np.concatenate([scores_M1, scores_M1]),
        np.repeat([1, 0], n_unlabelled),
        sample_weight=np.concatenate([of_classes_M + 1e-9, 1 - of_classes_M + 1e-9]),
    )
    if curve.coef_[0, 0] <= 0:  # the scores tell nothing
        return np.full(n_unlabelled, of_classes_M.mean())
    return curve.predict_proba(scores_M1)[:, 1]
