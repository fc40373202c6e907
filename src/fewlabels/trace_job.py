"""`fewlabels trace`: a batch of images through the network of a run; writes the picture."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fewlabels import drawing, made_files, runs, trace_pictures
from fewlabels.devices import resolve
from fewlabels.images import as_float
from fewlabels.model import Model
from fewlabels.run_images import check_size, images_for
from fewlabels.trace_losses import loss_of
from fewlabels.tracing import trace

BATCH = 64  # images; fewer where there are fewer
SVG, JSON = "trace.svg", "trace.json"
MADE_BY = "fewlabels trace"  # in the JSON, so that our own files are known again


def trace_run(
    run: Path, source: str | None = None, out: Path | None = None, device: str = "auto"
) -> dict[str, Any]:
    """Trace the network of a run on test images (training ones, where there are none).

    Parameters
    ----------
    source : of the images; what the run learned from if None
    out : folder of `trace.svg` and `trace.json`; the run's if None

    Returns
    -------
    what `trace.json` holds, and where both files are

    Raises CheckpointError where there is no such run, DataError where images do not fit,
    ConfigError where the files cannot be written, or would replace others' files.
    """
    device = resolve(device)
    model = Model.load(run)
    folder = run if out is None else out
    if not (folder / runs.CONFIG).exists():  # in a run these names are a trace's
        made_files.check_free(folder, (JSON, SVG), MADE_BY, "traces")
    command = f"fewlabels trace {run} --images SOURCE"
    image_set, given = images_for(model, run, source, command, ("train", "test"))
    part = "train" if image_set.test is None else "test"
    images = image_set.train if image_set.test is None else image_set.test
    check_size(model, run, images, image_set.name)
    # evenly over the set, as its images often lie class by class
    picked = np.unique(np.linspace(0, len(images) - 1, BATCH).astype(int))
    graph = model.graph.to(device)
    pixels_NCHW = as_float(images.pixels[picked]).to(device)
    traced = trace(graph, pixels_NCHW, loss_of(model)).as_dict()
    traced |= {
        "made_by": MADE_BY,
        "run": str(run),
        "source": given,
        "images": f"{image_set.name} ({part})",
    }
    traced |= {"device": device, "torch": str(torch.__version__)}
    files = {
        SVG: drawing.as_svg(graph, trace_pictures.notes(traced)),
        JSON: json.dumps(traced, indent=2, ensure_ascii=False) + "\n",
    }
    made_files.write(folder, files, "traces")
    return {"svg": str(folder / SVG), "json": str(folder / JSON)} | traced
