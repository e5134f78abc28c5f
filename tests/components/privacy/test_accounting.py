"""Accounting against known figures."""

import pytest

from components.common.errors import ConfigError
from components.privacy.accounting import Mechanism, epsilon_of, noise_multiplier_for


def test_known_figure():
    mechanism = Mechanism(noise_multiplier=4.05, sampling_probability=8192 / 60000, steps=280)
    assert epsilon_of([mechanism], 1e-5) == pytest.approx(2.588, abs=0.002)


def test_nothing_executed_costs_nothing():
    assert epsilon_of([Mechanism(noise_multiplier=1.0, sampling_probability=0.1, steps=0)], 1e-5) == 0.0


@pytest.mark.parametrize("epsilon", [0.5, 2.95, 8.0])
def test_calibration_reaches_the_target_from_below(epsilon):
    noise = noise_multiplier_for(epsilon, 1e-5, 0.05, 100)
    spent = epsilon_of([Mechanism(noise_multiplier=noise, sampling_probability=0.05, steps=100)], 1e-5)
    assert 0.995 * epsilon < spent <= epsilon


def test_an_epsilon_that_no_noise_reaches_is_refused():
    with pytest.raises(ConfigError, match="privacy.epsilon"):
        noise_multiplier_for(1e-6, 1e-5, 1.0, 1000)
