"""The page in a real browser: it loads without a word, and what one points at is what one sees.

Screenshots are kept in $FEWLABELS_SCREENSHOTS, where it is set, for people to look at.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import made_pages
from fewlabels.report import page

sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install it")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
LOOKS = {
    "light": {"viewport": {"width": 1100, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1100, "height": 900}, "color_scheme": "dark"},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 2,
        "has_touch": True,
    },
}
SMALL, LARGE = 1_000, 100_000


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    if CHROMIUM is None:
        pytest.skip("no chromium: apt install chromium")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("pages")
    return {
        n: page.write(made_pages.findings(n), folder / f"made-{n}.html") for n in (SMALL, LARGE)
    }


class Opened:
    """A page in a browser without a network, and all that it complained about or asked for."""

    def __init__(self, browser, path: Path, look: str = "light") -> None:
        self.context = browser.new_context(offline=True, **LOOKS[look])
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self._heard)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_function("performance.getEntriesByName('named').length")
        self.js = self.page.evaluate

    def _heard(self, message) -> None:
        if message.type == "error":
            self.problems.append(message.text)

    def place(self, i: int) -> tuple[float, float]:
        """Where image i is drawn, in pixels of the window."""
        self.page.locator("#canvas").scroll_into_view_if_needed()
        return tuple(
            self.js(
                """i => {
                    const { pictures, view } = fewlabels.map;
                    const box = document.getElementById("canvas").getBoundingClientRect();
                    return [box.left + view.screenX(pictures.x[i]),
                            box.top + view.screenY(pictures.y[i])];
                }""",
                i,
            )
        )

    def next_picture(self) -> None:
        self.js("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def hovered_colour(self) -> np.ndarray:
        """Of the middle of the picture that the card shows."""
        canvas = "#hover canvas"
        self.page.wait_for_function(
            f"""() => {{
                const canvas = document.querySelector("{canvas}");
                const middle = canvas.getContext("2d");
                return middle.getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data[3];
            }}"""
        )
        return np.array(
            self.js(
                f"""() => {{
                    const canvas = document.querySelector("{canvas}");
                    const context = canvas.getContext("2d");
                    const [x, y] = [canvas.width / 2, canvas.height / 2];
                    return [...context.getImageData(x, y, 1, 1).data].slice(0, 3);
                }}"""
            )
        )

    def painted(self) -> set[str]:
        """The colours of the canvas, as "r,g,b", those that are drawn in full."""
        return set(
            self.js(
                """() => {
                    const canvas = document.getElementById("canvas");
                    const box = [0, 0, canvas.width, canvas.height];
                    const { data } = canvas.getContext("2d").getImageData(...box);
                    const found = new Map();
                    for (let k = 0; k < data.length; k += 4) {
                        if (data[k + 3] < 255) continue;
                        const colour = `${data[k]},${data[k + 1]},${data[k + 2]}`;
                        found.set(colour, (found.get(colour) || 0) + 1);
                    }
                    return [...found].filter(([, n]) => n > 100).map(([colour]) => colour);
                }"""
            )
        )

    def screenshot(self, name: str, whole: bool = False) -> None:
        folder = os.environ.get("FEWLABELS_SCREENSHOTS")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=whole)

    def __enter__(self) -> "Opened":
        return self

    def __exit__(self, *error: object) -> None:
        self.context.close()
        if error[0] is None:
            assert [] == self.problems
            # the page itself, and pictures that lie in it
            assert {"file", "data"} >= {url.split(":")[0] for url in self.requests}
            assert 1 == sum(url.startswith("file:") for url in self.requests)


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("n_images", [SMALL, LARGE])
def test_the_page_loads_without_errors_and_without_requests(browser, paths, n_images, look):
    with Opened(browser, paths[n_images], look) as opened:
        assert n_images == opened.js("fewlabels.pictures.count")
        # nothing sticks out at the side, however long a class name is
        assert opened.js("document.documentElement.scrollWidth <= innerWidth")
        assert opened.painted()
        opened.screenshot(f"map-{n_images}-{look}")
        if n_images == SMALL:
            opened.screenshot(f"page-{look}", whole=True)


@pytest.mark.parametrize(("n_images", "wanted"), [(SMALL, (0, 433, 999)), (LARGE, (7, 99_999))])
def test_pointing_at_an_image_shows_that_image_and_what_is_known_of_it(
    browser, paths, n_images, wanted
):
    colours = made_pages.colours(n_images)
    with Opened(browser, paths[n_images]) as opened:
        opened.js("document.getElementById('canvas').scrollIntoView({block: 'center'})")
        for i in wanted:
            opened.page.mouse.move(*opened.place(i))

            assert i == opened.js("fewlabels.map.pointed")
            assert str(i) == opened.js("document.querySelector('#hover canvas').dataset.image")
            assert colours[i] == pytest.approx(opened.hovered_colour(), abs=24)
            text = opened.page.locator("#hover p").inner_text().replace("\u00a0", " ")
            assert f"some folder/<b>{i}</b>.jpg" in text
            assert f"({i % 101} %)" in text
        opened.screenshot(f"hover-{n_images}")


def test_a_mouse_that_points_at_nothing_shows_nothing(browser, paths):
    with Opened(browser, paths[SMALL]) as opened:
        opened.page.mouse.move(*opened.place(5))
        assert opened.page.locator("#hover").is_visible()
        box = opened.page.locator("#canvas").bounding_box()
        opened.page.mouse.move(box["x"] + 5, box["y"] + 5)

        assert not opened.page.locator("#hover").is_visible()


@pytest.mark.parametrize("n_images", [SMALL, LARGE])
def test_colours_follow_what_is_asked(browser, paths, n_images):
    with Opened(browser, paths[n_images]) as opened:
        by_label = opened.painted()
        assert {"0,114,178", "213,94,0", "0,158,115", "0,0,0"} <= by_label  # four classes
        opened.page.get_by_role("radio", name="labelled or not", exact=True).check()
        opened.next_picture()
        by_part = opened.painted()
        assert 3 == opened.page.locator("#legend button").count()
        opened.page.get_by_role("radio", name="confidence", exact=True).check()
        opened.next_picture()
        by_confidence = opened.painted()
        opened.screenshot(f"confidence-{n_images}")

        assert {"213,94,0", "0,0,0"} <= by_part and "0,114,178" not in by_part
        assert {"0,34,78", "254,232,56"} <= by_confidence  # the ends of cividis
        opened.page.get_by_role("radio", name="answer", exact=True).check()
        opened.next_picture()
        assert "0,114,178" in opened.painted()


def test_an_entry_of_the_legend_brings_its_images_out(browser, paths):
    with Opened(browser, paths[SMALL]) as opened:
        opened.page.locator("#legend button").nth(1).press("Enter")
        opened.next_picture()

        assert "213,94,0" in opened.painted() and "0,114,178" not in opened.painted()
        assert "true" == opened.page.locator("#legend button").nth(1).get_attribute("aria-pressed")


@pytest.mark.parametrize("n_images", [SMALL, LARGE])
def test_the_lasso_lists_the_files_inside_it_and_no_others(browser, paths, n_images):
    side = int(np.ceil(np.sqrt(n_images)))
    # the images of the first rows and columns, by hand
    rows, columns = max(3, side // 20), max(4, side // 10)
    inside = {row * side + column for row in range(rows) for column in range(columns)}
    with Opened(browser, paths[n_images]) as opened:
        opened.js("document.getElementById('canvas').scrollIntoView({block: 'center'})")
        first, last = opened.place(0), opened.place((rows - 1) * side + columns - 1)
        step = (last[0] - first[0]) / (columns - 1) / 2
        left, top, right, bottom = (
            *(first[0] - step, first[1] - step),
            *(last[0] + step, last[1] + step),
        )
        opened.page.get_by_role("button", name="Lasso").click()
        mouse = opened.page.mouse
        mouse.move(left, top)
        mouse.down()
        for corner in ((right, top), (right, bottom), (left, bottom), (left, top)):
            mouse.move(*corner, steps=8)
        mouse.up()

        names = opened.page.locator("#opened-files").input_value().splitlines()
        assert {f"some folder/<b>{i}</b>.jpg" for i in inside} == set(names)
        assert len(inside) == len(names)
        opened.screenshot(f"lasso-{n_images}")
        opened.context.grant_permissions(["clipboard-read", "clipboard-write"])
        opened.page.get_by_role("button", name="Copy the names").click()
        said = opened.page.locator("#opened-said")
        said.filter(has_text="names copied").wait_for()
        assert names == opened.js("navigator.clipboard.readText()").splitlines()
        with opened.page.expect_download() as download:
            opened.page.get_by_role("button", name="Save them as a file").click()
        assert names == Path(download.value.path()).read_text().splitlines()


def test_a_cell_of_the_confusion_matrix_opens_the_images_behind_it(browser, paths):
    found = made_pages.findings(SMALL)
    pictures = found.pictures
    behind = (pictures.part_N == 2) & (pictures.truth_N == 3) & (pictures.answer_N == 0)
    with Opened(browser, paths[SMALL]) as opened:
        opened.page.locator('button.cell[data-truth="3"][data-answer="0"]').click()

        names = opened.page.locator("#opened-files").input_value().splitlines()
        assert {pictures.names[i] for i in np.flatnonzero(behind)} == set(names)
        assert (
            f"{behind.sum()} of {behind.sum()} test images"
            in opened.page.locator("#opened-note").inner_text()
        )
        assert behind.sum() == opened.page.locator("#opened-images canvas").count()
        # the name of a class is a text, whatever it holds
        assert made_pages.CLASS_NAMES[0] in opened.page.locator("#opened-title").inner_text()
        opened.page.keyboard.press("Escape")
        assert not opened.page.locator("#opened").is_visible()


def test_the_map_is_used_by_keyboard_alone(browser, paths):
    side = int(np.ceil(np.sqrt(SMALL)))
    with Opened(browser, paths[SMALL]) as opened:
        opened.page.locator("#canvas").focus()
        opened.page.keyboard.press("ArrowRight")
        start = opened.js("fewlabels.map.pointed")
        opened.page.keyboard.press("ArrowRight")
        assert start + 1 == opened.js("fewlabels.map.pointed")
        opened.page.keyboard.press("ArrowDown")
        assert start + 1 + side == opened.js("fewlabels.map.pointed")
        assert f"<b>{start + 1 + side}</b>" in opened.page.locator("#map-said").inner_text()
        before = opened.js("fewlabels.map.view.scale")
        opened.page.keyboard.press("+")
        assert before < opened.js("fewlabels.map.view.scale")
        opened.page.keyboard.press("0")
        assert before == pytest.approx(opened.js("fewlabels.map.view.scale"))
        opened.page.keyboard.press("Enter")
        names = opened.page.locator("#opened-files").input_value().splitlines()
        assert 24 == len(names) and f"<b>{start + 1 + side}</b>" in names[0]


def test_zoomed_in_the_images_themselves_are_drawn(browser, paths):
    colours = made_pages.colours(SMALL)
    with Opened(browser, paths[SMALL]) as opened:
        opened.js("document.getElementById('canvas').scrollIntoView({block: 'center'})")
        opened.page.mouse.move(*opened.place(433))
        opened.page.mouse.wheel(0, -1200)
        x, y = opened.place(433)
        box = opened.page.locator("#canvas").bounding_box()
        opened.page.wait_for_function(
            """([x, y, colour]) => {
                const context = document.getElementById("canvas").getContext("2d");
                const { data } = context.getImageData(x, y, 1, 1);
                return colour.every((level, k) => Math.abs(level - data[k]) < 24);
            }""",
            arg=[x - box["x"], y - box["y"], colours[433].tolist()],
        )
        opened.screenshot("zoomed")


def test_dragging_moves_the_map_with_the_mouse(browser, paths):
    with Opened(browser, paths[LARGE]) as opened:
        x, y = opened.place(50_150)
        opened.page.mouse.move(x, y)
        opened.page.mouse.down()
        opened.page.mouse.move(x + 120, y - 40, steps=5)
        opened.page.mouse.up()

        assert (x + 120, y - 40) == pytest.approx(opened.place(50_150), abs=0.6)
