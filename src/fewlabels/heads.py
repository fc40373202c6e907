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

from fewlabels.errors import CheckpointError, ConfigError
from fewlabels.progress import stage
from fewlabels.solving import gaussian, solve, solve_ridge, squared_distances

FILE = "head.safetensors"
FORMAT = 1


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
        tensors = self.tensors
        scaled_MD = (features_MD - tensors["mean"]) * tensors["scale"]
        if self.kind != "kernel":
            return scaled_MD @ tensors["weights"] + tensors["bias"]
        # in blocks: the kernel between all images and the support need not fit in memory
        blocks = [
            gaussian(squared_distances(block, tensors["support"]), self.chosen["width"])
            @ tensors["duals"]
            for block in scaled_MD.split(2048)
        ]
        return torch.cat(blocks) + tensors["bias"]

    def probabilities(self, features_MD: Tensor) -> Tensor:
        """(M, L), each row adding up to 1."""
        return (self.answers(features_MD) / self.temperature).softmax(1)


# A kind of head is a function: it is given the labelled features and says what it would answer
# for others, once for each setting that it tries. `fit` chooses among them.
Trial = tuple[dict[str, float], Callable[[Tensor], Tensor], dict[str, Tensor]]


def _ridge(features_ND: Tensor, targets_NL: Tensor, config: HeadConfig) -> Iterator[Trial]:
    mean_L = targets_NL.mean(0)
    for strength in config.strengths:
        weights_DL = solve_ridge(features_ND, targets_NL - mean_L, strength)
        yield (
            {"strength": strength},
            lambda others, weights_DL=weights_DL: others @ weights_DL + mean_L,
            {"weights": weights_DL, "bias": mean_L},
        )


def _kernel(features_ND: Tensor, targets_NL: Tensor, config: HeadConfig) -> Iterator[Trial]:
    mean_L = targets_NL.mean(0)
    squared_NN = squared_distances(features_ND, features_ND)
    mean_squared = squared_NN.mean().clamp(min=1e-12).item()
    for relative in config.widths:
        width = relative / mean_squared
        kernel_NN = gaussian(squared_NN.clone(), width)
        for strength in config.strengths:
            duals_NL = solve(kernel_NN.clone(), strength, targets_NL - mean_L)

            def answer(others_MD: Tensor, width: float = width, duals_NL: Tensor = duals_NL):
                return (
                    gaussian(squared_distances(others_MD, features_ND), width) @ duals_NL + mean_L
                )

            yield (
                {"strength": strength, "width": width, "relative_width": relative},
                answer,
                {"support": features_ND, "duals": duals_NL, "bias": mean_L},
            )


def _logistic(features_ND: Tensor, targets_NL: Tensor, config: HeadConfig) -> Iterator[Trial]:
    labels = targets_NL.argmax(1).numpy()
    for strength in config.strengths:
        # scikit-learn's C weighs the sum over images against the penalty
        model = LogisticRegression(C=1 / (strength * len(labels)), max_iter=300)
        model.fit(features_ND.numpy(), labels)
        weights_DL, bias_L = _columns(model, targets_NL.shape[1])
        yield (
            {"strength": strength},
            lambda others, w=weights_DL, b=bias_L: others @ w + b,
            {"weights": weights_DL, "bias": bias_L},
        )


def _columns(model: LogisticRegression, n_classes: int) -> tuple[Tensor, Tensor]:
    """scikit-learn's coefficients as (D, L) and (L,); it keeps a single row for two classes."""
    coefficients, intercepts = model.coef_, model.intercept_
    if n_classes == 2 and len(coefficients) == 1:
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    return torch.tensor(coefficients.T).float(), torch.tensor(intercepts).float()


KINDS: dict[str, Callable[[Tensor, Tensor, HeadConfig], Iterator[Trial]]] = {
    "ridge": _ridge,
    "kernel": _kernel,
    "logistic": _logistic,
}


