"""What belongs to no class, learned from labelled against unlabelled images.

Shapes: N labelled images, M unlabelled ones, D features.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import roc_auc_score

from fewlabels import novelty
from fewlabels.novelty import scores
from fewlabels.shares import Evidence, probabilities, share_of_classes


def mixture(
    n_labelled: int = 120, n_inside: int = 200, n_outside: int = 300, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labelled features of three classes, labels, unlabelled features, which of these are inside.

    Outside lie two heaps of their own.
    """
    draw = np.random.default_rng(seed)
    middles = 2.5 * draw.standard_normal((5, 10))
    labels_N = np.arange(n_labelled) % 3
    inside = np.arange(n_inside + n_outside) < n_inside
    heap_M = np.where(inside, np.arange(len(inside)) % 3, 3 + np.arange(len(inside)) % 2)
    noise = draw.standard_normal((n_labelled + len(inside), 10))
    features = middles[np.concatenate([labels_N, heap_M])] + noise
    return features[:n_labelled], labels_N, features[n_labelled:], inside


def test_images_of_the_classes_score_above_the_others():
    labelled_ND, labels_N, unlabelled_MD, inside = mixture()

    found = scores(labelled_ND, labels_N, unlabelled_MD, seed=0)

    assert (500,) == found.shape and 0 <= found.min() and found.max() <= 1
    assert 0.97 < roc_auc_score(inside, found)
    assert 0.9 < ((found > 0.5) == inside).mean()


@pytest.mark.parametrize(("n_inside", "n_outside"), [(400, 0), (300, 100), (100, 500)])
def test_the_share_of_the_classes_is_found_and_so_is_the_mean_probability(n_inside, n_outside):
    labelled_ND, labels_N, unlabelled_MD, inside = mixture(300, n_inside, n_outside, seed=1)

    found = novelty.evidence(labelled_ND, labels_N, unlabelled_MD, seed=0)
    share = share_of_classes(found)

    assert inside.mean() == pytest.approx(share, abs=0.15)
    assert share == pytest.approx(probabilities(found, share).mean(), abs=0.1)


def test_where_all_is_of_the_classes_nearly_nothing_is_called_out_of_class():
    labelled_ND, labels_N, unlabelled_MD, _ = mixture(300, 400, 0)

    assert (scores(labelled_ND, labels_N, unlabelled_MD, seed=0) < 0.5).mean() < 0.1


def test_where_all_is_out_of_class_nearly_everything_is_called_so():
    labelled_ND, labels_N, unlabelled_MD, _ = mixture(120, 0, 300)

    assert (scores(labelled_ND, labels_N, unlabelled_MD, seed=0) < 0.5).mean() > 0.9


def test_the_scale_and_place_of_features_change_nothing():
    labelled_ND, labels_N, unlabelled_MD, _ = mixture()

    plain = scores(labelled_ND, labels_N, unlabelled_MD, seed=0)
    scaled = scores(labelled_ND * 1000 + 5, labels_N, unlabelled_MD * 1000 + 5, seed=0)

    assert roc_auc_score(plain > 0.5, scaled) > 0.99
    assert np.abs(plain - scaled).mean() < 0.02


def test_the_same_seed_gives_the_same_scores_and_features_are_not_written_to():
    labelled_ND, labels_N, unlabelled_MD, _ = mixture()
    kept = labelled_ND.copy(), unlabelled_MD.copy()

    first, again = (scores(labelled_ND, labels_N, unlabelled_MD, seed=3) for _ in range(2))

    assert (first == again).all()
    assert (kept[0] == labelled_ND).all() and (kept[1] == unlabelled_MD).all()


def test_more_features_than_images_are_no_trouble():
    labelled_ND, labels_N, unlabelled_MD, inside = mixture(60, 40, 40)
    wide = np.random.default_rng(0).standard_normal((10, 900)) / 30

    found = scores(labelled_ND @ wide, labels_N, unlabelled_MD @ wide, seed=0)

    assert 0.9 < roc_auc_score(inside, found)


def test_an_image_is_answered_by_machines_that_did_not_learn_from_it(monkeypatch):
    # kernels so narrow that a machine knows nothing but the images it learned from
    monkeypatch.setattr(novelty, "WIDTH", 1e6)
    monkeypatch.setattr(novelty, "CLASS_WIDTH", 1e6)
    labelled_ND, labels_N, unlabelled_MD, _ = mixture()

    found = novelty.evidence(labelled_ND, labels_N, unlabelled_MD, seed=0)

    roc = roc_auc_score(
        np.arange(620) < 120, np.concatenate([found.labelled_N, found.unlabelled_M])
    )
    assert 0.5 == pytest.approx(roc, abs=0.05)  # one that had seen an image would know it


