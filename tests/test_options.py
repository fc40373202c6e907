import pytest

from fewlabels.errors import ConfigError
from fewlabels.options import seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10m", 600.0),
        ("90s", 90.0),
        ("90", 90.0),
        ("1h30m", 5400.0),
        (" 1H ", 3600.0),
        ("0.5m", 30.0),
        ("1h1m1.5s", 3661.5),
    ],
)
def test_a_time_is_read_as_seconds(text: str, seconds: float):
    assert seconds == seconds_of(text)


@pytest.mark.parametrize("text", ["", "0", "0m", "m", "ten", "5m10m", "30s5m", "-5m", "1e3", "5 m"])
def test_what_is_no_time_is_named(text: str):
    with pytest.raises(ConfigError, match=r"--budget is a time such as 10m, 90s or 1h30m; got"):
        seconds_of(text)
