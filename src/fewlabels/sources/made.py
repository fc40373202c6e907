"""Sets that need no download: scikit-learn's digits, and made shapes in STL-10's manner."""

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from fewlabels.errors import ConfigError
from fewlabels.images import Images, ImageSet
from fewlabels.progress import stage
from fewlabels.sources.pixels import Options
from fewlabels.sources.shapes import OBJECTS, STRANGERS, Draws, draw

SHAPES_SIZE = 48  # STL-10 has 96: a quarter of the pixels keeps the demo short
DIGITS_SIZE = 32  # the originals are 8 x 8, smaller than a useful patch
DIGITS_PER_PART = 50  # of each class, in train and in test; the rest (797) is unlabelled
N_FOLDS = 10  # as in STL-10


def digits(options: Options) -> ImageSet:
    """Read scikit-learn's 1,797 handwritten digits as a set with few labels.

    Parameters
    ----------
    options : `size` in pixels (32 if None), `seed` of the split

    Returns
    -------
    set of 500 training, 500 test (50 of each digit in both) and 797 unlabelled images, with ten
    folds of 100 training images; gray values 0 to 16 become 0 to 255, enlarged by bicubic
    interpolation

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
    """
    size = _size(options, DIGITS_SIZE)
    bunch = load_digits()
    pixels = np.stack([_enlarged(gray, size) for gray in np.rint(bunch.images * (255 / 16))])
    pixels = np.repeat(pixels[:, None], 3, axis=1)
    labels = bunch.target.astype(np.int64)

    draws = Draws(options.seed, 0)
    order = draws.permutation(len(labels))
    train, test, rest = [], [], []
    for digit in range(10):
        of_digit = order[labels[order] == digit]
        train.append(of_digit[:DIGITS_PER_PART])
        test.append(of_digit[DIGITS_PER_PART : 2 * DIGITS_PER_PART])
        rest.append(of_digit[2 * DIGITS_PER_PART :])

    def part(name: str, chosen: list[np.ndarray]) -> Images:
        indices = np.concatenate(chosen)
        indices = indices[draws.permutation(len(indices))]
        return Images(
            pixels=pixels[indices],
            labels=labels[indices] if name != "unlabeled" else None,
            names=tuple(f"digits/{name}/{i:04d}" for i in indices),
        )

    labelled = part("train", train)
    return ImageSet(
        name="digits",
        class_names=tuple(str(digit) for digit in range(10)),
        train=labelled,
        test=part("test", test),
        unlabeled=part("unlabeled", rest),
        folds=_folds(labelled.labels, 10, DIGITS_PER_PART // 5, draws),
        notes=(
            f"split by seed {options.seed}: 50 training and 50 test images of each digit, "
            "the other 797 images unlabelled",
            f"8 x 8 gray images enlarged to {size} x {size} by bicubic interpolation",
        ),
    )


def shapes(
    options: Options,
    *,
    n_train_per_class: int = 100,
    n_test_per_class: int = 100,
    n_unlabeled: int = 4000,
    out_of_class: float = 0.5,
    n_leaked: int = 20,
) -> ImageSet:
    """Make a set in STL-10's shape: ten kinds of objects over textured backgrounds.

    Parameters
    ----------
    options : `size` in pixels (48 if None), `seed` of every draw
    n_train_per_class, n_test_per_class : labelled images of each class
    n_unlabeled : images without labels, of which
    out_of_class : fraction that shows no object of the ten classes (other shapes, bare textures)
    n_leaked : how many of the others are copies of test images, as STL-10's unlabelled part has
        them (at most as many as there are of either)

    Returns
    -------
    the same bytes for the same arguments, on every machine; ten folds, each of half of the
    training images of every class

    Raises ConfigError for a size under 8, a count under 1 or a fraction outside [0, 1].
    """
    size = _size(options, SHAPES_SIZE)
    if min(n_train_per_class, n_test_per_class, n_unlabeled) < 1 or not 0 <= out_of_class <= 1:
        raise ConfigError(
            "shapes needs at least 1 training, 1 test and 1 unlabelled image and a fraction of "
            f"images out of class in [0, 1]; got {n_train_per_class}, {n_test_per_class}, "
            f"{n_unlabeled} and {out_of_class}: change them"
        )
    seed, n_classes = options.seed, len(OBJECTS)
    n_strange = round(n_unlabeled * out_of_class)
    n_leaked = max(0, min(n_leaked, n_unlabeled - n_strange, n_test_per_class * n_classes))
    labelled = (n_train_per_class + n_test_per_class) * n_classes
    n_made = labelled + (n_unlabeled if options.wants("unlabeled") else 0)
    unlabeled = None
    with stage("making shapes", total=n_made, unit="images") as advance:
        train = _labelled("train", n_train_per_class, size, Draws(seed, 1))
        advance(len(train))
        test = _labelled("test", n_test_per_class, size, Draws(seed, 2))
        advance(len(test))
        if options.wants("unlabeled"):
            n_own = n_unlabeled - n_strange - n_leaked
            unlabeled = _unlabelled(n_own, n_strange, n_leaked, test, Draws(seed, 3))
            advance(n_unlabeled)
    return ImageSet(
        name="shapes",
        class_names=tuple(OBJECTS),
        train=train,
        test=test,
        unlabeled=unlabeled,
        folds=_folds(train.labels, n_classes, max(1, n_train_per_class // 2), Draws(seed, 4)),
        notes=(
            f"made images of {size} x {size}, seed {seed}",
            f"of the {n_unlabeled:,} unlabelled images {n_strange:,} show none of the "
            f"{n_classes} classes, and {n_leaked:,} are copies of test images, as in STL-10",
        ),
    )


def _size(options: Options, otherwise: int) -> int:
    size = otherwise if options.size is None else options.size
    if size < 8:
        raise ConfigError(f"made images are at least 8 x 8 pixels; got --size {size}: ask for more")
    return size


def _enlarged(gray: np.ndarray, size: int) -> np.ndarray:
    image = Image.fromarray(gray.astype(np.uint8))
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


def _drawn(kinds: dict, n_images: int, size: int, draws: Draws) -> list[np.ndarray]:
    """`n_images` pictures, as evenly over the kinds as can be; one array per kind."""
    share, left = divmod(n_images, len(kinds))
    return [
        draw(distance, share + (number < left), size, draws)
        for number, distance in enumerate(kinds.values())
    ]


def _labelled(part: str, n_per_class: int, size: int, draws: Draws) -> Images:
    n = n_per_class * len(OBJECTS)
    pixels = np.concatenate(_drawn(OBJECTS, n, size, draws))
    order = draws.permutation(n)
    labels = np.repeat(np.arange(len(OBJECTS), dtype=np.int64), n_per_class)
    return Images(pixels=pixels[order], labels=labels[order], names=_names(part, n))


def _unlabelled(n_own: int, n_strange: int, n_leaked: int, test: Images, draws: Draws) -> Images:
    """Images of the classes, images of none, and copies of test images, mixed."""
    size = test.size[0]
    pixels = np.concatenate(
        [
            *_drawn(OBJECTS, n_own, size, draws),
            *_drawn(STRANGERS, n_strange, size, draws),
            test.pixels[draws.permutation(len(test))[:n_leaked]],
        ]
    )
    order = draws.permutation(len(pixels))
    return Images(pixels=pixels[order], names=_names("unlabeled", len(pixels)))


def _names(part: str, n: int) -> tuple[str, ...]:
    return tuple(f"shapes/{part}/{number:06d}" for number in range(n))


def _folds(
    labels: np.ndarray | None, n_classes: int, n_per_class: int, draws: Draws
) -> tuple[np.ndarray, ...]:
    """Ten labelled subsets, each with `n_per_class` images of every class; they may overlap."""
    assert labels is not None
    folds = []
    for _ in range(N_FOLDS):
        order = draws.permutation(len(labels))
        chosen = [order[labels[order] == c][:n_per_class] for c in range(n_classes)]
        folds.append(np.sort(np.concatenate(chosen)))
    return tuple(folds)