def test_cross_fitting_by_sums_is_that_of_a_slow_twin(monkeypatch):
    monkeypatch.setattr(novelty, "PENALTIES", (0.01,))
    draw = np.random.default_rng(0)
    images, landmarks = draw.random((60, 3), np.float32), draw.random((7, 3), np.float32)
    fold, weight, target = np.arange(60) % 4, draw.random(60), draw.choice([-0.5, 0.5], 60)

    fast = novelty._cross_fitted(images, landmarks, fold, weight, target)

    kernel = novelty._kernel(images, landmarks, novelty.WIDTH).astype(float)
    smooth = 0.01 * novelty._kernel(landmarks, landmarks, novelty.WIDTH) + 1e-6 * np.eye(7)
    for index in range(60):
        others = fold != fold[index]
        part = weight[others] / weight[others].sum()
        right = kernel[others].T @ (part * (target[others] - part @ target[others]))
        squares = kernel[others].T @ (part[:, None] * kernel[others])
        by_hand = kernel[index] @ np.linalg.solve(squares + smooth, right)
        assert by_hand == pytest.approx(fast[index], abs=1e-3)


def test_the_class_answer_is_the_largest_of_a_machine_of_the_other_folds():
    labelled_ND, labels_N, unlabelled_MD, _ = mixture(30, 10, 10)
    fold = np.concatenate([np.arange(30) % 5, np.arange(20) % 5])

    found = novelty._class_answers(labelled_ND, labels_N, unlabelled_MD, fold)

    images = np.concatenate([labelled_ND, unlabelled_MD])
    gamma = novelty.CLASS_WIDTH / (2 * labelled_ND.var(0).sum())
    for index in range(50):
        others = np.flatnonzero(fold[:30] != fold[index])
        target = np.eye(3)[labels_N[others]]
        machine = KernelRidge(alpha=novelty.CLASS_STRENGTH, kernel="rbf", gamma=gamma)
        machine.fit(labelled_ND[others], target - target.mean(0))
        answers = machine.predict(images[index : index + 1])[0] + target.mean(0)
        assert answers.max() == pytest.approx(found[index], abs=1e-6)


def test_the_penalty_is_the_one_with_the_least_weighted_error(monkeypatch):
    draw = np.random.default_rng(1)
    images, landmarks = draw.random((80, 3), np.float32), draw.random((9, 3), np.float32)
    fold, weight = np.arange(80) % 5, np.full(80, 1 / 80)
    target = np.where(images[:, 0] > 0.5, 0.5, -0.5)

    def answered(*penalties: float) -> np.ndarray:
        monkeypatch.setattr(novelty, "PENALTIES", penalties)
        return novelty._cross_fitted(images, landmarks, fold, weight, target)

    errors = {p: np.square(answered(p) - target).mean() for p in (0.001, 1.0, 100.0)}

    best = min(errors, key=errors.__getitem__)
    assert 100.0 != best
    np.testing.assert_allclose(answered(best), answered(0.001, 1.0, 100.0))


def test_the_share_is_the_least_bound_worked_out_by_hand():
    # 10,000 labelled scores, evenly spread; half as many of the unlabelled lie above any of them
    labelled_N = np.arange(10_000.0)
    unlabelled_M = np.concatenate([labelled_N, np.full(10_000, -1.0)])

    share = share_of_classes(Evidence(labelled_N=labelled_N, unlabelled_M=unlabelled_M))

    # least where most lie above, at the quantile 0.1: each part a standard error to the safe side
    above = 0.45 + (0.45 * 0.55 / 20_000) ** 0.5
    below = 0.9 - (0.9 * 0.1 / 10_000) ** 0.5
    assert above / below == pytest.approx(share, abs=1e-3)


@settings(max_examples=20)
@given(
    st.lists(st.floats(-5, 5), min_size=2, max_size=30),
    st.lists(st.floats(-5, 5), min_size=1, max_size=30),
    st.floats(0.01, 1),
)
def test_probabilities_rise_with_the_score(labelled, unlabelled, share):
    found = Evidence(labelled_N=np.array(labelled), unlabelled_M=np.array(unlabelled))

    answered = probabilities(found, share)

    assert ((answered >= 0) & (answered <= 1)).all()
    order = np.argsort(found.unlabelled_M)
    assert (np.diff(answered[order]) >= -1e-9).all()


def test_few_images_have_scores_and_no_unlabelled_ones_have_none():
    labelled_ND, labels_N, unlabelled_MD, _ = mixture()

    for n_labelled, n_unlabelled in ((2, 1), (3, 2), (120, 1)):
        some = labelled_ND[:n_labelled], labels_N[:n_labelled], unlabelled_MD[:n_unlabelled]
        found = scores(*some, seed=0)
        assert (n_unlabelled,) == found.shape
        assert ((found >= 0) & (found <= 1)).all()

    assert (0,) == scores(labelled_ND, labels_N, unlabelled_MD[:0], seed=0).shape


def test_features_that_do_not_fit_are_refused():
    labelled_ND, labels_N, unlabelled_MD, _ = mixture()

    with pytest.raises(ValueError, match="have the same features"):
        scores(labelled_ND, labels_N, unlabelled_MD[:, 1:], seed=0)
    with pytest.raises(ValueError, match="a label for each; got 120 images and 119"):
        scores(labelled_ND, labels_N[1:], unlabelled_MD, seed=0)
    with pytest.raises(ValueError, match="at least 2 labelled images"):
        scores(labelled_ND[:1], labels_N[:1], unlabelled_MD, seed=0)
