"""`fewlabels trace`: a batch of images through the network of a run; writes the picture."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from fewlabels import drawing, runs, trace_pictures
from fewlabels.devices import resolve
from fewlabels.errors import ConfigError
from fewlabels.images import as_float
from fewlabels.model import Model
from fewlabels.run_images import check_size, images_for
from fewlabels.trace_losses import loss_of
from fewlabels.tracing import trace
from fewlabels.whole_files import write_file

BATCH = 64  # images; fewer where there are fewer
SVG, JSON = "trace.svg", "trace.json"


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
    ConfigError where the files cannot be written.
    """
    device = resolve(device)
    model = Model.load(run)
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
    traced |= {"run": str(run), "source": given, "images": f"{image_set.name} ({part})"}
    traced |= {"device": device, "torch": str(torch.__version__)}
    folder = run if out is None else out
    picture = drawing.as_svg(graph, trace_pictures.notes(traced))
    try:
        with runs.disk_full_is_said(folder):
            folder.mkdir(parents=True, exist_ok=True)
            write_file(folder / SVG, picture)
            runs.write_json(folder / JSON, traced)
    except OSError as error:
        raise ConfigError(
            f"a trace cannot be written into {folder} ({error.strerror}): give another --out"
        ) from error
    return {"svg": str(folder / SVG), "json": str(folder / JSON)} | traced
