"""t-SNE: features -> places on a plane where like images lie side by side; and how good they are.

openTSNE does the work. Many features are brought to their first principal components before: that
is faster, and of 1,000 photographs' pixels the map was truer to the distances among all pixels.

Shapes: N images of the map, M new ones, D values of an image, C of them in which neighbours are
looked for.
Source: van der Maaten and Hinton, JMLR 2008 (t-SNE); Kobak and Berens, Nature Communications 2019
(start from principal components); Belkina et al., Nature Communications 2019 (learning rate);
Linderman et al., Nature Methods 2019 (FFT); Venna and Kaski 2001 (trustworthiness).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from openTSNE.affinity import PerplexityBasedNN
from openTSNE.tsne import TSNEEmbedding
from sklearn import manifold
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from fewlabels.errors import ConfigError, DataError
from fewlabels.progress import say, stage

FEWEST = 4  # images: fewer have no neighbours to speak of
COMPONENTS = 50
POWERS = 3  # iterations of the randomized decomposition
EXACT_UP_TO = 60_000  # images: the neighbours of more are approximate
FFT_FROM = 10_000  # images: fewer are faster with a tree (Barnes and Hut)
EXAGGERATED, PLAIN = 250, 500  # steps of gradient descent, at most
EXAGGERATION, MOMENTUM = 12.0, 0.8
ROUND = 50  # steps until it is looked at again
CONVERGED = 0.001  # the descent ends where a round brings less than this part of the divergence
START_DEVIATION = 1e-4  # of the first coordinate at the start
NEW_PERPLEXITY = 5.0  # of new images, whose neighbours all lie on the map already
MEASURED = 3000  # images that trustworthiness looks at, as it takes N * N * log(N)
NEIGHBOURS = 12  # of trustworthiness; fewer on tiny maps


@dataclass(frozen=True, kw_only=True, eq=False)
class Map:
    """Images on a plane; made by `embed`.

    positions_N2 : float64, (x, y) of each image, around the middle of the map; the unit is of no
        meaning
    perplexity : that was used, lower than the one asked for where there were few images
    """

    positions_N2: np.ndarray
    perplexity: float
    scale: float = field(repr=False)
    mean_D: np.ndarray = field(repr=False)
    axes_CD: np.ndarray | None = field(repr=False)
    fitted: Any = field(repr=False)  # openTSNE's own

    def transform(self, new_MD: np.ndarray) -> np.ndarray:
        """Places (M, 2) of other images on the same map, each for itself; the map stays as it is.

        Raises DataError where their features are not as many, or not finite.
        """
        new_MD = _checked(new_MD)
        if new_MD.shape[1] != len(self.mean_D):
            raise DataError(
                f"this map is of images with {len(self.mean_D):,} features; got "
                f"{new_MD.shape[1]:,}: take the same features as for the map"
            )
        if not len(new_MD):
            return np.empty((0, 2))
        new_MC = new_MD / self.scale - self.mean_D
        if self.axes_CD is not None:
            new_MC = new_MC @ self.axes_CD.T
        n_near = min(NEW_PERPLEXITY, len(self.positions_N2) / 3)
        placed = self.fitted.transform(new_MC.astype(np.float32), perplexity=n_near)
        return np.array(placed)


def embed(
    features_ND: np.ndarray,
    *,
    perplexity: float = 30.0,
    seed: int = 0,
    n_threads: int | None = None,
) -> Map:
    """Lay images out by t-SNE.

    Parameters
    ----------
    features_ND : array of numbers of shape (n_images, n_values), at least 4 images
    perplexity : about how many neighbours an image has; lowered to (n_images - 1) / 3, and said,
        where there are fewer images than it needs
    seed : the same one gives the same map, bit for bit on one thread
    n_threads : as many as PyTorch uses if None

    Raises DataError where features are not finite, all images are equal or there are fewer than 4;
    ConfigError for a perplexity below 1.
    """
    if not perplexity >= 1:
        raise ConfigError(f"the perplexity of a map is at least 1; got {perplexity}")
    features_ND = _checked(features_ND)
    n_images, n_values = features_ND.shape
    if n_images < FEWEST:
        raise DataError(f"a map needs at least {FEWEST} images; got {n_images}: add images")
    if (features_ND == features_ND[0]).all():
        raise DataError(
            f"all {n_images:,} images have the same features, so no map can tell them apart: give "
            "other images or features"
        )
    most = (n_images - 1) / 3
    if perplexity > most:
        say(
            f"a perplexity of {perplexity:g} needs {3 * perplexity + 1:,.0f} images, and there are "
            f"{n_images:,}: it is lowered to {most:.4g}"
        )
        perplexity = most
    n_threads = n_threads or torch.get_num_threads()

    with stage("map of the images", total=EXAGGERATED + PLAIN, unit="steps") as advance:
        # t-SNE knows no unit; brought to [-1, 1] no distance overflows
        scale = float(np.abs(features_ND).max())
        scaled_ND = features_ND / features_ND.dtype.type(scale)
        mean_D = scaled_ND.mean(axis=0, dtype=np.float64).astype(features_ND.dtype)
        scaled_ND -= mean_D
        values_NC = scaled_ND.astype(np.float32, copy=False)
        reduced = n_values > COMPONENTS
        n_axes = min(COMPONENTS if reduced else 2, n_values, n_images)
        components = PCA(n_axes, iterated_power=POWERS, random_state=seed)
        along_NA = components.fit_transform(values_NC)
        if reduced:
            values_NC = np.ascontiguousarray(along_NA)
        affinities = PerplexityBasedNN(
            values_NC,
            perplexity,
            method="exact" if n_images <= EXACT_UP_TO else "annoy",
            k_neighbors=min(n_images - 1, int(3 * perplexity + 1e-9)),
            n_jobs=n_threads,
            random_state=seed,
        )

        fitted = TSNEEmbedding(
            _start(along_NA, seed),
            affinities,
            negative_gradient_method="bh" if n_images < FFT_FROM else "fft",
            n_jobs=n_threads,
            random_state=seed,
        )
        _descend(fitted, advance)
    # as openTSNE does before it places new images
    fitted -= (np.max(fitted, axis=0) + np.min(fitted, axis=0)) / 2
    return Map(
        positions_N2=np.array(fitted),
        perplexity=float(perplexity),
        scale=scale,
        mean_D=mean_D,
        axes_CD=components.components_ if reduced else None,
        fitted=fitted,
    )


def _descend(fitted: TSNEEmbedding, advance: Callable[[int], None]) -> None:
    """Gradient descent in place, first exaggerated, then until it has converged."""
    divergence = [np.inf]

    def told(_: int, error: float, __: np.ndarray) -> None:
        divergence.append(error)
        advance(ROUND)

    how = {"momentum": MOMENTUM, "inplace": True, "propagate_exception": True}
    how |= {"callbacks": told, "callbacks_every_iters": ROUND}
    fitted.optimize(EXAGGERATED, exaggeration=EXAGGERATION, **how)
    divergence = [np.inf]
    for _ in range(PLAIN // ROUND):
        fitted.optimize(ROUND, **how)
        if divergence[-2] - divergence[-1] < CONVERGED * abs(divergence[-1]):
            break


def _start(along_NA: np.ndarray, seed: int) -> np.ndarray:
    """The first two principal components, small; a little noise parts images that are equal."""
    start_N2 = np.zeros((len(along_NA), 2))
    n_axes = min(2, along_NA.shape[1])
    start_N2[:, :n_axes] = along_NA[:, :n_axes]
    start_N2 *= START_DEVIATION / max(start_N2[:, 0].std(), 1e-30)
    noise = np.random.default_rng(seed).normal(0, 0.01 * START_DEVIATION, start_N2.shape)
    return np.ascontiguousarray(start_N2 + noise)


def trustworthiness(
    features_ND: np.ndarray,
    positions_N2: np.ndarray,
    *,
    n_neighbours: int = NEIGHBOURS,
    most: int = MEASURED,
    seed: int = 0,
) -> float:
    """How far the neighbours on a map are neighbours in truth: 1 all of them, 0.5 by chance.

    Of more than `most` images so many are drawn by the seed. Where a map is tiny, fewer neighbours
    are looked at than asked. Source: Venna and Kaski 2001; scikit-learn's.
    """
    features_ND, positions_N2 = _checked(features_ND), _checked(positions_N2)
    if len(features_ND) != len(positions_N2):
        raise ValueError(f"{len(features_ND)} images have as many places; got {len(positions_N2)}")
    if len(features_ND) < 3:
        raise DataError(f"trustworthiness is of at least 3 images; got {len(features_ND)}")
    if len(features_ND) > most:
        drawn = np.sort(np.random.default_rng(seed).permutation(len(features_ND))[:most])
        features_ND, positions_N2 = features_ND[drawn], positions_N2[drawn]
    # fewer than half of the images, or the measure is not in [0, 1]
    n_neighbours = min(n_neighbours, (len(features_ND) - 1) // 2)
    scaled_ND = features_ND / max(np.abs(features_ND).max(), np.finfo(np.float32).tiny)
    return float(manifold.trustworthiness(scaled_ND, positions_N2, n_neighbors=n_neighbours))


def neighbour_accuracy(positions_N2: np.ndarray, labels_N: np.ndarray) -> float | None:
    """Share of images whose nearest one on the map, among the labelled, has their own class.

    Parameters
    ----------
    labels_N : int array of shape (n_images,), below 0 for images without a label

    None where fewer than two images have a label.
    """
    positions_N2, labels_N = _checked(positions_N2), np.asarray(labels_N)
    if len(labels_N) != len(positions_N2):
        raise ValueError(f"{len(positions_N2)} images have as many labels; got {len(labels_N)}")
    known_N = labels_N >= 0
    if known_N.sum() < 2:
        return None
    labels_K = labels_N[known_N]
    nearest_K1 = NearestNeighbors(n_neighbors=1).fit(positions_N2[known_N]).kneighbors()[1]
    return float(np.mean(labels_K[nearest_K1[:, 0]] == labels_K))


def _checked(features_ND: np.ndarray) -> np.ndarray:
    """Finite floats of shape (n_images, n_values).  Raises DataError."""
    features_ND = np.asarray(features_ND)
    if features_ND.ndim != 2 or not features_ND.shape[1] or features_ND.dtype.kind not in "fiub":
        raise DataError(
            "features are numbers of shape (n_images, n_values), at least one value each; got "
            f"{features_ND.dtype} of shape {features_ND.shape}"
        )
    if features_ND.dtype not in (np.float32, np.float64):
        features_ND = features_ND.astype(np.float32)
    wrong_N = ~np.isfinite(features_ND).all(axis=1)
    if wrong_N.any():
        raise DataError(
            f"{wrong_N.sum():,} of {len(features_ND):,} images have features that are not finite "
            f"numbers, the first is image {wrong_N.argmax()}: look at what made them (NaN comes "
            "from a training that diverged)"
        )
    return features_ND
