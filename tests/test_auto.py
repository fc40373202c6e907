"""The rules of the recipe auto, case by case; and that any facts lead to a recipe that fits."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewlabels import auto, auto_facts, promise, recipes
from fewlabels.auto import Facts, choose
from fewlabels.errors import ConfigError

# cifar10-400 in half an hour on two cores with bf16, as in docs/accuracy.md
CIFAR = Facts(
    n_labelled=4000,
    n_unlabelled=46_000,
    n_classes=10,
    least_per_class=400,
    image_size=(32, 32),
    seconds=1700.0,
    images_per_second=2000.0,
    answers_per_second=10_000.0,
    kmeans_seconds=250.0,
    cores=2,
    bf16=True,
    gpu=None,
    memory_gib=16.0,
)


NARROW = {"network.widths": "32,64,128"}
TWO = {"consistency.n_teachers": "2"}
ONE_STUDENT = {"consistency.n_students": "1"}
TWO_STUDENTS = {"consistency.n_students": "2"}


@pytest.fixture
def pay_at_once(monkeypatch):
    """Unlabelled images pay as early where there are many labels."""
    monkeypatch.setattr(auto_facts, "UNLABELLED_LOOKS", 0)


def chosen(**facts):
    return choose(replace(CIFAR, **facts))


def test_unlabelled_images_and_time_are_for_consistency():
    choice = chosen()

    assert ("consistency", TWO_STUDENTS) == (choice.recipe, choice.settings)
    assert (
        "there are 46,000 unlabelled images beside 400 labels of each class, and 2 cores with bf16 "
        "can show a narrow network about 3,400,000 images in the time",
    ) == choice.reasons


def test_without_unlabelled_images_labels_are_learned_from():
    choice = chosen(n_unlabelled=0, gpu="NVIDIA H100", images_per_second=20_000.0)

    assert "labels" == choice.recipe
    assert choice.reasons[0].startswith("there are no unlabelled images, and NVIDIA H100 can show")


def test_larger_images_are_changed_more_where_a_network_learns():
    stronger = {
        "augmentation.max_scale": "1.6",
        "augmentation.max_rotation_deg": "15",
        "augmentation.cutout": "0.5",
    }

    assert {**stronger, **TWO_STUDENTS} == chosen(image_size=(64, 96)).settings
    assert "images of this size bear" in chosen(image_size=(64, 96)).reasons[1]
    assert TWO_STUDENTS == chosen(image_size=(63, 96)).settings
    of_labels = chosen(image_size=(96, 96), n_unlabelled=0).settings
    assert stronger.items() <= of_labels.items()
    short = {"seconds": 90.0, "images_per_second": 700.0, "kmeans_seconds": 60.0}
    assert {} == chosen(image_size=(96, 96), **short).settings  # k-means changes no images


def test_few_unlabelled_images_beside_many_labelled_ones_are_left_out():
    assert "labels" == chosen(n_unlabelled=3999).recipe
    assert "consistency" == chosen(n_unlabelled=4000).recipe


def test_a_few_minutes_are_for_labels_and_a_slower_machine_has_fewer():
    assert "labels" == chosen(seconds=3 * 60.0).recipe
    assert "consistency" == chosen(seconds=28 * 60.0).recipe
    assert "labels" == chosen(seconds=28 * 60.0, images_per_second=200.0, bf16=False).recipe
    assert "without bf16" in chosen(seconds=60.0, bf16=False).reasons[0]


def test_many_labels_take_longer_than_few_before_unlabelled_images_pay():
    for n_labelled, n_seen in ((4000, 2_000_000), (1000, 500_000), (100, 400_000)):
        facts = {"n_labelled": n_labelled, "seconds": 1000.0}
        before = chosen(**facts, images_per_second=n_seen / 1000 - 1)
        after = chosen(**facts, images_per_second=n_seen / 1000 + 1)
        assert ("labels", "consistency") == (before.recipe, after.recipe)
        assert f"unlabelled ones pay from {n_seen:,} on" in before.reasons[0]


def test_where_no_network_can_be_trained_k_means_is_taken_if_it_fits():
    short = {"seconds": 90.0, "images_per_second": 700.0}

    fits = chosen(**short, kmeans_seconds=60.0)
    fits_not = chosen(**short, kmeans_seconds=80.0)

    assert "kmeans-1" == fits.recipe
    assert "too few to train one, and filters of k-means fit in" in fits.reasons[0]
    assert "labels" == fits_not.recipe
    assert "the time is short for a training" in fits_not.reasons[-1]


def test_a_network_is_as_wide_as_lets_it_see_each_label_40_times(pay_at_once):
    # half of the time for the labels: 40 times 4,000 of a wide one are 432,000 of a narrow one,
    # of which there could be two more teachers
    narrow = {**NARROW, "consistency.n_teachers": "2", **ONE_STUDENT}
    assert narrow == chosen(seconds=1000.0, images_per_second=863.0).settings
    one = {"consistency.n_teachers": "1", **ONE_STUDENT}
    assert one == chosen(seconds=1000.0, images_per_second=865.0).settings
    # 1,000 labels take no fewer than 300 steps of 256
    few = {"n_labelled": 1000, "least_per_class": 100, "seconds": 1000.0}
    assert narrow == chosen(**few, images_per_second=414.0).settings
    assert one == chosen(**few, images_per_second=415.0).settings
    # without unlabelled images all of it, and several narrow ones before a single wide one
    alone = {"n_unlabelled": 0, "seconds": 1000.0}
    choice = chosen(**alone, images_per_second=863.0)
    assert ("labels", {**NARROW, "labels.n_networks": "3"}) == (choice.recipe, choice.settings)
    assert "wide ones would see too few" in choice.reasons
    assert {"labels.n_networks": "2"} == chosen(**alone, images_per_second=865.0).settings


def test_as_many_networks_teach_as_see_each_label_40_times(pay_at_once):
    # half of the time for the labels, and 2.7 times 160,000 images for each wide one
    before = chosen(seconds=1000.0, images_per_second=3 * 864.0 - 1).settings
    assert {**TWO, **ONE_STUDENT} == before
    assert ONE_STUDENT == chosen(seconds=1000.0, images_per_second=3 * 864.0 + 1).settings
    assert {} == chosen(seconds=1e6).settings
    # a tenth of the time for their answers: 46,000 images are 2.7 times as long for each wide one
    slow = {"seconds": 1000.0, "images_per_second": 5000.0}
    assert {"consistency.n_teachers": "1"} == chosen(**slow, answers_per_second=2480.0).settings
    assert {"consistency.n_teachers": "2"} == chosen(**slow, answers_per_second=2490.0).settings
    # and about as many students as see 46,000 images 8 times in the other half: 2.7 times 368,000
    for images_per_second, settings in (
        (1.5 * 1987.2 - 0.1, ONE_STUDENT),
        (1.5 * 1987.2 + 0.1, TWO_STUDENTS),
        (2.5 * 1987.2 - 0.1, TWO_STUDENTS),
        (2.5 * 1987.2 + 0.1, {}),
    ):
        choice = chosen(seconds=1000.0, images_per_second=images_per_second)
        assert settings == choice.settings
    # without unlabelled images all of the time; narrow ones too need 160,000 each
    alone = {"n_unlabelled": 0, "seconds": 1000.0}
    assert NARROW == chosen(**alone, images_per_second=319.0).settings
    assert {**NARROW, "labels.n_networks": "2"} == chosen(**alone, images_per_second=321.0).settings
    choice = chosen(**alone, images_per_second=865.0)
    assert {"labels.n_networks": "2"} == choice.settings
    assert "several networks that answer together know more" in choice.reasons[-1]
    assert {"labels.n_networks": "3"} == chosen(**alone, images_per_second=9e9).settings
    # where unlabelled images would not pay, too
    few = {"n_labelled": 1000, "seconds": 1000.0, "images_per_second": 399.0}
    choice = chosen(**few, n_unlabelled=2000)
    # 76,800 each, and 207,360 for each wide one
    assert ("labels", {**NARROW, "labels.n_networks": "3"}) == (choice.recipe, choice.settings)


def test_few_labels_of_a_class_are_called_uncertain():
    one, nine, ten = (chosen(n_labelled=10 * n, least_per_class=n) for n in (1, 9, 10))

    assert "uncertain: a class has 1 label, and with under 10" in one.reasons[1]
    assert "uncertain: a class has 9 labels" in nine.reasons[1]
    assert "none can be held out to watch that the unlabelled images help" == nine.reasons[2]
    assert 1 == len(ten.reasons)


def test_little_memory_takes_smaller_batches():
    choice = chosen(memory_gib=2.0)

    assert {
        "training.batch_size": "128",
        "rounds.batch_size": "128",
        "steps.batch_size": "32",
        **TWO_STUDENTS,
    } == choice.settings
    assert "there are 2.0 GiB of memory" in choice.reasons


@given(
    st.builds(
        Facts,
        n_labelled=st.integers(2, 10**6),
        n_unlabelled=st.integers(0, 10**7),
        n_classes=st.integers(2, 100),
        least_per_class=st.integers(1, 1000),
        image_size=st.just((96, 96)),
        seconds=st.floats(1, 1e6),
        images_per_second=st.floats(0.1, 1e6),
        answers_per_second=st.floats(0.1, 1e6),
        kmeans_seconds=st.none() | st.floats(1, 1e6),
        cores=st.integers(1, 128),
        bf16=st.booleans(),
        gpu=st.sampled_from([None, "a GPU"]),
        memory_gib=st.floats(0.5, 1000),
    )
)
def test_whatever_the_facts_a_recipe_with_settings_that_fit_is_chosen(facts: Facts):
    choice = choose(facts)

    assert choice.recipe in auto.candidates()
    assert choice.recipe == recipes.named(choice.recipe, choice.settings).name
    assert choice.reasons and all(choice.reasons)


def test_the_time_where_none_is_given_is_half_an_hour_and_less_for_few_images():
    assert 1800.0 == auto.usual_seconds(50_000, 760.0)
    # 300 looks at 1,000 images at 1,500 a second
    assert 200.0 == auto.usual_seconds(1000, 1500.0)
    # 2 * 76,800 images at 1,500 a second: 102.4
    assert 110.0 == auto.usual_seconds(60, 1500.0)
    assert 60.0 == auto.usual_seconds(60, 1e6)


@given(st.integers(0, 10**9))
def test_an_estimate_has_two_digits_and_is_near(count: int):
    found = auto_facts.rounded(count)

    assert abs(found - count) <= 0.05 * count
    assert re.fullmatch(r"\d{1,2}0*", str(found))


def test_settings_are_checked_before_anything_is_known():
    auto.check_settings({"filters.patch_size": "8", "consistency.labels_part": "0.3"})

    with pytest.raises(ConfigError, match=r"'filters.patch_sise'; did you mean 'filters.patch_si"):
        auto.check_settings({"filters.patch_sise": "8"})
    with pytest.raises(ConfigError, match=r"filters\.n_filters is at least 1"):
        auto.check_settings({"filters.n_filters": "0"})
    with pytest.raises(ConfigError, match="no recipe is called 'aut'; did you mean 'auto'"):
        recipes.named("aut")


def test_the_estimate_of_k_means_is_about_what_was_measured():
    # docs/measured, without reading and the page; cifar10 on a Zen 4 and a Zen 5
    zen_4 = promise.kmeans_seconds(4000, 10_000, 4000 / 38.9, 170e9)
    zen_5 = promise.kmeans_seconds(4000, 10_000, 4000 / 17.5, 107e9)
    # three folds of nette96 on a Zen 3
    nette = promise.kmeans_seconds(2500, 4000, 2500 / 382.2, 80e9)

    assert 203 == pytest.approx(zen_4, rel=0.1)
    assert 150 < zen_5 < 400  # 115 were measured: what is promised is rather too long
    assert 1210 == pytest.approx(nette, rel=0.15)
    assert promise.kmeans_seconds(4000, 10_000, 0.0, 170e9) is None
