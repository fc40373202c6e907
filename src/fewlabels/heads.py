"""Heads: features and labels to a classifier, its strength chosen by cross-validation.

Shapes: N images to learn from, M to answer for, D features, L classes. Answers become probabilities
through a softmax whose temperature is fitted to the cross-validation's answers, and from the same
answers comes the probability under which an image is said to be of none of the classes.
"""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from sklearn.model_selection import StratifiedKFold
from torch import Tensor

from fewlabels import whole_files
from fewlabels.calibration import fit_temperature
from fewlabels.errors import CheckpointError, DataError
from fewlabels.head_kinds import KINDS as KINDS
from fewlabels.head_kinds import HeadConfig as HeadConfig
from fewlabels.progress import stage
from fewlabels.solving import gaussian, in_own_span, squared_distances

FILE = "head.safetensors"
FORMAT = 2  # 1 had no `none_below`
BLOCK = 1024  # images answered together
ONE_IN = 20  # held-out images of the classes may be called none of them
# what reading a damaged file, or one of another making, may raise
NOT_A_HEAD = (
    *(OSError, safetensors.SafetensorError, LookupError, TypeError, ValueError),
    *(AttributeError, RuntimeError),
)


@dataclass(frozen=True, eq=False, kw_only=True)
class Head:
    """A classifier of features: `probabilities(features_ND)`.

    tensors : "mean" and "scale" of the features; "weights" (D, L) and "bias" (L,) of a linear
        head, or "support" (N, D) and "duals" (N, L) of a kernel head; where the first features are
        for no kernel, "direct", their weights as those of a linear head
    temperature : divides the answers before the softmax
    chosen : what cross-validation chose, and its accuracy
    none_below : where the best class has a probability under this, the image is probably of none;
        0 where no images could be held out, so that nothing is called so
    """

    kind: str
    tensors: dict[str, Tensor]
    temperature: float = 1.0
    chosen: dict[str, float] = field(default_factory=dict)
    none_below: float = 0.0

    def answers(self, features_MD: Tensor) -> Tensor:
        """(M, L): the higher, the likelier the class."""
        # in blocks: neither the scaled features of all images nor their kernel need fit in memory
        return torch.cat([self._answers(block_BD) for block_BD in features_MD.split(BLOCK)])

    def _answers(self, features_BD: Tensor) -> Tensor:
        tensors = self.tensors
        scaled_BD = (features_BD - tensors["mean"]).mul_(tensors["scale"])
        if self.kind != "kernel":
            return scaled_BD @ tensors["weights"] + tensors["bias"]
        direct = tensors.get("direct")
        n_direct = 0 if direct is None else len(direct)
        squared_BN = squared_distances(scaled_BD[:, n_direct:], tensors["support"])
        answers_BL = gaussian(squared_BN, self.chosen["width"]) @ tensors["duals"] + tensors["bias"]
        return answers_BL if direct is None else answers_BL + scaled_BD[:, :n_direct] @ direct

    def probabilities(self, features_MD: Tensor) -> Tensor:
        """(M, L), each row adding up to 1."""
        return (self.answers(features_MD) / self.temperature).softmax(1)


KNOWN = (*KINDS, "logits")  # the last is linear too, and hands on what a network has learned


