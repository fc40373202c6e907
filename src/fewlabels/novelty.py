"""Which unlabelled images belong to none of the labelled classes: learning from positives alone.

Labelled images are known to be of the classes, unlabelled ones are a mixture. What tells the two
apart is not whether an image has a label but whether it is of a class: where labelled images are
as dense among the unlabelled ones as the classes themselves, all images are of a class.

Shapes: N labelled images, M unlabelled ones, D features, A principal axes, K landmarks, F folds,
S penalties.
"""

import numpy as np
from sklearn.linear_model import LogisticRegression

from fewlabels.shares import Evidence, probabilities, share_of_classes

N_AXES = 128
N_LANDMARKS = 1000  # of the kernel
WIDTH = 1.0  # of the kernel: exp(-WIDTH * d2 / mean d2)
CLASS_WIDTH, CLASS_STRENGTH = 0.5, 0.03  # of the kernel ridge regression that tells classes apart
PENALTIES = (0.0003, 0.001, 0.003, 0.01)  # of the kernel machine's mean square, tried in turn
N_FOLDS = 5
N_FOR_AXES = 10_000  # unlabelled images that say where the axes lie
BLOCK = 4096  # images whose kernel is in memory together


def scores(
    labelled_features_ND: np.ndarray,
    labels_N: np.ndarray,
    unlabelled_features_MD: np.ndarray,
    *,
    seed: int,
) -> np.ndarray:
    """The probability that each unlabelled image belongs to one of the labelled classes.

    A kernel machine learns to tell labelled from unlabelled images, another one to tell the
    classes apart, and both answer images that they did not learn from. A logistic curve joins the
    first one's answer and the second one's largest to a score. The scores of labelled images
    say how images of the classes score; how many unlabelled ones score as high bounds the share of
    the classes among them; and both make probabilities. Classes weigh alike, whatever the number
    of their labels.

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
    shapes = labelled_features_ND.shape[1:], unlabelled_features_MD.shape[1:]
    if shapes[0] != shapes[1]:
        raise ValueError(f"labelled and unlabelled images have the same features; got {shapes}")
    if n_unlabelled == 0:
        return Evidence(labelled_N=np.ones(n_labelled), unlabelled_M=np.empty(0))
    draw = np.random.default_rng(seed)
    labelled_ND, unlabelled_MD, some = _standardised(
        np.asarray(labelled_features_ND, np.float32),
        np.asarray(unlabelled_features_MD, np.float32),
        draw,
    )
    labelled_NA, unlabelled_MA = _on_axes(labelled_ND, unlabelled_MD, some)
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
    as_labelled = _cross_fitted(both_A, landmarks_KA, fold, weight, target)
    as_a_class = _class_answers(labelled_ND, labels_N, unlabelled_MD, fold)
    answered = _joined(np.column_stack([as_labelled, as_a_class]), fold, weight, target > 0)
    return Evidence(labelled_N=answered[:n_labelled], unlabelled_M=answered[n_labelled:])


def _class_weights(labels_N: np.ndarray) -> np.ndarray:
    """Weights of images that add up to 1, those of each class to the same."""
    _, class_N, counts_L = np.unique(labels_N, return_inverse=True, return_counts=True)
    return 1 / (counts_L[class_N] * len(counts_L))


def _standardised(
    labelled_ND: np.ndarray, unlabelled_MD: np.ndarray, draw: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both of mean 0 and deviation 1, and the unlabelled images by which that was found."""
    some = draw.permutation(len(unlabelled_MD))[:N_FOR_AXES]
    both_D = np.concatenate([labelled_ND, unlabelled_MD[some]])
    mean_D, deviation_D = both_D.mean(0), both_D.std(0)
    # features that never change stay small
    scale_D = 1 / (deviation_D + 0.01 * deviation_D.mean() + 1e-12)
    return (labelled_ND - mean_D) * scale_D, (unlabelled_MD - mean_D) * scale_D, some


