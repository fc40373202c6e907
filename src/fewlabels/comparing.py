"""What runs wrote of themselves -> rows and curves to put side by side, and what is not alike.

Only files are read; nothing is computed again.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from fewlabels import runs, unfinished
from fewlabels.curves import LABEL_LENGTH, Curve, Line
from fewlabels.errors import CheckpointError

DRAWN_BY_SEED = ("shapes", "digits")  # sources whose images or parts depend on the seed
TOLD = (  # of a run's scores
    "accuracy accuracy_std accuracy_clean calibration_error recipe protocol peak_memory_mib seed "
    "n_test n_folds"
).split()
PARTS = {"train": "training"}  # in names of facts -> in words

Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What a run's files tell.

    folder : as the user named it; label : its short name, unlike those of the others
    curves : part -> a curve per training
    """

    folder: Path
    label: str
    config: Record
    scores: Record
    curves: Mapping[str, tuple[Curve, ...]]

    def row(self) -> dict[str, Any]:
        """The run's row of the table; None for what it does not tell."""
        return {
            "run": str(self.folder),
            "label": self.label,
            **{name: self.scores.get(name) for name in TOLD},
            "seconds": _total(self.scores.get("seconds")),
            "source": _section(self.config, "run").get("source"),
            "n_labelled": _section(self.config, "data").get("n_labelled"),
        }

    def line(self) -> Line:
        """What is drawn of it."""
        final = finite(self.scores.get("accuracy"))
        return Line(label=self.label, curves=self.curves, final=final)


def read_run(folder: Path, label: str) -> RunFacts:
    """What a run's files tell.

    Raises CheckpointError where there is no run, it is not finished, or a file of it is damaged.
    """
    working = unfinished.place_of(folder.resolve())
    cut_off = (folder / unfinished.MARKER).exists()
    if cut_off or (not folder.exists() and working.is_dir()):
        raise CheckpointError(
            f"{folder} is not finished{'' if cut_off else f' (there is {working.name})'}: wait "
            "until it is, or go on with fewlabels fit ... --resume"
        )
    config, scores = runs.read_config(folder), runs.read_scores(folder)
    lines = read_metrics(folder / "metrics.jsonl")
    return RunFacts(
        folder=folder, label=label, config=config, scores=scores, curves=curves_of(lines)
    )


def read_metrics(path: Path) -> list[Record]:
    """The lines of a run's `metrics.jsonl`; none where there is no such file.

    Raises CheckpointError for a line that is no JSON object, naming it.
    """
    if not path.exists():
        return []
    try:
        texts = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}): fit again") from error
    return [_record(text, f"{path}, line {number}") for number, text in enumerate(texts, 1)]


def _record(text: str, place: str) -> Record:
    try:
        record = json.loads(text)
    except ValueError as error:
        raise CheckpointError(f"{place} is no JSON ({error}): fit again") from error
    if not isinstance(record, dict):
        raise CheckpointError(f"{place} is no JSON object: fit again")
    return record


def curves_of(lines: Sequence[Record]) -> dict[str, tuple[Curve, ...]]:
    """Part ("training", "test", ...) -> a curve per training that measured it.

    A measurement is a finite fact with `accuracy` in its name; the rest of the name tells the part.
    Where a training notes two of one part, that whose name ends in `accuracy` is taken:
    `train_accuracy` is measured after an epoch, `accuracy_train` is the mean over its steps.
    """
    curves: dict[str, list[Curve]] = {}
    for trainings in models_of(lines):
        told = list(zip(trainings, begins(trainings), strict=True))
        for training, began in reversed(told):  # the last is what became of the model
            for part, curve in parts_of(training, began).items():
                curves.setdefault(part, []).append(curve)
    return {part: tuple(curves[part]) for part in sorted(curves)}


def begins(trainings: Sequence[Sequence[Record]]) -> list[float]:
    """For how many seconds a model had learned when each of its trainings began."""
    return [0.0, *accumulate(float(training[-1]["seconds"]) for training in trainings[:-1])]


def parts_of(training: Sequence[Record], began: float = 0.0) -> dict[str, Curve]:
    """Part -> the curve of one training."""
    names = {name for line in training for name in line if "accuracy" in name.split("_")}
    parts: dict[str, Curve] = {}
    # names that end in accuracy first
    for name in sorted(names, key=lambda name: (not name.endswith("accuracy"), name)):
        points = points_of(training, name)
        if points:
            epochs, seconds, accuracy = zip(*points, strict=True)
            curve = Curve(name=name, epochs=epochs, seconds=seconds, accuracy=accuracy, began=began)
            parts.setdefault(part_of(name), curve)
    return parts


def points_of(training: Sequence[Record], name: str) -> list[tuple[float, float, float]]:
    """Epoch, seconds and the fact of that name, where it is finite."""
    return [
        (float(line["epoch"]), float(line["seconds"]), value)
        for line in training
        if (value := finite(line.get(name))) is not None
    ]


