"""A model: a graph that makes features and a head that names classes; it predicts and is saved."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fewlabels import features, graph_files, heads, notebook, recipes, runs
from fewlabels.devices import resolve
from fewlabels.errors import CheckpointError, ConfigError, DataError
from fewlabels.graph import Graph
from fewlabels.heads import Head
from fewlabels.images import Damaged, Images
from fewlabels.joined import Pixels
from fewlabels.progress import say, stage
from fewlabels.recipes import Recipe
from fewlabels.sources.folders import is_image
from fewlabels.sources.pixels import DamagedImageError, decode, fit_to_size

CHUNK = 512  # images that `predict` holds at once


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """What a model answered, image by image.

    labels : the most probable class name of each image
    probability : float32 array of shape (n_images,), that class's
    probabilities : float32 array of shape (n_images, n_classes), rows adding up to 1
    none : bool array of shape (n_images,), whether the image probably belongs to no class
    names : file of each image; empty where arrays were given
    damaged : files that could not be read; they are in none of the above
    """

    labels: tuple[str, ...]
    probability: np.ndarray
    probabilities: np.ndarray
    none: np.ndarray
    names: tuple[str, ...] = ()
    damaged: tuple[Damaged, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A recogniser.

    image_size : (height, width) in pixels of what the graph takes
    scores : what `scores.json` says of it; empty where it was not scored
    info : sections of `config.toml` beside `model` and `recipe`: seed, versions, command, ...
    """

    graph: Graph
    head: Head
    class_names: tuple[str, ...]
    recipe: Recipe
    image_size: tuple[int, int]
    info: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """In a line, without the weights."""
        height, width = self.image_size
        facts = [self.recipe.name, f"{len(self.class_names)} classes", f"{height} x {width} pixels"]
        if "accuracy" in self.scores:
            facts.append(f"accuracy {self.scores['accuracy']:.3f}")
        return f"<Model: {'; '.join(facts)}>"

    def predict(
        self,
        images: Images | np.ndarray | str | Path | Iterable[str | Path],
        *,
        device: str = "cpu",
        none_below: float | None = None,
    ) -> Prediction:
        """Name the class of each image, and say which images probably belong to none.

        Images of another size are brought to the model's by the rule of the sources: the largest
        centred square, resized.

        Parameters
        ----------
        images : a part of a set; a uint8 array of shape (n_images, 3, height, width); or a path,
            or several, of image files and folders of them
        none_below : an image belongs to no class if its best class has a probability under this;
            by default that of the head, under which one in 20 images of the classes was held out

        Raises DataError where there is no image, a path does not exist, or no file can be read;
        ConfigError where `none_below` is no probability.
        """
        below = self.head.none_below if none_below is None else none_below
        if not 0 <= below <= 1:
            raise ConfigError(f"none_below is a probability, in [0, 1]; got {none_below}")
        if isinstance(images, Images):
            return self._named(
                [self._answer(self._fitted(images.pixels), device)], below, images.names
            )
        if isinstance(images, np.ndarray):
            pixels = Images(pixels=images).pixels
            return self._named([self._answer(self._fitted(pixels), device)], below)
        given = (images,) if isinstance(images, str | Path) else tuple(images)
        return self._predict_files(image_files(given), device, below)

    def _predict_files(self, paths: Sequence[Path], device: str, below: float) -> Prediction:
        answers: list[np.ndarray] = []
        names: list[str] = []
        damaged: list[Damaged] = []
        with stage("answering", total=len(paths), unit="images") as advance:
            for start in range(0, len(paths), CHUNK):
                chunk = paths[start : start + CHUNK]
                good = [pixels for path in chunk for pixels in self._read(path, names, damaged)]
                if good:
                    answers.append(self._answer(np.stack(good), device))
                advance(len(chunk))
        if not answers:
            raise DataError(
                f"none of the {len(paths):,} files can be read as an image; the first, "
                f"{damaged[0].name}, {damaged[0].reason}: give other files"
            )
        return replace(self._named(answers, below, tuple(names)), damaged=tuple(damaged))

    def _read(self, path: Path, names: list[str], damaged: list[Damaged]) -> Iterator[np.ndarray]:
        """The fitted pixels of a file, noted in `names`; nothing if it is noted in `damaged`."""
        try:
            # as `sources.gathering` decodes for learning: the same file gives the same pixels
            height, width = self.image_size
            pixels = decode(path.read_bytes(), at_least=2 * height if height == width else None)
        except (DamagedImageError, OSError) as error:
            reason = (
                f"cannot be read ({error.strerror})" if isinstance(error, OSError) else str(error)
            )
            damaged.append(Damaged(str(path), reason))
            say(f"skipped a damaged image: {path} {reason}")
            return
        names.append(str(path))
        yield self._fit(pixels)

    def _fitted(self, pixels: Pixels) -> Pixels:
        if len(pixels) == 0:
            raise DataError("there is no image to predict: give at least one")
        if pixels.shape[2:] == self.image_size:
            return pixels
        return np.stack([self._fit(image) for image in pixels])

    def _fit(self, pixels: np.ndarray) -> np.ndarray:
        height, width = self.image_size
        if pixels.shape[1:] == self.image_size:
            return pixels
        if height != width:
            raise DataError(
                f"this model takes images of {height} x {width}, got {pixels.shape[1]} x "
                f"{pixels.shape[2]}: resize them, or fit a model with --size"
            )
        return fit_to_size(pixels, height)

    def _answer(self, pixels: Pixels, device: str) -> np.ndarray:
        return probabilities((self,), Images(pixels=pixels), device=device)[0]

    def _named(
        self, answers: Sequence[np.ndarray], below: float, names: tuple[str, ...] = ()
    ) -> Prediction:
        answers_NL = np.concatenate(answers)
        return Prediction(
            labels=tuple(self.class_names[label] for label in answers_NL.argmax(1)),
            probability=answers_NL.max(1),
            probabilities=answers_NL,
            none=answers_NL.max(1) < below,
            names=names,
        )

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the model into a folder of its own, whole or not at all; no pickle.

        Parameters
        ----------
        overwrite : replace a run or model that lies there; anything else is never replaced

        Raises CheckpointError where the folder holds another model or the disk is full,
        ConfigError where it holds something else.
        """
        with runs.claim(folder, overwrite) as partial:
            self.write(partial)

    def write(self, folder: Path) -> None:
        """Write the model's files into a folder that is there, beside what it holds."""
        graph_files.save(self.graph.to("cpu"), folder)
        heads.save(self.head, folder)
        described = {"class_names": self.class_names, "image_size": self.image_size}
        recipe = self.recipe.as_dict()
        runs.write_toml(folder / runs.CONFIG, {**self.info, "model": described, "recipe": recipe})
        if self.scores:
            runs.write_json(folder / "scores.json", self.scores)

    def _repr_html_(self) -> str:
        """For notebooks: the score and the confusion matrix."""
        names, accuracy = self.class_names, self.scores.get("accuracy")
        title = f"{self.recipe.name}: a model of {len(names)} classes"
        listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        parts = [notebook.line(listed)]
        if accuracy is None:
            parts.append(notebook.line("not scored: fewlabels evaluate RUN SOURCE scores it"))
            return notebook.block(title, parts)
        told = f"accuracy {100 * accuracy:.1f} % of {self.scores.get('n_test', 0):,} test images"
        if self.scores.get("protocol"):
            told += f", protocol {self.scores['protocol']}"
        parts.append(notebook.line(told))
        confusion_LL = np.asarray(self.scores.get("confusion", ()))
        if confusion_LL.shape == (len(names), len(names)):
            from fewlabels.figures import confusion_matrix  # matplotlib takes a second to load

            matrix = confusion_matrix(confusion_LL, names)
            parts.append(notebook.picture(matrix, "true class by row, answered class by column"))
        return notebook.block(title, parts)

    @classmethod
    def load(cls, folder: str | Path) -> "Model":
        """Read what `save` (or `fewlabels fit`) wrote; answers are the same bit for bit.

        Raises CheckpointError where a file is absent, damaged, or of another version.
        """
        folder = Path(folder)
        config = runs.read_config(folder)
        if "model" not in config and "run" in config:
            raise CheckpointError(
                f"{folder} is of `fewlabels score`, which keeps no model: give the folder of a "
                "`fewlabels fit`"
            )
        try:
            described, recipe = config.pop("model"), recipes.from_dict(config.pop("recipe"))
            height, width = described["image_size"]
            class_names = tuple(described["class_names"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{folder} holds no model that can be read ({runs.CONFIG}: {error!r}): give the "
                "folder of a `fewlabels fit`"
            ) from None
        return cls(
            graph=graph_files.load(folder),
            head=heads.load(folder),
            class_names=class_names,
            recipe=recipe,
            image_size=(height, width),
            info=config,
            scores=_scores(folder),
        )


def _scores(folder: Path) -> dict[str, Any]:
    """What a run says of its score; a model is used without one too."""
    try:
        return runs.read_scores(folder)
    except CheckpointError:
        return {}


def probabilities(
    models: Sequence[Model],
    images: Images,
    *,
    device: str = "cpu",
    what: str = "features",
) -> list[np.ndarray]:
    """For each model its answers, float32 of shape (n_images, n_classes).

    Where models that follow one another share a graph, features are computed once.
    """
    answers: list[np.ndarray] = []
    for graph, sharing in groupby(models, key=lambda model: model.graph):
        alike = tuple(sharing)
        flips = alike[0].recipe.flips
        rows = features.blocks(graph, images, flips=flips, device=resolve(device), what=what)
        parts = [[model.head.probabilities(rows_BD) for model in alike] for rows_BD in rows]
        answers += [torch.cat(of_model).numpy() for of_model in zip(*parts, strict=True)]
    return answers


def image_files(paths: Iterable[str | Path]) -> list[Path]:
    """The files as they are, and in folders (and theirs) all images by their suffix, sorted.

    Raises DataError where a path does not exist, or there is no image.
    """
    found: list[Path] = []
    asked = [Path(path) for path in paths]
    for path in asked:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if is_image(file.name))
            if not inside:
                raise DataError(f"{path} holds no images: give image files, or folders of them")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise DataError(f"{path} does not exist: give image files, or folders of them")
    if not found:
        raise DataError("there is no image to predict: give image files, or folders of them")
    return found
