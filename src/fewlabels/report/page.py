"""Findings -> one HTML file that needs no network, no script and no other file."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fewlabels.errors import DataError
from fewlabels.figures import confusion_matrix, filter_gallery, to_png
from fewlabels.report.findings import (
    Findings,
    Mistake,
    class_scores,
    flat_settings,
    wilson_interval,
    worst_confusions,
)
from fewlabels.whole_files import write_file

N_MISTAKES = 24  # thumbnails on a page


def write(findings: Findings, path: str | Path) -> Path:
    """Write the page to `path`, whole under another name and then renamed; returns the path.

    Raises DataError if the file cannot be written (no such folder, a full disk, no permission);
    a page that was there stays as it was.
    """
    path = Path(path)
    text = render(findings)
    try:
        write_file(path, text)
    except OSError as error:
        raise DataError(
            f"the report could not be written to {path} ({error.strerror}): "
            "free some space or choose another folder"
        ) from error
    return path


def render(findings: Findings) -> str:
    """The page's HTML; every text in it is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "duration": duration, "png": png_address}
    return environment.get_template("page.html").render(
        findings=findings,
        scores=dict(findings.scores),
        settings=flat_settings(findings.settings),
        seconds=dict(findings.seconds or findings.scores.get("seconds") or {}),
        mistakes=sorted(findings.mistakes, key=lambda m: -m.probability)[:N_MISTAKES],
        filters=None if findings.filters is None else filter_gallery(findings.filters),
        graph=svg_address(findings.graph_svg) if findings.graph_svg else None,
        thumbnail=thumbnail,
        **_score_parts(findings),
    )


def _score_parts(findings: Findings) -> dict[str, Any]:
    """What the page derives from the confusion matrix; all empty without one."""
    accuracy, n_test = findings.scores.get("accuracy"), findings.scores.get("n_test")
    parts: dict[str, Any] = {"interval": None, "matrix": None, "classes": [], "confusions": []}
    if accuracy is not None and n_test:
        parts["interval"] = wilson_interval(round(accuracy * n_test), n_test)
    parts["guess"] = None
    if findings.scores.get("confusion") is not None:
        confusion_LL, names = np.asarray(findings.scores["confusion"]), findings.class_names
        parts["matrix"] = confusion_matrix(confusion_LL, names)
        parts["classes"] = class_scores(confusion_LL, names)
        parts["confusions"] = worst_confusions(confusion_LL, names)
        parts["guess"] = confusion_LL.sum(axis=1).max() / max(confusion_LL.sum(), 1)
    return parts


def percent(share: float, digits: int = 1) -> str:
    """0.7431 -> '74.3 %', with a space that does not break."""
    return f"{100 * share:.{digits}f}\u00a0%"


def duration(seconds: float) -> str:
    """Seconds in the unit a person would choose: '0.4 s', '1 min 05 s', '2 h 03 min'."""
    if seconds < 59.95:
        return f"{seconds:.1f}\u00a0s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}\u00a0min {whole % 60:02}\u00a0s"
    return f"{whole // 3600}\u00a0h {whole % 3600 // 60:02}\u00a0min"


def png_address(picture: Any) -> str:
    """A picture as the address of an image that lies in the page itself."""
    return f"data:image/png;base64,{base64.b64encode(to_png(picture)).decode()}"


def svg_address(svg: str) -> str:
    # as an image and not as a part of the page, an SVG can run nothing and load nothing
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def thumbnail(mistake: Mistake) -> str:
    return png_address(mistake.pixels.transpose(1, 2, 0))
