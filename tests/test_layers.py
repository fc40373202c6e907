"""The architecture, kept by a test: imports point down, files stay short, rooms have a job.

A file imports only from rooms that stand before its own in the table, or from its own room. A room
is one string: the files of a folder (`sources/`), or files that belong together (`graph drawing`).
To add a file: write its name (without .py) into the room it belongs to, or as a room of its own.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import fewlabels

LAYERS: tuple[tuple[str, ...], ...] = (
    (
        "errors",
        "progress",
        "threads",
        "precision",
        "interrupts",
        "memory",
        "whole_files",
        "torchrun",
    ),
    (
        "figures curves galleries map_pictures",
        "notebook",
        "images joined",
        "graph graph_backward graph_checks graph_files graph_plans module_kinds drawing",
        "augment resampling tones colours draws",
        "kmeans",
        "solving",
        "copies near_copies",
        "origins",
        "maps",
    ),
    (
        "sources/",
        "patches",
        "surrogates places merging",
        "groups",
        "filter_pictures layers stack_layers",
        "batch_norm batch_norm_gradient batch_statistics mirrors",
    ),
    (
        "heads head_kinds calibration",
        "committee",
        "novelty shares",
        "choosing",
        "mislabelled",
        "features excitations sketches",
        "training training_loop training_steps training_config batches processes "
        "optimizers averaging checkpoints tracking side_by_side",
        "architectures whitened ensembles trained_features",
    ),
    ("ways/",),
    (
        "recipes recipe settings trained_recipes",
        "devices",
        "runs unfinished",
        "splits",
        "model",
        "model_views",
        "auto auto_facts deciding promise machine",
        "fold_heads",
        "enough",
        "fitting",
    ),
    (
        "protocol",
        "baseline",
        "made_files",
        "comparing compare_job",
        "suggestions",
        "report/",
        "pictures_file",
        "shown_images picturing",
        "histories",
        "showing",
        "live",
        "options",
        "learning",
        "scores_file",
        "run_images",
        "report_job",
        "jobs",
        "figure_settings figure_material map_figures network_figure report_figures figures_job",
        "strangers judging",
        "suggesting suggest_job",
        "tracing trace_job trace_losses trace_pictures",
    ),
    ("terminal tables", "streams", "__init__", "demo", "run_commands", "cli", "__main__"),
)
ROOMS = [(room, layer) for layer, rooms in enumerate(LAYERS) for room in rooms]
MAX_LINES = 300
NO_JOB = {"utils", "util", "common", "helpers", "helper", "manager", "handler", "misc"}

SOURCE = Path(fewlabels.__file__).parent
FILES = {path.relative_to(SOURCE).with_suffix("").as_posix(): path for path in SOURCE.rglob("*.py")}


def place(file: str) -> int | None:
    """The number of the room of a file such as `graph` or `sources/made`; None without a room."""
    for number, (room, _) in enumerate(ROOMS):
        if file in room.split() or (room.endswith("/") and file.startswith(room)):
            return number
    return None


def imported(text: str) -> Iterator[str]:
    """Names of the package's files that a source text imports, also inside functions."""
    for part in ast.walk(ast.parse(text)):
        if isinstance(part, ast.Import):
            modules = [alias.name for alias in part.names]
        elif isinstance(part, ast.ImportFrom):
            assert not part.level, "imports are absolute: from fewlabels.x import y"
            deeper = [f"{part.module}.{alias.name}" for alias in part.names]
            modules = [name if as_file(name) in FILES else str(part.module) for name in deeper]
        else:
            continue
        yield from (as_file(module) for module in modules if module.split(".")[0] == "fewlabels")


def as_file(module: str) -> str:
    """`fewlabels.sources.made` -> `sources/made`; a package is its `__init__`."""
    file = "/".join(module.split(".")[1:])
    return "/".join(filter(None, (file, "__init__"))) if (SOURCE / file).is_dir() else file


def refused(file: str, text: str) -> list[str]:
    """The imports of a file that do not point down, in words; files without a room may do all."""
    own = place(file)
    return [
        f"{file} (layer {ROOMS[own][1]}) must not import {used} (layer {ROOMS[other][1]})"
        for used in imported(text)
        if own is not None and (other := place(used)) is not None and other > own
    ]


@pytest.mark.parametrize("file", sorted(FILES))
def test_a_file_has_a_place_in_the_table(file: str):
    assert place(file) is not None, f"{file} has no room: add it to LAYERS in {Path(__file__).name}"


@pytest.mark.parametrize("file", sorted(FILES))
def test_imports_point_down(file: str):
    assert [] == refused(file, FILES[file].read_text(encoding="utf-8"))


def test_an_import_that_points_up_is_seen():
    text = "def f():\n    from fewlabels.report import page\n    import fewlabels.errors"

    assert ["images (layer 1) must not import report/page (layer 6)"] == refused("images", text)
    assert [] == refused("cli", text)


@pytest.mark.parametrize("file", sorted(FILES))
def test_a_file_can_be_read_in_one_go(file: str):
    n_lines = len(FILES[file].read_text(encoding="utf-8").splitlines())

    assert n_lines <= MAX_LINES, f"{file} has {n_lines} lines: split it by job"


def test_every_room_is_named_after_its_job():
    assert [] == [file for file in FILES if set(file.split("/")) & NO_JOB]
