"""A fifth way to fill a network, which composes with the others: two views of an image agree.

The whitened network learns, without labels, to give two differently changed views of an image
alike embeddings. A projector, a few linear layers, stands between its body and the embeddings: it
takes up what only the loss asks for, and is dropped when all is learned.

Shapes: N images of a batch, H W height and width, D values of an embedding.
Source: VICReg, see `vicreg`; the views, Chen et al., ICML 2020 (SimCLR), appendix A.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from fewlabels import origins
from fewlabels.architectures import WhitenedNetwork, drawn_by
from fewlabels.augment import Augmentation, augment
from fewlabels.batch_norm import BatchNormActivation
from fewlabels.draws import image_keys
from fewlabels.errors import ConfigError, DataError
from fewlabels.graph import Graph, Node, node
from fewlabels.images import Images
from fewlabels.joined import Pixels
from fewlabels.trained_features import whitened_features
from fewlabels.training import Batch, Step, TrainingConfig, train
from fewlabels.ways import first_layers, vicreg
from fewlabels.ways import labels as labels_way

PROJECTOR = "projector"  # how the names of its nodes begin
RATE = 0.1
# The loss is a mean over the embeddings' values, so slopes of the projector are small: at 0.1, and
# with the usual decay, it hardly moved, and the embeddings stayed at a third of the spread that the
# loss asks for ("Why VICReg" in docs/accuracy.md). The covariance grows as the fourth power of the
# embeddings, so slopes may also be huge, and are cut.
HEAD_RATE, CLIP, DECAY = 1.0, 1.0, 0.0
# a random crop of a fifth of an image or more, mirrored, in other colours
VIEWS = Augmentation(
    flip=0.5,
    max_shift=0.2,
    max_scale=2.2,
    brightness=0.4,
    contrast=0.4,
    saturation=0.8,
    hue=0.1,
)


@dataclass(frozen=True, kw_only=True)
class SelfSupervisedConfig:
    """Settings of the way, beside those of the training and the views.

    projector : values of each linear layer between the body and the loss; the last are embeddings
    variance_weight, covariance_weight : of these terms beside the invariance, see `vicreg`
    """

    projector: tuple[int, ...] = (512, 512)
    variance_weight: float = 1.0
    covariance_weight: float = 0.04

    def __post_init__(self) -> None:
        if not self.projector or min(self.projector) < 1:
            raise ConfigError(f"selfsupervised.projector are at least 1 each; got {self.projector}")
        for name in ("variance_weight", "covariance_weight"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(
                    f"selfsupervised.{name} is a number over 0: without it all images may get one "
                    f"embedding; got {getattr(self, name)}"
                )


def check_batch(training: TrainingConfig) -> None:
    """Raises ConfigError where a batch has no covariance."""
    if training.batch_size < 2:
        raise ConfigError(
            "images are compared with others of their batch: training.batch_size is at least 2 to "
            f"learn from two views; got {training.batch_size}"
        )


def at_its_rates(training: TrainingConfig) -> TrainingConfig:
    """The training with no rate over those that this loss bears, its slopes cut, and no decay."""
    return replace(
        training,
        learning_rate=min(training.learning_rate, RATE),
        head_learning_rate=min(training.head_learning_rate, HEAD_RATE),
        bias_learning_rate=min(training.bias_learning_rate, RATE),
        clip=CLIP,
        weight_decay=DECAY,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class TwoViews:
    """Every image in two views, others in every epoch; see `batches.Examples`.

    pixels : uint8 of shape (n_images, 3, height, width); only what is shown is read
    """

    pixels: Pixels
    augmentation: Augmentation
    seed: int

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, indices_N: np.ndarray, epoch: int) -> tuple[Tensor]:
        """The first views of these images, then the second: float (2 N, 3, H, W) in [0, 1].

        An image's views are a function of its index, the epoch and the seed alone.
        """
        keys_2N = np.concatenate(
            [image_keys(self.seed, 2 * epoch + view, indices_N) for view in (0, 1)]
        )
        pixels_N3HW = np.asarray(self.pixels[indices_N])
        return (augment(np.concatenate([pixels_N3HW] * 2), self.augmentation, keys_2N),)


def step(config: SelfSupervisedConfig) -> Step:
    """What a training computes from `TwoViews`: VICReg's loss of a network of embeddings.

    Facts: the terms as they are, before they are weighed, and "deviation", the mean one of the
    values of embeddings, which is near 0 where all images get one embedding.
    """

    def learn(network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        (views,) = batch
        first_ND, second_ND = network(views).float().chunk(2)
        terms = vicreg.terms(first_ND, second_ND)
        loss = (
            terms.invariance
            + config.variance_weight * terms.variance
            + config.covariance_weight * terms.covariance
        )
        return loss, {name: value.detach() for name, value in terms._asdict().items()}

    return learn


def projected(network: Graph, widths: tuple[int, ...], seed: int) -> Graph:
    """The body of a whitened network, with which it shares weights, below a new projector.

    A layer of the projector is a linear one with batch norm and ReLU, the last a linear one alone.
    """
    nodes: dict[str, Node] = {
        name: one for name, one in network.nodes.items() if name not in ("linear", "logits")
    }
    (n_values,) = network.shapes["flat"]
    below = "flat"
    with drawn_by(seed):
        for number, width in enumerate(widths, start=1):
            is_last = number == len(widths)
            name = f"{PROJECTOR}{number}"
            nodes[name] = node(nn.Linear(n_values, width, bias=is_last), below)
            below, n_values = name, width
            if not is_last:
                below = f"{name}_norm"
                nodes[below] = node(BatchNormActivation(width, "relu"), name)
    return Graph(nodes, network.inputs, (below,)).freeze(*network.frozen)


def learn(
    unlabeled: Images,
    config: SelfSupervisedConfig,
    network: WhitenedNetwork,
    training: TrainingConfig,
    augmentation: Augmentation,
    *,
    seed: int,
    device: str = "cpu",
    precision: str = "auto",
    budget_seconds: float | None = None,
    folder: Path | None = None,
    resume: bool = False,
) -> Graph:
    """Train the body of a whitened network on two views of each image; it gives the features.

    Parameters
    ----------
    augmentation : how the views are changed
    budget_seconds, folder, resume : see `training.train`

    Returns
    -------
    frozen Graph from "image" (3, height, width) to "features", see
    `trained_features.whitened_features`

    Raises
    ------
    DataError : fewer than two images, or images smaller than the first filters
    ConfigError : batches of one image; what `training.train` raises
    """
    check_batch(training)
    if len(unlabeled) < 2:
        raise DataError(
            "images are compared with others of their batch, and there is one alone: give at "
            "least 2 unlabelled images"
        )
    first = first_layers.first_layer(unlabeled, network, None, seed=seed)
    whole = labels_way.build(network, first, None, 2, unlabeled.size, seed)
    graph = projected(whole, config.projector, seed)
    train(
        graph,
        TwoViews(pixels=unlabeled.pixels, augmentation=augmentation, seed=seed),
        training,
        seed=seed,
        device=device,
        precision=precision,
        budget_seconds=budget_seconds,
        folder=folder,
        resume=resume,
        step=step(config),
        made_from={
            "unlabelled images": origins.of_images(unlabeled.pixels),
            "settings of augmentation": origins.of_settings(augmentation),
            "settings of selfsupervised": origins.of_settings(config),
        },
        unchanged=unlabeled.pixels,
    )
    return whitened_features(graph, unlabeled.size)
