"""bf16 is taken where it is faster on this machine, and only then."""

import pytest
import torch

from fewlabels import precision
from fewlabels.errors import ConfigError


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_what_is_asked_for_is_given_without_measuring(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(precision, "speedup_of_bf16", lambda device: pytest.fail("measured"))

    assert name == precision.choose(name)


@pytest.mark.parametrize(("speedup", "expected"), [(0.1, "fp32"), (1.4, "fp32"), (4.0, "bf16")])
def test_auto_takes_bf16_where_it_is_worth_it(
    speedup: float, expected: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(precision, "speedup_of_bf16", lambda device: speedup)

    assert expected == precision.choose("auto", "cpu")


def test_an_unknown_precision_is_refused_in_one_line():
    with pytest.raises(ConfigError, match="precision is one of auto, fp32, bf16; got 'fp16'"):
        precision.choose("fp16")


def test_the_speedup_is_the_ratio_of_times_and_measured_once(monkeypatch: pytest.MonkeyPatch):
    measured = []

    def seconds(dtype: torch.dtype, device: str) -> float:
        measured.append(dtype)
        return {torch.float32: 6.0, torch.bfloat16: 2.0}[dtype]

    monkeypatch.setattr(precision, "_seconds", seconds)
    precision.speedup_of_bf16.cache_clear()
    try:
        assert [3.0, 3.0] == [precision.speedup_of_bf16("cpu") for _ in range(2)]
        assert 2 == len(measured)
    finally:
        precision.speedup_of_bf16.cache_clear()


def test_a_product_takes_some_time_in_both_types():
    assert precision._seconds(torch.float32, "cpu") > 0
    assert precision._seconds(torch.bfloat16, "cpu") > 0
