"""The page: what it says, what it leaves out, and that it stays one safe file."""

import base64
import hashlib
import os
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import made_pages
from fewlabels.errors import DataError
from fewlabels.images import Damaged
from fewlabels.report import chart, page
from fewlabels.report.chart import History, Line, line_chart
from fewlabels.report.findings import (
    ClassScore,
    Confusion,
    Findings,
    Mistake,
    Progress,
    class_scores,
    flat_settings,
    wilson_interval,
    worst_confusions,
)

CONFUSION = np.array([[8, 2, 0], [1, 9, 0], [3, 0, 7]])
NAMES = ("cat", "dog", "fox")
EVIL = '<script>alert("1")</script>&'


class Elements(HTMLParser):
    """The tags of a page with their attributes, and a check that all are closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture
def findings() -> Findings:
    pixels = np.zeros((3, 8, 8), np.uint8)
    return Findings(
        source="photos",
        recipe="kmeans-1",
        class_names=NAMES,
        scores={
            "accuracy": 24 / 30,
            "n_test": 30,
            "confusion": CONFUSION.tolist(),
            "labels_only_accuracy": 0.7,
            "n_leaked": 3,
            "accuracy_clean": 0.79,
            "calibration_error": 0.05,
            "seconds": {"clustering": 65.0},
            "peak_memory_mib": 1234.5,
            "seed": 7,
            "commit": "abc123",
        },
        n_labelled=1000,
        n_unlabeled=20000,
        filters=np.random.default_rng(0).normal(size=(10, 3, 6, 6)),
        mistakes=[
            Mistake(pixels=pixels, truth="cat", answer=EVIL, probability=0.4, name="a.jpg"),
            Mistake(pixels=pixels, truth="fox", answer="cat", probability=0.9, name="b.jpg"),
        ],
        graph_svg="<svg xmlns='http://www.w3.org/2000/svg'><text>image</text></svg>",
        graph_text="image -> encode",
        settings={"filters": {"n_filters": 1600}},
        versions={"torch": "2.13.0"},
        command="fewlabels fit photos --recipe kmeans-1",
        notes=("resized to 96 x 96",),
        damaged=(Damaged("x.jpg", "is truncated"),),
    )


def test_the_page_says_what_came_out(findings: Findings):
    text = page.render(findings).replace("\u00a0", " ").replace("&nbsp;", " ")

    for said in (
        "80.0 %</strong>",
        "30 test images answered correctly",
        "1,000 labelled and 20,000 unlabelled images",
        "<b>62.7 %</b> and <b>90.5 %</b>",  # Wilson, 24 of 30, by hand
        "worth +10.0 points",
        "accuracy is 79.0 %",
        "<b>fox</b> taken for <b>cat</b> (3)",
        "90 % of 10",
        "1 min 05 s",
        "filters.n_filters</th><td>1600",
        "1,234 MiB",
        "fewlabels fit photos --recipe kmeans-1",
        "resized to 96 x 96",
        "x.jpg</th><td>is truncated",
        "Seed 7",
        "abc123",
    ):
        assert said in text


def test_a_page_without_pictures_is_one_file_without_scripts_or_addresses(findings: Findings):
    html = page.render(findings)
    elements = Elements(html)

    assert [] == elements.open
    assert [] == elements.all("script") + elements.all("link") + elements.all("iframe")
    assert {"data"} == {image["src"].split(":")[0] for image in elements.all("img")}
    assert all(image["alt"] for image in elements.all("img"))
    assert [] == re.findall(r"https?://|url\(|@import", html)
    policy = "".join(elements.all("meta")[1]["content"] or "")
    assert policy.startswith("default-src 'none'; img-src data: blob:; style-src 'sha256-")
    assert "script-src" not in policy and "unsafe" not in policy
    assert [] == [name for name, attributes in elements.found if "style" in attributes]


def test_the_policy_names_the_very_style_and_script_of_the_page(findings: Findings):
    html = page.render(replace(findings, pictures=made_pages.findings(12, 3).pictures))
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)

    for kind, text in (("style", style), ("script", script)):
        expected = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{expected}'" in unescape(html)
    assert "http://" not in script and "fetch(" not in script and "eval" not in script
    assert not re.findall(r"<[^>]* on[a-z]+=", html)  # the policy would not let it run


@pytest.mark.parametrize("path", sorted(page.HERE.glob("*.js")), ids=lambda path: path.name)
def test_a_script_can_be_read_in_one_go_and_is_part_of_the_page(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300
    assert path.stem in page.SCRIPTS


def test_the_parts_of_a_score_are_put_side_by_side(findings: Findings):
    scores = {**findings.scores, "accuracy_std": 0.0123, "n_folds": 10}
    text = page.render(replace(findings, scores=scores)).replace("\u00a0", " ")

    assert "± 1.2 points over 10 folds (standard deviation)" in text
    assert "reaches 70.0 % (52.1 % to 83.3 %)" in text  # Wilson, 21 of 30, by hand


@pytest.mark.parametrize("left_out", [(), ("accuracy", "confusion", "n_test")])
def test_that_unlabelled_images_taught_nothing_is_said_with_and_without_a_score(
    findings: Findings, left_out: tuple[str, ...]
):
    scores = {name: value for name, value in findings.scores.items() if name not in left_out}
    told = "<b>No answers to unlabelled images were learned from: there are none.</b>"

    assert told not in page.render(replace(findings, scores=scores))
    scores["why_none_used"] = "there are none"
    assert told in page.render(replace(findings, scores=scores))


def test_a_matrix_of_many_classes_is_a_picture():
    n = 31
    found = made_pages.findings(400, n)
    elements = Elements(page.render(found))

    assert [] == [table for table in elements.all("table") if table.get("class") == "matrix"]
    assert 1 == sum(image.get("class") == "wide" for image in elements.all("img"))
    cells = [button for button in elements.all("button") if button.get("class") == "cell"]
    assert 0 < len(cells) <= 60


def test_why_there_is_no_map_stands_in_its_place(findings: Findings):
    pictures = made_pages.findings(8).pictures
    bare = replace(pictures, positions_M2=np.empty((0, 2)), no_map="all <images> are equal")
    html = page.render(replace(findings, pictures=bare))

    assert "<b>There is no map.</b> All &lt;images&gt; are equal." in html
    assert 'id="canvas"' not in html


def test_a_run_that_goes_on_tells_how_far_it_is_and_loads_itself_again():
    line = Line(name="test", along=(1, 2), values=(0.25, 0.5))
    progress = Progress(
        stage="training",
        done=30,
        total=120,
        unit="steps",
        seconds=65,
        seconds_left=150,
        ended={"clustering": 5.0},
        said=["<b>resized</b>"],
        at="12:34:56",
    )
    html = page.render(
        Findings(
            source="photos",
            recipe="labels",
            class_names=(),
            progress=progress,
            history=History(accuracies=[line]),
        )
    )
    text = html.replace("\u00a0", " ")

    for said in (
        "30 of 120 steps",
        "2 min 30 s</b> left",
        "1 min 05 s so far",
        "12:34:56",
        "25 %<",
    ):
        assert said in text
    assert "&lt;b&gt;resized" in text and "test 50.0 %" in text
    assert {"http-equiv": "refresh", "content": "5"} in Elements(html).all("meta")
    assert "There is no score" not in text and "tell 0 kinds" not in text


def test_a_line_of_a_chart_goes_through_its_points():
    line = Line(name="<i>test</i>", along=(0, 5, 10), values=(0.0, 1.0, 0.5))
    svg = line_chart([line], "Accuracy", "epochs", page.percent)

    # 0 to 10 epochs across 64 to 464, values 0 to 1 down 210 to 12: by hand
    assert 'points="64.0,210.0 264.0,12.0 464.0,111.0"' in svg
    assert "&lt;i&gt;test&lt;/i&gt; 50.0" in svg and "<i>" not in svg
    assert "Accuracy over 10 epochs" in svg


def test_a_line_of_a_chart_is_broken_where_a_training_starts():
    line = Line(name="test", along=(0, 4, 5, 10), values=(0.0, 0.5, 0.0, 1.0), starts=(0, 2))
    svg = line_chart([line], "Accuracy", "minutes", page.percent)

    assert 'points="64.0,210.0 224.0,111.0"' in svg
    assert 'points="264.0,210.0 464.0,12.0"' in svg


def test_both_ends_of_each_training_are_drawn_however_many_points_there_are():
    n_points = 10_000
    values = np.zeros(n_points)
    values[[6666, 6667]] = 1.0, 0.5
    line = Line(name="loss", along=np.arange(n_points), values=values, starts=(0, 6667))

    first, second = re.findall('points="([^"]*)"', line_chart([line], "Loss", "epochs", str))[:2]

    assert first.endswith(",12.0") and second.split()[0].endswith(",111.0")
    assert len(first.split()) + len(second.split()) <= chart.MOST_POINTS + 2


def test_a_chart_of_one_level_point_can_be_drawn():
    svg = line_chart([Line(name="a", along=(1,), values=(0.3,))], "Loss", "epochs", str)

    assert "nan" not in svg and "inf" not in svg


@settings(max_examples=30)
@given(name=st.text())
def test_class_names_are_text_whatever_they_hold(name):
    findings = Findings(
        source=name,
        recipe=name,
        class_names=(name, EVIL),
        notes=(EVIL,),
        mistakes=[
            Mistake(
                pixels=np.zeros((3, 2, 2), np.uint8),
                truth=name,
                answer=EVIL,
                probability=1,
                name=name,
            )
        ],
        graph_text=EVIL,
        command=name,
        settings={name: EVIL},
        damaged=[Damaged(name, EVIL)],
    )
    elements = Elements(page.render(findings))

    assert [] == elements.all("script")
    assert [] == elements.open


def test_the_most_confident_mistake_stands_first(findings: Findings):
    html = page.render(findings)

    assert html.index("b.jpg") < html.index("a.jpg")


def test_only_the_most_confident_mistakes_are_shown():
    pixels = np.zeros((3, 2, 2), np.uint8)
    mistakes = [
        Mistake(pixels=pixels, truth="a", answer="b", probability=p / 99) for p in range(99)
    ]
    html = page.render(Findings(source="s", recipe="r", class_names="ab", mistakes=mistakes))

    assert page.N_MISTAKES == html.count("<img ")


def test_without_test_labels_the_page_says_that_there_is_no_score():
    html = page.render(Findings(source="photos", recipe="kmeans-1", class_names=NAMES))

    assert "There is no score" in html and "no labelled test" in html
    assert "<img" not in html and "How it was made" not in html


def test_a_written_page_replaces_the_old_one_whole(findings: Findings, tmp_path: Path):
    path = tmp_path / "report.html"
    path.write_text("old")

    assert path == page.write(findings, path)
    assert [path] == list(tmp_path.iterdir())
    assert path.read_text(encoding="utf-8") == page.render(findings)


def test_a_page_that_cannot_be_written_leaves_the_old_one(findings, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"No space left on device.*free some space"):
        page.write(findings, path)
    assert [path] == list(tmp_path.iterdir())
    assert "old" == path.read_text()


def test_wilson_interval_is_that_of_the_textbook():
    # Newcombe, Statistics in Medicine 17, 857-872, 1998, table I, method 3
    for (right, images), expected in {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }.items():
        assert expected == pytest.approx(wilson_interval(right, images), abs=5e-5)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_wilson_interval_holds_the_rate_and_mirrors(n_images, share):
    right = round(share * n_images)
    low, high = wilson_interval(right, n_images)

    assert 0 <= low <= right / n_images + 1e-12 and right / n_images - 1e-12 <= high <= 1
    assert (1 - high, 1 - low) == pytest.approx(wilson_interval(n_images - right, n_images))


def test_classes_stand_from_best_to_worst_and_those_without_images_are_left_out():
    confusion = np.array([[1, 3, 0], [0, 4, 0], [0, 0, 0]])

    assert [ClassScore("dog", 4, 4), ClassScore("cat", 1, 4)] == class_scores(confusion, NAMES)


def test_worst_confusions_name_the_true_class_first():
    assert [
        Confusion("fox", "cat", 3),
        Confusion("cat", "dog", 2),
        Confusion("dog", "cat", 1),
    ] == worst_confusions(CONFUSION, NAMES)


def test_a_confusion_matrix_of_another_size_is_refused():
    with pytest.raises(ValueError, match="3 classes need"):
        Findings(source="s", recipe="r", class_names=NAMES, scores={"confusion": [[1]]})


def test_settings_are_named_as_the_command_line_takes_them():
    assert {"filters.size": "6", "seed": "0"} == flat_settings({"filters": {"size": 6}, "seed": 0})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (3725, "1 h 02 min")],
)
def test_durations_are_in_the_unit_of_a_person(seconds, text):
    assert text == page.duration(seconds).replace("\u00a0", " ")


def test_a_page_explains_lines_in_pieces_and_what_answers_are():
    def text(line: Line) -> str:
        history = History(accuracies=[line], axis="minutes of training")
        return page.render(
            Findings(source="photos", recipe="labels", class_names=(), history=history)
        )

    whole = Line(name="test", along=(1, 2), values=(0.25, 0.5))
    pieces = replace(whole, starts=(0, 1))

    assert "Each piece of a line" not in text(whole)
    assert "Each piece of a line" in text(pieces) and "<em>answers</em>" not in text(pieces)
    assert "<em>answers</em>" in text(replace(pieces, name="answers"))
    assert 'aria-label="Accuracy over minutes of training"' in text(pieces)
