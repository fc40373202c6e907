"""A recipe: everything that a run is made from, but for its images, labels and seed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fewlabels.architectures import ExemplarNetwork, ReportNetwork, WhitenedNetwork
from fewlabels.augment import Augmentation
from fewlabels.errors import ConfigError
from fewlabels.heads import HeadConfig
from fewlabels.settings import as_plain, from_plain
from fewlabels.surrogates import SurrogateConfig
from fewlabels.training_config import TrainingConfig
from fewlabels.ways.consistency_config import ConsistencyConfig, ConsistencyParts
from fewlabels.ways.filters import FiltersConfig
from fewlabels.ways.labels import LabelsConfig
from fewlabels.ways.selfsupervised import SelfSupervisedConfig, check_batch
from fewlabels.ways.stack import StackConfig
from fewlabels.ways.surrogate import SurrogateWayConfig


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Which ways fill the weights, of which network, and what turns its answers into classes.

    filters : k-means filters; alone they are the network, and `network.first` may start from them
    stack, second_stack : layers that look at all channels, beside `filters`
    surrogates, surrogate : the classes made from unlabelled images, and learning to tell them apart
    selfsupervised : learning that two views of an unlabelled image agree
    labels : learning from the labelled images; the network then ends in the classes themselves
    consistency : learning from unlabelled images too, after `labels`
    rounds, mild : of its schedule *rounds*, the training and how images are changed
    steps, weak : of its schedule *steps*, the training and how the teacher's views are changed
    network, training, augmentation : of what is learned by gradients; None where nothing is
    head : from features to classes; None where the network ends in the classes. Beside `labels`
        and `filters` it reads the filters' features, and forms a committee with the network
    """

    name: str
    filters: FiltersConfig | None = None
    stack: StackConfig | None = None
    second_stack: StackConfig | None = None
    surrogates: SurrogateConfig | None = None
    surrogate: SurrogateWayConfig | None = None
    selfsupervised: SelfSupervisedConfig | None = None
    labels: LabelsConfig | None = None
    consistency: ConsistencyConfig | None = None
    network: WhitenedNetwork | ReportNetwork | ExemplarNetwork | None = None
    training: TrainingConfig | None = None
    rounds: TrainingConfig | None = None
    steps: TrainingConfig | None = None
    augmentation: Augmentation | None = None
    mild: Augmentation | None = None
    weak: Augmentation | None = None
    head: HeadConfig | None = field(default_factory=HeadConfig)

    def __post_init__(self) -> None:
        by_gradients = {
            "surrogates": self.surrogate,
            "two views": self.selfsupervised,
            "labels": self.labels,
        }
        present = [what for what, way in by_gradients.items() if way is not None]
        if not present and self.filters is None:
            raise ConfigError(f"recipe {self.name} has no way to learn: give it filters or labels")
        if len(present) > 1:
            first, second, *_ = present
            raise ConfigError(f"recipe {self.name} learns from {first} or from {second}, not both")
        needed = {
            "network": bool(present),
            "training": bool(present),
            "augmentation": self.labels is not None or self.selfsupervised is not None,
            "surrogates": self.surrogate is not None,
            "head": self.labels is None or self.is_committee,
            **dict.fromkeys(("rounds", "mild", "steps", "weak"), self.consistency is not None),
        }
        if self.consistency is not None and self.labels is None:
            raise ConfigError(f"recipe {self.name} needs the part 'labels' beside 'consistency'")
        for part, is_needed in needed.items():
            if (getattr(self, part) is not None) != is_needed:
                word = "needs" if is_needed else "has no use for"
                raise ConfigError(f"recipe {self.name} {word} the part {part!r}")
        if self.stacks and (present or self.filters is None):
            raise ConfigError(
                f"the stack of recipe {self.name} stands beside filters that are its network: give "
                "it filters, and nothing that learns by gradients"
            )
        kinds: tuple[type, ...] = (WhitenedNetwork, ReportNetwork)
        if self.surrogate is not None:
            kinds = (ExemplarNetwork,)
        elif self.selfsupervised is not None:
            kinds = (WhitenedNetwork,)
        if self.network is not None and not isinstance(self.network, kinds):
            names = " or ".join(kind.__name__ for kind in kinds)
            raise ConfigError(
                f"the network of recipe {self.name} is a {names}; got {type(self.network).__name__}"
            )
        if isinstance(self.network, ReportNetwork) and self.filters is None:
            raise ConfigError(f"recipe {self.name} needs the part 'filters' for its first layer")
        if self.selfsupervised is not None and self.training is not None:
            check_batch(self.training)

    def check(self) -> None:
        """Whether settings of two parts go together; to ask when all of them are given.

        Raises ConfigError where they do not.
        """
        self._check_mirror_images()
        if self.labels is None or self.head is None:
            return
        mine, others = (str(part.flips).lower() for part in (self.labels, self.head))
        if mine != others:
            raise ConfigError(
                f"labels.flips is {mine} and head.flips is {others}, but the network and the head "
                f"of recipe {self.name} look at the same images: give both the same value"
            )

    def _check_mirror_images(self) -> None:
        """Whoever shows no mirror images has classes that left and right tell apart."""
        if not isinstance(self.network, WhitenedNetwork):
            return
        self.network.check_pairs()
        if self.network.mirrored and self.augmentation is not None and not self.augmentation.flip:
            raise ConfigError(
                f"augmentation.flip is 0, but the network of recipe {self.name} answers an image "
                "and its mirror image alike: set network.mirrored=false too if left and right "
                "tell classes apart"
            )

    @property
    def stacks(self) -> dict[str, StackConfig]:
        """The stacks that there are, by the names of their parts."""
        both = {"stack": self.stack, "second_stack": self.second_stack}
        return {name: stack for name, stack in both.items() if stack is not None}

    @property
    def n_networks(self) -> int:
        """Networks that a model answers with."""
        if self.consistency is not None:
            return self.consistency.n_together
        return 1 if self.labels is None else self.labels.n_networks

    @property
    def n_alone(self) -> int:
        """Networks that learn the labels alone, of the recipe or of its baseline."""
        return self.n_networks if self.consistency is None else self.consistency.n_alone

    @property
    def is_of_labels_alone(self) -> bool:
        """Whether all but the first layer learns from labels, so that it is its own baseline."""
        return self.labels is not None and self.consistency is None and self.filters is None

    @property
    def is_committee(self) -> bool:
        """Whether networks and a head on the features of filters answer together."""
        own_filters = self.filters is not None and isinstance(self.network, WhitenedNetwork)
        return self.labels is not None and own_filters

    @property
    def flips(self) -> bool:
        """Whether the answers for an image and its mirror image are averaged."""
        part = self.labels if self.labels is not None else self.head
        return part is not None and part.flips

    def consistency_parts(self) -> ConsistencyParts:
        """What `ways.consistency` is made of; of a recipe with that part."""
        assert self.consistency is not None and self.labels is not None
        assert self.training is not None and self.augmentation is not None
        assert self.rounds is not None and self.mild is not None
        assert self.steps is not None and self.weak is not None
        assert self.network is not None and not isinstance(self.network, ExemplarNetwork)
        return ConsistencyParts(
            consistency=self.consistency,
            labels=self.labels,
            network=self.network,
            training=self.training,
            rounds=self.rounds,
            steps=self.steps,
            strong=self.augmentation,
            mild=self.mild,
            weak=self.weak,
            filters=self.filters,
        )

    def as_dict(self) -> dict[str, Any]:
        """Nested dicts, lists, strings and numbers: what `config.toml` holds."""
        return as_plain(self)


def from_dict(described: Mapping[str, Any]) -> Recipe:
    """The recipe that `as_dict` described.

    Raises ConfigError if the description does not fit.
    """
    try:
        network = described.get("network") or {}
        if "first_filters" in network and "mirrored" not in network:
            # whitened networks had no mirrored filters before there was this setting
            described = {**described, "network": {**network, "mirrored": False}}
        return from_plain(Recipe, described)
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"the recipe is not one that this fewlabels knows ({error}): use the version that "
            "wrote it, or fit again"
        ) from error
