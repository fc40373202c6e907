"""A promise of time: what is left for the trainings, speeds measured, words for seconds."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fewlabels import machine, promise, recipes
from fewlabels.architectures import WhitenedNetwork
from fewlabels.errors import ConfigError, DataError
from fewlabels.images import Images
from fewlabels.progress import Clock, watching

SMALL = WhitenedNetwork(widths=(4, 6), first_filters=8)


def test_what_is_left_is_shared_by_hand():
    # of 1,000 seconds: 50 gone, 20 as room, 2 for filters, 8 for files; 4 models answer for 30 each
    assert (1000 - 50 - 20 - 2 - 8) / 4 - 30 == promise.for_each(1000.0, 50.0, 4, 30.0, 8.0)


@given(
    st.floats(60, 1e5), st.floats(0, 30), st.integers(1, 10), st.floats(0, 100), st.floats(0, 20)
)
def test_all_parts_add_up_to_nearly_the_whole(whole, gone, n_models, answering, writing):
    try:
        each = promise.for_each(whole, gone, n_models, answering, writing)
    except ConfigError:
        assert gone + writing + n_models * (1 + answering) + 2 > 0.979 * whole
        return
    spent = gone + n_models * (each + answering) + writing + promise.FILTERS
    assert spent == pytest.approx(0.98 * whole)


def test_a_time_that_is_used_up_by_the_rest_is_refused_with_one_that_is_enough():
    with pytest.raises(ConfigError, match="a budget of 1 minute in all is too short") as refused:
        promise.for_each(60.0, 20.0, 1, 50.0, 8.0)

    text = str(refused.value)
    assert "reading took 20 seconds, and answering images and writing take about 1 minute" in text
    assert text.endswith("give more than 1 minute 23 seconds")
    assert promise.for_each(83.0, 20.0, 1, 50.0, 8.0) >= 1


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 second"),
        (45.2, "45 seconds"),
        (60, "1 minute"),
        (90, "1 minute 30 seconds"),
        (1800, "30 minutes"),
        (3600, "1 hour"),
        (3929, "1 hour 5 minutes"),
        (7230, "2 hours"),
    ],
)
def test_seconds_are_said_in_words(seconds: float, words: str):
    assert words == promise.spoken(seconds)


def images(n_images: int, side: int = 8) -> Images:
    draw = np.random.default_rng(0)
    return Images(pixels=draw.integers(0, 256, (n_images, 3, side, side), np.uint8))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_speeds_are_those_of_the_clock(precision: str, monkeypatch):
    ticks = iter(np.arange(0.0, 100.0, 0.5))  # every piece of work takes half a second
    monkeypatch.setattr(promise, "now", lambda: next(ticks))
    how = {"n_classes": 3, "flips": True, "device": "cpu", "precision": precision, "seed": 0}

    speeds = promise.measure_speeds(SMALL, images(5), **how)

    assert 0.7 * 128 / 0.5 == pytest.approx(speeds.learning)
    assert 2 * 32 * torch.get_num_threads() / 0.5 == pytest.approx(speeds.answering)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_speed_of_filters_is_that_of_the_clock(precision: str, monkeypatch):
    ticks = iter(np.arange(0.0, 100.0, 0.5))
    monkeypatch.setattr(promise, "now", lambda: next(ticks))
    config = recipes.named("kmeans-1", {"filters.n_filters": "12"}).filters
    how = {"flips": True, "device": "cpu", "precision": precision, "seed": 0}

    with watching(Clock()) as clock:
        encoded = promise.measure_encoding(config, images(3), **how)

    assert ["measuring how fast filters answer"] == list(clock.seconds)
    assert 32 * torch.get_num_threads() / 0.5 == encoded
    # 31 x 31 places of one, 63 x 31 of the other
    both = []
    for height in (32, 64):
        large = Images(pixels=np.resize(images(3, side=32).pixels, (3, 3, height, 32)))
        both.append(promise.measure_encoding(config, large, **how))
    assert 63 / 31 == pytest.approx(both[0] / both[1])
    # filters of 6 x 6
    assert None is promise.measure_encoding(config, images(3, side=5), **how)


def test_a_network_that_is_not_for_such_images_is_refused_as_by_its_training():
    how = {"n_classes": 3, "flips": True, "device": "cpu", "precision": "fp32", "seed": 0}
    large = WhitenedNetwork(widths=(4, 6), first_size=17)

    with pytest.raises(DataError, match="use larger images"):
        promise.measure_speeds(large, images(5), **how)


def test_the_memory_of_a_container_is_its_limit(tmp_path: Path):
    limit = tmp_path / "memory.max"
    limit.write_text(f"{3 * 2**28}\n")
    whole = machine.memory_gib(tmp_path / "absent")

    assert 0.75 == machine.memory_gib(limit) <= whole
    limit.write_text("max\n")
    assert whole == machine.memory_gib(limit)
    assert 1e6 < machine.products_per_second("cpu") < 1e16
    assert None is machine.gpu_name("cpu")
