"""Which answers are learned from: by hand, and laws."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fewlabels.ways import pseudo_labels


def test_aligned_answers_are_weighed_by_how_rare_their_class_was():
    answers_UL = torch.tensor([[0.6, 0.4], [0.2, 0.8]])
    mean_L, prior_L = torch.tensor([0.75, 0.25]), torch.tensor([0.5, 0.5])

    # by hand: factors 2/3 and 2; 0.4 : 0.8 and 0.1333 : 1.6
    found = pseudo_labels.aligned(answers_UL, mean_L, prior_L)

    torch.testing.assert_close(found, torch.tensor([[1 / 3, 2 / 3], [1 / 13, 12 / 13]]))


@given(st.lists(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), min_size=1, max_size=5))
def test_aligned_answers_add_up_to_one_and_a_mean_that_is_right_changes_nothing(rows):
    answers_UL = torch.tensor(rows)
    answers_UL /= answers_UL.sum(1, keepdim=True)
    prior_L = torch.tensor([0.5, 0.3, 0.2])

    moved = pseudo_labels.aligned(answers_UL, answers_UL.mean(0), prior_L)

    torch.testing.assert_close(moved.sum(1), torch.ones(len(rows)))
    torch.testing.assert_close(pseudo_labels.aligned(answers_UL, prior_L, prior_L), answers_UL)


def test_sharpened_answers_by_hand():
    answers_UL = torch.tensor([[0.2, 0.6, 0.2], [0.0, 0.5, 0.5], [1.0, 0.0, 0.0]])

    squares = [[1 / 11, 9 / 11, 1 / 11], [0.0, 0.5, 0.5], [1.0, 0.0, 0.0]]
    torch.testing.assert_close(pseudo_labels.sharpened(answers_UL, 0.5), torch.tensor(squares))
    torch.testing.assert_close(pseudo_labels.sharpened(answers_UL, 1.0), answers_UL)
    classes = [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    assert pseudo_labels.sharpened(answers_UL, 0.0).tolist() == classes


def test_thresholds_are_lower_for_classes_that_are_answered_less():
    mean_L = torch.tensor([0.5, 0.25, 0.2, 0.05])

    found = pseudo_labels.class_thresholds(torch.tensor(0.8), mean_L, least=0.3)

    # by hand: 0.8 times 1, 1/2, 2/5, 1/10, and none under 0.3
    assert [0.8, 0.4, 0.32, 0.3] == pytest.approx(found.tolist())


def test_an_answer_is_compared_with_the_threshold_of_its_own_class():
    answers_UL = torch.tensor([[0.6, 0.4], [0.4, 0.6], [0.8, 0.2], [0.45, 0.55]])

    classes_U, confident_U = pseudo_labels.confident(answers_UL, torch.tensor([0.7, 0.6]))

    assert [0, 1, 0, 1] == classes_U.tolist()
    assert [False, True, True, False] == confident_U.tolist()


def test_weights_say_how_much_an_image_counts_in_a_mean():
    values_UL = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])

    found = pseudo_labels.weighted_mean(values_UL, torch.tensor([1.0, 0.5, 0.0]))

    assert [2 / 3, 1 / 3] == pytest.approx(found.tolist())
    assert [0, 0] == pseudo_labels.weighted_mean(values_UL, torch.zeros(3)).tolist()
    assert 2 == float(pseudo_labels.weighted_mean(torch.tensor([1.0, 2, 3]), torch.ones(3)))


def test_imbalance_is_the_part_that_would_have_to_move():
    mean_L, prior_L = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.4, 0.3, 0.3])

    assert pytest.approx(0.3) == pseudo_labels.imbalance(mean_L, prior_L)
    assert 0 == pseudo_labels.imbalance(prior_L, prior_L)


def test_shares_of_classes_are_counted_those_without_labels_too():
    shares = pseudo_labels.class_shares(torch.tensor([0, 0, 2, 0]), 4)

    assert [0.75, 0, 0.25, 0] == shares.tolist()


def test_the_likeliest_shares_are_those_of_the_images_where_the_mean_answer_is_not():
    """Of ten classes, told by noisy scores, none of the last is there, and twice as many of one."""
    draw = torch.Generator().manual_seed(0)
    true_L = torch.tensor([0.2, *[0.1] * 8, 0.0])
    classes_U = torch.multinomial(true_L, 20_000, replacement=True, generator=draw)
    scores_UL = torch.randn(20_000, 10, generator=draw, dtype=torch.float64)
    scores_UL[torch.arange(20_000), classes_U] += 2
    # of scores that are normal, 2 higher for the class, Bayes' rule at equal shares is softmax(2 s)
    answers_UL, prior_L = (2 * scores_UL).softmax(1), torch.full((10,), 0.1, dtype=torch.float64)
    weights_U = torch.ones(20_000, dtype=torch.float64)

    mean_L = pseudo_labels.weighted_mean(answers_UL, weights_U)
    shares_L = pseudo_labels.likely_shares(answers_UL, weights_U, prior_L)

    assert mean_L[9] > 0.03 and mean_L[0] < 0.17
    assert (shares_L - true_L).abs().max() < 0.01
    assert pytest.approx(1) == float(shares_L.sum())


def test_answers_without_doubt_are_shares_as_they_are_counted():
    answers_UL = torch.eye(3)[[0, 0, 1, 1, 1, 2]]
    weights_U = torch.tensor([1.0, 1, 0, 1, 1, 1])

    found = pseudo_labels.likely_shares(answers_UL, weights_U, torch.tensor([0.2, 0.3, 0.5]))

    assert [0.4, 0.4, 0.2] == pytest.approx(found.tolist())


def test_the_surest_of_each_class_are_chosen_and_none_takes_over():
    classes_M = torch.tensor([0, 0, 0, 0, 1, 0, 1])
    sure_M = torch.tensor([0.9, 0.95, 0.7, 0.8, 0.5, 0.0, 0.6])

    found = pseudo_labels.balanced_choice(classes_M, sure_M, 6, torch.tensor([0.5, 0.5]))

    # three of each at most: images 1, 0, 3 of the first; both of the second
    assert [0, 1, 3, 4, 6] == found.tolist()


def test_answers_that_are_not_sure_are_never_chosen():
    found = pseudo_labels.balanced_choice(
        torch.tensor([0, 1, 0]), torch.tensor([0.0, 0.0, 0.4]), 100, torch.tensor([0.5, 0.5])
    )

    assert [2] == found.tolist()


@given(
    st.lists(st.tuples(st.integers(0, 2), st.floats(0, 1, width=32)), min_size=1, max_size=40),
    st.integers(0, 40),
)
def test_what_is_chosen_is_at_least_as_sure_as_what_is_left_of_its_class(images, n_most):
    classes_M = torch.tensor([label for label, _ in images])
    sure_M = torch.tensor([sure for _, sure in images])
    shares_L = torch.tensor([0.5, 0.25, 0.25])

    chosen = set(pseudo_labels.balanced_choice(classes_M, sure_M, n_most, shares_L).tolist())

    for label, share in enumerate(shares_L.tolist()):
        of_class = set(torch.nonzero((classes_M == label) & (sure_M > 0)).flatten().tolist())
        inside, outside = of_class & chosen, of_class - chosen
        assert len(inside) == min(len(of_class), round(share * n_most))
        if inside and outside:
            assert min(sure_M[list(inside)]) >= max(sure_M[list(outside)])
    assert len(chosen) == len(chosen & set(torch.nonzero(sure_M > 0).flatten().tolist()))
