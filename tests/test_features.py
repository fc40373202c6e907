"""Features: whatever the batches, each row is the graph's answer for its own image."""

import numpy as np
import pytest
import torch
from torch import nn

from fewlabels import features
from fewlabels.errors import ConfigError, DataError
from fewlabels.graph import Graph, node
from fewlabels.images import Images, as_float
from fewlabels.progress import Clock, watching


@pytest.fixture(scope="module")
def graph() -> Graph:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
    return Graph(
        {
            "maps": node(layers[0], "image"),
            "norm": node(layers[1], "maps"),
            "features": node(nn.Flatten(), "norm"),
        },
        {"image": (3, 6, 7)},
        ("features",),
    )


def images(n_images: int) -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (n_images, 3, 6, 7), dtype=np.uint8)
    pixels.flags.writeable = False
    return Images(pixels=pixels)


def one_by_one(graph: Graph, pixels: np.ndarray, name: str) -> torch.Tensor:
    graph.eval()
    with torch.no_grad():
        rows = [graph(as_float(one[None]), wanted=(name,))[name].flatten() for one in pixels]
    return torch.stack(rows)


@pytest.mark.parametrize("n_images", [1, 64, 65])
def test_each_row_is_the_output_for_its_image(graph: Graph, n_images: int):
    some = images(n_images)

    rows = features.extract(graph, some, flips=False)

    assert (n_images, 4 * 4 * 5) == rows.shape
    torch.testing.assert_close(rows, one_by_one(graph, some.pixels, "features"))


def test_flips_average_an_image_and_its_mirror_image(graph: Graph):
    some = images(65)
    mirrored = Images(pixels=np.ascontiguousarray(some.pixels[..., ::-1]))

    rows = features.extract(graph, some, flips=True)

    plain = one_by_one(graph, some.pixels, "features")
    turned = one_by_one(graph, mirrored.pixels, "features")
    torch.testing.assert_close(rows, (plain + turned) / 2)
    torch.testing.assert_close(rows, features.extract(graph, mirrored, flips=True))


def test_what_learned_in_bf16_answers_in_it_and_both_sides_are_added_in_full(graph: Graph):
    some = images(7)

    rows = features.extract(graph, some, flips=True, precision="bf16", batch_size=3)

    assert rows.dtype == torch.float32
    pictures = as_float(some.pixels)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        sides = [
            graph(one, wanted=("features",))["features"] for one in (pictures, pictures.flip(3))
        ]
    torch.testing.assert_close(rows, (sides[0].float() + sides[1].float()) / 2)
    assert not torch.allclose(rows, features.extract(graph, some, flips=True), atol=1e-4)


def test_so_many_images_go_through_the_graph_together(graph: Graph):
    seen = []
    hook = graph.layers["maps"].register_forward_hook(lambda *call: seen.append(len(call[2])))

    rows = features.extract(graph, images(7), flips=False, batch_size=3)

    hook.remove()
    assert [1, 3, 3] == sorted(seen)
    torch.testing.assert_close(rows, features.extract(graph, images(7), flips=False))


def test_another_node_can_be_read_as_rows(graph: Graph):
    some = images(3)

    rows = features.extract(graph, some, flips=False, wanted="maps")

    torch.testing.assert_close(rows, one_by_one(graph, some.pixels, "maps"))
    whole = features.extract(graph, some, flips=False, wanted="image")
    torch.testing.assert_close(whole, as_float(some.pixels).flatten(1))


def test_an_unknown_node_is_refused(graph: Graph):
    with pytest.raises(ConfigError, match="the graph has no node or input 'mups'"):
        features.extract(graph, images(1), flips=False, wanted="mups")


def test_images_of_another_size_are_refused(graph: Graph):
    with pytest.raises(DataError, match="input 'image' is of shape"):
        features.extract(graph, Images(pixels=np.zeros((2, 3, 9, 9), np.uint8)), flips=False)


def test_running_statistics_stay_even_of_a_graph_in_training(graph: Graph):
    graph.train()
    before = graph.layers["norm"].running_mean.clone()

    features.extract(graph, images(5), flips=True)

    assert torch.equal(before, graph.layers["norm"].running_mean)


def test_the_stage_is_named_for_who_watches(graph: Graph):
    with watching(Clock()) as clock:
        features.extract(graph, images(2), flips=False, what="features of test images")

    assert ["features of test images"] == list(clock.seconds)


@pytest.mark.parametrize(("n_images", "lengths"), [(3, [3]), (12, [6, 6]), (14, [6, 6, 2])])
def test_blocks_hold_the_rows_of_extract_in_order(
    graph: Graph, monkeypatch: pytest.MonkeyPatch, n_images: int, lengths: list[int]
):
    monkeypatch.setattr(features, "BATCH", 3)
    monkeypatch.setattr(features, "ROWS", 6)
    whole = features.extract(graph, images(n_images), flips=True)

    found = list(features.blocks(graph, images(n_images), flips=True))

    assert lengths == [len(block) for block in found]
    assert torch.equal(whole, torch.cat(found))
