"""Settings of the figures of the report that this grew from; its numbers are the defaults."""

from dataclasses import dataclass, field, replace

from fewlabels import recipes
from fewlabels.architectures import ReportNetwork
from fewlabels.errors import ConfigError
from fewlabels.surrogates import SurrogateConfig
from fewlabels.trained_recipes import report_3
from fewlabels.training_config import TrainingConfig
from fewlabels.ways.filters import FiltersConfig

CONTRASTS = ("each", "shared")
ITERATIONS = 15  # of k-means: more change no filter that an eye could tell


@dataclass(frozen=True, kw_only=True)
class GalleryConfig:
    """How much the galleries show.

    surrogate_rows, surrogates_per_row : images, and surrogates of each
    contrast : of the filters, "each" scaled for itself or "shared", all by one factor
    deeper_filters, patches_per_filter : of the deeper layer, and the patches that excite each most
    searched_images : unlabelled images in which those are looked for
    """

    surrogate_rows: int = 8
    surrogates_per_row: int = 12
    contrast: str = "each"
    deeper_filters: int = 54
    patches_per_filter: int = 9
    searched_images: int = 600

    def __post_init__(self) -> None:
        if self.contrast not in CONTRASTS:
            raise ConfigError(
                f"gallery.contrast is one of {', '.join(CONTRASTS)}; got {self.contrast!r}"
            )
        for name in (
            *("surrogate_rows", "surrogates_per_row", "deeper_filters"),
            *("patches_per_filter", "searched_images"),
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"gallery.{name} is at least 1; got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class MapConfig:
    """Of the maps by t-SNE.

    n_images : labelled images on a map; channel : the one whose pixels are the first map's features
    """

    n_images: int = 1000
    perplexity: float = 30.0
    channel: int = 0

    def __post_init__(self) -> None:
        if self.n_images < 1:
            raise ConfigError(f"map.n_images is at least 1; got {self.n_images}")
        if not self.perplexity >= 1:
            raise ConfigError(f"map.perplexity is at least 1; got {self.perplexity}")
        if self.channel not in (0, 1, 2):
            raise ConfigError(f"map.channel is 0, 1 or 2 (red, green, blue); got {self.channel}")


def report_filters() -> FiltersConfig:
    """Those of `kmeans-report`, in fewer iterations."""
    found = recipes.kmeans_report().filters
    assert found is not None
    return replace(found, iterations=ITERATIONS)


def deeper_filters() -> FiltersConfig:
    """Those of `kmeans-2` on a smaller scale: 16 groups of 400 channels, not 32 of 1,600.

    That is under half of the arithmetic for an image.
    """
    found = recipes.kmeans_2().filters
    assert found is not None
    first, second = found.layers
    first = replace(first, n_filters=400, n_images=5000)
    # as many patches as in the recipe, from fewer images
    second = replace(second, n_groups=16, n_images=1500, patches_per_image=8)
    return replace(found, layers=(first, second))


def _of_report_3(part: str):  # type: ignore[no-untyped-def]
    return getattr(report_3(), part)


@dataclass(frozen=True, kw_only=True)
class FiguresConfig:
    """Every setting of `fewlabels figures`, as PART.NAME.

    surrogates : figure 3.1
    filters : figure 3.2, and the features of figure 3.5
    deeper : of the filters above the first layer
    first, network, training : of the networks of figure 3.3: the filters that their first layer
        starts from, their other layers, how they learn
    """

    surrogates: SurrogateConfig = field(default_factory=SurrogateConfig)
    filters: FiltersConfig = field(default_factory=report_filters)
    deeper: FiltersConfig = field(default_factory=deeper_filters)
    first: FiltersConfig = field(default_factory=lambda: _of_report_3("filters"))
    network: ReportNetwork = field(default_factory=lambda: _of_report_3("network"))
    training: TrainingConfig = field(default_factory=lambda: _of_report_3("training"))
    gallery: GalleryConfig = field(default_factory=GalleryConfig)
    map: MapConfig = field(default_factory=MapConfig)
    name: str = "figures"

    def __post_init__(self) -> None:
        if self.network.n_layers != 3:
            raise ConfigError(
                "the figure of the networks is of 2 and of 3 layers: leave network.n_layers out"
            )
        if len(self.deeper.layers) < 2:
            raise ConfigError("the deeper filters need two layers at least")
