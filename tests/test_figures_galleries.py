"""Galleries of patches, pictures of words, sheets as SVG; and what excites filters."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fewlabels.errors import ConfigError, DataError
from fewlabels.excitations import Field, receptive_field, strongest
from fewlabels.figures import GAP, GAP_GRAY, to_png
from fewlabels.galleries import patch_gallery, plain, sheet_svg, words
from fewlabels.graph import Graph, node
from fewlabels.images import Images
from fewlabels.layers import Add, PatchEncoder, SquareRoot
from fewlabels.stack_layers import FilterBank, LocalContrast, SharesRoot

SPACE = "{http://www.w3.org/2000/svg}"
ADDRESS = "{http://www.w3.org/1999/xlink}href"


def test_patches_of_a_filter_stand_in_a_block_the_strongest_first():
    levels = np.arange(8, dtype=np.uint8).reshape(2, 4) * 10 + 100
    patches = np.tile(levels[:, :, None, None, None], (1, 1, 3, 75, 75))
    sheet = patch_gallery(patches, columns=2)

    edge, inside = 4 * GAP, 75 + 1
    assert (edge + 151 + edge, 2 * (151 + edge) + edge, 3) == sheet.shape
    places = [(edge, edge), (edge, edge + inside), (edge + inside, edge)]
    assert [100, 110, 120] == [sheet[y, x, 0] for y, x in places]
    assert 140 == sheet[edge, edge + 151 + edge, 0]  # the second filter's first
    assert GAP_GRAY == sheet[edge, edge + 75, 0]


def test_small_patches_are_enlarged_by_a_whole_factor():
    patches = np.random.default_rng(0).integers(0, 256, (1, 1, 3, 10, 10), dtype=np.uint8)
    sheet = patch_gallery(patches)

    shown = sheet[4 * GAP : 4 * GAP + 150 : 15, 4 * GAP : 4 * GAP + 150 : 15]
    assert np.array_equal(patches[0, 0].transpose(1, 2, 0), shown)


def test_a_gallery_of_no_patch_is_refused():
    with pytest.raises(ValueError, match="one at least"):
        patch_gallery(np.zeros((0, 9, 3, 4, 4), np.uint8))


@pytest.mark.parametrize("photographs", [False, True])
def test_a_sheet_as_svg_holds_its_pixels_and_escapes_its_words(photographs: bool):
    sheet = np.full((20, 30, 3), 128, np.uint8)
    svg = sheet_svg(sheet, "<b>&\x00", 'a "quote"\nin two lines', photographs=photographs)

    root = ElementTree.fromstring(svg)
    assert ("30", "20") == (root.get("width"), root.get("height"))
    assert "<b>&" == root.findtext(f"{SPACE}title")
    assert 'a "quote" in two lines' == root.findtext(f"{SPACE}desc")
    address = root.find(f"{SPACE}image").get(ADDRESS)
    kind = "jpeg" if photographs else "png"
    assert address.startswith(f"data:image/{kind};base64,")
    kept = Image.open(io.BytesIO(base64.b64decode(address.split(",")[1])))
    assert np.allclose(sheet, np.asarray(kept), atol=2)


def test_words_of_any_length_make_a_picture():
    drawn = words("the set <b>pets</b> costs $5 and $6 " * 20 + "猫")

    assert Image.open(io.BytesIO(to_png(drawn))).height > 100
    assert "&lt;b&gt;" == plain("<b>\n")


def encoder(patch_size: int, padding: int = 0, pool: int = 1, channels: int = 3) -> PatchEncoder:
    return PatchEncoder(channels, patch_size, 4, 5, padding=padding, pool=pool)


def test_a_receptive_field_by_hand():
    graph = Graph(
        {
            "layer1": node(encoder(6, padding=2, pool=3), "image"),
            "roots1": node(SquareRoot(), "layer1"),
            "layer2": node(encoder(5, padding=2, pool=2, channels=5), "roots1"),
        },
        inputs={"image": (3, 48, 48)},
        outputs=("layer2",),
    )

    assert Field(8, 3, -2) == receptive_field(graph, "layer1")
    assert Field(8, 3, -2) == receptive_field(graph, "roots1")
    # 8 + (5 - 1) * 3, and one place more for the pool; -2 - 2 * 3
    assert Field(23, 6, -8) == receptive_field(graph, "layer2")


def test_a_receptive_field_in_a_stack_by_hand():
    graph = Graph(
        {
            "bank1": node(FilterBank(3, 4, 5, "rectified"), "image"),
            "stack1": node(nn.MaxPool2d(3, stride=2, padding=1), "bank1"),
            "contrast1": node(LocalContrast(), "stack1"),
            "shares1": node(SharesRoot(), "contrast1"),
            "bank2": node(FilterBank(4, 6, 5), "shares1"),
            "stack2": node(nn.MaxPool2d(3, stride=2, padding=1), "bank2"),
        },
        inputs={"image": (3, 32, 32)},
        outputs=("stack2",),
    )

    assert Field(5, 1, -2) == receptive_field(graph, "bank1")
    assert Field(7, 2, -3) == receptive_field(graph, "shares1")
    # 7 + (5 - 1) * 2 and -3 - 2 * 2; then two places more of 2, and one place of 2 before
    assert Field(19, 4, -9) == receptive_field(graph, "stack2")


def test_a_receptive_field_is_where_the_gradient_is():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        graph = Graph(
            {
                "a": node(nn.Conv2d(3, 4, 3, stride=2, dilation=2), "image"),
                "b": node(nn.Conv2d(4, 4, 3, padding=1), "a"),
                "sum": node(Add(), "a", "b"),
                "pool": node(nn.AvgPool2d(2), "sum"),
            },
            inputs={"image": (3, 40, 40)},
            outputs=("pool",),
        )
    pixels = torch.rand(1, 3, 40, 40, requires_grad=True)
    graph(pixels)[0, 0, 3, 3].backward()
    rows = torch.nonzero(pixels.grad.abs().sum((0, 1, 3))).ravel()

    field = receptive_field(graph, "pool")
    assert field.start + 3 * field.step == rows.min()
    assert field.start + 3 * field.step + field.size - 1 == rows.max()


def test_values_without_places_have_no_receptive_field():
    graph = Graph(
        {
            "conv": node(nn.Conv2d(3, 2, 3), "image"),
            "flat": node(nn.Flatten(), "conv"),
            "inside": node(nn.Sequential(nn.Conv2d(3, 2, 3, padding=1)), "image"),
        },
        inputs={"image": (3, 8, 8)},
        outputs=("flat",),
    )
    for name in ("flat", "inside"):
        with pytest.raises(ConfigError, match=f"values of '{name}' belong to no places"):
            receptive_field(graph, name)
    with pytest.raises(ConfigError, match="no node"):
        receptive_field(graph, "nothing")


@pytest.fixture
def spots():
    """Five black images with one white pixel each, ever brighter; and a filter that sees it."""
    pixels = np.zeros((5, 3, 12, 12), np.uint8)
    corners = [(2, 3), (0, 0), (11, 11), (6, 1), (5, 5)]
    for number, (row, column) in enumerate(corners):
        pixels[number, :, row, column] = 50 * (number + 1)
    conv = nn.Conv2d(3, 2, 3, padding=1, bias=False)
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[1, :, 1, 1] = 1
    graph = Graph({"conv": node(conv, "image")}, {"image": (3, 12, 12)}, ("conv",))
    return Images(pixels=pixels), graph


def test_the_strongest_patches_are_found_and_cut_around_their_places(spots):
    images, graph = spots
    found = strongest(graph, "conv", images, np.array([1]), n_patches=4)

    assert [[4, 3, 2, 1]] == found.image_FP.tolist()
    assert np.allclose(3 * np.array([[250, 200, 150, 100]]) / 255, found.answers_FP)
    assert (1, 4, 3, 3, 3) == found.patches_FP3SS.shape
    assert 250 == found.patches_FP3SS[0, 0, 0, 1, 1]  # in the middle of its field
    assert 150 == found.patches_FP3SS[0, 2, 0, 2, 2]  # at the border the patch moves inside
    assert 3 * 150 == found.patches_FP3SS[0, 2].astype(int).sum()


def test_fewer_images_than_patches_give_fewer_patches(spots):
    images, graph = spots
    found = strongest(graph, "conv", images, np.array([0, 1]), n_patches=99)

    assert (2, 5) == found.image_FP.shape
    with pytest.raises(DataError, match="no image"):
        strongest(graph, "conv", images.take(np.array([], int)), np.array([0]))


def test_the_largest_answers_are_those_of_a_plain_search(tiny_set):
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        layers = nn.Conv2d(3, 6, 5, stride=2), nn.ReLU(), nn.MaxPool2d(2)
    graph = Graph(
        {
            "conv": node(layers[0], "image"),
            "relu": node(layers[1], "conv"),
            "pool": node(layers[2], "relu"),
        },
        inputs={"image": (3, 24, 24)},
        outputs=("pool",),
    )
    images = tiny_set.test
    found = strongest(graph, "pool", images, np.arange(6), n_patches=3)
    with torch.no_grad():
        maps = graph(torch.tensor(images.pixels) / 255.0)
        largest = maps.amax((2, 3)).sort(0, descending=True)

    assert np.allclose(largest.values[:3].T, found.answers_FP, atol=1e-5)
    # a patch alone, as large as the field, gives the answer again
    patches = torch.tensor(found.patches_FP3SS[2]) / 255.0
    alone = layers[2](layers[1](layers[0](patches)))
    assert (3, 6, 1, 1) == alone.shape
    assert np.allclose(found.answers_FP[2], alone[:, 2, 0, 0].detach(), atol=1e-5)


def test_svg_of_words_has_no_name_of_a_font():
    from fewlabels.figures import to_svg

    assert re.search(r"<text", to_svg(words("no picture"))) is None
