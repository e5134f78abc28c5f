"""The trainer's settings."""

import pytest

from components.common.errors import ConfigError
from components.dp_training.config import TrainerConfig

GOOD = {"population": 1000, "expected_batch_size": 100, "steps": 5, "l2_norm_clip": 1.0, "learning_rate": 0.1}


def test_the_sampling_probability_is_the_expected_batch_over_the_declared_population():
    assert TrainerConfig(**GOOD).sampling_probability == 0.1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"expected_batch_size": 1001},
            r"`expected_batch_size` must be at most population \(1000\). Received: .*=1001$",
        ),
        ({"expected_batch_size": 0}, "`expected_batch_size` must be at least 1"),
        ({"physical_batch_size": 0}, "`physical_batch_size` must be at least 1"),
        ({"population": 0}, "`population` must be at least 1"),
        ({"l2_norm_clip": 0.0}, "`l2_norm_clip` must be a finite number above 0"),
        ({"l2_norm_clip": float("inf")}, "`l2_norm_clip` must be a finite number above 0"),
        ({"momentum": 1.0}, r"`momentum` must be in \[0, 1\)"),
        ({"ema": -0.1}, r"`ema` must be in \[0, 1\)"),
        ({"pretrain_epochs": -1}, "`pretrain_epochs` must be 0 or more"),
        ({"model": "resnet"}, "`model` must be one of tanh_cnn, gabor_cnn, .*. Received: model='resnet'$"),
    ],
)
def test_a_setting_out_of_range_is_refused(change, says):
    with pytest.raises(ConfigError, match="^" + says):
        TrainerConfig(**{**GOOD, **change})