def fit(
    features_ND: Tensor, labels_N: Tensor, n_classes: int, config: HeadConfig, *, seed: int
) -> Head:
    """Choose the settings by cross-validation inside these labels, then learn from all of them.

    Parameters
    ----------
    features_ND : float32 of shape (n_images, n_features); labels_N : int64 in [0, n_classes)

    Returns
    -------
    Head, with `chosen["accuracy"]`, the cross-validated accuracy; where no class has two images,
    nothing can be held out: the middle settings are taken, without an accuracy, a temperature and
    `none_below`

    Raises DataError if the labels are of one class; ValueError if a feature is not finite.
    """
    scaled_ND, mean_D, scale_D = _scaled(features_ND, labels_N)
    targets_NL = F.one_hot(labels_N, n_classes).float()
    chosen: dict[str, float] = {}
    temperature, none_below = 1.0, 0.0
    several = _several(labels_N)
    if len(several):
        chosen, answers_NL = _held_out(in_own_span(scaled_ND), labels_N, targets_NL, config, seed)
        temperature = fit_temperature(answers_NL[several], labels_N[several])
        none_below = none_threshold((answers_NL[several] / temperature).softmax(1))
    strength = chosen.get("strength", config.strengths[len(config.strengths) // 2])
    width = chosen.get("relative_width", config.widths[len(config.widths) // 2])
    only = replace(config, strengths=(strength,), widths=(width,))
    with stage("learning the head", total=1):
        settings, _, tensors = next(KINDS[config.kind](scaled_ND, targets_NL, scaled_ND[:0], only))
    tensors = {"mean": mean_D, "scale": scale_D, **tensors}
    return Head(
        kind=config.kind,
        # in the layout that a file keeps: products round by it, and a loaded head answers the same
        tensors={name: tensor.contiguous() for name, tensor in tensors.items()},
        temperature=temperature,
        chosen={**chosen, **settings},
        none_below=none_below,
    )


def out_of_fold(
    features_ND: Tensor, labels_N: Tensor, n_classes: int, config: HeadConfig, *, seed: int
) -> Tensor:
    """Calibrated probabilities for each labelled image from heads that did not learn from it.

    Parameters
    ----------
    as those of `fit`

    Returns
    -------
    probabilities_NL : rows adding up to 1; NaN for the only image of a class, without which the
        class would have none

    Raises what `fit` raises.
    """
    scaled_ND, _, _ = _scaled(features_ND, labels_N)
    targets_NL = F.one_hot(labels_N, n_classes).float()
    found_NL = torch.full_like(targets_NL, torch.nan)
    several = _several(labels_N)
    if len(several):
        _, answers_NL = _held_out(in_own_span(scaled_ND), labels_N, targets_NL, config, seed)
        temperature = fit_temperature(answers_NL[several], labels_N[several])
        found_NL[several] = (answers_NL[several] / temperature).softmax(1)
    return found_NL


def _scaled(features_ND: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Features of mean 0 and about deviation 1, the mean, and the factor, after checks."""
    if len(labels_N.unique()) < 2:
        raise DataError(
            "a head learns to tell at least 2 classes apart; the labelled images are of fewer: "
            "label images of another class"
        )
    if not features_ND.isfinite().all():
        raise ValueError("features are finite numbers; some are NaN or infinite")
    deviation_D, mean_D = torch.std_mean(features_ND, dim=0, correction=0)
    # a hundredth of the typical deviation: features that never change stay small
    scale_D = 1 / (deviation_D + 0.01 * deviation_D.mean() + 1e-12)
    scaled_ND = (features_ND - mean_D).mul_(scale_D)  # gigabytes: not once more than needed
    return scaled_ND, mean_D, scale_D


def _several(labels_N: Tensor) -> Tensor:
    """Indices of the images whose class has another one, so that they can be held out."""
    return (torch.bincount(labels_N)[labels_N] > 1).nonzero()[:, 0]


def _held_out(
    features_ND: Tensor, labels_N: Tensor, targets_NL: Tensor, config: HeadConfig, seed: int
) -> tuple[dict[str, float], Tensor]:
    """The best settings, with their accuracy, and their answers for images held out in turn.

    The only image of a class is never held out, and its answers are 0.
    """
    counts_L, several = torch.bincount(labels_N), _several(labels_N)
    alone = (counts_L[labels_N] == 1).nonzero()[:, 0]
    n_folds = min(config.folds, int(counts_L[counts_L > 1].min()))
    splits = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    held_out: dict[tuple[float, ...], tuple[dict[str, float], Tensor]] = {}
    with stage("choosing the head", total=n_folds, unit="folds") as advance:
        for others, held in splits.split(np.zeros(len(several)), labels_N[several].numpy()):
            kept, left = torch.cat([several[others], alone]), several[held]
            learned_from = features_ND[kept], targets_NL[kept]
            trials = KINDS[config.kind](*learned_from, features_ND[left], config)
            for settings, answers_ML, _ in trials:
                # the width itself moves a little with the fold's images; its relative value not
                key = tuple(value for name, value in settings.items() if name != "width")
                answers_NL = held_out.setdefault(key, (settings, torch.zeros_like(targets_NL)))[1]
                answers_NL[left] = answers_ML
            advance(1)
    # at equal accuracy the stronger regularisation
    right = {
        key: float((answers_NL.argmax(1) == labels_N)[several].double().mean())
        for key, (_, answers_NL) in held_out.items()
    }
    key = max(held_out, key=lambda key: (right[key], held_out[key][0]["strength"]))
    best, answers_NL = held_out[key]
    return {**best, "accuracy": right[key]}, answers_NL


def none_threshold(probabilities_NL: Tensor) -> float:
    """The probability of the best class under which at most one in 20 of these images lies.

    Parameters
    ----------
    probabilities_NL : calibrated, of images of the classes that were not learned from

    Source: rejection by the largest softmax probability, Hendrycks and Gimpel, ICLR 2017.
    """
    best_N = probabilities_NL.amax(1).sort().values
    return float(best_N[len(best_N) // ONE_IN])


def save(head: Head, folder: Path) -> None:
    """Write `head.safetensors`, whole, under its name.

    Raises CheckpointError if it cannot be written.
    """
    path = Path(folder) / FILE
    described = {
        "format": FORMAT,
        "kind": head.kind,
        "temperature": head.temperature,
        "chosen": head.chosen,
        "none_below": head.none_below,
    }
    tensors = {name: tensor.contiguous() for name, tensor in head.tensors.items()}
    content = safetensors.torch.save(tensors, {"head": json.dumps(described)})
    try:
        whole_files.write_file(path, content)
    except OSError as error:
        raise CheckpointError(
            f"{path} could not be written ({error.strerror}): make room, or choose another folder"
        ) from error


def load(folder: Path) -> Head:
    """The head that `save` wrote into `folder`: the same answers, bit for bit.

    Raises CheckpointError if the file is missing, damaged or of a newer version.
    """
    path = Path(folder) / FILE
    try:
        with safetensors.safe_open(path, "pt") as file:
            described = json.loads(file.metadata()["head"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        if (version := described.pop("format")) <= FORMAT:
            KNOWN.index(described["kind"])
            head = Head(tensors=tensors, **described)
            head.answers(torch.zeros(1, len(tensors["mean"])))  # all tensors are there, and fit
            return head
    except NOT_A_HEAD as error:
        raise CheckpointError(
            f"{path} is not a whole head ({type(error).__name__}: {error}): fit the run again"
        ) from error
    raise CheckpointError(
        f"{path} is of format {version}, this fewlabels reads {FORMAT}: update fewlabels"
    )
