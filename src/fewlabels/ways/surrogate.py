"""The second way to fill a network: telling surrogate classes of unlabelled images apart.

Shapes: K surrogate classes, D features of a patch.
Source: Dosovitskiy et al., NIPS 2014 (Exemplar-CNN); merging, Arazo et al., IMVIP 2019.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from fewlabels import origins
from fewlabels.architectures import ExemplarNetwork, exemplar_network
from fewlabels.errors import ConfigError, DataError
from fewlabels.graph import Graph
from fewlabels.images import Images
from fewlabels.joined import Joined
from fewlabels.merging import merged
from fewlabels.progress import say, stage
from fewlabels.surrogates import SurrogateConfig, SurrogateSet, surrogate_set
from fewlabels.trained_features import exemplar_features
from fewlabels.training import TrainingConfig, cross_entropy, train

BATCH = 256  # patches that go through the network together


@dataclass(frozen=True, kw_only=True)
class SurrogateWayConfig:
    """Settings of the way, beside those of `surrogates`.

    merged_classes : after half of the training, classes that look alike are made one until so many
        are left; 0 for no merging
    """

    merged_classes: int = 0

    def __post_init__(self) -> None:
        if self.merged_classes < 0 or self.merged_classes == 1:
            raise ConfigError(
                "surrogate.merged_classes is at least 2, or 0 for no merging; got "
                f"{self.merged_classes}"
            )


def learn(
    unlabeled: Images,
    surrogates: SurrogateConfig,
    network: ExemplarNetwork,
    config: SurrogateWayConfig,
    training: TrainingConfig,
    *,
    seed: int,
    device: str = "cpu",
    precision: str = "auto",
    budget_seconds: float | None = None,
    folder: Path | None = None,
    resume: bool = False,
) -> Graph:
    """Train a network on surrogates of these images; its layers give the features.

    Parameters
    ----------
    budget_seconds, folder, resume : see `training.train`

    Returns
    -------
    frozen Graph from "image" (3, height, width) to "features", see
    `trained_features.exemplar_features`

    Raises
    ------
    DataError : fewer images than classes, or images smaller than a surrogate
    ConfigError : more merged classes than classes; what `training.train` raises
    """
    if surrogates.size > min(unlabeled.size):
        raise DataError(
            f"the network learns from surrogates of {surrogates.size} x {surrogates.size}, and the "
            f"images are {unlabeled.size[0]} x {unlabeled.size[1]}: use larger images (--size), or "
            f"--set surrogates.size={min(unlabeled.size)}"
        )
    examples = surrogate_set(unlabeled, surrogates, seed)
    trained = _network(network, examples, seed)
    how = {"seed": seed, "device": device, "precision": precision, "resume": resume}
    # telling surrogates apart is not the task: `compare` draws it in a row of its own
    how["step"] = cross_entropy(training.label_smoothing, "accuracy_surrogate")
    if not config.merged_classes:
        how |= {"made_from": _made_from(examples)}
        train(trained, examples, training, budget_seconds=budget_seconds, folder=folder, **how)  # type: ignore[arg-type]
        return exemplar_features(trained, unlabeled.size)
    if config.merged_classes > surrogates.n_classes:
        raise ConfigError(
            f"surrogate.merged_classes is at most surrogates.n_classes, {surrogates.n_classes}; "
            f"got {config.merged_classes}"
        )
    halves = _halves(training, budget_seconds)
    for number, (part, seconds) in enumerate(halves, start=1):
        place = None if folder is None else folder / f"half-{number}"
        how |= {"made_from": _made_from(examples)}
        train(trained, examples, part, budget_seconds=seconds, folder=place, **how)  # type: ignore[arg-type]
        if number == 1:
            features_KD = patch_features(trained, examples, device)
            examples = examples.with_labels(merged(features_KD, config.merged_classes))
            say(f"{surrogates.n_classes:,} surrogate classes were merged to {examples.n_labels:,}")
            trained = _going_on(trained, _network(network, examples, seed))
    return exemplar_features(trained, unlabeled.size)


def _made_from(examples: SurrogateSet) -> dict[str, str]:
    """What the surrogates are made from, see `training.train`."""
    pixels = Joined([examples.images.pixels], examples.image_of_class)
    return {
        "unlabelled images": origins.of_images(pixels),
        "labels of surrogate classes": origins.of_labels(examples.label_of_class),
        "settings of surrogates": origins.of_settings(examples.config),
    }


def _network(network: ExemplarNetwork, examples: SurrogateSet, seed: int) -> Graph:
    return exemplar_network(
        network, n_classes=examples.n_labels, size=examples.config.size, seed=seed
    )


def _going_on(trained: Graph, new: Graph) -> Graph:
    """The new network with the trained layers below its own linear one."""
    state = trained.state_dict()
    kept = {key: value for key, value in state.items() if not key.startswith("layers.linear.")}
    new.load_state_dict(kept, strict=False)
    return new


def _halves(
    training: TrainingConfig, budget_seconds: float | None
) -> list[tuple[TrainingConfig, float | None]]:
    """The settings and the seconds of the training before and after merging."""
    if budget_seconds is not None:
        return [(training, budget_seconds / 2)] * 2
    if training.epochs == 1:
        raise ConfigError("merging needs an epoch before it and one after: give training.epochs 2")
    first = training.epochs // 2
    return [(replace(training, epochs=n), None) for n in (first, training.epochs - first)]


@torch.inference_mode()
def patch_features(network: Graph, examples: SurrogateSet, device: str = "cpu") -> np.ndarray:
    """The fully connected layer's answers to the patches themselves: float32 of shape (K, D)."""
    network.to(device).eval()
    patches = replace(examples, config=untransformed(examples.config))
    rows = []
    with stage("features of patches", total=len(patches), unit="patches") as advance:
        for start in range(0, len(patches), BATCH):
            pictures, _ = patches.batch(np.arange(start, min(start + BATCH, len(patches))))
            found = network(pictures.to(device), wanted=("full_norm",))["full_norm"]
            rows.append(found.flatten(1).float().cpu().numpy())
            advance(len(pictures))
    return np.concatenate(rows)


def untransformed(config: SurrogateConfig) -> SurrogateConfig:
    """One surrogate of each class: its patch as it is."""
    return replace(
        config,
        n_each=1,
        max_rotation_deg=0.0,
        max_shift=0.0,
        min_scale=1.0,
        max_scale=1.0,
        axis_factor=1.0,
        hsv_power=1.0,
        min_hsv_factor=1.0,
        max_hsv_factor=1.0,
        hsv_addend=0.0,
        hue=0.0,
    )
