"""Findings -> one HTML file that needs no network and no other file.

The page's own security policy lets nothing run but the style and the script that were written into
it, told by their hashes, and nothing load but pictures that lie in the page.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fewlabels.errors import DataError
from fewlabels.figures import confusion_matrix, filter_gallery, shortened, to_png
from fewlabels.report import matrix
from fewlabels.report.chart import line_chart
from fewlabels.report.findings import (
    Findings,
    class_scores,
    flat_settings,
    unused,
    wilson_interval,
    worst_confusions,
)
from fewlabels.report.pictures import as_data
from fewlabels.report.thumbnails import webp
from fewlabels.whole_files import write_file

HERE = Path(__file__).parent
# in this order: each uses what stands before it
SCRIPTS = (
    *("pictures", "shapes", "view", "index", "painter", "opened"),
    *("legend", "hover", "keyboard", "pointer", "map", "start"),
)
N_MISTAKES = 24  # thumbnails on a page
SHORT = 40  # characters of a class name in a sentence
LARGEST_SHEET = 300_000  # bytes of a lossless sheet of filters; a larger one is not lossless
SHEET_QUALITY, PHOTO_QUALITY = 80, 85
REFRESH_SECONDS = 5  # of a page that is written again while the run goes on


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
    style = (HERE / "page.css").read_text(encoding="utf-8")
    script = script_text() if findings.pictures is not None else ""
    return (
        _environment()
        .get_template("page.html")
        .render(
            policy=policy(style, script),
            style=Markup(style),
            script=Markup(script),
            refresh=REFRESH_SECONDS,
            findings=findings,
            progress=findings.progress,
            scores=dict(findings.scores),
            settings=flat_settings(findings.settings),
            seconds=dict(findings.seconds or findings.scores.get("seconds") or {}),
            mistakes=sorted(findings.mistakes, key=lambda m: -m.probability)[:N_MISTAKES],
            filters=None if findings.filters is None else filter_gallery(findings.filters),
            graph=address("svg+xml", findings.graph_svg.encode()) if findings.graph_svg else None,
            charts=_charts(findings),
            unused=unused(findings.scores),
            pictures=findings.pictures,
            data=None
            if findings.pictures is None
            else as_data(findings.pictures, findings.class_names),
            **_score_parts(findings),
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "duration": duration,
        "png": lambda picture: address("png", to_png(picture)),
        "photo": lambda pixels: address("webp", webp(pixels.transpose(1, 2, 0), PHOTO_QUALITY)),
        "short": lambda name: shortened(name, SHORT),
        "webp": lambda content: address("webp", content),
        "sheet": sheet_address,
        "base64": lambda content: Markup(base64.b64encode(content).decode()),
    }
    return environment


def script_text() -> str:
    """All scripts as one function, so that their names meet no others."""
    texts = [(HERE / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    return '(() => {\n"use strict";\n' + "\n".join(texts) + "})();\n"


def policy(style: str, script: str) -> str:
    """A content security policy that allows this style and this script, and no other.

    Source: Content Security Policy Level 3, W3C.
    """
    rules = ["default-src 'none'", "img-src data: blob:", f"style-src {digest(style)}"]
    if script:
        rules.append(f"script-src {digest(script)}")
    return "; ".join([*rules, "base-uri 'none'", "form-action 'none'"])


def digest(text: str) -> str:
    content = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{content}'"


def _score_parts(findings: Findings) -> dict[str, Any]:
    """What the page derives from the confusion matrix; all empty without one."""
    scores, names = findings.scores, findings.class_names
    accuracy, n_test = scores.get("accuracy"), scores.get("n_test")
    baseline = scores.get("labels_only_accuracy")
    parts: dict[str, Any] = {"interval": None, "baseline_interval": None, "guess": None}
    parts |= {"matrix": None, "rows": [], "pairs": [], "classes": [], "confusions": []}
    if accuracy is not None and n_test:
        parts["interval"] = wilson_interval(round(accuracy * n_test), n_test)
        if baseline is not None:
            parts["baseline_interval"] = wilson_interval(round(baseline * n_test), n_test)
    if scores.get("confusion") is not None:
        confusion_LL = np.asarray(scores["confusion"])
        if len(names) <= matrix.LARGEST_TABLE:
            parts["rows"] = matrix.table(confusion_LL, names)
        else:
            parts["matrix"] = confusion_matrix(confusion_LL, names)
            parts["pairs"] = matrix.pairs(confusion_LL)
        parts["classes"] = class_scores(confusion_LL, names)
        parts["confusions"] = worst_confusions(confusion_LL, names)
        parts["guess"] = confusion_LL.sum(axis=1).max() / max(confusion_LL.sum(), 1)
    return parts


def _charts(findings: Findings) -> list[tuple[str, Markup]]:
    """Title and drawing of each."""
    history = findings.history
    told = [
        ("Accuracy", history.accuracies, percent),
        ("Loss", history.losses, "{:.3g}".format),
    ]
    return [
        (title, Markup(line_chart(lines, title, history.axis, say)))
        for title, lines, say in told
        if lines
    ]


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


def address(kind: str, content: bytes) -> str:
    """A picture as the address of an image that lies in the page itself."""
    # an SVG as an image, and not as a part of the page, can run nothing and load nothing
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def sheet_address(sheet: np.ndarray) -> str:
    """A sheet of small pictures, lossless where that is small."""
    exact = webp(sheet, 100)
    return address("webp", exact if len(exact) <= LARGEST_SHEET else webp(sheet, SHEET_QUALITY))
