"""The modules between and in the layers of a stack: equal to slow loops, and to laws."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from fewlabels import graph_files
from fewlabels.graph import Graph, node
from fewlabels.stack_layers import FilterBank, LocalContrast, SharesRoot


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def filled(precision: str = "fp32") -> FilterBank:
    bank = FilterBank(channels=5, n_filters=7, patch_size=3, precision=precision)
    bank.filters_KCss.copy_(F.normalize(noise(7, 5, 3, 3).flatten(1)).view(7, 5, 3, 3))
    return bank


# --- filters


def test_a_bank_answers_with_absolute_products_and_zeros_beyond_the_border():
    bank, maps = filled(), noise(2, 5, 6, 4, seed=1)
    padded = F.pad(maps, (1, 1, 1, 1))

    answers = bank(maps)

    assert (2, 7, 6, 4) == answers.shape
    for row, column in ((0, 0), (3, 2), (5, 3)):
        patch = padded[1, :, row : row + 3, column : column + 3]
        expected = (bank.filters_KCss * patch).sum((1, 2, 3)).abs()
        torch.testing.assert_close(answers[1, :, row, column], expected)


def test_a_bank_in_bf16_answers_nearly_alike_in_float32():
    exact, short = filled(), filled("bf16")
    maps = noise(2, 5, 6, 6, seed=1)

    assert torch.bfloat16 == short.filters_KCss.dtype
    assert torch.float32 == short(maps).dtype
    torch.testing.assert_close(short(maps), exact(maps), atol=0.05, rtol=0.02)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_saved_bank_answers_alike_bit_for_bit(precision: str, tmp_path):
    nodes = {
        "contrast": node(LocalContrast(), "maps"),
        "shares": node(SharesRoot(), "contrast"),
        "bank": node(filled(precision), "shares"),
    }
    graph, maps = Graph(nodes, {"maps": (5, 9, 9)}, ("bank",)), noise(2, 5, 9, 9)
    graph_files.save(graph, tmp_path)

    assert torch.equal(graph(maps), graph_files.load(tmp_path)(maps))


# --- contrast


def slow_contrast(maps: torch.Tensor) -> torch.Tensor:
    """Place by place, as the docstring says, in float64."""
    n_images, _, height, width = maps.shape
    half_rows, half_columns = height // 8, width // 8

    def over_window(values, row, column):
        total = weight = 0.0
        for i in range(max(0, row - half_rows), min(height, row + half_rows + 1)):
            for j in range(max(0, column - half_columns), min(width, column + half_columns + 1)):
                away = ((i - row) / (height / 8)) ** 2 + ((j - column) / (width / 8)) ** 2
                total += math.exp(-away / 2) * float(values[i, j])
                weight += math.exp(-away / 2)
        return total / weight

    result = maps.double().clone()
    for image in range(n_images):
        means = result[image].mean(0)
        local = [[over_window(means, i, j) for j in range(width)] for i in range(height)]
        result[image] -= torch.tensor(local).double()
        squares = result[image].square().mean(0)
        local = [[over_window(squares, i, j) for j in range(width)] for i in range(height)]
        deviation = torch.tensor(local).double().sqrt()
        result[image] /= deviation.clamp(min=float(deviation.mean()))
    return result.float()


@pytest.mark.parametrize("size", [(16, 16), (11, 8), (5, 5)])
def test_local_contrast_is_that_of_a_slow_loop(size: tuple[int, int]):
    maps = noise(2, 3, *size).exp()  # of unequal contrast

    torch.testing.assert_close(LocalContrast()(maps), slow_contrast(maps), atol=1e-4, rtol=1e-4)


def test_brightness_and_contrast_of_an_image_do_not_matter():
    maps = noise(2, 3, 8, 8).exp()

    changed = LocalContrast()(7 * maps + 3)

    torch.testing.assert_close(LocalContrast()(maps), changed, atol=1e-4, rtol=1e-4)


def test_maps_without_any_contrast_become_zeros():
    flat = torch.full((1, 3, 8, 8), 2.0)

    torch.testing.assert_close(LocalContrast()(flat), torch.zeros_like(flat))


# --- roots


def test_roots_of_shares_by_hand():
    values = torch.tensor([[1.0, -4.0, 0.0, 5.0]])

    expected = torch.tensor([[0.1, -0.4, 0.0, 0.5]])
    torch.testing.assert_close(
        SharesRoot()(values), expected.abs().sqrt().copysign(expected), atol=1e-6, rtol=1e-6
    )


@given(st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_every_image_has_length_1_whatever_its_scale(seed: int, factor: float):
    values = noise(3, 2, 4, 4, seed=seed)

    rooted = SharesRoot()(factor * values)

    torch.testing.assert_close(rooted.flatten(1).norm(dim=1), torch.ones(3))
    torch.testing.assert_close(rooted, SharesRoot()(values))
    assert torch.equal(rooted.sign(), values.sign())


def test_an_image_of_zeros_stays_zeros():
    assert torch.equal(torch.zeros(1, 2, 3, 3), SharesRoot()(torch.zeros(1, 2, 3, 3)))