def fit(
    features_ND: Tensor, labels_N: Tensor, n_classes: int, config: HeadConfig, *, seed: int
) -> Head:
    """Choose the settings by cross-validation inside these labels, then learn from all of them.

    Parameters
    ----------
    features_ND : float32 of shape (n_images, n_features); labels_N : int64 in [0, n_classes)

    Returns
    -------
    Head, with `chosen["accuracy"]`, the cross-validated accuracy (None with one image a class)
    """
    deviation_D, mean_D = torch.std_mean(features_ND, dim=0, correction=0)
    # a hundredth of the typical deviation: features that never change stay small
    scale_D = 1 / (deviation_D + 0.01 * deviation_D.mean() + 1e-12)
    scaled_ND = (features_ND - mean_D) * scale_D
    targets_NL = F.one_hot(labels_N, n_classes).float()
    chosen, temperature = _choose(scaled_ND, labels_N, targets_NL, config, seed)
    only = _narrowed(config, chosen)
    with stage("learning the head", total=1):
        settings, _, tensors = next(iter(KINDS[config.kind](scaled_ND, targets_NL, only)))
    return Head(
        kind=config.kind,
        tensors={"mean": mean_D, "scale": scale_D, **tensors},
        temperature=temperature,
        chosen={**chosen, **settings},
    )


def _choose(
    features_ND: Tensor, labels_N: Tensor, targets_NL: Tensor, config: HeadConfig, seed: int
) -> tuple[dict[str, float], float]:
    """The best settings and a temperature, from answers for images held out in turn."""
    n_folds = min(config.folds, int(torch.bincount(labels_N).min()))
    if n_folds < 2:  # a class with one image: nothing can be held out
        middle = config.strengths[len(config.strengths) // 2]
        return {"strength": middle, "relative_width": config.widths[0]}, 1.0
    splits = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    held_out: dict[tuple[float, ...], tuple[dict[str, float], Tensor]] = {}
    with stage("choosing the head", total=n_folds, unit="folds") as advance:
        for kept, left in splits.split(np.zeros(len(labels_N)), labels_N.numpy()):
            trials = KINDS[config.kind](features_ND[kept], targets_NL[kept], config)
            for settings, answer, _ in trials:
                # the width itself moves a little with the fold's images; its relative value not
                key = tuple(value for name, value in settings.items() if name != "width")
                answers_NL = held_out.setdefault(key, (settings, torch.zeros_like(targets_NL)))[1]
                answers_NL[left] = answer(features_ND[left])
            advance(1)
    # at equal accuracy the stronger regularisation
    best, answers_NL = max(
        held_out.values(), key=lambda trial: (_accuracy(trial[1], labels_N), trial[0]["strength"])
    )
    temperature = fit_temperature(answers_NL, labels_N)
    return {**best, "accuracy": _accuracy(answers_NL, labels_N)}, temperature


def _accuracy(answers_NL: Tensor, labels_N: Tensor) -> float:
    return float((answers_NL.argmax(1) == labels_N).double().mean())


def fit_temperature(answers_NL: Tensor, labels_N: Tensor) -> float:
    """The temperature that gives the labels the highest likelihood, on a grid of factors of 1.05.

    Source: Guo et al., ICML 2017, section 4.2.
    """
    spread = answers_NL.std().clamp(min=1e-6)
    candidates = spread * 1.05 ** torch.arange(-100.0, 61.0)
    losses = torch.stack([F.cross_entropy(answers_NL / t, labels_N) for t in candidates])
    return float(candidates[losses.argmin()])


def _narrowed(config: HeadConfig, chosen: dict[str, float]) -> HeadConfig:
    """The config with the chosen settings alone."""
    width = chosen.get("relative_width", config.widths[0])
    return replace(config, strengths=(chosen["strength"],), widths=(width,))


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
        if described["format"] > FORMAT:
            raise CheckpointError(
                f"{path} is of format {described['format']}, this fewlabels reads {FORMAT}: "
                "update fewlabels"
            )
        return Head(
            kind=described["kind"],
            tensors=tensors,
            temperature=described["temperature"],
            chosen=described["chosen"],
        )
    except CheckpointError:
        raise
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a whole head ({type(error).__name__}: {error}): fit the run again"
        ) from error
