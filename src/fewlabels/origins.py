"""What a training was made from, as short digests: so that no other one goes on in its place.

Shapes: N images.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import blake2b
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import nn

from fewlabels.joined import Pixels

MOST_BYTES = 2**28  # of pixels that are read: a fraction of a second
N_VALUES = 16  # of each weight that are kept
TOLERANCE = 0.01  # of a weight's size: k-means in another order of sums, on a GPU say, is no other


def of_images(pixels: Pixels) -> str:
    """A digest of the number, shape and pixels of images.

    Of more than 256 MiB only some images are read, spread evenly from the first to the last: a set
    of another size or order is told apart, one of which a single image was changed may not be.

    Parameters
    ----------
    pixels : uint8 array, memory map or `Joined` of shape (n_images, ...); read image by image
    """
    found = blake2b(repr(tuple(pixels.shape)).encode(), digest_size=16)
    n_images = len(pixels)
    n_read = min(n_images, max(2, MOST_BYTES // max(1, int(np.prod(pixels.shape[1:])))))
    for index in np.linspace(0, n_images - 1, n_read).astype(np.int64):
        found.update(np.ascontiguousarray(pixels[int(index)]).data)
    return found.hexdigest()


def of_labels(labels_N: np.ndarray) -> str:
    """A digest of int64 labels of shape (n_images,)."""
    return blake2b(np.ascontiguousarray(labels_N, np.int64).data, digest_size=16).hexdigest()


def of_settings(settings: Any) -> str:
    """A digest of the settings in a dataclass, nested or not."""
    text = json.dumps(asdict(settings), sort_keys=True)
    return blake2b(text.encode(), digest_size=16).hexdigest()


def of_weights(network: nn.Module) -> dict[str, list[float]]:
    """For each weight and statistic, by name: its root mean square, then 16 of its values.

    They are spread evenly over its entries. To compare with `unlike`.
    """
    found = {}
    for name, value in chain(network.named_parameters(), network.named_buffers()):
        flat = value.detach().flatten()
        if not len(flat):
            continue
        places = torch.linspace(0, len(flat) - 1, min(N_VALUES, len(flat))).long()
        size = float(flat.double().square().mean().sqrt())
        found[name] = [size, *flat[places.to(flat.device)].double().tolist()]
    return found


def unlike(
    first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]]
) -> str | None:
    """The name of a weight that differs by more than rounding does; None where all are alike."""
    for name in {**first, **second}:
        here, there = first.get(name, ()), second.get(name, ())
        if len(here) != len(there):
            return name
        allowed = TOLERANCE * max(here[0], there[0]) if here else 0.0
        if not all(abs(a - b) <= allowed for a, b in zip(here, there, strict=True)):
            return name
    return None
