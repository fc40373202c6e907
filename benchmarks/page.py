"""How soon can one use a report page, and does its map follow the mouse?

    python benchmarks/page.py --out docs/measured/page.json

Pages with maps of 1,000 and 100,000 made images (blotches of colour with noise, as photos are for
WebP), opened from the disk in Debian's Chromium, without a window, a network or a graphics card.
Each round opens a page anew, first at the usual density of pixels, then at twice it.

    bytes             of the page
    interactive_s     from the start of loading until buttons and map answer
    drawn_s           until the first picture of the map was painted after that
    named_s           until file names are there too
    frames_per_s      while the map is dragged round and round for some seconds: pictures painted
    slowest_frame_ms  the longest time between two of them
    hover_ms          from a move of the mouse until the card of an image is there
    lasso_ms          from its end until the list of a lasso around half of the map is there
"""

import argparse
import json
import math
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from fewlabels.report import page
from fewlabels.report.findings import Findings
from fewlabels.report.pictures import PARTS, Pictures, page_budget, thumbnail_budget
from fewlabels.report.thumbnails import sheets_within
from fewlabels.whole_files import write_file

SIDE = 48  # pixels of the made images
KINDS = 4_000  # made images that unlike ones are mixed from
N_CLASSES = 10
VIEW = {"width": 1280, "height": 900}

FRAMES = """
seconds => new Promise(done => {
  const canvas = document.getElementById("canvas");
  const box = canvas.getBoundingClientRect();
  const [middleX, middleY] = [box.left + box.width / 2, box.top + box.height / 2];
  const send = (kind, x, y) => canvas.dispatchEvent(new PointerEvent(kind, {
    pointerId: 1, pointerType: "mouse", button: 0, clientX: x, clientY: y, bubbles: true }));
  canvas.setPointerCapture = () => {};
  send("pointerdown", middleX, middleY);
  const start = performance.now();
  const times = [];
  const step = now => {
    times.push(now);
    const turn = (now - start) / 400;
    send("pointermove", middleX + 80 * Math.sin(turn), middleY + 80 * Math.cos(turn));
    if (now - start < 1000 * seconds) requestAnimationFrame(step);
    else { send("pointerup", middleX, middleY); done(times); }
  };
  requestAnimationFrame(step);
})
"""


def made_images(n_images: int, seed: int) -> np.ndarray:
    """uint8 (n, 3, 48, 48): few colours in blotches, under noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(min(n_images, KINDS), 3, 6, 6)).astype(np.float32)
    smooth = coarse.repeat(SIDE // 6, axis=2).repeat(SIDE // 6, axis=3)
    noise = rng.normal(size=smooth.shape).astype(np.float32)
    made = np.clip(128 + 45 * smooth + 12 * noise, 0, 255).astype(np.uint8)
    return made[rng.integers(len(made), size=n_images)]


def made_findings(n_images: int, seed: int = 0) -> Findings:
    """Ten heaps of images, some of them answered wrongly."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(N_CLASSES, size=n_images)
    answer = np.where(rng.random(n_images) < 0.8, truth, rng.integers(N_CLASSES, size=n_images))
    part = rng.integers(len(PARTS), size=n_images)
    centres = rng.normal(scale=6, size=(N_CLASSES, 2))
    names = tuple(f"photos/{n:08x}.jpg" for n in rng.integers(2**32, size=n_images))
    confusion = np.zeros((N_CLASSES, N_CLASSES), int)
    test = part == PARTS.index("test")
    np.add.at(confusion, (truth[test], answer[test]), 1)
    budget = thumbnail_budget(n_images, n_images, names)
    pictures = Pictures(
        positions_M2=(centres[truth] + rng.normal(size=(n_images, 2))).astype(np.float32),
        truth_N=np.where(part == PARTS.index("unlabelled"), -1, truth).astype(np.int32),
        answer_N=answer.astype(np.int32),
        confidence_N=rng.random(n_images).astype(np.float32),
        part_N=part.astype(np.uint8),
        names=names,
        sheets=sheets_within(made_images(n_images, seed), budget),
    )
    accuracy = float(np.trace(confusion) / confusion.sum())
    scores = {"accuracy": accuracy, "n_test": int(test.sum()), "confusion": confusion.tolist()}
    return Findings(
        source="made images",
        recipe="none",
        class_names=[f"class {i}" for i in range(N_CLASSES)],
        scores=scores,
        pictures=pictures,
    )


