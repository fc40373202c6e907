"""`fewlabels report`: the page of a run again, from its files or with another map of its images."""

from pathlib import Path
from typing import Any

from fewlabels import pictures_file, picturing, runs, showing, splits
from fewlabels.errors import ConfigError
from fewlabels.images import PARTS
from fewlabels.model import Model
from fewlabels.protocol import evaluate
from fewlabels.report import page
from fewlabels.run_images import check_classes, check_size, images_for


def report_run(
    run: Path, n_mapped: int | None = None, source: str | None = None, device: str = "auto"
) -> dict[str, Any]:
    """Write the page of a run.

    Parameters
    ----------
    n_mapped : images of a new map, for which the images are read and answered again; the pictures
        that the run kept if None
    source : of the images, in place of the one that the run remembers

    Raises CheckpointError where a file is absent or damaged; DataError where the images do not fit;
    ConfigError for a source that nothing is made of.
    """
    if n_mapped is None and source is not None:
        raise ConfigError("images are read for a new map: say with --map how many it is to have")
    with runs.disk_full_is_said(run):
        if n_mapped is not None:
            pictures_file.save(run, pictures_again(run, n_mapped, source, device))
        return {
            "run": str(run),
            "report": str(page.write(showing.findings_of(run), run / showing.PAGE)),
        }


def pictures_again(run: Path, n_mapped: int, source: str | None, device: str) -> pictures_file.Kept:
    """What `fit` kept, made from the model and the images."""
    model = Model.load(run)
    image_set, _ = images_for(model, run, source, f"fewlabels report {run} --images SOURCE", PARTS)
    check_classes(model, image_set)
    check_size(model, run, image_set.train, image_set.name)
    asked = model.info.get("run", {})
    scores = None
    if n_mapped and image_set.test is not None and image_set.test.labels is not None:
        (scores,) = evaluate((model,), image_set.test, device=device)
    return picturing.kept_of(
        model,
        image_set,
        splits.again(image_set, asked),
        n_mapped,
        scores=scores,
        device=device,
        seed=int(asked.get("seed", 0)),
    )
