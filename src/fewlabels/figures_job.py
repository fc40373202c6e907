"""`fewlabels figures`: draws the figures of the report, and writes each with what it was made with.

    3.1-surrogates.png, .svg, .json     a figure; its caption, settings and numbers
    index.html                          all figures that lie in the folder, with their captions

A figure is written when it is made, so an interrupt keeps those before it.
"""

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from fewlabels import figures, galleries, jobs, runs, settings
from fewlabels.devices import resolve
from fewlabels.errors import ConfigError, FewlabelsError
from fewlabels.figure_material import Drawn, Material
from fewlabels.figure_settings import FiguresConfig
from fewlabels.options import Reading, settings_of
from fewlabels.progress import say
from fewlabels.report_figures import KINDS, no_picture
from fewlabels.whole_files import write_file, write_files

INDEX = "index.html"
MADE_BY = "fewlabels figures"  # in every file's description, so that our own are known again
SUFFIXES = (".png", ".svg", ".json")
DOTS_PER_INCH = 200
STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
main { display: grid; gap: 2.5rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 34rem),
 1fr)); align-items: start; }
figure { margin: 0; }
img { max-width: 100%; height: auto; background: white; }
pre { overflow-x: auto; font-size: 0.8rem; }
"""


def draw_figures(
    source: str,
    out: Path,
    reading: Reading,
    *,
    only: Sequence[str] = (),
    changes: Sequence[str] = (),
    grid: bool = False,
    device: str = "auto",
    precision: str = "auto",
    command: str | None = None,
) -> dict[str, Any]:
    """Draw figures of a set.

    Parameters
    ----------
    only : names of figures, see `report_figures.KINDS`; all if there are none
    changes : of settings, as in `--set`
    grid : snap the maps to a grid
    command : what was typed, kept beside the figures

    Returns
    -------
    "folder", "index", and "figures": what the JSON file of each says, in the report's order

    Raises ConfigError where a name or setting is unknown, or `out` holds something else or cannot
    be written; DataError where the set cannot be read; what the first figure said, where none could
    be drawn. A figure that could not be drawn is a picture that says why.
    """
    config = FiguresConfig()
    for key, text in settings_of(changes).items():
        config = settings.changed(config, key, text)
    names = [name for name in KINDS if not only or name in only]
    unknown = sorted(set(only) - set(KINDS))
    if unknown:
        raise ConfigError(f"no figure is called {unknown[0]!r}; there are: {', '.join(KINDS)}")
    device = resolve(device)
    jobs.refuse_inside(source, out)
    _check_free(out, names)
    _check_writable(out)
    material = Material(
        image_set=jobs.read_source(source, reading),
        config=config,
        seed=reading.seed,
        device=device,
        precision=precision,
        grid=grid,
    )
    about: dict[str, Any] = {"source": source, "size": reading.size, "seed": reading.seed}
    about |= {"command": command, "commit": runs.commit()}
    about |= {"device": device, "precision": precision, "versions": runs.versions()}
    made, failures = [], []
    for name in names:
        start = time.perf_counter()
        failure = None
        try:
            drawn = KINDS[name].draw(material)
        except FewlabelsError as error:
            failure = error
            failures.append(error)
            say(f"no picture of {name}: {error}")
            drawn = no_picture(material, error)
        facts = _facts(name, drawn, failure) | about
        facts["seconds"] = round(time.perf_counter() - start, 2)
        _write(out, name, drawn, facts)
        made.append(facts)
    if len(failures) == len(names):
        raise failures[0]
    made.sort(key=lambda facts: (facts["figure"], list(KINDS).index(facts["name"])))
    return {"folder": str(out), "index": str(out / INDEX), "figures": made}


def text(result: Mapping[str, Any]) -> str:
    """What `fewlabels figures` prints: a figure, its file and what was measured, a line each."""
    lines = []
    for facts in result["figures"]:
        lines.append(f"{facts['figure']} {facts['title']}: {facts['png']}")
        lines += [f"    {words}" for words in _measured(facts["numbers"])]
        if facts["error"]:
            lines.append(f"    no picture: {facts['error']}")
    return "\n".join([*lines, "", f"Open {result['index']} in a browser."])


def _measured(numbers: Mapping[str, Any]) -> list[str]:
    told = {
        "trustworthiness": "trustworthiness",
        "nearest_neighbour_accuracy": "nearest-neighbour accuracy",
        "training_accuracy": "training accuracy",
        "test_accuracy": "test accuracy",
    }
    rows = {"": numbers} | {k: v for k, v in numbers.items() if isinstance(v, Mapping)}
    lines = []
    for name, row in rows.items():
        parts = [f"{told[k]} {row[k]:.3f}" for k in told if row.get(k) is not None]
        if parts:
            lines.append(f"{name}: {', '.join(parts)}".removeprefix(": "))
    return lines


def _stem(name: str) -> str:
    return f"{KINDS[name].number}-{name}"


def _facts(name: str, drawn: Drawn, failure: FewlabelsError | None) -> dict[str, Any]:
    return {
        "made_by": MADE_BY,
        "figure": KINDS[name].number,
        "name": name,
        "title": KINDS[name].title,
        "caption": drawn.caption,
        "numbers": dict(drawn.numbers),
        "settings": dict(drawn.settings),
        "error": None if failure is None else str(failure),
    }


def _write(out: Path, name: str, drawn: Drawn, facts: dict[str, Any]) -> None:
    """The files of a figure, all or none, then the page of all figures in the folder."""
    paths = [out / f"{_stem(name)}{suffix}" for suffix in SUFFIXES]
    facts |= {"png": str(paths[0]), "svg": str(paths[1]), "json": str(paths[2])}
    title = f"{facts['figure']} {facts['title']}"
    if isinstance(drawn.picture, Figure):
        svg = figures.to_svg(drawn.picture)
    else:
        svg = galleries.sheet_svg(
            drawn.picture, title, facts["caption"], photographs=drawn.photographs
        )
    png = figures.to_png(drawn.picture, dots_per_inch=DOTS_PER_INCH)
    described = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
    try:
        with runs.disk_full_is_said(out):
            write_files(dict(zip(paths, (png, svg, described), strict=True)))
            write_file(out / INDEX, _page(out))
    except OSError as error:
        raise _unwritable(out, error) from error


def _page(out: Path) -> str:
    """A page of the figures in the folder, in the report's order; every text is escaped."""
    plain = galleries.plain
    shown = []
    for name in sorted(KINDS, key=lambda name: KINDS[name].number):
        facts = _read(out / f"{_stem(name)}.json")
        if facts is None:
            continue
        kept = {
            key: facts.get(key) for key in ("command", "seed", "seconds", "numbers", "settings")
        }
        title = f"{facts.get('figure')} {facts.get('title')}"
        shown.append(
            f'<figure id="{name}">\n<h2>{plain(title)}</h2>\n'
            f'<a href="{_stem(name)}.svg"><img src="{_stem(name)}.png" alt="{plain(title)}"></a>\n'
            f"<figcaption>{plain(str(facts.get('caption')))}</figcaption>\n"
            f"<details><summary>Settings and numbers</summary><pre>"
            f"{galleries.escape(json.dumps(kept, indent=1, ensure_ascii=False))}</pre></details>\n"
            "</figure>"
        )
    body = "\n".join(shown)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="generator" content="{MADE_BY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Figures</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>Figures</h1>\n"
        f"<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _read(path: Path) -> dict[str, Any] | None:
    """What a figure's JSON says; None where it is not ours."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return facts if facts["made_by"] == MADE_BY else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _check_free(out: Path, names: Sequence[str]) -> None:
    """Refuse to write into a run, or over what is no figure of ours."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file, and figures need a folder: give another --out")
    if (out / runs.CONFIG).exists():
        raise ConfigError(f"{out} is the folder of a run: give another --out")
    foreign = [out / INDEX] if _is_foreign_page(out / INDEX) else []
    for name in names:
        taken = [out / f"{_stem(name)}{suffix}" for suffix in SUFFIXES]
        if _read(taken[-1]) is None:
            foreign += [path for path in taken if path.exists() or path.is_symlink()]
    if foreign:
        raise ConfigError(
            f"{foreign[0]} was not written by {MADE_BY}, and is left as it is: give another --out"
        )


def _is_foreign_page(path: Path) -> bool:
    try:
        return f'content="{MADE_BY}"' not in path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    except (OSError, UnicodeDecodeError):
        return True


def _check_writable(out: Path) -> None:
    """Before minutes of work."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise _unwritable(out, error) from error


def _unwritable(out: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"figures cannot be written into {out} ({error.strerror}): give another --out"
    )
