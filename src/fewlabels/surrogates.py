"""Surrogate classes: each a patch of one unlabelled image, in many transformed copies.

A network that learns to tell the classes apart learns features that keep what is in a patch and
ignore how it is shown (Exemplar-CNN). Surrogates are made when they are asked for: the set holds
where each patch lies, and three numbers per pixel colour; the images stay where they are.

Shapes: K classes, N surrogates, 3 channels, H W height and width of the images, S side of a
surrogate, P pixels.
Source: Dosovitskiy, Springenberg, Riedmiller and Brox, NIPS 2014, "Discriminative unsupervised
feature learning with convolutional neural networks" (arXiv:1406.6909, with Fischer, names it
Exemplar-CNN), section 2.1. Where the report this project grew from gives other numbers, the
report's are the defaults, and the docstrings say so.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from fewlabels.colours import change_hsv, linear
from fewlabels.draws import image_keys, uniform
from fewlabels.errors import ConfigError, DataError
from fewlabels.images import Images
from fewlabels.places import chosen_corners
from fewlabels.progress import stage
from fewlabels.resampling import chunks, maps, resample

N_DRAWS = 11  # random numbers for each surrogate
WHICH, WHERE, HOW = 0, 1, 2  # streams of keys: which images, where in each, how transformed


@dataclass(frozen=True, kw_only=True)
class SurrogateConfig:
    """How many surrogates, and how far they are transformed.

    Geometry, each number uniform in its range; defaults are the report's:
    rotation in [-20, 20] degrees (Dosovitskiy et al.: the same);
    shift, down and across, 0 to 0.1 of the patch's side, either way as likely, that is uniform in
    [-0.1, 0.1] (Dosovitskiy et al.: within 0.2);
    scale 0.7 to 1.4 (the same); above 1 enlarges what is seen.

    Colours, after Dosovitskiy et al. (the report names none); factors and powers are uniform in
    their logarithm, so that x and 1 / x are as likely, addends are uniform:
    contrast 1, the part of every pixel along each of the three principal axes of all pixels times
    a factor from 0.5 to 2, one for each axis;
    contrast 2, saturation and value of HSV to a power from 0.25 to 4, times a factor from 0.7 to
    1.4, plus an addend from -0.1 to 0.1; saturation and value share the three;
    colour, plus -0.1 to 0.1 to the hue of HSV, in turns.
    """

    n_classes: int = 4000  # images, one patch of each
    n_each: int = 100  # surrogates of a class
    size: int = 32  # side of a surrogate, in pixels
    patch_size: int = 32  # side of the patch in its image at scale 1, in pixels
    max_rotation_deg: float = 20.0
    max_shift: float = 0.1  # fraction of the patch's side
    min_scale: float = 0.7
    max_scale: float = 1.4
    axis_factor: float = 2.0  # contrast 1: from 1 / it to it; 1 changes nothing
    hsv_power: float = 4.0  # contrast 2: from 1 / it to it
    min_hsv_factor: float = 0.7
    max_hsv_factor: float = 1.4
    hsv_addend: float = 0.1  # both ways
    hue: float = 0.1  # both ways, in turns

    def __post_init__(self) -> None:
        limits = {
            "n_classes": (2, np.inf),
            "n_each": (1, np.inf),
            "size": (1, np.inf),
            "patch_size": (2, np.inf),
            "max_rotation_deg": (0, 180),
            "max_shift": (0, 1),
            "axis_factor": (1, np.inf),
            "hsv_power": (1, np.inf),
            "hsv_addend": (0, 1),
            "hue": (0, 0.5),
        }
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            if not (np.isfinite(value) and least <= value <= most):
                allowed = f"at least {least}" if np.isinf(most) else f"from {least} to {most}"
                raise ConfigError(f"surrogates.{name} is a number {allowed}; got {value}")
        for low, high in (("min_scale", "max_scale"), ("min_hsv_factor", "max_hsv_factor")):
            if not 0 < getattr(self, low) <= getattr(self, high) < np.inf:
                raise ConfigError(
                    f"surrogates.{low} is above 0 and at most surrogates.{high}; got "
                    f"{getattr(self, low)} and {getattr(self, high)}"
                )


@dataclass(frozen=True, kw_only=True, eq=False)
class SurrogateSet:
    """Surrogates of `images`; made by `surrogate_set`. Class k has the n_each from k * n_each on.

    image_of_class : int64 array (n_classes,), an index into the images
    corner_K2 : int64 array, (row, column) of the patch's upper left pixel in its image
    mean_3, axes_33 : mean and principal axes (columns) of the pixels' colours, in [0, 1]
    label_of_class : int64 array (n_classes,); other than 0, 1, 2, ... once classes are merged
    """

    images: Images
    config: SurrogateConfig
    seed: int
    image_of_class: np.ndarray
    corner_K2: np.ndarray
    mean_3: np.ndarray
    axes_33: np.ndarray
    label_of_class: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        return self.config.n_classes * self.config.n_each

    @property
    def n_labels(self) -> int:
        """How many classes there are to tell apart: n_classes, or fewer when some are merged."""
        return int(self.label_of_class.max()) + 1

    def batch(self, indices_N: np.ndarray, epoch: int = 0) -> tuple[Tensor, Tensor]:
        """Make surrogates; each depends on its index, the epoch and the seed alone, bit for bit.

        Parameters
        ----------
        indices_N : int64 array of shape (n,), each in [0, len(self))
        epoch : another one gives other transformations of the same patches

        Returns
        -------
        surrogates_N3SS : float32 tensor in [0, 1] of shape (n, 3, size, size)
        labels_N : int64 tensor of shape (n,)
        """
        indices_N = np.asarray(indices_N, np.int64)
        if len(indices_N) and not 0 <= indices_N.min() <= indices_N.max() < len(self):
            raise IndexError(
                f"surrogates have indices from 0 to {len(self) - 1}; got {indices_N.min()} to "
                f"{indices_N.max()}"
            )
        classes_N = indices_N // self.config.n_each
        drawn = drawn_numbers(self.config, image_keys(self.seed, HOW + epoch, indices_N))
        map_N23 = self._maps(classes_N, drawn)
        matrix_N33, offset_N3 = self._contrast_1(drawn)
        size = (self.config.size, self.config.size)
        surrogates_N3SS = np.empty((len(indices_N), 3, *size), np.float32)
        for part in chunks(len(indices_N), self.images.size):
            pixels_n3HW = np.asarray(self.images.pixels[self.image_of_class[classes_N[part]]])
            pictures_n3SS = resample(pixels_n3HW, map_N23[part], size)
            pictures_n3P = pictures_n3SS.reshape(len(pictures_n3SS), 3, -1)
            pictures_n3P /= 255
            pictures_n3P = change_hsv(
                linear(pictures_n3P, matrix_N33[part], offset_N3[part]),
                **{f"{name}_N": drawn[name][part] for name in ("power", "factor", "addend", "hue")},
            )
            surrogates_N3SS[part] = pictures_n3P.reshape(pictures_n3SS.shape)
        labels_N = self.label_of_class[classes_N]
        return torch.from_numpy(surrogates_N3SS), torch.from_numpy(labels_N)

    def rows(self, n_rows: int, n_columns: int = 10) -> tuple[np.ndarray, np.ndarray, Tensor]:
        """The first classes, for a gallery; fewer where there are fewer classes or surrogates.

        Returns
        -------
        sources_R3HW : uint8 array of shape (n_rows, 3, height, width), the whole images
        corner_R2 : int64 array, (row, column) of the upper left pixel of each one's patch
        surrogates_RC3SS : float32 tensor of shape (n_rows, n_columns, 3, size, size)
        """
        n_rows, n_columns = min(n_rows, self.config.n_classes), min(n_columns, self.config.n_each)
        first_R1 = np.arange(n_rows)[:, None] * self.config.n_each
        surrogates_N3SS, _ = self.batch((first_R1 + np.arange(n_columns)).ravel())
        sources_R3HW = np.array(self.images.pixels[self.image_of_class[:n_rows]])
        return sources_R3HW, self.corner_K2[:n_rows], surrogates_N3SS.unflatten(0, (n_rows, -1))

    def with_labels(self, label_of_class: np.ndarray) -> "SurrogateSet":
        """The same surrogates with other labels, such as `fewlabels.merging.merged` gives."""
        if label_of_class.shape != (self.config.n_classes,):
            raise ValueError(
                f"{self.config.n_classes} classes need as many labels; got {label_of_class.shape}"
            )
        return replace(self, label_of_class=label_of_class.astype(np.int64))

    def _maps(self, classes_N: np.ndarray, drawn: dict[str, np.ndarray]) -> np.ndarray:
        side, size = self.config.patch_size, self.config.size
        nothing_N = np.zeros(len(classes_N))
        return maps(
            self.corner_K2[classes_N] + (side - 1) / 2,
            np.full((len(classes_N), 2), side / size),
            (size, size),
            flip_N=nothing_N > 0,
            shift_N2=np.stack([drawn["down"], drawn["right"]], 1) * size,
            rotation_deg_N=drawn["rotation_deg"],
            scale_N=drawn["scale"],
            shear_N=nothing_N,
        )

    def _contrast_1(self, drawn: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The matrix and offset of each surrogate: axes diag(factors) axes^T about the mean."""
        factor_N3 = np.stack([drawn[f"axis_{axis}"] for axis in range(3)], 1)
        matrix_N33 = (self.axes_33 * factor_N3[:, None]) @ self.axes_33.T
        offset_N3 = self.mean_3 - matrix_N33 @ self.mean_3
        return matrix_N33.astype(np.float32), offset_N3.astype(np.float32)


