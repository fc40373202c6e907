"""Labelled images that look mislabelled, by cleanlab's confident learning.

Shapes: N labelled images, L classes.
"""

import numpy as np

from fewlabels.errors import ConfigError


def suspects(labels_N: np.ndarray, probabilities_NL: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images whose label is probably wrong, the least likely label first.

    Parameters
    ----------
    labels_N : int64 array of shape (n_images,), in [0, n_classes)
    probabilities_NL : of models that did not learn from the image (`heads.out_of_fold`); images
        with NaN are left out

    Returns
    -------
    indices : int64 array of the suspects; probability : float array as long, of the given label

    Raises ConfigError where cleanlab is not installed.

    Source: Northcutt, Jiang and Chuang, Confident Learning, JAIR 70, 2021.
    """
    find_label_issues = _cleanlab()
    judged = np.flatnonzero(~np.isnan(probabilities_NL).any(1))
    # cleanlab wants every class to have an image
    classes, labels = np.unique(labels_N[judged], return_inverse=True)
    if len(classes) < 2:
        return np.empty(0, np.int64), np.empty(0)
    among_NL = np.asarray(probabilities_NL, np.float64)[np.ix_(judged, classes)]
    among_NL = among_NL / np.maximum(among_NL.sum(1, keepdims=True), 1e-12)
    ranked = find_label_issues(
        labels, among_NL, return_indices_ranked_by="self_confidence", n_jobs=1
    )
    found = judged[np.asarray(ranked, np.int64)]
    return found, np.asarray(probabilities_NL, np.float64)[found, labels_N[found]]


def why_not() -> str | None:
    """Why no label can be judged here, and what to do about it; None where they can."""
    try:
        _cleanlab()
    except ConfigError as error:
        return str(error)
    return None


def _cleanlab():  # type: ignore[no-untyped-def]
    try:
        from cleanlab.filter import find_label_issues
    except ImportError as error:
        raise ConfigError(
            "labels that look wrong are found with cleanlab, which is not installed: "
            "pip install 'fewlabels[suggest]'"
        ) from error
    return find_label_issues
