"""Closed forms of the heads against hand numbers and float64."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fewlabels import solving
from fewlabels.solving import in_own_span, squared_distances


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_squared_distances_by_hand():
    left, right = torch.tensor([[0.0, 0], [3, 4]]), torch.tensor([[0.0, 0], [3, 0], [-3, -4]])

    assert [[0, 9, 25], [25, 16, 100]] == solving.squared_distances(left, right).tolist()


@given(seed=st.integers(0, 1000))
def test_squared_distances_are_never_negative(seed: int):
    values = draw(9, 5, seed=seed)

    squared = solving.squared_distances(values, values)

    assert squared.min() >= 0
    torch.testing.assert_close(
        squared, torch.cdist(values.double(), values.double()).square().float(), atol=1e-4, rtol=0
    )


def test_the_gaussian_kernel_by_hand():
    kernel = solving.gaussian(torch.tensor([[0.0, 2.0]]), 0.5)

    torch.testing.assert_close(kernel, torch.tensor([[1.0, 0.36787944]]))


@pytest.mark.parametrize(("n_images", "n_values"), [(20, 7), (7, 20), (9, 9)])
def test_ridge_weights_solve_the_normal_equations(n_images: int, n_values: int):
    features, targets = draw(n_images, n_values), draw(n_images, 3, seed=1)

    strengths = (0.5, 0.01)
    solutions = list(solving.solve_ridge(features, targets, strengths))

    x, t = features.double(), targets.double()
    for strength, weights in zip(strengths, solutions, strict=True):
        penalty = strength * x.square().sum() / min(n_images, n_values)
        expected = torch.linalg.solve(x.T @ x + penalty * torch.eye(n_values).double(), x.T @ t)
        torch.testing.assert_close(weights.double(), expected, atol=1e-4, rtol=1e-4)


def test_both_forms_of_ridge_give_the_same_weights():
    # a row of zeros changes neither the sum of squares nor the solution, but takes the other form
    features, targets = draw(12, 12), draw(12, 2, seed=1)
    longer = torch.cat([features, torch.zeros(1, 12)])
    wider = torch.cat([features, torch.zeros(12, 1)], dim=1)

    (primal,) = solving.solve_ridge(longer, torch.cat([targets, torch.zeros(1, 2)]), [0.1])
    (dual,) = solving.solve_ridge(wider, targets, [0.1])

    torch.testing.assert_close(primal, dual[:12], atol=1e-5, rtol=1e-4)
    assert [0, 0] == dual[12].tolist()


def test_features_that_are_all_zero_have_weights_of_zero():
    for shape in ((5, 3), (3, 5)):
        (weights,) = solving.solve_ridge(torch.zeros(shape), draw(shape[0], 2), [0.1])
        assert 0 == weights.abs().max()


def test_a_matrix_that_rounding_made_indefinite_is_solved_all_the_same():
    vectors, _ = torch.linalg.qr(draw(6, 6).double())
    matrix = (vectors * torch.tensor([9.0, 5, 2, 1, 0, -1e-4]).double()) @ vectors.T
    right = draw(6, 2, seed=1)

    solution = solving.solve(matrix.float(), 1e-5, right)

    positive = (vectors * torch.tensor([9.0, 5, 2, 1, 0, 0]).double()) @ vectors.T
    expected = torch.linalg.solve(positive + 1e-5 * torch.eye(6).double(), right.double())
    torch.testing.assert_close(solution.double(), expected, atol=0, rtol=0.05)


def test_images_in_their_own_span_keep_inner_products_and_distances():
    features_ND = torch.randn(12, 50, generator=torch.Generator().manual_seed(5))

    own_NN = in_own_span(features_ND)

    assert own_NN.shape == (12, 12)
    torch.testing.assert_close(own_NN @ own_NN.T, features_ND @ features_ND.T, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(
        squared_distances(own_NN, own_NN), torch.cdist(features_ND, features_ND) ** 2,
        rtol=1e-3, atol=2e-3,
    )  # fmt: skip


def test_more_images_than_features_are_left_as_they_are():
    features_ND = torch.randn(9, 4)

    assert in_own_span(features_ND) is features_ND


def test_equal_images_have_a_span_too():
    assert in_own_span(torch.ones(4, 9)).isfinite().all()


def test_a_span_that_rounding_made_indefinite_keeps_distances():
    """Centred features with a few huge values, as those of real images: found on nette96."""
    features_ND = torch.randn(300, 2000, generator=torch.Generator().manual_seed(6))
    features_ND[:, :3] *= 1e4
    features_ND -= features_ND.mean(0)
    features_ND[150:] = features_ND[:150]

    own_NN = in_own_span(features_ND)

    expected = torch.cdist(features_ND.double(), features_ND.double())
    found = torch.cdist(own_NN.double(), own_NN.double())
    assert (found - expected).abs().max() < 2e-3 * expected.max()
