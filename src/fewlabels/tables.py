"""Numbers as text: tables, and what a run's scores print."""

from collections.abc import Mapping, Sequence
from typing import Any


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"


def table(rows: Sequence[Sequence[str]], heads: Sequence[str] = ()) -> str:
    """Columns as wide as their widest entry; the first to the left, the others to the right."""
    from rich.cells import cell_len  # some letters take two places

    lines = [tuple(heads), *rows] if heads else list(rows)
    widths = [max(cell_len(line[column]) for line in lines) for column in range(len(lines[0]))]
    padded = [
        [" " * (width - cell_len(text)) for text, width in zip(line, widths, strict=True)]
        for line in lines
    ]
    return "\n".join(
        "  ".join(
            text + space if column == 0 else space + text
            for column, (text, space) in enumerate(zip(line, spaces, strict=True))
        ).rstrip()
        for line, spaces in zip(lines, padded, strict=True)
    )


def gain_lines(scores: Mapping[str, Any]) -> list[str]:
    """What the unlabelled images gained, where that was measured."""
    if scores.get("gain") is None:
        return []
    gain, error = 100 * scores["gain"], 100 * scores["gain_error"]
    return [
        f"labels alone, in the same time: accuracy {percent(scores['labels_only_accuracy'])}; the "
        f"unlabelled images gain {gain:+.2f} +- {error:.2f} points (standard error)"
    ]


def scores_text(scores: Mapping[str, Any]) -> str:
    """What `fit`, `score` and `evaluate` print."""
    from fewlabels.report.findings import unused  # with torch, which takes seconds

    lines = []
    if "accuracy" in scores:
        spread = scores.get("accuracy_std")
        deviation = "" if spread is None else f" +- {100 * spread:.2f} ({scores['n_folds']} folds)"
        lines.append(
            f"accuracy {percent(scores['accuracy'])}{deviation} of {scores['n_test']:,} test images"
        )
        if scores.get("n_leaked"):
            lines.append(
                f"learned without copies of the {scores['n_leaked']:,} test images that lie among "
                f"the unlabelled: accuracy {percent(scores['accuracy_clean'])}"
            )
        lines.append(
            table([(name, percent(one)) for name, one in scores["accuracy_per_class"].items()])
        )
        lines += gain_lines(scores)
        lines.append(f"calibration error {percent(scores['calibration_error'])}")
    elif scores.get("accuracy_validation") is None:
        lines.append("no score, as there are no labelled test images: add test/CLASS/* for one")
    if scores.get("accuracy_validation") is not None:
        lines.append(f"accuracy on validation images {percent(scores['accuracy_validation'])}")
        lines += [] if "accuracy" in scores else gain_lines(scores)
    lines += unused(scores)
    if "protocol" in scores:
        lines.append(
            f"protocol {scores['protocol']}, recipe {scores['recipe']}, seed {scores['seed']}"
        )
    if scores.get("report"):
        lines.append(f"report {scores['report']}")
    return "\n".join(lines)
