"""Where a training stands, in one file: what it needs to go on as if nothing had happened.

    training.safetensors   tensors "weights/NAME" of the graph, "averaged/NAME" of its average and
                           "optimizer/NAME/KEY" of what the optimizer keeps of a weight, and
                           "step/NAME" of what a `TaughtStep` keeps; as metadata one JSON text
                           with the step, the seconds and the rest

No pickle, and one file, so that its parts cannot be of two moments. Nothing random is kept: every
draw of a training is a function of its seed and the step.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim import Optimizer

from fewlabels import origins
from fewlabels.averaging import Averaged
from fewlabels.errors import CheckpointError
from fewlabels.graph import Graph
from fewlabels.graph_files import write_whole

FILE = "training.safetensors"
FORMAT = 2
FIXED = (
    "optimizer",
    "batch_size",
    "epochs",
    "least_steps",
)  # settings without which the steps are others
ANEW = "start anew with --overwrite"


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """What a training was after a step.

    made_by : "graph" (its fingerprint), "seed", "n_examples", "precision", "budget_seconds",
        "config", "made_from" and "first_weights" (see `origins`)
    seconds : of the training so far
    facts : the rest of what the loop knows, as JSON has it
    """

    tensors: Mapping[str, Tensor]
    made_by: Mapping[str, Any]
    step: int
    seconds: float
    facts: Mapping[str, Any]


def save(checkpoint: Checkpoint, folder: Path) -> None:
    """Write `training.safetensors`, whole, then in the place of the one before.

    Raises CheckpointError if it cannot be written; the one before then stays.
    """
    described = {
        "format": FORMAT,
        "made_by": checkpoint.made_by,
        "step": checkpoint.step,
        "seconds": checkpoint.seconds,
        "facts": checkpoint.facts,
    }
    content = safetensors.torch.save(dict(checkpoint.tensors), {"training": json.dumps(described)})
    write_whole(Path(folder), {FILE: content})


def load(folder: Path) -> Checkpoint | None:
    """What `save` wrote into `folder`; None where there is nothing.

    Raises CheckpointError if the file is damaged or of another version.
    """
    path = Path(folder) / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            described = json.loads(file.metadata()["training"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        version = described.pop("format")
        if version == FORMAT:
            return Checkpoint(tensors=tensors, **described)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror}): mend its permissions, or {ANEW}"
        ) from error
    except (SafetensorError, LookupError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise CheckpointError(
            f"{path} is not a whole checkpoint ({reason}): copy it again, or {ANEW}"
        ) from error
    if version > FORMAT:
        raise CheckpointError(
            f"{path} has format {version}, and this version reads {FORMAT}: update fewlabels"
        )
    raise CheckpointError(
        f"{path} has format {version}, which does not tell what it learned from: go on with the "
        f"fewlabels that wrote it, or {ANEW}"
    )


def precision_in(folder: Path) -> str | None:
    """That of the trainings whose checkpoints are in `folder` or below; None where there are none.

    Raises CheckpointError if one is damaged or of another version.
    """
    for path in sorted(Path(folder).glob(f"**/{FILE}")):
        found = load(path.parent)
        if found is not None:
            return found.made_by["precision"]
    return None


def check(found: Mapping[str, Any], expected: Mapping[str, Any], path: Path) -> list[str]:
    """What was changed since, in words, of the settings that may change in a training.

    Parameters
    ----------
    found, expected : `Checkpoint.made_by` of the file and of the training that goes on

    Raises CheckpointError where the two cannot be one training: where anything differs that changes
    the result, but for the settings of the rates and the like.
    """
    if found["graph"] != expected["graph"]:
        raise CheckpointError(
            f"{path} is of another network: resume with the recipe and settings of its run, or "
            f"{ANEW}"
        )
    before, now = dict(found["config"]), dict(expected["config"])
    fixed = [("the seed", found["seed"], expected["seed"])]
    fixed += [("the number of images", found["n_examples"], expected["n_examples"])]
    fixed += [("the precision", found["precision"], expected["precision"])]
    budgets = ("the --budget", _budget(found), _budget(expected))
    fixed += [budgets] * ("none" in budgets)  # then the epochs are not alike either
    fixed += [(f"training.{name}", before.get(name), now[name]) for name in FIXED]
    for name, was, wanted in fixed:
        _check_same(name, was, wanted, path)
    was_from, now_from = found["made_from"], expected["made_from"]
    for name in {**was_from, **now_from}:
        if was_from.get(name) != now_from.get(name):
            raise CheckpointError(
                f"{path} was made with other {name}: resume with the images and settings of its "
                f"run, or {ANEW}"
            )
    _check_same(*budgets, path)  # after the settings, as these share out the time
    weight = origins.unlike(found["first_weights"], expected["first_weights"])
    if weight is not None:
        raise CheckpointError(
            f"{path} began with other first weights (see {weight!r}): resume with the images and "
            f"settings of its run, or {ANEW}"
        )
    return [
        f"training.{name} is now {now[name]}, and was {before[name]}"
        for name in now
        if name in before and name not in FIXED and now[name] != before[name]
    ]


def _check_same(name: str, was: Any, wanted: Any, path: Path) -> None:
    if was != wanted:
        raise CheckpointError(
            f"{path} was made with {was} as {name}, not {wanted}: give the same, or {ANEW}"
        )


def _budget(made_by: Mapping[str, Any]) -> str:
    seconds = made_by["budget_seconds"]
    return "none" if seconds is None else f"{seconds:g} s"


def gather(
    graph: Graph,
    averaged: Averaged | None,
    optimizers: Sequence[Optimizer],
    step: nn.Module | None = None,
) -> dict[str, Tensor]:
    """Copies of everything that a step changes, by name, on the CPU.

    step : whose buffers are kept too
    """
    found = dict(_tensors(graph, averaged, step))
    for optimizer, name, weight in _learned(graph, optimizers):
        for key, value in optimizer.state[weight].items():
            if isinstance(value, Tensor):
                found[f"optimizer/{name}/{key}"] = value
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in found.items()}


@torch.no_grad()
def put_back(
    tensors: Mapping[str, Tensor],
    graph: Graph,
    averaged: Averaged | None,
    optimizers: Sequence[Optimizer],
    path: Path,
    step: nn.Module | None = None,
) -> None:
    """Give all of them what `gather` found, as it lay in memory.

    Raises CheckpointError if a tensor is missing, too many, or of another shape.
    """
    places = dict(_tensors(graph, averaged, step))
    # sums in another order of memory would differ in the last bit
    for optimizer, name, weight in _learned(graph, optimizers):
        for key in [key for key in tensors if key.startswith(f"optimizer/{name}/")]:
            place = torch.empty_like(weight, requires_grad=False)
            places[key] = optimizer.state[weight][key.rpartition("/")[2]] = place
    for key in [*places, *tensors]:
        if key not in places or key not in tensors or places[key].shape != tensors[key].shape:
            raise CheckpointError(
                f"{path} does not fit its network and settings (see {key!r}): resume with those "
                f"of its run, or {ANEW}"
            )
    for key, place in places.items():
        place.copy_(tensors[key])


def all_finite(graph: nn.Module) -> bool:
    """Whether no weight and no statistic is NaN or infinite."""
    return all(bool(value.isfinite().all()) for value in chain(graph.parameters(), graph.buffers()))


def _tensors(
    graph: Graph, averaged: Averaged | None, step: nn.Module | None
) -> Iterator[tuple[str, Tensor]]:
    parts: dict[str, nn.Module] = {"weights": graph}
    parts |= {} if averaged is None else {"averaged": averaged.graph}
    parts |= {} if step is None else {"step": step}
    for part, one in parts.items():
        for name, value in chain(one.named_parameters(), one.named_buffers()):
            yield f"{part}/{name}", value


def _learned(
    graph: Graph, optimizers: Sequence[Optimizer]
) -> Iterator[tuple[Optimizer, str, Tensor]]:
    """The optimizer, name and tensor of every weight that learns."""
    names = {weight: name for name, weight in graph.named_parameters()}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for weight in group["params"]:
                yield optimizer, names[weight], weight
