"""Layers whose maps come in pairs of mirror images: against slow twins, and by their laws."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fewlabels import features, mirrors
from fewlabels.batch_norm import BatchNormActivation
from fewlabels.errors import ConfigError
from fewlabels.graph import Graph, node
from fewlabels.images import Images
from fewlabels.mirrors import MirroredConv2d, MirroredNorm, PairMean
from fewlabels.recipe import from_dict
from fewlabels.recipes import named


def mirror_image(maps: Tensor, order: tuple[int, ...]) -> Tensor:
    """What the maps of the mirror image are to be: mirrored, each in the place of the other."""
    return maps.flip(3)[:, list(order)]


@st.composite
def orders(draw: st.DrawFn) -> tuple[int, ...]:
    """Some channels are their own mirror images, others each the one of another."""
    n_own, n_pairs = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    places = draw(st.permutations(range(max(1, n_own + 2 * n_pairs))))
    order = list(range(len(places)))
    for one, other in zip(places[: 2 * n_pairs : 2], places[1 : 2 * n_pairs : 2], strict=True):
        order[one], order[other] = other, one
    return tuple(order)


@torch.no_grad()
@settings(max_examples=50, deadline=None)
@given(
    orders(), st.integers(1, 3), st.sampled_from([1, 3, 5]), st.integers(1, 6), st.integers(1, 6)
)
def test_maps_of_a_mirror_image_are_the_mirrored_maps(order, n_pairs, size, height, width):
    conv = MirroredConv2d(order, n_pairs, size).double()
    maps = torch.randn(2, len(order), height, width, dtype=torch.float64)

    found = conv(mirror_image(maps, order))

    torch.testing.assert_close(found, mirror_image(conv(maps), mirrors.swapped(n_pairs)))


@torch.no_grad()
def test_the_first_half_is_a_convolution_and_the_other_one_of_its_mirrored_filters():
    conv = MirroredConv2d((1, 0, 2), 1)
    maps = torch.randn(2, 3, 4, 5)

    first, second = conv(maps).split(1, 1)

    torch.testing.assert_close(first, F.conv2d(maps, conv.weight, padding=1))
    # what the filter says of the mirror image, mirrored back
    image = maps.flip(3)[:, [1, 0, 2]]
    torch.testing.assert_close(second, F.conv2d(image, conv.weight, padding=1).flip(3))
    assert 3 * 9 == conv.weight.numel()


def test_a_gradient_is_the_sum_of_those_of_both_halves():
    conv, maps = MirroredConv2d((1, 0), 2), torch.randn(2, 2, 4, 5)
    conv(maps).square().sum().backward()

    alone = nn.Conv2d(2, 2, 3, padding=1, bias=False)
    alone.weight.data.copy_(conv.weight.data)
    for seen in (maps, mirror_image(maps, (1, 0))):
        alone(seen).square().sum().backward()
    torch.testing.assert_close(conv.weight.grad, alone.weight.grad)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_both_maps_of_a_pair_are_normalised_as_one(training: bool, channels_last: bool):
    norm, plain = MirroredNorm(3), BatchNormActivation(3)
    maps = torch.randn(4, 6, 5, 2) * 3 + 1
    weights = torch.randn(4, 6, 5, 2)
    if channels_last:
        maps = maps.contiguous(memory_format=torch.channels_last)
    for one in (norm, plain):
        one.train(training)
        one.weight.data.copy_(torch.tensor([0.5, 1.0, 2.0]))
        one.running_mean.add_(0.5)
    mine, twin = maps.clone().requires_grad_(), maps.clone().requires_grad_()

    found = norm(mine)
    # one above the other: six maps of 5 x 2 are three of 10 x 2
    slow = plain(torch.cat([twin[:, :3], twin[:, 3:]], 2))
    expected = torch.cat([slow[:, :, :5], slow[:, :, 5:]], 1)
    torch.testing.assert_close(found, expected)
    for values in (found, expected):
        (values * weights).sum().backward()
    torch.testing.assert_close(mine.grad, twin.grad)
    torch.testing.assert_close(norm.weight.grad, plain.weight.grad)
    for name, state in norm.state_dict().items():
        torch.testing.assert_close(state, plain.state_dict()[name])


def test_means_of_pairs():
    values = torch.tensor([[1.0, 2.0, 3.0, 6.0]])

    assert [[2.0, 4.0]] == PairMean()(values).tolist()


def test_even_and_odd_patches_of_three_columns():
    even, odd = mirrors.even_and_odd(1, 3)

    both = torch.cat([even, odd])
    torch.testing.assert_close(both @ both.T, torch.eye(9, dtype=torch.float64))
    assert ((6, 9), (3, 9)) == (tuple(even.shape), tuple(odd.shape))
    rows = even.view(-1, 3, 3), odd.view(-1, 3, 3)
    assert torch.equal(rows[0], rows[0].flip(2))
    assert torch.equal(rows[1], -rows[1].flip(2))
    half = 0.5**0.5
    torch.testing.assert_close(odd[0, :3], torch.tensor([half, 0, -half], dtype=torch.float64))


def test_the_order_of_filters_is_found_and_where_one_is_missing_there_is_none():
    even, one = torch.rand(3, 2, 1).expand(3, 2, 2), torch.rand(3, 2, 2)
    filters = torch.stack([one, even, one.flip(2)])

    assert (2, 1, 0) == mirrors.order(filters, torch.tensor([1.0, 2.0, 1.0]))
    assert mirrors.order(filters, torch.tensor([1.0, 2.0, 3.0])) is None  # another offset
    assert mirrors.order(filters[:2], torch.zeros(2)) is None


@pytest.mark.parametrize("order", [(1, 2, 0), (0, 0), (1, 2), (-1, 0)])
def test_an_order_that_does_not_lead_back_is_refused(order):
    with pytest.raises(ValueError, match="the mirror image of a mirror image"):
        MirroredConv2d(order, 2)


def test_filters_of_an_even_side_are_refused():
    with pytest.raises(ValueError, match="odd side; got 4"):
        MirroredConv2d((0, 1), 2, 4)


class Counting(nn.Module):
    """Hands its input on, and counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.n_calls = 0

    def forward(self, values: Tensor) -> Tensor:
        self.n_calls += 1
        return values


