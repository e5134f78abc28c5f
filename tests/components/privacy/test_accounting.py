"""Accounting against known figures."""

import dp_accounting
import pytest

from components.common.errors import ConfigError
from components.privacy.accounting import Mechanism, epsilon_of, noise_multiplier_for

KNOWN = Mechanism(noise_multiplier=4.05, sampling_probability=8192 / 60000, steps=280)


@pytest.mark.parametrize(("accountant", "epsilon"), [("RDP", 2.588), ("PLD", 2.3746)])
def test_known_figure(accountant, epsilon):
    assert epsilon_of([KNOWN], 1e-5, accountant) == pytest.approx(epsilon, abs=0.0005)


def test_it_is_dp_accountings_figure_for_the_same_events():
    runs = [KNOWN.first(100), Mechanism(noise_multiplier=1.3, sampling_probability=0.02, steps=50)]
    book = dp_accounting.rdp.RdpAccountant()
    for run in runs:
        sampled = dp_accounting.PoissonSampledDpEvent(
            run.sampling_probability, dp_accounting.GaussianDpEvent(run.noise_multiplier)
        )
        book.compose(sampled, run.steps)
    assert epsilon_of(runs, 1e-5) == pytest.approx(book.get_epsilon(1e-5), rel=0.01)


def test_a_doubled_step_count_is_another_figure():
    assert epsilon_of([KNOWN.first(560)], 1e-5) > 1.3 * epsilon_of([KNOWN], 1e-5)


def test_calibrating_by_pld_would_pass_a_ledger_that_counts_by_rdp():
    noise = noise_multiplier_for(2.0, 1e-5, 0.1, 100, "PLD")
    run = Mechanism(noise_multiplier=noise, sampling_probability=0.1, steps=100)
    assert 1.99 < epsilon_of([run], 1e-5, "PLD") <= 2.0 < epsilon_of([run], 1e-5)


def test_nothing_executed_costs_nothing():
    assert epsilon_of([Mechanism(noise_multiplier=1.0, sampling_probability=0.1, steps=0)], 1e-5) == 0.0


@pytest.mark.parametrize("epsilon", [0.5, 2.95, 8.0])
def test_calibration_reaches_the_target_from_below(epsilon):
    noise = noise_multiplier_for(epsilon, 1e-5, 0.05, 100)
    spent = epsilon_of([Mechanism(noise_multiplier=noise, sampling_probability=0.05, steps=100)], 1e-5)
    assert 0.995 * epsilon < spent <= epsilon


def test_an_epsilon_that_no_noise_reaches_is_refused():
    with pytest.raises(ConfigError, match="`epsilon` must be reachable"):
        noise_multiplier_for(1e-6, 1e-5, 1.0, 1000)
