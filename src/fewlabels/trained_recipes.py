"""Named recipes whose networks learn by gradients; `recipes` joins them to the others.

A recipe learns for `training.epochs`, or for a --budget of time in their place.
"""

from collections.abc import Callable
from dataclasses import replace

from fewlabels.architectures import ExemplarNetwork, ReportNetwork, WhitenedNetwork
from fewlabels.augment import Augmentation
from fewlabels.recipe import Recipe
from fewlabels.surrogates import SurrogateConfig
from fewlabels.training_config import TrainingConfig
from fewlabels.ways.consistency_config import ConsistencyConfig
from fewlabels.ways.filters import FiltersConfig, LayerConfig
from fewlabels.ways.labels import LabelsConfig
from fewlabels.ways.selfsupervised import (
    CLIP,
    DECAY,
    HEAD_RATE,
    RATE,
    VIEWS,
    SelfSupervisedConfig,
)
from fewlabels.ways.surrogate import SurrogateWayConfig

LEAST_STEPS = 300  # half of those that 4,000 labels take: 100 labels would take 40


def labels() -> Recipe:
    """The labelled images alone, as well as a CPU can: whitened filters, nine convolutions."""
    return Recipe(
        name="labels",
        labels=LabelsConfig(),
        # small images at first: more epochs in the same time, see docs/accuracy.md; where even so
        # there are few, `auto` takes half the filters
        network=WhitenedNetwork(),
        training=TrainingConfig(
            batch_size=256,
            epochs=60,
            least_steps=LEAST_STEPS,
            learning_rate=0.15,
            bias_learning_rate=0.5,
            small_part=0.4,
        ),
        augmentation=Augmentation(
            flip=0.5,
            max_shift=0.125,
            max_rotation_deg=10.0,
            min_scale=0.85,
            max_scale=1.2,
            max_shear=0.1,
            tones=0.6,  # without them a long training learns the images by heart
            brightness=0.2,
            contrast=0.2,
            saturation=0.3,
            hue=0.03,
            cutout=0.35,
        ),
        head=None,
    )


def consistency() -> Recipe:
    """The network of `labels`, which then learns from its own answers on unlabelled images too."""
    alone = labels()
    assert alone.training is not None
    return replace(
        alone,
        name="consistency",
        consistency=ConsistencyConfig(),
        rounds=replace(
            alone.training,
            epochs=12,
            learning_rate=0.1,
            head_learning_rate=2.0,
            bias_learning_rate=2.0,
            label_smoothing=0.0,  # the answers are soft already
        ),
        # each of many images is seen a few times: what must not be learned by heart is little
        mild=Augmentation(
            flip=0.5,
            max_shift=0.125,
            tones=0.6,  # but for the first of several students
            brightness=0.1,
            contrast=0.1,
            saturation=0.15,
            hue=0.015,
            cutout=0.25,
        ),
        steps=TrainingConfig(
            batch_size=64,
            epochs=40,
            # high at first: half of what the labels taught is forgotten, and more is learned
            learning_rate=0.1,
            head_learning_rate=0.5,
            bias_learning_rate=0.25,
            averaging=0.98,
            weight_decay=8e-6,
            warmup=0.02,
            label_smoothing=0.1,
        ),
        weak=Augmentation(flip=0.5, max_shift=0.0625),
    )


def report_2() -> Recipe:
    """The report's network of two layers of filters; the first starts from k-means centroids."""
    return _report("report-2", n_layers=2)


def report_3() -> Recipe:
    """The report's network of three layers of filters."""
    return _report("report-3", n_layers=3)


def _report(name: str, n_layers: int) -> Recipe:
    first = LayerConfig(
        n_filters=256,
        patch_size=22,
        stride=4,
        patches_per_image=16,
        kept_variance=0.99,
    )
    return Recipe(
        name=name,
        filters=FiltersConfig(layers=(first,), iterations=15),
        labels=LabelsConfig(),
        network=ReportNetwork(n_layers=n_layers),
        training=TrainingConfig(
            batch_size=64,
            epochs=30,
            least_steps=LEAST_STEPS,
            learning_rate=0.1,
            bias_learning_rate=0.5,
        ),
        augmentation=Augmentation(flip=0.5, max_shift=0.1),
        head=None,
    )


def surrogate() -> Recipe:
    """Exemplar-CNN: 4,000 surrogate classes of 100 images each, and a head on what was learned."""
    return Recipe(
        name="surrogate",
        surrogates=SurrogateConfig(),
        surrogate=SurrogateWayConfig(),
        network=ExemplarNetwork(),
        training=TrainingConfig(
            batch_size=256,
            epochs=10,
            learning_rate=0.1,
            head_learning_rate=4.0,
            bias_learning_rate=0.5,
            label_smoothing=0.1,
        ),
    )


def selfsupervised() -> Recipe:
    """VICReg: two views of an unlabelled image agree; and a head on what was learned."""
    return Recipe(
        name="selfsupervised",
        selfsupervised=SelfSupervisedConfig(),
        # its features are those of an image and of its mirror image already, averaged
        network=WhitenedNetwork(mirrored=False),
        training=TrainingConfig(
            batch_size=256,
            epochs=30,
            learning_rate=RATE,
            head_learning_rate=HEAD_RATE,
            bias_learning_rate=RATE,
            clip=CLIP,
            weight_decay=DECAY,
        ),
        augmentation=VIEWS,
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    "labels": labels,
    "consistency": consistency,
    "report-2": report_2,
    "report-3": report_3,
    "surrogate": surrogate,
    "selfsupervised": selfsupervised,
}