@pytest.mark.parametrize(("exact", "n_calls"), [(True, 1), (False, 2)])
def test_what_is_answered_alike_is_computed_once(exact: bool, n_calls: int):
    counting = Counting()
    graph = Graph(
        {
            "count": node(counting, "image"),
            "conv": node(MirroredConv2d((0, 1, 2), 2), "count"),
            "pool": node(nn.AdaptiveMaxPool2d(1), "conv"),
            "pairs": node(PairMean(exact), "pool"),
        },
        {"image": (3, 8, 8)},
        ("pairs",),
    )
    counting.n_calls = 0
    some = Images(pixels=np.random.default_rng(0).integers(0, 256, (5, 3, 8, 8), np.uint8))

    rows = features.extract(graph, some, flips=True)
    assert n_calls == counting.n_calls
    torch.testing.assert_close(rows, features.extract(graph, some, flips=False))


def test_whoever_shows_no_mirror_images_is_told_that_the_network_cannot_tell_them():
    with pytest.raises(ConfigError, match=r"augmentation.flip is 0, .* set network.mirrored=false"):
        named("labels", {"augmentation.flip": "0"})

    told = named("labels", {"augmentation.flip": "0", "network.mirrored": "false"})
    assert not told.network.mirrored


def test_a_recipe_written_before_there_were_mirrored_filters_has_none():
    before = named("labels").as_dict()
    del before["network"]["mirrored"]

    assert not from_dict(before).network.mirrored
    assert from_dict(named("labels").as_dict()).network.mirrored
    report = named("report-2")
    assert report == from_dict(report.as_dict())