def opened(browser: Browser, path: Path, density: int) -> Page:
    context = browser.new_context(offline=True, viewport=VIEW, device_scale_factor=density)
    shown = context.new_page()
    shown.goto(path.as_uri())
    shown.wait_for_function("performance.getEntriesByName('named').length")
    return shown


def measured(browser: Browser, path: Path, density: int, seconds: float) -> dict[str, float]:
    shown = opened(browser, path, density)
    marks = {
        f"{name}_s": shown.evaluate(f"performance.getEntriesByName('{name}')[0].startTime") / 1000
        for name in ("interactive", "drawn", "named")
    }
    shown.evaluate("document.getElementById('canvas').scrollIntoView({block: 'center'})")
    times = shown.evaluate(FRAMES, seconds)
    gaps = np.diff(times)
    facts = {
        **marks,
        "frames_per_s": 1000 / float(gaps.mean()),
        "slowest_frame_ms": float(gaps.max()),
        "hover_ms": hover_ms(shown),
        "lasso_ms": lasso_ms(shown),
    }
    shown.context.close()
    return facts


def hover_ms(shown: Page) -> float:
    x, y = shown.evaluate(
        """() => {
            const { pictures, view, forget } = fewlabels.map;
            forget();
            const box = document.getElementById("canvas").getBoundingClientRect();
            return [box.left + view.screenX(pictures.x[5]), box.top + view.screenY(pictures.y[5])];
        }"""
    )
    start = time.perf_counter()
    shown.mouse.move(x, y)
    shown.wait_for_function("!document.getElementById('hover').hidden")
    return 1000 * (time.perf_counter() - start)


def lasso_ms(shown: Page) -> float:
    box = shown.locator("#canvas").bounding_box()
    assert box is not None
    shown.get_by_role("button", name="Lasso").click()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    radius = box["height"] / 4
    shown.mouse.move(middle[0] + radius, middle[1])
    shown.mouse.down()
    for turn in np.linspace(0, 2 * math.pi, 60):
        shown.mouse.move(middle[0] + radius * math.cos(turn), middle[1] + radius * math.sin(turn))
    start = time.perf_counter()
    shown.mouse.up()
    shown.wait_for_function("document.getElementById('opened').open")
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="a JSON file")
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of dragging")
    parser.add_argument("--browser", default="/usr/bin/chromium")
    asked = parser.parse_args()
    result: dict[str, Any] = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "rounds": asked.rounds,
    }
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=asked.browser, args=["--no-sandbox"])
        result["browser"] = f"Chromium {browser.version}, no window, no graphics card"
        for n_images in asked.images:
            path = Path(folder) / f"{n_images}.html"
            found = made_findings(n_images)
            start = time.perf_counter()
            page.write(found, path)
            assert found.pictures is not None
            sheets = found.pictures.sheets
            facts: dict[str, Any] = {
                "bytes": path.stat().st_size,
                "allowed_bytes": page_budget(n_images),
                "thumbnail": [sheets.height, sheets.width],
                "written_s": round(time.perf_counter() - start, 3),
            }
            for density in (1, 2):
                rounds = [
                    measured(browser, path, density, asked.seconds) for _ in range(asked.rounds)
                ]
                facts[f"density_{density}"] = {
                    name: round(statistics.median(one[name] for one in rounds), 3)
                    for name in rounds[0]
                }
            result[f"{n_images}_images"] = facts
            print(json.dumps({n_images: facts}, indent=2))
        browser.close()
    if asked.out:
        write_file(asked.out, json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
