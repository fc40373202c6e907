"""Surrogate classes that look alike -> one class.

Shapes: K surrogate classes, D features.
"""

import numpy as np
from sklearn.cluster import AgglomerativeClustering
from sklearn.preprocessing import normalize

from fewlabels.errors import ConfigError


def merged(features_KD: np.ndarray, n_classes: int) -> np.ndarray:
    """Make one class of surrogate classes whose patches look alike.

    Parameters
    ----------
    features_KD : float array of shape (n_old_classes, n_features), of the patches themselves, by a
        network that has learned to tell the old classes apart
    n_classes : how many are to remain

    Returns
    -------
    new_of_old_K : int64 array; new classes are numbered in the order of their first old one

    Agglomerative clustering by the cosine of features, with complete linkage: a class is as wide
    as its two most different members, so that no chain of near ones joins what differs. Memory is
    8 bytes for each pair of old classes.

    Raises ConfigError if more classes are asked for than there are, or fewer than two.
    Source: Arazo, O'Connor and McGuinness, IMVIP 2019, "Improving unsupervised learning with
    ExemplarCNNs". Their code (github.com/EricArazo/ExemplarCNN) clusters L2-normalised features
    agglomeratively, as here, and then also draws further images into each class, which is not done
    here. The linkage is our choice; the paper's could not be read.
    """
    if not 2 <= n_classes <= len(features_KD):
        raise ConfigError(
            f"merging {len(features_KD):,} surrogate classes leaves 2 to {len(features_KD):,}; "
            f"got {n_classes:,}"
        )
    clustering = AgglomerativeClustering(n_classes, metric="cosine", linkage="complete")
    cluster_K = clustering.fit_predict(normalize(features_KD))
    _, first, inverse_K = np.unique(cluster_K, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse_K].astype(np.int64)
