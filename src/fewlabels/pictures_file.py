"""`pictures.safetensors` of a run: what its page shows of the images, as the source may be gone.

Thumbnails on WebP sheets, where each image lies on the map, labels, answers and names; the pictures
of what to label next; the gallery of surrogates.
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from fewlabels.errors import CheckpointError
from fewlabels.report.findings import Suggestion
from fewlabels.report.pictures import Pictures, packed_names, unpacked_names
from fewlabels.report.thumbnails import Sheets
from fewlabels.whole_files import write_file

FILE = "pictures.safetensors"
FORMAT = 1
ARRAYS = ("positions_M2", "truth_N", "answer_N", "confidence_N", "part_N")


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """What a run keeps for its page; surrogates : a WebP file."""

    pictures: Pictures | None = None
    suggestions: Sequence[Suggestion] = ()
    surrogates: bytes | None = None


def save(folder: Path, kept: Kept) -> None:
    """Write `pictures.safetensors`, in the place of one that was there."""
    described: dict[str, object] = {"format": FORMAT}
    tensors: dict[str, np.ndarray] = {}
    if (pictures := kept.pictures) is not None:
        sheets = pictures.sheets
        described["sheets"] = {
            name: getattr(sheets, name) for name in ("height", "width", "columns", "rows")
        }
        described |= {"no_map": pictures.no_map, "n_sheets": len(sheets.files)}
        tensors |= {name: np.ascontiguousarray(getattr(pictures, name)) for name in ARRAYS}
        tensors["names"] = _bytes(packed_names(pictures.names))
        tensors |= {f"sheet_{i}": _bytes(file) for i, file in enumerate(sheets.files)}
    if kept.suggestions:
        tensors["suggested"] = np.stack([one.pixels for one in kept.suggestions])
    described["suggestions"] = [
        {"name": one.name, "part": one.part, "answer": one.answer, "probability": one.probability}
        for one in kept.suggestions
    ]
    if kept.surrogates is not None:
        tensors["surrogates"] = _bytes(kept.surrogates)
    write_file(folder / FILE, safetensors.numpy.save(tensors, {"pictures": json.dumps(described)}))


def load(folder: Path) -> Kept:
    """What `save` wrote; nothing where there is no such file.

    Raises CheckpointError where it is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return Kept()
    try:
        with safetensors.safe_open(path, "numpy") as file:
            described = json.loads(file.metadata()["pictures"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        if described["format"] > FORMAT:
            raise ValueError(f"it has format {described['format']}")
        pictures = None
        if "sheets" in described:
            files = [tensors[f"sheet_{i}"].tobytes() for i in range(described["n_sheets"])]
            pictures = Pictures(
                **{name: tensors[name] for name in ARRAYS},
                names=unpacked_names(tensors["names"].tobytes(), len(tensors["truth_N"])),
                sheets=Sheets(files=tuple(files), **described["sheets"]),
                no_map=described["no_map"],
            )
        facts = described["suggestions"]
        pixels = tensors.get("suggested", ())
        return Kept(
            pictures=pictures,
            suggestions=[
                Suggestion(pixels=image, **fact) for image, fact in zip(pixels, facts, strict=True)
            ],
            surrogates=tensors["surrogates"].tobytes() if "surrogates" in tensors else None,
        )
    except (
        *(safetensors.SafetensorError, OSError, LookupError, TypeError, ValueError),
        *(AttributeError, zlib.error),
    ) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}): remove it, or make it again with fewlabels report "
            f"{folder} --map 1000"
        ) from error


def _bytes(content: bytes) -> np.ndarray:
    return np.frombuffer(content, np.uint8)
