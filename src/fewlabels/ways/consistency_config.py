"""Settings of learning from a network's own answers on unlabelled images."""

from dataclasses import dataclass

from fewlabels.architectures import ReportNetwork, WhitenedNetwork
from fewlabels.augment import Augmentation
from fewlabels.errors import ConfigError
from fewlabels.training_config import TrainingConfig
from fewlabels.ways.filters import FiltersConfig
from fewlabels.ways.labels import LabelsConfig
from fewlabels.ways.selfsupervised import check_batch

CHOICES = {
    "schedule": ("steps", "rounds"),
    "start": ("labels", "filters", "surrogate", "selfsupervised"),
    "thresholds": ("adaptive", "fixed"),
    "alignment": ("auto", "on", "off"),
}


@dataclass(frozen=True, kw_only=True)
class ConsistencyConfig:
    """Settings of the way, beside those of the trainings and the views.

    schedule : "steps", a weak and a strong view of each image in every step, or "rounds", new
        networks on labels and on the confident answers of those before
    start : what the network starts from: new weights, "labels"; with centroids of k-means as its
        first layer, "filters"; with convolutions that told surrogate classes apart, "surrogate";
        with ones that learned that two views of an unlabelled image agree, "selfsupervised"
    labels_part : of a budget of time, what the networks of labels alone have at most
    labels_epochs : how often these see each label under a budget, at most, and more often where
        that is less than `training.least_steps` batches: what is left of their time goes to the
        unlabelled images
    n_teachers : networks of labels alone in *rounds*, where they answer together, see `ensembles`:
        they are the baseline, and teach the first round. *Steps* start from one
    n_students : networks of the *rounds*, which part the time and answer together
    teachers_part : of a model's logits, what is the teachers' beside the students', where labels
        held out are likelier by both; 0 leaves the teachers out
    held_out : labelled images of each class that are not learned from, and watch that the result
        is no worse than the baseline; at most the part `most_held_out` of the class
    thresholds : of the probability from which on an answer is learned from: "adaptive", in steps
        moving with the network and lower for classes that it is less sure of, in rounds the
        least; or "fixed"
    threshold : the fixed one, and where the adaptive ones start
    least_threshold : no adaptive one goes below, so that a class which the unlabelled images lack
        is not found in them
    momentum : in steps, of adaptive thresholds and of the mean answer, the part kept in a step
    alignment : bring the mean answer to the classes' shares among the labels, which is right where
        those of the unlabelled images are alike: "on", "off", or "auto", which looks, and brings it
        to the likely shares where a class is missing
    balance_tolerance : for "auto", the part of the answers that may lie with other classes than
        the labels' shares tell
    least_weight : images that belong to a labelled class with less probability take no part, see
        `novelty`; 0 lets all take part alike
    unlabelled_ratio : unlabelled images for each labelled one, in a step of `steps.batch_size` or
        in a round, which shows labelled ones as often as that takes
    unlabelled_weight : of their loss beside that of the labelled ones; in steps
    sharpening : in steps, temperature of the answers as targets: 1 as they are, 0 their classes
    steps_per_epoch : after so many steps of the second phase it is measured
    surrogate_classes : unlabelled images that the start "surrogate" tells apart, at most
    surrogate_part, surrogate_epochs : its part of a budget of time, or its epochs
    selfsupervised_part, selfsupervised_epochs : of the start "selfsupervised", likewise
    n_rounds : how often the students learn from answers, the baseline's first, then what they
        answer together; at most: under a budget as often as the answers are worth their time, and
        once where there is one student, or a tenth of the images is of no class
    later_rate : in later rounds, the part of the rates of `rounds`, so that less is forgotten
    round_share : of the unlabelled images, the part that a round learns from at most
    sure : images whose answers are at least so probable have little to teach, and are seen in one
        of `sure_turns` epochs of a round, in turns
    """

    schedule: str = "rounds"
    start: str = "labels"
    labels_part: float = 0.5
    labels_epochs: int = 80
    n_teachers: int = 3
    n_students: int = 3
    teachers_part: float = 0.33
    held_out: int = 20
    most_held_out: float = 0.1
    thresholds: str = "adaptive"
    threshold: float = 0.5
    least_threshold: float = 0.4
    momentum: float = 0.99
    alignment: str = "auto"
    balance_tolerance: float = 0.1
    least_weight: float = 0.5
    unlabelled_ratio: int = 4
    unlabelled_weight: float = 1.0
    sharpening: float = 0.5
    steps_per_epoch: int = 100
    surrogate_classes: int = 2000
    surrogate_part: float = 0.15
    surrogate_epochs: int = 10
    selfsupervised_part: float = 0.4
    selfsupervised_epochs: int = 30
    n_rounds: int = 4
    later_rate: float = 0.4
    round_share: float = 0.9
    sure: float = 0.95
    sure_turns: int = 2

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"consistency.{name} is one of {', '.join(known)}; got {getattr(self, name)!r}"
                )
        for name in ("labels_part", "round_share", "surrogate_part", "selfsupervised_part"):
            self._check(name, 0 < getattr(self, name) < 1, "a part, over 0 and under 1")
        self._check("later_rate", 0 < self.later_rate <= 1, "a part, over 0 and at most 1")
        for name in (
            "threshold",
            "least_threshold",
            "least_weight",
            "balance_tolerance",
            "sharpening",
            "sure",
        ):
            self._check(name, 0 <= getattr(self, name) <= 1, "a part, from 0 to 1")
        for name in ("momentum", "most_held_out", "teachers_part"):
            self._check(name, 0 <= getattr(self, name) < 1, "a part, in [0, 1)")
        for name in (
            "unlabelled_ratio",
            "steps_per_epoch",
            "labels_epochs",
            "n_teachers",
            "n_students",
            "n_rounds",
            "sure_turns",
            "surrogate_epochs",
            "selfsupervised_epochs",
        ):
            self._check(name, getattr(self, name) >= 1, "at least 1")
        starts = {"surrogate": self.surrogate_part, "selfsupervised": self.selfsupervised_part}
        if self.labels_part + starts.get(self.start, 0.0) >= 1:
            raise ConfigError(
                f"consistency.labels_part {self.labels_part} and consistency.{self.start}_part "
                f"{starts[self.start]} leave no time for the unlabelled images: lower one of them"
            )
        self._check("surrogate_classes", self.surrogate_classes >= 2, "at least 2")
        for name in ("held_out", "unlabelled_weight"):
            self._check(name, 0 <= getattr(self, name) < float("inf"), "a number of 0 or more")

    @property
    def n_alone(self) -> int:
        """Networks that learn the labels alone."""
        return self.n_teachers if self.schedule == "rounds" else 1

    @property
    def n_together(self) -> int:
        """Networks that a model answers with at most, where the unlabelled images were of use."""
        if self.schedule == "steps":
            return 1
        return self.n_students + (self.n_teachers if self.teachers_part else 0)

    def _check(self, name: str, fits: bool, expected: str) -> None:
        if not fits:
            raise ConfigError(f"consistency.{name} is {expected}; got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class ConsistencyParts:
    """The parts of a recipe that the way is made of.

    labels, training, strong : of a network of labels alone, its training and how images are
        changed, which goes for all views of *steps* but the teacher's
    rounds, mild : of each round, the training and how images are changed
    steps, weak : of the second phase of *steps*, the training, whose batch are the labelled images
        of a step, and how the teacher's views are changed
    filters : of the network's first layer, where it is one of k-means
    """

    consistency: ConsistencyConfig
    labels: LabelsConfig
    network: WhitenedNetwork | ReportNetwork
    training: TrainingConfig
    rounds: TrainingConfig
    steps: TrainingConfig
    strong: Augmentation
    mild: Augmentation
    weak: Augmentation
    filters: FiltersConfig | None = None

    def __post_init__(self) -> None:
        start = self.consistency.start
        if start != "labels" and not isinstance(self.network, WhitenedNetwork):
            raise ConfigError(
                f"consistency.start={start} is for the whitened network, which this recipe does "
                "not have: leave it at labels"
            )
        if start == "selfsupervised":
            check_batch(self.training)
        if self.labels.n_networks != 1:
            raise ConfigError(
                f"labels.n_networks is for the labels alone; got {self.labels.n_networks} where "
                "unlabelled images are learned from too: give consistency.n_teachers"
            )
