"""Heads: features and labels to a classifier, its strength chosen by cross-validation.

Shapes: N images to learn from, M to answer for, D features, L classes. Targets of the two ridge
heads are 1 for the image's class and 0 elsewhere, less the mean; answers become probabilities
through a softmax whose temperature is fitted to the cross-validation's answers.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from torch import Tensor

from fewlabels.errors import CheckpointError, ConfigError, DataError
from fewlabels.progress import stage
from fewlabels.solving import gaussian, in_own_span, solve, solve_ridge, squared_distances

FILE = "head.safetensors"
FORMAT = 1
BLOCK = 1024  # images answered together
# what reading a damaged file, or one of another making, may raise
NOT_A_HEAD = (
    *(OSError, safetensors.SafetensorError, LookupError, TypeError, ValueError),
    *(AttributeError, RuntimeError),
)


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """Settings of a head.

    kind : "ridge", "kernel" (kernel ridge with a Gaussian kernel) or "logistic"
    flips : average the features of an image and its mirror image, in training and in test
    folds : of the cross-validation inside the given labels; fewer where a class has fewer images
    strengths : of the regularisation, tried in turn, as a part of the mean diagonal of the
        matrix that it is added to; for "logistic" the penalty per image
    widths : of the kernel, tried in turn: exp(-width * d2 / mean d2); for "kernel" alone
    """

    kind: str = "kernel"
    flips: bool = True
    folds: int = 5
    strengths: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3)
    widths: tuple[float, ...] = (0.25, 0.5, 1.0)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"head.kind is one of {', '.join(KINDS)}; got {self.kind!r}")
        if self.folds < 2:
            raise ConfigError(f"head.folds is at least 2; got {self.folds}")
        for name, values in (("strengths", self.strengths), ("widths", self.widths)):
            if not values or min(values) <= 0:
                raise ConfigError(f"head.{name} are numbers over 0, at least one; got {values}")


@dataclass(frozen=True, eq=False, kw_only=True)
class Head:
    """A classifier of features: `probabilities(features_ND)`.

    tensors : "mean" and "scale" of the features; "weights" (D, L) and "bias" (L,) of a linear
        head, or "support" (N, D) and "duals" (N, L) of a kernel head
    temperature : divides the answers before the softmax
    chosen : what cross-validation chose, and its accuracy
    """

    kind: str
    tensors: dict[str, Tensor]
    temperature: float = 1.0
    chosen: dict[str, float] = field(default_factory=dict)

    def answers(self, features_MD: Tensor) -> Tensor:
        """(M, L): the higher, the likelier the class."""
        # in blocks: neither the scaled features of all images nor their kernel need fit in memory
        return torch.cat([self._answers(block_BD) for block_BD in features_MD.split(BLOCK)])

    def _answers(self, features_BD: Tensor) -> Tensor:
        tensors = self.tensors
        scaled_BD = (features_BD - tensors["mean"]).mul_(tensors["scale"])
        if self.kind != "kernel":
            return scaled_BD @ tensors["weights"] + tensors["bias"]
        kernel_BN = gaussian(squared_distances(scaled_BD, tensors["support"]), self.chosen["width"])
        return kernel_BN @ tensors["duals"] + tensors["bias"]

    def probabilities(self, features_MD: Tensor) -> Tensor:
        """(M, L), each row adding up to 1."""
        return (self.answers(features_MD) / self.temperature).softmax(1)


# A kind of head is a function: from labelled features it says, for each setting that it tries, the
# setting, its answers for other images, and its tensors. `fit` chooses among them.
Trial = tuple[dict[str, float], Tensor, dict[str, Tensor]]
Kind = Callable[[Tensor, Tensor, Tensor, HeadConfig], Iterator[Trial]]


def _ridge(
    features_ND: Tensor, targets_NL: Tensor, others_MD: Tensor, config: HeadConfig
) -> Iterator[Trial]:
    mean_L = targets_NL.mean(0)
    solutions = solve_ridge(features_ND, targets_NL - mean_L, config.strengths)
    for strength, weights_DL in zip(config.strengths, solutions, strict=True):
        tensors = {"weights": weights_DL, "bias": mean_L}
        yield {"strength": strength}, others_MD @ weights_DL + mean_L, tensors


def _kernel(
    features_ND: Tensor, targets_NL: Tensor, others_MD: Tensor, config: HeadConfig
) -> Iterator[Trial]:
    mean_L = targets_NL.mean(0)
    squared_NN = squared_distances(features_ND, features_ND)
    squared_MN = squared_distances(others_MD, features_ND)
    mean_squared = squared_NN.mean().clamp(min=1e-12).item()
    for relative in config.widths:
        width = relative / mean_squared
        kernel_NN = gaussian(squared_NN.clone(), width)
        others_MN = gaussian(squared_MN.clone(), width)
        for strength in config.strengths:
            duals_NL = solve(kernel_NN.clone(), strength, targets_NL - mean_L)
            settings = {"strength": strength, "width": width, "relative_width": relative}
            tensors = {"support": features_ND, "duals": duals_NL, "bias": mean_L}
            yield settings, others_MN @ duals_NL + mean_L, tensors


def _logistic(
    features_ND: Tensor, targets_NL: Tensor, others_MD: Tensor, config: HeadConfig
) -> Iterator[Trial]:
    labels = targets_NL.argmax(1).numpy()
    for strength in config.strengths:
        # scikit-learn's C weighs the sum over images against the penalty
        model = LogisticRegression(C=1 / (strength * len(labels)), max_iter=300)
        model.fit(features_ND.numpy(), labels)
        weights_DL, bias_L = _columns(model, targets_NL.shape[1])
        tensors = {"weights": weights_DL, "bias": bias_L}
        yield {"strength": strength}, others_MD @ weights_DL + bias_L, tensors


def _columns(model: LogisticRegression, n_classes: int) -> tuple[Tensor, Tensor]:
    """scikit-learn's coefficients as (D, L) and (L,), of classes without a label too."""
    coefficients, intercepts = model.coef_, model.intercept_
    if len(coefficients) == 1:  # two classes share one row
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    weights_DL = torch.zeros(coefficients.shape[1], n_classes)
    bias_L = torch.full((n_classes,), -torch.inf)
    weights_DL[:, model.classes_] = torch.tensor(coefficients.T).float()
    bias_L[model.classes_] = torch.tensor(intercepts).float()
    return weights_DL, bias_L


