"""The pictures of a page: thumbnails that fit, and data that the browser reads as it was meant."""

import base64
import io
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import made_pages
from fewlabels import pictures_file
from fewlabels.errors import CheckpointError
from fewlabels.report import page, thumbnails
from fewlabels.report.findings import Suggestion
from fewlabels.report.pictures import as_data, packed_names, page_budget, unpacked_names
from fewlabels.report.thumbnails import made, sheets_within


def decoded(file: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(file)))


def whole(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<u2")


def test_a_thumbnail_stands_where_the_page_looks_for_it():
    n_images = 70
    pixels = made_pages.colours(n_images)[:, :, None, None].repeat(400, 2).repeat(200, 3)
    sheets = made(pixels, 96, 100)

    assert (96, 48, 21, 10) == (sheets.height, sheets.width, sheets.columns, sheets.rows)
    assert 1 == len(sheets.files)
    sheet = decoded(sheets.files[0])
    assert (4 * 96, 21 * 48, 3) == sheet.shape
    for i in (0, 20, 21, 69):
        row, column = divmod(i, 21)
        assert pixels[i, :, 0, 0].tolist() == sheet[row * 96 + 50, column * 48 + 20].tolist()


def test_images_of_several_sheets_go_on_where_the_sheet_before_ended():
    pixels = made_pages.colours(120)[:, :, None, None].repeat(96, 2).repeat(96, 3)
    sheets = made(pixels, 96, 100)

    assert 2 == len(sheets.files)  # 10 x 10 in each
    assert pixels[100, :, 0, 0].tolist() == decoded(sheets.files[1])[5, 5].tolist()


def test_thumbnails_fit_the_bytes_they_may_have_and_are_never_enlarged():
    noise = np.random.default_rng(0).integers(0, 256, (200, 3, 32, 32), np.uint8)

    for n_bytes in (200_000, 60_000, 20_000):
        sheets = sheets_within(noise, n_bytes)
        assert sheets.n_bytes <= n_bytes and sheets.width <= 32
    assert sheets_within(noise, 10**9).width == 32
    # nothing fits one byte: the least there is
    assert thumbnails.SIZES[-1][0] == sheets_within(noise, 1).width


def test_the_budget_of_a_page_is_that_of_the_issue():
    assert 3_000_000 == page_budget(1) == page_budget(1_000)
    assert 15_000_000 == pytest.approx(page_budget(100_000), abs=1)
    assert 15_000_000 < page_budget(200_000) < 30_000_000


@pytest.mark.parametrize("n_images", [4, 1_000])
def test_the_page_of_many_unlike_images_is_as_small_as_it_must_be(n_images):
    from fewlabels.report.pictures import thumbnail_budget

    noise = np.random.default_rng(0).integers(0, 256, (n_images, 3, 64, 64), np.uint8)
    found = made_pages.findings(n_images)
    names = tuple(f"{i * 7919 % 10007:032x}" for i in range(n_images))
    budget = thumbnail_budget(n_images, n_images, names)
    pictures = replace(found.pictures, names=names, sheets=sheets_within(noise, budget))
    html = page.render(replace(found, pictures=pictures))

    assert len(html.encode()) < 3_000_000


@settings(max_examples=40)
@given(st.lists(st.text()))
def test_names_come_back_as_they_were_but_for_zero_bytes(names):
    expected = tuple(name.replace("\0", "").encode("utf-8", "replace").decode() for name in names)

    assert expected == unpacked_names(packed_names(names), len(names))


def test_the_data_of_the_page_is_what_is_known_of_the_images():
    pictures = made_pages.findings(20).pictures
    data = as_data(pictures, made_pages.CLASS_NAMES)
    places = whole(data["positions"]).reshape(-1, 2) / 65_535

    # 5 x 4 places, the longer side from 0 to 1, the other in the middle
    assert (20, 20) == (data["count"], data["mapped"])
    assert np.allclose([0, 0.125], places[0], atol=1e-4)
    assert np.allclose([1, 0.875], places[19], atol=1e-4)
    assert [0, 1, 2, 3, 65_535] == whole(data["truth"])[[0, 1, 2, 3, 4]].tolist()
    assert 1 == whole(data["answer"])[0]  # every seventh is the next class
    assert np.allclose(pictures.confidence_N, whole(data["confidence"]) / 65_535, atol=1e-5)
    unpacked = zlib.decompress(base64.b64decode(data["names"])).decode().split("\0")
    assert list(pictures.names) == unpacked


def test_an_image_without_an_answer_and_one_that_is_no_number_can_be_shown():
    pictures = made_pages.findings(8).pictures
    strange = replace(
        pictures,
        positions_M2=np.zeros((8, 2), np.float32),  # all on one place
        answer_N=np.full(8, -1, np.int32),
        confidence_N=np.full(8, np.nan, np.float32),
    )
    data = as_data(strange, made_pages.CLASS_NAMES)

    assert {65_535} == set(whole(data["answer"]).tolist())
    assert {0} == set(whole(data["confidence"]).tolist())
    assert np.allclose(0.5, whole(data["positions"]) / 65_535, atol=1e-4)


def test_what_a_run_keeps_for_its_page_comes_back(tmp_path):
    pictures = made_pages.findings(70).pictures
    unsure = Suggestion(
        pixels=np.arange(48, dtype=np.uint8).reshape(3, 4, 4),
        name="a.jpg",
        part="unlabelled",
        answer="fox",
        probability=0.3,
    )
    kept = pictures_file.Kept(pictures=pictures, suggestions=[unsure], surrogates=b"webp")
    pictures_file.save(tmp_path, kept)
    again = pictures_file.load(tmp_path)

    assert pictures.names == again.pictures.names
    assert pictures.sheets.files == again.pictures.sheets.files
    assert (pictures.positions_M2 == again.pictures.positions_M2).all()
    assert (unsure.pixels == again.suggestions[0].pixels).all()
    assert b"webp" == again.surrogates
    pictures_file.save(tmp_path, pictures_file.Kept())
    assert pictures_file.load(tmp_path).pictures is None


def test_damaged_pictures_are_named(tmp_path):
    pictures_file.save(tmp_path, pictures_file.Kept(pictures=made_pages.findings(8).pictures))
    path = tmp_path / pictures_file.FILE
    path.write_bytes(path.read_bytes()[:-50])

    with pytest.raises(CheckpointError, match=r"pictures\.safetensors is damaged.* --map 1000"):
        pictures_file.load(tmp_path)
