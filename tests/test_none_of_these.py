"""Calibrated probabilities, "none of these", and answers for labelled images out of their fold.

Shapes: N images, D features, L classes.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.model_selection import StratifiedKFold

from fewlabels import heads
from fewlabels.calibration import calibration_error, fit_temperature
from fewlabels.cli import main
from fewlabels.errors import ConfigError
from fewlabels.heads import HeadConfig
from fewlabels.model import Model
from fewlabels.protocol import measure
from labelled_features import labelled

pytest_plugins = ("run_fixtures",)


def calibration_of(head: heads.Head, features_ND: torch.Tensor, labels_N: torch.Tensor) -> float:
    return measure(head.probabilities(features_ND).numpy(), labels_N.numpy()).calibration_error


def test_at_most_one_held_out_image_in_twenty_lies_under_the_threshold():
    best_N = torch.linspace(0.5, 0.89, 40)  # 40 / 20 = 2 may lie under it: 0.50 and 0.51

    threshold = heads.none_threshold(torch.stack([best_N, 1 - best_N], 1).flip(0))

    assert threshold == pytest.approx(0.52)
    assert 2 == int((best_N < threshold).sum())


def test_of_fewer_than_twenty_held_out_images_none_lies_under_the_threshold():
    best_N = torch.tensor([0.9, 0.6, 0.7])

    assert float(best_N[1]) == heads.none_threshold(torch.stack([best_N, 1 - best_N], 1))


@given(st.lists(st.floats(0.5, 1, width=32), min_size=1, max_size=80))
def test_the_share_under_the_threshold_never_exceeds_a_twentieth(best: list[float]):
    best_N = torch.tensor(best)
    threshold = heads.none_threshold(torch.stack([best_N, 1 - best_N], 1))

    assert 20 * int((best_N < threshold).sum()) <= len(best)


@pytest.mark.parametrize("kind", heads.KINDS)
def test_every_kind_of_head_is_calibrated_on_images_that_it_did_not_learn_from(kind: str):
    features_ND, labels_N = labelled(n_images=1800, noise=1.5)
    head = heads.fit(features_ND[:300], labels_N[:300], 3, HeadConfig(kind=kind), seed=0)
    others = features_ND[300:], labels_N[300:]

    error = calibration_of(head, *others)

    assert error < 0.06
    for factor in (1 / 3, 3):
        changed = replace(head, temperature=factor * head.temperature)
        assert error < calibration_of(changed, *others)


@pytest.mark.parametrize("kind", heads.KINDS)
def test_few_images_of_the_classes_and_many_between_them_are_called_none(kind: str):
    features_ND, labels_N = labelled(n_images=1800, noise=0.6)
    head = heads.fit(features_ND[:300], labels_N[:300], 3, HeadConfig(kind=kind), seed=0)
    middles_LD = torch.stack([features_ND[labels_N == label].mean(0) for label in range(3)])
    between_1D = middles_LD.mean(0, keepdim=True)

    of_classes_N = head.probabilities(features_ND[300:]).amax(1) < head.none_below

    assert float(of_classes_N.float().mean()) < 0.09
    assert float(head.probabilities(between_1D).amax()) < head.none_below


def test_the_calibration_error_is_the_one_worked_out_by_hand_from_answers():
    # 15 bins: 0.70 lies in (10/15, 11/15], 0.72 too, 0.90 in (13/15, 14/15]
    answers_NL = np.array([[0.7, 0.3], [0.72, 0.28], [0.1, 0.9], [0.1, 0.9]])
    labels_N = np.array([0, 1, 1, 1])

    by_hand = 2 / 4 * abs(1 / 2 - 0.71) + 2 / 4 * abs(1 - 0.9)

    assert by_hand == pytest.approx(measure(answers_NL, labels_N).calibration_error)


def test_a_probability_at_the_edge_of_two_bins_lies_in_the_lower_one():
    # 3/15 closes the third bin; each bin of its own gives |0 - 0.2| and |1 - 0.21|
    expected = 1 / 2 * abs(0 - 0.2) + 1 / 2 * abs(1 - 0.21)

    found = calibration_error(np.array([0.2, 0.21]), np.array([False, True]))

    assert expected == pytest.approx(found)


def test_out_of_fold_answers_are_those_of_a_slow_twin():
    features_ND, labels_N = labelled(n_images=60)
    config = HeadConfig(kind="ridge", strengths=(0.1,), folds=4)

    found_NL = heads.out_of_fold(features_ND, labels_N, 3, config, seed=5)

    deviation_D = features_ND.std(0, correction=0)
    scaled_ND = (features_ND - features_ND.mean(0)) / (deviation_D + 0.01 * deviation_D.mean())
    answers_NL = np.zeros((60, 3))
    folds = StratifiedKFold(4, shuffle=True, random_state=5)
    for others, held in folds.split(np.zeros(60), labels_N.numpy()):
        x_ND, targets_NL = scaled_ND[others].numpy(), np.eye(3)[labels_N[others]]
        alpha = 0.1 * np.square(x_ND).sum() / min(x_ND.shape)
        model = Ridge(alpha=alpha, fit_intercept=False).fit(x_ND, targets_NL - targets_NL.mean(0))
        answers_NL[held] = model.predict(scaled_ND[held].numpy()) + targets_NL.mean(0)
    answers = torch.tensor(answers_NL).float()
    expected_NL = (answers / fit_temperature(answers, labels_N)).softmax(1)
    torch.testing.assert_close(expected_NL, found_NL, atol=2e-3, rtol=0)


def test_the_only_image_of_a_class_has_no_answer_out_of_its_fold():
    features_ND, labels_N = labelled(n_images=30)
    labels_N[7] = 3

    found_NL = heads.out_of_fold(features_ND, labels_N, 4, HeadConfig(kind="ridge"), seed=0)

    assert [7] == found_NL.isnan().any(1).nonzero()[:, 0].tolist()
    with_answer = found_NL[torch.arange(30) != 7]
    torch.testing.assert_close(with_answer.sum(1), torch.ones(29))


def test_a_model_says_none_of_these_under_the_threshold_of_its_head_or_the_one_given(
    tiny_run: Path, tiny_set
):
    model = Model.load(tiny_run)

    answered = model.predict(tiny_set.test)

    assert (answered.probability < model.head.none_below).tolist() == answered.none.tolist()
    assert model.predict(tiny_set.test, none_below=1.0).none.all()
    assert not model.predict(tiny_set.test, none_below=0).none.any()
    with pytest.raises(ConfigError, match=r"none_below is a probability, in \[0, 1\]; got 1.5"):
        model.predict(tiny_set.test, none_below=1.5)


def test_predict_prints_a_fourth_column_for_images_of_none_of_the_classes(
    tiny_run: Path, tiny_folder: Path, capsys
):
    image = next((tiny_folder / "unlabeled").iterdir())
    capsys.readouterr()
    assert 0 == main(["predict", str(tiny_run), str(image), "--none-below", "1"])
    line = capsys.readouterr().out
    assert 0 == main(["predict", str(tiny_run), str(image), "--none-below", "0", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert 2 == main(["predict", str(tiny_run), str(image), "--none-below", "1.5"])

    assert "none of these" == line.rstrip("\n").split("\t")[3]
    assert (0, False) == (told["none_below"], told["predictions"][0]["none_of_these"])
    scores = json.loads((tiny_run / "scores.json").read_text())
    assert Model.load(tiny_run).head.none_below == scores["none_below"] > 0