KINDS: dict[str, Kind] = {"ridge": _ridge, "kernel": _kernel, "logistic": _logistic}
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
    nothing can be held out: the middle settings are taken, without an accuracy and a temperature

    Raises DataError if the labels are of one class; ValueError if a feature is not finite.
    """
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
    targets_NL = F.one_hot(labels_N, n_classes).float()
    chosen, temperature = _choose(in_own_span(scaled_ND), labels_N, targets_NL, config, seed)
    width = chosen.get("relative_width", config.widths[0])
    only = replace(config, strengths=(chosen["strength"],), widths=(width,))
    with stage("learning the head", total=1):
        settings, _, tensors = next(KINDS[config.kind](scaled_ND, targets_NL, scaled_ND[:0], only))
    tensors = {"mean": mean_D, "scale": scale_D, **tensors}
    return Head(
        kind=config.kind,
        # in the layout that a file keeps: products round by it, and a loaded head answers the same
        tensors={name: tensor.contiguous() for name, tensor in tensors.items()},
        temperature=temperature,
        chosen={**chosen, **settings},
    )


def _choose(
    features_ND: Tensor, labels_N: Tensor, targets_NL: Tensor, config: HeadConfig, seed: int
) -> tuple[dict[str, float], float]:
    """The best settings and a temperature, from answers for images held out in turn.

    The only image of a class is never held out: without it the class would have none.
    """
    counts_L = torch.bincount(labels_N)
    several = (counts_L[labels_N] > 1).nonzero()[:, 0]
    if not len(several):
        strength, width = (v[len(v) // 2] for v in (config.strengths, config.widths))
        return {"strength": strength, "relative_width": width}, 1.0
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
    temperature = fit_temperature(answers_NL[several], labels_N[several])
    return {**best, "accuracy": right[key]}, temperature


def fit_temperature(answers_NL: Tensor, labels_N: Tensor) -> float:
    """The temperature that gives the labels the highest likelihood, on a grid of factors of 1.05.

    Source: Guo et al., ICML 2017, section 4.2.
    """
    spread = answers_NL[answers_NL.isfinite()].std().clamp(min=1e-6)
    candidates = spread * 1.05 ** torch.arange(-100.0, 61.0)
    losses = torch.stack([F.cross_entropy(answers_NL / t, labels_N) for t in candidates])
    return float(candidates[losses.argmin()])


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
    }
    tensors = {name: tensor.contiguous() for name, tensor in head.tensors.items()}
    content = safetensors.torch.save(tensors, {"head": json.dumps(described)})
    beside = path.with_name(f".{FILE}.new")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
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
