"""What a notebook shows of models, graphs and filters: self-contained, escaped, small."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from torch import nn

from fewlabels import filter_pictures, notebook
from fewlabels.graph import Graph, node
from fewlabels.layers import PatchEncoder
from fewlabels.model import Model

pytest_plugins = ("run_fixtures",)


class Parsed(HTMLParser):
    """Tags, addresses and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def model(tiny_run) -> Model:
    return Model.load(tiny_run)


def check_self_contained(text: str) -> Parsed:
    parsed = Parsed(text)
    assert {"div", "b", "img", "pre"} >= set(parsed.tags)
    assert all(address.startswith("data:image/") for address in parsed.addresses)
    return parsed


def test_a_model_shows_its_score_and_confusion_matrix(model):
    shown = check_self_contained(model._repr_html_())

    accuracy = model.scores["accuracy"]
    assert f"accuracy {100 * accuracy:.1f} % of 20 test images" in shown.text
    assert "kmeans-1: a model of 10 classes" in shown.text and "crescent" in shown.text
    (picture,) = shown.addresses
    assert base64.b64decode(picture.split(",")[1]).startswith(b"\x89PNG")
    assert len(picture) < 200_000


def test_a_model_without_a_score_says_so(model):
    shown = check_self_contained(replace(model, scores={})._repr_html_())

    assert "not scored" in shown.text
    assert [] == shown.addresses


def test_class_names_are_escaped(model):
    names = ("<script>alert(1)</script>", *model.class_names[1:])
    text = replace(model, class_names=names)._repr_html_()

    assert "<script>" not in text
    assert "<script>alert(1)</script>" in check_self_contained(text).text


def test_a_model_keeps_its_score_where_it_is_saved_and_does_without_a_damaged_one(model, tmp_path):
    model.save(tmp_path / "copy")
    assert model.scores == Model.load(tmp_path / "copy").scores

    (tmp_path / "copy" / "scores.json").write_text("{")
    assert {} == Model.load(tmp_path / "copy").scores


def test_a_graph_shows_its_drawing_and_its_filters(model):
    shown = check_self_contained(model.graph._repr_html_())

    drawing, gallery = shown.addresses
    assert drawing.startswith("data:image/svg+xml;base64,")
    svg = base64.b64decode(drawing.split(",")[1]).decode()
    assert svg.startswith("<svg") and "layer1" in svg
    assert gallery.startswith("data:image/png;base64,")
    assert f"a network of {len(model.graph.layers)} modules" in shown.text
    assert "12 filters of 6 x 6 pixels" in shown.text


def test_a_name_of_a_node_cannot_leave_the_drawing():
    graph = Graph({'"><script>': node(nn.ReLU(), "image")}, {"image": (3, 4, 4)}, ('"><script>',))
    text = graph._repr_html_()

    assert "<script>" not in text
    assert 1 == len(check_self_contained(text).addresses)


def made_encoder(n_filters: int, channels: int = 3) -> PatchEncoder:
    encoder = PatchEncoder(channels, 4, 6, n_filters)
    generator = torch.Generator().manual_seed(0)
    n_values = channels * 16
    encoder.set_group(
        0,
        torch.arange(channels),
        0.01,
        torch.zeros(n_values),
        torch.randn(n_values, 6, generator=generator),
        torch.randn(n_filters, 6, generator=generator),
    )
    return encoder


def test_of_many_filters_some_are_shown_and_it_is_said():
    shown = check_self_contained(made_encoder(600)._repr_html_())

    assert "600 filters of 4 x 4 pixels, 256 of them shown" in shown.text
    assert len(shown.addresses[0]) < 200_000


def test_filters_over_other_maps_are_words():
    shown = check_self_contained(made_encoder(5, channels=7)._repr_html_())

    assert [] == shown.addresses
    assert re.search(r"5 filters, 4x4", shown.text)


def test_pictures_of_filters_lead_back_through_the_whitening():
    encoder = made_encoder(5)
    axes = torch.nn.functional.normalize(encoder.project_GETss[0].flatten(1), dim=1)
    by_hand = [
        sum(encoder.centroids_GKE[0, k, e] * axes[e] for e in range(6)).numpy() for k in range(5)
    ]

    pictures = filter_pictures.pictures(encoder).flatten(1).numpy()
    assert np.allclose(np.stack(by_hand), pictures, atol=1e-6)


def test_lines_and_texts_are_escaped():
    assert "<div>&lt;b&gt;</div>" == notebook.line("<b>")
    assert "<pre>&amp;</pre>" == notebook.preformatted("&")
    assert "&quot;" in notebook.drawing("<svg/>", '"')
