"""What is in a set, for `fewlabels data`: counts, classes, damaged images, copies and leaks."""

from typing import Any

import numpy as np

from fewlabels.copies import digests
from fewlabels.images import Images, ImageSet


def survey(image_set: ImageSet) -> dict[str, Any]:
    """Count what is in a set; all values go into JSON as they are.

    Returns
    -------
    name : str; class_names : list of str; n_classes : int; size : [height, width] in pixels
    parts : for each part `n_images`, `n_per_class` (by class name; None without labels) and
        `n_duplicates` (images that repeat an earlier one of the same part byte for byte)
    n_folds : int; fold_sizes : the number of images of each fold
    n_damaged : int; damaged : list of {"name", "reason"}
    n_leaked : test images that occur byte for byte among the unlabelled ones
    n_leaked_train : test images that occur byte for byte among the training images
    notes : conversions made, in sentences
    """
    found = {part: digests(images.pixels) for part, images in image_set.parts().items()}
    return {
        "name": image_set.name,
        "n_classes": len(image_set.class_names),
        "class_names": list(image_set.class_names),
        "size": list(image_set.train.size),
        "parts": {
            part: _part(images, image_set.class_names, found[part])
            for part, images in image_set.parts().items()
        },
        "n_folds": len(image_set.folds),
        "fold_sizes": [len(fold) for fold in image_set.folds],
        "n_damaged": len(image_set.damaged),
        "damaged": [{"name": file.name, "reason": file.reason} for file in image_set.damaged],
        "n_leaked": _n_shared(found, "test", "unlabeled"),
        "n_leaked_train": _n_shared(found, "test", "train"),
        "notes": list(image_set.notes),
    }


def _part(images: Images, class_names: tuple[str, ...], found: np.ndarray) -> dict[str, Any]:
    counts = None
    if images.labels is not None:
        per_label = np.bincount(images.labels, minlength=len(class_names))
        counts = dict(zip(class_names, per_label.tolist(), strict=True))
    return {
        "n_images": len(images),
        "n_per_class": counts,
        "n_duplicates": len(found) - len(np.unique(found)),
    }


def _n_shared(found: dict[str, np.ndarray], part: str, among: str) -> int:
    if part not in found or among not in found:
        return 0
    return int(np.isin(found[part], found[among]).sum())
