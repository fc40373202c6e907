import math

import pytest

from fewlabels.errors import ConfigError
from fewlabels.training_config import TrainingConfig, rate_factor


@pytest.mark.parametrize(
    ("progress", "linear", "cosine"),
    [
        (0.0, 0.0, 0.0),
        (0.1, 0.5, 0.5),
        (0.2, 1.0, 1.0),
        (0.6, 0.5, 0.5),  # half of the way down
        (0.8, 0.25, (1 - math.cos(math.pi / 4)) / 2),
        (1.0, 0.0, 0.0),
    ],
)
def test_the_rate_rises_and_falls(progress, linear, cosine):
    for decay, expected in (("linear", linear), ("cosine", cosine)):
        config = TrainingConfig(warmup=0.2, decay=decay)
        assert math.isclose(expected, rate_factor(progress, config), abs_tol=1e-12)


def test_without_a_warmup_the_rate_begins_at_its_highest():
    assert 1.0 == rate_factor(0.0, TrainingConfig(warmup=0.0))


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("optimizer", "adam", "training.optimizer is one of muon, sgd; got 'adam'"),
        ("decay", "step", "training.decay is one of linear, cosine; got 'step'"),
        ("batch_size", 0, "training.batch_size is at least 1; got 0"),
        ("epochs", -1, "training.epochs is at least 1, or 0 to fill the budget; got -1"),
        ("most_epochs", -1, "training.most_epochs is 0 or more; got -1"),
        ("learning_rate", 0.0, "training.learning_rate is a number over 0; got 0.0"),
        ("head_learning_rate", math.nan, "training.head_learning_rate is a number over 0; got nan"),
        ("momentum", 1.0, r"training.momentum is a part, in \[0, 1\); got 1.0"),
        ("warmup", -0.1, r"training.warmup is a part, in \[0, 1\); got -0.1"),
        ("weight_decay", -1.0, "training.weight_decay is a number of 0 or more; got -1.0"),
        ("least_steps", -1, "training.least_steps is a number of 0 or more; got -1"),
        ("clip", math.inf, "training.clip is a number of 0 or more; got inf"),
        ("checkpoint_minutes", 0.0, "training.checkpoint_minutes is a number over 0; got 0.0"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(name, value, text):
    with pytest.raises(ConfigError, match=text):
        TrainingConfig(**{name: value})
