"""A committee: the product of its members' probabilities, calibrated on what neither learned."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fewlabels import (
    committee,
    features,
    fitting,
    fold_heads,
    heads,
    judging,
    model_views,
    recipes,
    splits,
)
from fewlabels.calibration import fit_temperature
from fewlabels.cli import main
from fewlabels.errors import ConfigError, DataError
from fewlabels.heads import Head, HeadConfig
from fewlabels.images import ImageSet
from fewlabels.model import Model
from fewlabels.sources import made
from fewlabels.sources.pixels import Options
from fewlabels.ways import filters
from fewlabels.ways import labels as labels_way
from labelled_features import labelled
from small_runs import SMALL

pytest_plugins = ("run_fixtures",)

N_CLASSES = 10
SETTINGS = SMALL["committee"] | {"training.epochs": "2", "head.kind": "kernel"}
OF_LABELS = {name: SETTINGS[name] for name in (*SMALL["labels"], "training.epochs")}


def linear_head(n_classes: int, temperature: float, kind: str = "logits") -> Head:
    """A head that takes what it reads as its answers."""
    tensors = {
        "mean": torch.zeros(n_classes),
        "scale": torch.ones(n_classes),
        "weights": torch.eye(n_classes),
        "bias": torch.zeros(n_classes),
    }
    return Head(kind=kind, tensors=tensors, temperature=temperature)


def in_float64(head: Head) -> Head:
    return replace(head, tensors={name: one.double() for name, one in head.tensors.items()})


def product(first_NL: Tensor, second_NL: Tensor) -> Tensor:
    both_NL = first_NL * second_NL**0.3
    return both_NL / both_NL.sum(1, keepdim=True)


# --- the head of both


def test_the_product_of_two_tables_worked_out_by_hand():
    first_NL = torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]])
    # they count with the power 0.3
    second_NL = torch.tensor([[0.2, 0.4, 0.4], [0.5, 0.3, 0.2]]) ** (10 / 3)
    network, other = linear_head(3, 2.0), linear_head(3, 0.5, "ridge")

    both = committee.joined_head(network, other)

    # answers are logarithms times the temperature that will divide them
    rows = torch.cat([2 * first_NL.log(), 0.5 * second_NL.log()], 1)
    expected_NL = torch.tensor([[1 / 3, 1 / 3, 1 / 3], [10 / 28, 6 / 28, 12 / 28]])
    torch.testing.assert_close(both.probabilities(rows), expected_NL)


@pytest.mark.parametrize("kind", ["ridge", "logistic", "kernel"])
def test_a_joined_head_multiplies_what_its_members_answer(kind: str):
    features_ND, labels_N = labelled()
    other = heads.fit(features_ND, labels_N, 3, HeadConfig(kind=kind), seed=0)
    other.tensors["bias"] += torch.tensor([0.3, -0.2, 0.1])
    network = linear_head(3, 1.7)
    logits_NL = 4 * torch.randn(len(labels_N), 3, generator=torch.Generator().manual_seed(1))
    # in float64, as distances of features of unlike scales round
    network, other = (in_float64(head) for head in (network, other))
    logits_NL, features_ND = logits_NL.double(), features_ND.double()

    both = committee.joined_head(network, other)

    expected_NL = product(network.probabilities(logits_NL), other.probabilities(features_ND))
    found_NL = both.probabilities(torch.cat([logits_NL, features_ND], 1))
    assert 1e-6 > (found_NL - expected_NL).abs().max()
    assert (kind, other.chosen, 1.0, 0.0) == (
        both.kind, both.chosen, both.temperature, both.none_below
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["ridge", "kernel"])
def test_a_member_that_knows_nothing_leaves_a_part_of_what_the_other_answers(kind: str):
    features_ND, labels_N = labelled()
    other = heads.fit(features_ND, labels_N, 3, HeadConfig(kind=kind), seed=0)

    both = committee.joined_head(linear_head(3, 1.7), other)

    rows = torch.cat([torch.full((len(labels_N), 3), 2.5), features_ND], 1)
    expected_NL = product(torch.ones(len(labels_N), 3), other.probabilities(features_ND))
    torch.testing.assert_close(both.probabilities(rows), expected_NL)


def test_members_that_err_together_are_made_less_sure():
    draw = torch.Generator().manual_seed(0)
    labels_N = torch.arange(300) % N_CLASSES
    logits_NL = F.one_hot(labels_N, N_CLASSES) + torch.randn(300, N_CLASSES, generator=draw)
    temperature = fit_temperature(logits_NL, labels_N)
    member = linear_head(N_CLASSES, temperature)
    both = committee.joined_head(member, replace(member, kind="ridge"))
    rows = torch.cat([logits_NL, logits_NL], 1)

    found = committee.calibrated(both, rows, labels_N)

    def unlikely(head: Head) -> float:
        return float(F.nll_loss(head.probabilities(rows).log(), labels_N))

    # the same word 1.3 times is no more than once
    assert 1.3 == pytest.approx(found.temperature, rel=0.05)
    assert unlikely(found) < unlikely(both) - 0.02
    assert 1 / 20 >= (found.probabilities(rows).amax(1) < found.none_below).float().mean() > 0.03
    assert torch.equal(found.answers(rows), both.answers(rows))


# --- with a network


@pytest.fixture(scope="module")
def shapes() -> ImageSet:
    """Of each class 20 labelled images, of which one is held out."""
    return made.shapes(
        Options(size=16), n_train_per_class=20, n_test_per_class=4, n_unlabeled=40, n_leaked=0
    )


@pytest.fixture(scope="module")
def model(shapes: ImageSet) -> Model:
    return fitting.fit(shapes, "committee", settings=SETTINGS, precision="fp32")


def test_a_model_answers_with_its_members_and_what_neither_learned_from_calibrates_it(
    shapes: ImageSet, model: Model
):
    recipe = recipes.named("committee", SETTINGS)
    network = fitting.fit(shapes, "labels", settings=OF_LABELS, precision="fp32")
    held = labels_way.held_out(shapes.train.labels, recipe.labels.held_out, 0)
    kept = np.setdiff1d(np.arange(len(shapes.train)), held)
    filled = filters.learn(splits.pool(shapes), recipe.filters, seed=0, precision="fp32")
    plan = splits.Plan(protocol="", numbers=(0,), folds=(kept,))
    (other,) = fold_heads.fit(filled, shapes, recipe, plan, seed=0)

    def answers(images) -> Tensor:
        rows_ND = features.extract(filled, images, flips=True)
        of_network_NL = torch.from_numpy(network.predict(images).probabilities)
        return product(of_network_NL, other.probabilities(rows_ND)).log()

    labels_N = torch.from_numpy(shapes.train.labels[held])
    held_NL = answers(shapes.train.take(held))
    temperature = fit_temperature(held_NL, labels_N)
    assert N_CLASSES == len(held)
    assert temperature == pytest.approx(model.head.temperature, rel=0.06)  # a step of the grid
    assert len(kept) == len(model.head.tensors["support"])
    expected_NL = (answers(shapes.test) / model.head.temperature).softmax(1)
    found_NL = model.predict(shapes.test).probabilities
    # the distances of the kernel round, and are divided by a temperature
    assert 1e-3 > np.abs(found_NL - expected_NL.numpy()).max()


def test_a_saved_committee_answers_the_same_bit_for_bit(
    shapes: ImageSet, model: Model, tmp_path: Path
):
    expected = model.predict(shapes.test)

    model.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")

    assert loaded.recipe == model.recipe and loaded.recipe.is_committee
    assert (expected.probabilities == loaded.predict(shapes.test).probabilities).all()
    assert (expected.none == loaded.predict(shapes.test).none).all()


def test_members_with_nodes_of_one_name_are_refused(model: Model):
    with pytest.raises(ConfigError, match=r"members of a committee have nodes called .*committee"):
        committee.joined_graph(model.graph, model.graph)


def test_with_unlabelled_images_its_networks_are_those_of_consistency(shapes: ImageSet):
    settings = SMALL["consistency"] | {"training.epochs": "2"}
    recipe = recipes.named("consistency-committee", SETTINGS | settings)

    model = fitting.fit(shapes, recipe, precision="fp32")

    network = fitting.fit(shapes, "consistency", settings=settings, precision="fp32")
    own = features.extract(model.graph, shapes.test, flips=True)[:, :N_CLASSES]
    torch.testing.assert_close(own, features.extract(network.graph, shapes.test, flips=True))
    assert network.info["learned"] == model.info["learned"]
    # the networks held out two of each class, the head those that `labels` would
    assert 2 * N_CLASSES == model.info["learned"]["n_held_out"]
    assert len(shapes.train) - N_CLASSES == len(model.head.tensors["support"])
    assert 1.0 != model.head.temperature


@pytest.mark.parametrize(
    ("labels_hold", "consistency_holds", "expected"), [(16, 20, 10), (16, 3, 6), (2, 20, 4)]
)
def test_both_are_calibrated_on_images_that_no_network_learns_from(
    labels_hold: int, consistency_holds: int, expected: int
):
    recipe = recipes.named(
        "consistency-committee",
        {
            "labels.held_out": str(labels_hold),
            "consistency.held_out": str(consistency_holds),
            "consistency.most_held_out": "0.2",
        },
    )
    labels_N = np.repeat([0, 1], (100, 100))

    found = fold_heads._held_out(labels_N, recipe, seed=3)

    of_labels = labels_way.held_out(labels_N, labels_hold, 3)
    of_consistency = labels_way.held_out(labels_N, consistency_holds, 3, 0.2)
    assert set(found) <= set(of_labels) & set(of_consistency)
    assert expected == len(found)


def test_each_fold_has_a_network_of_its_own_beside_filters_that_all_share(tiny_set: ImageSet):
    recipe = recipes.named("committee", SETTINGS)
    plan = splits.plan(tiny_set, labels=40, folds=(0, 1))

    first, second = fitting.fit_folds(tiny_set, recipe, plan, precision="fp32")

    assert first.graph.layers["layer1"] is second.graph.layers["layer1"]
    assert 40 == len(first.head.tensors["support"])
    weights = [one.graph.layers["linear"].weight for one in (first, second)]
    assert not torch.equal(*weights)
    # nothing could be held out of 4 images of a class
    assert (1.0, 0.0) == (first.head.temperature, first.head.none_below)


# --- what suggestions see


def test_labels_are_judged_and_images_compared_by_what_knows_no_label(
    shapes: ImageSet, model: Model, monkeypatch
):
    def without_logits(rows_ND: Tensor) -> Tensor:
        return torch.cat([torch.full((len(rows_ND), N_CLASSES), 1e3), rows_ND[:, N_CLASSES:]], 1)

    rows_ND = model_views.features_of(model, shapes.train, what="features")
    found, blind = (
        judging.answers(model, shapes.train, rows, None, seed=0)
        for rows in (rows_ND, without_logits(rows_ND))
    )

    assert found.shape == (len(shapes.train), N_CLASSES)
    np.testing.assert_array_equal(found, blind)
    sketches = [
        model_views.sketches_of(model, rows, seed=0) for rows in (rows_ND, without_logits(rows_ND))
    ]
    np.testing.assert_array_equal(*sketches)


# --- settings


def test_mirror_images_are_for_both_members_or_for_neither(
    tiny_folder: Path, tmp_path: Path, capsys
):
    run = tmp_path / "run"
    words = ["fit", str(tiny_folder), "--recipe", "committee", "--out", str(run)]

    assert 2 == main([*words, "--set", "labels.flips=false"])

    printed = capsys.readouterr()
    assert "" == printed.out and not run.exists()
    (line,) = printed.err.strip().splitlines()
    assert line.endswith(
        "labels.flips is false and head.flips is true, but the network and the head of recipe "
        "committee look at the same images: give both the same value"
    )


def test_mirror_images_can_be_left_out_by_two_settings_in_any_order(tiny_set: ImageSet):
    for first, second in (("labels", "head"), ("head", "labels")):
        settings = {f"{first}.flips": "false", f"{second}.flips": "false"}
        assert not recipes.named("committee", settings).flips

    unlike = recipes.named("committee", SETTINGS)
    unlike = replace(unlike, labels=replace(unlike.labels, flips=False))
    with pytest.raises(ConfigError, match=r"labels\.flips is false and head\.flips is true"):
        fitting.fit(tiny_set, unlike)


def test_a_committee_is_the_network_of_labels_and_the_head_of_kmeans_1():
    both, network, other = (recipes.named(name) for name in ("committee", "labels", "kmeans-1"))

    assert both.is_committee and not network.is_committee and not other.is_committee
    assert (network.network, network.training) == (both.network, both.training)
    assert (other.filters, other.head) == (both.filters, both.head)
    with_others, consistency = (
        recipes.named(name) for name in ("consistency-committee", "consistency")
    )
    assert with_others.is_committee and not consistency.is_committee
    assert consistency.consistency_parts() == replace(with_others.consistency_parts(), filters=None)
    with pytest.raises(ConfigError, match="recipe committee needs the part 'head'"):
        replace(both, head=None)


def test_what_its_filters_lack_is_known_before_its_networks_learn(tiny_set, monkeypatch):
    monkeypatch.setattr(labels_way, "learn", lambda *all_, **how: pytest.fail("too early"))
    settings = SETTINGS | {"filters.n_filters": "100000"}

    with pytest.raises(DataError, match="100,000 filters need as many patches"):
        fitting.fit(tiny_set, "committee", settings=settings)