def _on_axes(
    labelled_ND: np.ndarray, unlabelled_MD: np.ndarray, some: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Standardised features on their strongest axes, of mean squared distance 1."""
    both_D = np.concatenate([labelled_ND, unlabelled_MD[some]])
    if both_D.shape[1] <= len(both_D):
        axes_DA = np.linalg.eigh(both_D.T @ both_D)[1][:, ::-1][:, :N_AXES]
    else:
        values, vectors = np.linalg.eigh(both_D @ both_D.T)
        kept = np.flatnonzero(values > 1e-6 * values[-1])[::-1][:N_AXES]
        axes_DA = both_D.T @ (vectors[:, kept] / np.sqrt(values[kept]))
    axes_DA = axes_DA / (np.sqrt(2 * (both_D @ axes_DA).var(0).sum()) + 1e-12)
    return labelled_ND @ axes_DA, unlabelled_MD @ axes_DA


def _class_answers(
    labelled_ND: np.ndarray, labels_N: np.ndarray, unlabelled_MD: np.ndarray, fold: np.ndarray
) -> np.ndarray:
    """The largest answer of kernel ridge regression on the classes, (N + M,).

    A machine that learned from the labelled images of the other folds answers all of a fold, so
    that labelled and unlabelled images are answered alike.
    """
    classes, class_N = np.unique(labels_N, return_inverse=True)
    found = np.zeros(len(fold))
    if len(classes) < 2:
        return found
    n_labelled = len(labels_N)
    spread = np.sqrt(2 * labelled_ND.var(0).sum() / CLASS_WIDTH) + 1e-12
    labelled_ND, target_NL = labelled_ND / spread, np.eye(len(classes))[class_N]
    kernel_NN = _kernel(labelled_ND, labelled_ND, 1.0).astype(np.float64)
    for one in range(int(fold.max()) + 1):
        others = np.flatnonzero(fold[:n_labelled] != one)
        mean_L = target_NL[others].mean(0)
        squares_NN = kernel_NN[np.ix_(others, others)] + CLASS_STRENGTH * np.eye(len(others))
        duals_NL = np.linalg.solve(squares_NN, target_NL[others] - mean_L)
        inside = np.flatnonzero(fold == one)
        for start in range(0, len(inside), BLOCK):
            block = inside[start : start + BLOCK]
            of_labelled, of_others = block[block < n_labelled], block[block >= n_labelled]
            images_BD = np.concatenate(
                [labelled_ND[of_labelled], unlabelled_MD[of_others - n_labelled] / spread]
            )
            answers_BL = _kernel(images_BD, labelled_ND[others], 1.0) @ duals_NL + mean_L
            found[block] = answers_BL.max(1)
    return found


def _joined(
    answers_N2: np.ndarray, fold: np.ndarray, weight: np.ndarray, is_labelled: np.ndarray
) -> np.ndarray:
    """Cross-fitted logistic regression of labelled against unlabelled on several answers."""
    scaled_N2 = (answers_N2 - answers_N2.mean(0)) / (answers_N2.std(0) + 1e-12)
    found = np.empty(len(scaled_N2))
    for one in range(int(fold.max()) + 1):
        others = fold != one
        if is_labelled[others].all():  # a single unlabelled image
            found[~others] = 0
            continue
        curve = LogisticRegression()
        curve.fit(
            scaled_N2[others], is_labelled[others], sample_weight=(weight * len(fold))[others]
        )
        found[~others] = curve.decision_function(scaled_N2[~others])
    return found


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
        kernel_BK = _kernel(images_A[here], landmarks_KA, WIDTH)
        for one in range(n_folds):
            inside = fold[here] == one
            part_BK = kernel_BK[inside]
            weighted_BK = part_BK * weight[here][inside].astype(np.float32)[:, None]
            squares_FKK[one] += part_BK.T @ weighted_BK
            right_FK[one] += weighted_BK.T @ target[here][inside].astype(np.float32)
            kernels_FK[one] += weighted_BK.sum(0)
    smooth_KK = _kernel(landmarks_KA, landmarks_KA, WIDTH).astype(np.float64)
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
        answers_SBF = _kernel(images_A[here], landmarks_KA, WIDTH) @ taught_SKF
        answered_SN[:, here] = np.take_along_axis(answers_SBF, fold[None, here, None], 2)[:, :, 0]
    error_S = (np.square(answered_SN - target) * weight).sum(1)
    return answered_SN[error_S.argmin()]


def _kernel(images_BA: np.ndarray, landmarks_KA: np.ndarray, width: float) -> np.ndarray:
    squared_BK = np.square(images_BA).sum(1)[:, None] + np.square(landmarks_KA).sum(1)
    squared_BK -= 2 * images_BA @ landmarks_KA.T
    return np.exp(-width * np.maximum(squared_BK, 0))
