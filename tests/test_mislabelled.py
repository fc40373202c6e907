import sys

import numpy as np
import pytest
import torch

from fewlabels import heads, mislabelled
from fewlabels.heads import HeadConfig
from labelled_features import labelled


def test_wrong_labels_are_among_the_suspects_and_right_ones_are_not():
    features_ND, truth_N = labelled(n_images=240, noise=0.4)
    labels_N = truth_N.clone()
    changed = torch.arange(0, 240, 12)
    labels_N[changed] = (labels_N[changed] + 1) % 3

    answers_NL = heads.out_of_fold(features_ND, labels_N, 3, HeadConfig(kind="ridge"), seed=0)
    found, probability = mislabelled.suspects(labels_N.numpy(), answers_NL.numpy())

    wrong = set(changed.tolist())
    assert 0.7 <= len(wrong & set(found.tolist())) / len(wrong)
    assert len(set(found.tolist()) - wrong) <= 2
    assert sorted(probability.tolist()) == probability.tolist()
    expected = answers_NL[found, labels_N[found]].tolist()
    assert expected == pytest.approx(probability.tolist())


def test_images_without_an_answer_and_classes_without_images_are_left_out():
    labels_N = np.array([0, 0, 2, 2, 0, 3])
    answers_NL = np.zeros((6, 4))
    answers_NL[:, 2] = [0.1, 0.2, 0.9, 0.8, 0.97, np.nan]
    answers_NL[:, 0] = 1 - answers_NL[:, 2]

    found, probability = mislabelled.suspects(labels_N, answers_NL)

    assert [4] == found.tolist()  # labelled 0, answered 2
    assert [0.03] == pytest.approx(probability.tolist())


def test_labels_of_one_class_alone_are_not_judged():
    found, probability = mislabelled.suspects(np.zeros(3, int), np.full((3, 2), 0.5))

    assert (0, 0) == (len(found), len(probability))


def test_without_cleanlab_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)

    assert (mislabelled.why_not() or "").endswith("pip install 'fewlabels[suggest]'")
    monkeypatch.undo()
    assert mislabelled.why_not() is None
