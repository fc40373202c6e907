"""The files of a run -> what its page shows; so the page can be written again at any time.

The most confident mistakes are kept as pictures in `mistakes.safetensors`, as the source may be
gone by then.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from torch import nn

from fewlabels import drawing, graph_files, histories, pictures_file, runs
from fewlabels.errors import CheckpointError
from fewlabels.graph import Graph
from fewlabels.images import Damaged, ImageSet
from fewlabels.layers import PatchEncoder
from fewlabels.protocol import Answer
from fewlabels.report.findings import Findings, Mistake
from fewlabels.ways import filters
from fewlabels.whole_files import write_file

MISTAKES = "mistakes.safetensors"
PAGE = "report.html"


def findings_of(run: str | Path) -> Findings:
    """All that a run's page shows, read from its folder.

    Raises CheckpointError where a file is absent or damaged.
    """
    run = Path(run)
    config, scores = runs.read_config(run), runs.read_scores(run)
    graph = graph_files.load(run)
    kept = pictures_file.load(run)
    drawn: dict[str, Any] = {
        "pictures": kept.pictures,
        "suggestions": kept.suggestions,
        "surrogates": kept.surrogates,
        "history": histories.history_of(run),
        "filters": first_filters(graph),
        "mistakes": load_mistakes(run),
        "graph_svg": drawing.as_svg(graph),
        "graph_text": drawing.as_text(graph),
    }
    try:
        asked, data = config.get("run", {}), config.get("data", {})
        return Findings(
            source=data.get("name", "images"),
            recipe=scores["recipe"],
            class_names=data["class_names"],
            scores=scores,
            n_labelled=data.get("n_labelled"),
            n_unlabeled=data.get("n_unlabeled"),
            settings=config.get("recipe", {}),
            versions=config.get("versions", {}),
            command=asked.get("command"),
            notes=(*_protocol_notes(scores, config.get("recipe", {})), *data.get("notes", ())),
            damaged=[Damaged(file["name"], file["reason"]) for file in data.get("damaged", ())],
            **drawn,
        )
    except KeyError as error:
        raise CheckpointError(
            f"{run} was not written by fewlabels fit (it lacks {error}): fit again"
        ) from None
    except (AttributeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"scores.json and {runs.CONFIG} of {run} do not fit together ({error}): fit again"
        ) from error


def first_filters(graph: Graph) -> np.ndarray | None:
    """The filters over the image's own pixels as pictures around 0: (n_filters, 3, side, side)."""
    for name, module in graph.layers.items():
        if graph.sources[name] == ("image",) and isinstance(module, PatchEncoder):
            return filters.gallery(graph).numpy()
        if graph.sources[name] == ("image",) and isinstance(module, nn.Conv2d):
            return module.weight.detach().numpy()
    return None


def _protocol_notes(scores: Mapping[str, Any], recipe: Mapping[str, Any]) -> list[str]:
    without_labels = (
        "learned from the unlabelled images and from all training images without their labels; "
        "test images were only answered."
    )
    learned, folds = f"The filters {without_labels}", scores.get("folds")
    if "surrogate" in recipe or "selfsupervised" in recipe:
        learned = f"The network {without_labels}"
    elif "consistency" in recipe and not all(one.get("why_none_used") for one in folds or [scores]):
        learned = (
            "The network learned from the labelled images; its first layer, and by its own answers "
            f"all of it, {without_labels}"
        )
    elif "labels" in recipe and "head" in recipe:
        learned = (
            "The network and the head beside it learned from the labelled images and answer "
            "together, while the accuracies over the epochs are the network's alone; what the "
            f"network starts from, and the filters that the head reads, {without_labels}"
        )
    elif "labels" in recipe:
        learned = "The network learned from the labelled images"
        if recipe.get("network", {}).get("first") == "random":
            learned += " alone; test images were only answered."
        else:
            learned += f"; what its first layer starts from {without_labels}"
    notes = [f"Protocol: {scores.get('protocol')}. {learned}"]
    if folds:
        listed = ", ".join(f"{100 * fold['accuracy']:.1f} %" for fold in folds)
        spread = scores.get("accuracy_std")
        deviation = "" if spread is None else f"; standard deviation {100 * spread:.2f} points"
        notes.append(
            f"The accuracy is the mean of {len(folds)} folds: {listed}{deviation}. The confusion "
            "matrix adds them up; the mistakes are those of the first."
        )
    if scores.get("gain") is not None:
        notes.append(_gain_note(scores))
    if "auto" in scores:
        notes.append(f"The recipe was picked by auto: {'; '.join(scores['auto']['reasons'])}.")
    if scores.get("accuracy_validation") is not None:
        notes.append(
            f"On the validation images: {100 * scores['accuracy_validation']:.1f} % correct."
        )
    return notes


def _gain_note(scores: Mapping[str, Any]) -> str:
    """What the unlabelled images are worth, and how sure that is."""
    gain, error = 100 * scores["gain"], 100 * scores["gain_error"]
    sure = "more than chance" if abs(gain) > 2 * error else "within what chance does"
    return (
        "What learned in the same time from the labelled images alone answers "
        f"{100 * scores['labels_only_accuracy']:.1f} % of the {scores['gain_measured_on']} "
        f"correctly: the unlabelled images gain {gain:+.1f} points, with a standard error of "
        f"{error:.1f} points, which is {sure}."
    )


def save_mistakes(folder: Path, mistakes: Sequence[Answer], image_set: ImageSet) -> None:
    """Keep the pictures, names and answers of wrong answers on the test part."""
    test = image_set.test
    assert test is not None
    if not mistakes:
        return
    indices = np.array([mistake.index for mistake in mistakes])
    facts = [
        {
            "truth": image_set.class_names[mistake.truth],
            "answer": image_set.class_names[mistake.label],
            "probability": mistake.probability,
            "name": test.names[mistake.index] if test.names else f"test image {mistake.index}",
        }
        for mistake in mistakes
    ]
    pixels = np.ascontiguousarray(test.pixels[indices])
    content = safetensors.numpy.save({"pixels": pixels}, {"facts": json.dumps(facts)})
    write_file(folder / MISTAKES, content)


def load_mistakes(folder: Path) -> list[Mistake]:
    """What `save_mistakes` kept; none where there is no such file.

    Raises CheckpointError where it is damaged.
    """
    path = folder / MISTAKES
    if not path.exists():
        return []
    try:
        with safetensors.safe_open(path, "numpy") as file:
            pixels = file.get_tensor("pixels")
            facts = json.loads(file.metadata()["facts"])
        return [Mistake(pixels=image, **fact) for image, fact in zip(pixels, facts, strict=True)]
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): remove it, or fit again") from error