def models_of(lines: Sequence[Record]) -> list[list[list[Record]]]:
    """The lines with an epoch and seconds, by model and by training.

    A new training begins where the epochs or steps of a stage begin anew, or the `phase` is
    another, as after a training of less than an epoch. One whose `phase` is higher goes on with the
    model of that before it.
    """
    trainings: list[list[Record]] = []
    running: dict[str, list[Record]] = {}  # stage -> its last training
    for line in lines:
        stage, epoch = str(line.get("stage")), finite(line.get("epoch"))
        if epoch is None or finite(line.get("seconds")) is None:
            continue
        if stage not in running or _is_another(line, running[stage]):
            running[stage] = []
            trainings.append(running[stage])
        running[stage].append(line)
    models: list[list[list[Record]]] = []
    for training in trainings:
        if models and _phase(training) > _phase(models[-1][-1]):
            models[-1].append(training)
        else:
            models.append([training])
    return models


def _is_another(line: Record, training: Sequence[Record]) -> bool:
    """Whether a line with an epoch is of a training after this one."""
    last, phase, its_phase = training[-1], _phase([line]), _phase(training)
    counted = [name for name in ("epoch", "step") if name in line and name in last]
    begins_anew = any(line[name] <= last[name] for name in counted)
    return begins_anew or (phase > 0 and its_phase > 0 and phase != its_phase)


def _phase(training: Sequence[Record]) -> float:
    return max(finite(line.get("phase")) or 0.0 for line in training)


def part_of(name: str) -> str:
    """`train_accuracy`, `accuracy_train` -> "training"; `accuracy_held_out` -> "held out"."""
    return " ".join(PARTS.get(word, word) for word in name.split("_") if word != "accuracy")


def differences(found: Sequence[RunFacts]) -> list[str]:
    """A sentence for each thing that makes the accuracies of these runs no fair comparison."""
    told = []
    for what, tell in (("protocols", _protocol), ("data", _data), ("test sets", _test_set)):
        kinds: dict[str, list[str]] = {}
        for run in found:
            kinds.setdefault(tell(run), []).append(run.label)
        if len(kinds) > 1:
            listed = "; ".join(f"{', '.join(names)}: {kind}" for kind, names in kinds.items())
            told.append(f"the runs have different {what} ({listed})")
    parts = sorted({part for run in found for part in run.curves})
    for part in parts:
        names = {run.label: run.curves[part][0].name for run in found if part in run.curves}
        if len(set(names.values())) > 1:
            listed = "; ".join(f"{label}: {name}" for label, name in names.items())
            told.append(f"{part} accuracy was measured in different ways ({listed})".lstrip())
    return told


def _protocol(run: RunFacts) -> str:
    name = str(run.scores.get("protocol"))
    folds = _section(run.config, "run").get("folds") or [0]
    if folds == [0] or name == f"fold-{folds[0]}":
        return name
    return f"{name}, folds {', '.join(map(str, folds))}"


def _data(run: RunFacts) -> str:
    asked = _section(run.config, "run")
    source = str(asked.get("source"))
    if source in DRAWN_BY_SEED:
        source += f" of seed {asked.get('seed')}"
    return source + (f" at size {asked['size']}" if asked.get("size") else "")


def _test_set(run: RunFacts) -> str:
    """How many images of which classes; in scores of several folds the confusion adds them up."""
    n_test = run.scores.get("n_test")
    if n_test is None:
        return "none"
    rows = run.scores.get("confusion") or []
    counts = [sum(row) // (run.scores.get("n_folds") or 1) for row in rows]
    names = list(run.scores.get("accuracy_per_class") or range(len(counts)))
    each = ", ".join(f"{n} {name}" for n, name in zip(counts[:4], names, strict=False))
    return f"{n_test:,} images of {len(names)} classes ({each}{', ...' * (len(counts) > 4)})"


def labels_of(run_folders: Sequence[Path]) -> list[str]:
    """Names short enough for a picture and all unlike: the ends of the paths, else numbered."""
    parts = [folder.resolve().parts for folder in run_folders]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]).strip("/") for part in parts]
        if len(set(names)) == len(names):
            break
    short = [_middle_left_out(name, LABEL_LENGTH) for name in names]
    if len(set(short)) < len(short):
        room = LABEL_LENGTH - 3
        short = [f"{i} {_middle_left_out(name, room)}" for i, name in enumerate(names, 1)]
    return short


def _middle_left_out(name: str, length: int) -> str:
    """Runs often differ in the end of their names."""
    name = " ".join(name.split())
    if len(name) <= length:
        return name
    end = length // 2
    return f"{name[: length - end - 1]}…{name[-end:]}"


def _total(seconds: Any) -> float | None:
    """All stages together."""
    if isinstance(seconds, Mapping):
        return round(sum(finite(one) or 0.0 for one in seconds.values()), 3)
    return finite(seconds)


def _section(config: Record, name: str) -> Record:
    section = config.get(name)
    return section if isinstance(section, Mapping) else {}


def finite(value: Any) -> float | None:
    """The number that a file's value is; None for what is none, or is not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
