"""The loss of VICReg: numbers by hand, a plain twin, laws, gradients, and two processes."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fewlabels import processes
from fewlabels.ways import vicreg

# two values of three images; their means are 1 and 2
FIRST = torch.tensor([[0.0, 0.0], [1.0, 3.0], [2.0, 3.0]], dtype=torch.float64)
# one value hardly differs between images, the other differs against it: [[0.01, -0.1], [-0.1, 1]]
SECOND = torch.tensor([[0.1, -1.0], [0.0, 0.0], [-0.1, 1.0]], dtype=torch.float64)


def drawn(n_images: int, n_values: int, seed: int = 0, spread: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(n_images, n_values, generator=generator, dtype=torch.float64)


def numbers(terms: vicreg.Terms) -> list[float]:
    return [float(term) for term in terms]


# --- by hand


def test_the_covariances_are_those_worked_out_by_hand():
    # deviations from the means 1 and 2: (-1, -2), (0, 1), (1, 1); divided by 3 - 1
    assert [[1, 1.5], [1.5, 3]] == vicreg.covariances(FIRST).tolist()
    expected = torch.tensor([[0.01, -0.1], [-0.1, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(vicreg.covariances(SECOND), expected)


def test_the_three_terms_are_those_worked_out_by_hand():
    terms = vicreg.terms(FIRST, SECOND)

    # differences -0.1, 1; 1, 3; 2.1, 2: squares 0.01 + 1 + 1 + 9 + 4.41 + 4 = 19.42, of six
    assert 19.42 / 6 == pytest.approx(float(terms.invariance))
    # of the first no deviation is under 1; of the second sqrt(0.01 + 0.0001) alone: over two
    # values, over two views
    assert (1 - 0.0101**0.5) / 2 / 2 == pytest.approx(float(terms.variance))
    # twice 1.5 squared over two values, and twice 0.1 squared over two values
    assert 1.5**2 + 0.1**2 == pytest.approx(float(terms.covariance))
    deviations = [1.0001**0.5, 3.0001**0.5, 0.0101**0.5, 1.0001**0.5]
    assert sum(deviations) / 4 == pytest.approx(float(terms.deviation))


def test_where_all_images_get_one_embedding_the_variance_alone_tells():
    one = torch.full((5, 4), 3.0)

    invariance, variance, covariance, deviation = numbers(vicreg.terms(one, one))

    # the root of epsilon is what is left of a deviation
    assert (0, pytest.approx(0.99), 0) == (invariance, variance, covariance)
    assert 0.01 == pytest.approx(deviation)


# --- a twin, from the equations


def slow_terms(first_ND: Tensor, second_ND: Tensor) -> tuple[float, float, float]:
    """v, c and s of equations 1 to 5, in loops; means over views and values as the authors do."""
    n_images, n_values = first_ND.shape
    variance = covariance = 0.0
    for view in (first_ND.tolist(), second_ND.tolist()):
        mean = [sum(row[d] for row in view) / n_images for d in range(n_values)]
        spread = [[0.0] * n_values for _ in range(n_values)]
        for d in range(n_values):
            for e in range(n_values):
                products = [(row[d] - mean[d]) * (row[e] - mean[e]) for row in view]
                spread[d][e] = sum(products) / (n_images - 1)
        for d in range(n_values):
            variance += max(0.0, 1 - (spread[d][d] + 1e-4) ** 0.5) / n_values / 2
            covariance += sum(spread[d][e] ** 2 for e in range(n_values) if e != d) / n_values
    squares = [
        (a - b) ** 2
        for one, other in zip(first_ND.tolist(), second_ND.tolist(), strict=True)
        for a, b in zip(one, other, strict=True)
    ]
    return sum(squares) / len(squares), variance, covariance


SIZES = {"n_images": st.integers(2, 9), "n_values": st.integers(1, 6)}
DRAWS = {**SIZES, "seed": st.integers(0, 99), "spread": st.sampled_from([1e-3, 0.3, 1.0, 30.0])}
few = settings(max_examples=40)


@few
@given(**DRAWS)
def test_the_terms_equal_those_of_a_plain_twin(n_images, n_values, seed, spread):
    first_ND, second_ND = drawn(2 * n_images, n_values, seed, spread).chunk(2)

    assert pytest.approx(slow_terms(first_ND, second_ND), rel=1e-9, abs=1e-12) == tuple(
        numbers(vicreg.terms(first_ND, second_ND))[:3]
    )


def test_covariances_are_numpy_s():
    embeddings_ND = drawn(20, 7) + 100

    expected = np.cov(embeddings_ND.numpy(), rowvar=False)
    np.testing.assert_allclose(vicreg.covariances(embeddings_ND).numpy(), expected, rtol=1e-9)


def test_gradients_are_those_of_differences():
    # in the second value the deviations are under 1, in the others over it: no kink is near
    embeddings = drawn(12, 3) * torch.tensor([3.0, 0.3, 2.0], dtype=torch.float64)
    first_ND, second_ND = (view.requires_grad_() for view in embeddings.chunk(2))

    assert 0 < vicreg.terms(first_ND, second_ND).variance.item() < 1 / 3
    assert torch.autograd.gradcheck(lambda a, b: vicreg.terms(a, b)[:3], (first_ND, second_ND))


# --- laws


@few
@given(**DRAWS)
def test_equal_views_agree_and_others_do_not(n_images, n_values, seed, spread):
    first_ND, second_ND = drawn(2 * n_images, n_values, seed, spread).chunk(2)

    assert 0 == float(vicreg.terms(first_ND, first_ND.clone()).invariance)
    assert float(vicreg.terms(first_ND, second_ND).invariance) > 0


@few
@given(**SIZES, seed=st.integers(0, 99), over=st.floats(1.0, 10.0))
def test_values_that_deviate_enough_ask_for_nothing(n_images, n_values, seed, over):
    embeddings_ND = drawn(n_images, n_values, seed)
    embeddings_ND = embeddings_ND / embeddings_ND.std(0) * over

    assert 0 == float(vicreg.terms(embeddings_ND, embeddings_ND).variance)
    # with half the deviation that is asked for, half of it is missing
    half = vicreg.terms(embeddings_ND / over / 2, embeddings_ND / over / 2)
    assert 0.5 == pytest.approx(float(half.variance), abs=2e-4)


@few
@given(**DRAWS)
def test_which_image_comes_first_makes_no_difference(n_images, n_values, seed, spread):
    first_ND, second_ND = drawn(2 * n_images, n_values, seed, spread).chunk(2)
    order = torch.randperm(n_images, generator=torch.Generator().manual_seed(seed))

    expected = numbers(vicreg.terms(first_ND, second_ND))
    assert expected == pytest.approx(numbers(vicreg.terms(first_ND[order], second_ND[order])))
    assert expected == pytest.approx(numbers(vicreg.terms(second_ND, first_ND)))


@few
@given(**DRAWS, shift=st.floats(-50, 50))
def test_only_differences_between_images_count(n_images, n_values, seed, spread, shift):
    first_ND, second_ND = drawn(2 * n_images, n_values, seed, spread).chunk(2)

    moved = vicreg.terms(first_ND + shift, second_ND + shift)

    expected = numbers(vicreg.terms(first_ND, second_ND))
    assert expected == pytest.approx(numbers(moved), rel=1e-6, abs=1e-9)


@few
@given(n_images=st.integers(3, 9), seed=st.integers(0, 99))
def test_values_that_say_nothing_of_each_other_have_no_covariance(n_images, seed):
    centred_ND = drawn(n_images, n_images - 1, seed)
    free_ND = torch.linalg.qr(centred_ND - centred_ND.mean(0))[0]  # of as many values as fit

    terms = vicreg.terms(free_ND, free_ND)
    # in full: the sum of all squares less the diagonal's would be as far off as they round
    assert 0 <= float(terms.covariance) < 1e-30
    twice = torch.cat([free_ND, free_ND], 1)  # each value is told by another
    assert float(vicreg.terms(twice, twice).covariance) > 0


def test_the_mean_deviation_is_a_fact_and_has_no_gradient():
    embeddings = drawn(6, 3).requires_grad_()

    assert not vicreg.terms(embeddings, embeddings.flip(1)).deviation.requires_grad


# --- several processes

SHARES = {"even": (4, 4), "uneven": (7, 1), "three and five": (3, 5)}
WEIGHTS = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)


def pulled(part: slice, n_processes: int = 1) -> dict[str, Tensor]:
    """The terms of a share of the images, and the gradients of a loss weighed as a training does.

    Embeddings are images times a parameter; its gradient is a mean over processes in a training.
    """
    images_N3 = drawn(16, 3, seed=4, spread=0.6)
    first, second = (view[part] for view in images_N3.chunk(2))
    parameter = torch.tensor([1.0, 0.7, 1.4], dtype=torch.float64, requires_grad=True)
    terms = vicreg.terms(first * parameter, second * parameter)
    share = len(first) * n_processes / 8
    (share * (torch.stack(terms[:3]) * WEIGHTS).sum()).backward()
    return {
        "terms": torch.stack(terms).detach(),
        "share": torch.tensor(share),
        "gradient": parameter.grad,
    }


def run_process(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    found = {}
    for name, sizes in SHARES.items():
        found[name] = pulled(slice(0, sizes[0]) if rank == 0 else slice(sizes[0], None), 2)
    values = torch.tensor([1.0 + rank, 2.0], requires_grad=True)
    total = processes.summed(values)
    (total * torch.tensor([1.0, 3.0 + rank])).sum().backward()
    found["summed"] = {"values": values.detach(), "total": total.detach(), "pull": values.grad}
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_learn_from_the_covariances_of_the_whole_batch(tmp_path: Path):
    torch.multiprocessing.spawn(run_process, args=(str(tmp_path),), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]

    whole = pulled(slice(None))
    for name in SHARES:
        parts = [part[name] for part in found]
        # variance, covariance and deviation are everyone's; the invariance of each one's images
        for part in parts:
            torch.testing.assert_close(part["terms"][1:], whole["terms"][1:])
        invariance = sum(part["share"] * part["terms"][0] for part in parts) / 2
        torch.testing.assert_close(invariance.double(), whole["terms"][0], check_dtype=False)
        gradient = (parts[0]["gradient"] + parts[1]["gradient"]) / 2
        torch.testing.assert_close(gradient, whole["gradient"])
    for rank, part in enumerate(found):
        summed = part["summed"]
        # the values as they were, the sum of both, and what both losses ask of it
        assert [[1.0 + rank, 2], [3, 4], [2, 7]] == [summed[key].tolist() for key in summed]


def test_alone_a_sum_is_the_value_itself():
    values = torch.ones(2)

    assert processes.summed(values) is values