def drawn_numbers(config: SurrogateConfig, keys_N: np.ndarray) -> dict[str, np.ndarray]:
    """The random numbers of each surrogate by name, as `SurrogateConfig` says; float64 each."""
    numbers = uniform(keys_N, N_DRAWS)
    both_ways = 2 * numbers - 1
    axis_span, power_span = np.log(config.axis_factor), np.log(config.hsv_power)
    low, high = np.log(config.min_hsv_factor), np.log(config.max_hsv_factor)
    return {
        "down": both_ways[0] * config.max_shift,
        "right": both_ways[1] * config.max_shift,
        "rotation_deg": both_ways[2] * config.max_rotation_deg,
        "scale": config.min_scale + numbers[3] * (config.max_scale - config.min_scale),
        **{f"axis_{axis}": np.exp(both_ways[4 + axis] * axis_span) for axis in range(3)},
        "power": np.exp(both_ways[7] * power_span),
        "factor": np.exp(low + numbers[8] * (high - low)),
        "addend": both_ways[9] * config.hsv_addend,
        "hue": both_ways[10] * config.hue,
    }


def surrogate_set(images: Images, config: SurrogateConfig, seed: int) -> SurrogateSet:
    """Choose the images and the patch of each; every chosen image is read once.

    The classes of a smaller set are the first of a larger one with the same seed.

    Raises DataError if there are fewer images than classes, or they are smaller than a patch.
    """
    if len(images) < config.n_classes:
        raise DataError(
            f"{config.n_classes:,} surrogate classes need as many unlabelled images; there are "
            f"{len(images):,}: add images or --set surrogates.n_classes={len(images)}"
        )
    if config.patch_size > min(images.size):
        height, width = images.size
        raise DataError(
            f"surrogates are patches of {config.patch_size} x {config.patch_size}; the images are "
            f"{height} x {width}: use larger ones (--size) or --set surrogates.patch_size="
            f"{min(images.size)}"
        )
    (order_N,) = uniform(image_keys(seed, WHICH, np.arange(len(images))), 1)
    image_of_class = np.argsort(order_N, kind="stable")[: config.n_classes]
    (place_K,) = uniform(image_keys(seed, WHERE, image_of_class), 1)
    corners = []
    total_3, product_33 = np.zeros(3), np.zeros((3, 3))
    with stage("choosing patches", total=config.n_classes, unit="images") as advance:
        for part in chunks(config.n_classes, images.size):
            pixels_N3HW = np.asarray(images.pixels[image_of_class[part]])
            corners.append(chosen_corners(pixels_N3HW, config.patch_size, place_K[part]))
            # sums of whole numbers below 2^53 are exact, in whatever order threads add them
            colours_3P = pixels_N3HW.astype(np.float64).swapaxes(0, 1).reshape(3, -1)
            total_3 += colours_3P.sum(1)
            product_33 += colours_3P @ colours_3P.T
            advance(len(pixels_N3HW))
    n_pixels = config.n_classes * images.size[0] * images.size[1]
    mean_3 = total_3 / n_pixels
    covariance_33 = product_33 / n_pixels - np.outer(mean_3, mean_3)
    return SurrogateSet(
        images=images,
        config=config,
        seed=seed,
        image_of_class=image_of_class,
        corner_K2=np.concatenate(corners),
        mean_3=mean_3 / 255,
        axes_33=np.linalg.eigh(covariance_33)[1],
        label_of_class=np.arange(config.n_classes),
    )
