"""Whether a network has come to be worse than its baseline, on labelled images held out.

Shapes: N images held out, L classes.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fewlabels import features
from fewlabels.calibration import fit_temperature
from fewlabels.graph import Graph
from fewlabels.images import Images, as_float
from fewlabels.training import Measure


@dataclass(frozen=True, kw_only=True, eq=False)
class Watch:
    """Labelled images that nothing learned from.

    flips : answers are the mean of an image and its mirror image; device : of answering
    """

    held: Images
    flips: bool
    device: str

    def right(self, graph: Graph) -> np.ndarray:
        """Which of the images the graph answers rightly: bool (n_images,)."""
        assert self.held.labels is not None
        if not len(self.held):
            return np.empty(0, bool)
        return self._logits(graph).argmax(1).numpy() == self.held.labels

    def temperature(self, graph: Graph, usual: float) -> float:
        """What the logits are divided by for answers that are as sure as they are right.

        It is 1 where no images are held out; `usual` as for `calibration.fit_temperature`.
        """
        if not len(self.held):
            return 1.0
        return fit_temperature(self._logits(graph), torch.tensor(self.held.labels), usual)

    def loss(self, graph: Graph, usual: float) -> float:
        """Cross-entropy of the labels, with the temperature that these and `usual` give."""
        logits_NL, labels_N = self._logits(graph), torch.tensor(self.held.labels)
        temperature = fit_temperature(logits_NL, labels_N, usual)
        return float(F.cross_entropy(logits_NL / temperature, labels_N))

    def _logits(self, graph: Graph) -> Tensor:
        """(N, L)"""
        return features.extract(
            graph,
            self.held,
            flips=self.flips,
            device=self.device,
            what="answers to images held out",
        )

    def measure(self, other: Measure | None) -> Measure | None:
        """What `other` measures, and "held_out_accuracy", without flips."""
        if not len(self.held):
            return other

        def measured(graph: Graph) -> dict[str, float]:
            assert self.held.labels is not None
            device = next(graph.parameters()).device
            n_right = 0
            for start in range(0, len(self.held), features.BATCH):
                part = slice(start, start + features.BATCH)
                logits_NL = graph(as_float(self.held.pixels[part]).to(device))
                labels_N = torch.from_numpy(self.held.labels[part]).to(device)
                n_right += int((logits_NL.argmax(1) == labels_N).sum())
            found = {} if other is None else dict(other(graph))
            return {**found, "held_out_accuracy": n_right / len(self.held)}

        return measured


def difference(before_N: np.ndarray, after_N: np.ndarray) -> tuple[float, float]:
    """How much more is right after than before, as a part, and its standard error.

    With b images right only before and c only after, (c - b) / n and
    sqrt(b + c - (c - b)^2 / n) / n: the answers are to the same images.

    Source: McNemar, Psychometrika 12, 1947; the error, Agresti, Categorical Data Analysis, 10.1.
    """
    n_images = len(before_N)
    only_before, only_after = int((before_N & ~after_N).sum()), int((~before_N & after_N).sum())
    change = (only_after - only_before) / n_images
    variance = (only_before + only_after) / n_images - change**2
    return change, math.sqrt(max(0.0, variance) / n_images)


def is_worse(before_N: np.ndarray, after_N: np.ndarray) -> bool:
    """Whether fewer are right after than before, by more than one standard error of no difference.

    With b right only before and c only after, b - c > sqrt(b + c): one image alone tells nothing.

    Source: McNemar, Psychometrika 12, 1947.
    """
    only_before, only_after = int((before_N & ~after_N).sum()), int((~before_N & after_N).sum())
    return only_before - only_after > math.sqrt(only_before + only_after)
