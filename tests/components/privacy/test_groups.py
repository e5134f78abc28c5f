"""A person with several records: the mixture of Gaussians against closed forms and dp_accounting."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import binom

from components.privacy.accounting import ORDERS, Mechanism, epsilon_of, noise_multiplier_for
from components.privacy.groups import group_rdp


def closed_form(sigma: float, q: float, group: int, order: int) -> float:
    """E_Q[(P/Q)^α] for integer α, as a sum over how far the α copies moved together."""
    moved = np.arange(group + 1)
    weights = binom.pmf(moved, group, q) * np.exp(-(moved**2) / (2 * sigma**2))
    total = np.array([1.0])
    for _ in range(order):
        total = np.convolve(total, weights)
    return float(logsumexp(np.log(total) + np.arange(len(total)) ** 2 / (2 * sigma**2)) / (order - 1))


@pytest.mark.parametrize(("sigma", "q"), [(1.0, 0.05), (2.0, 0.3), (0.7, 0.01), (5.0, 1.0)])
def test_a_group_of_one_is_dp_accountings_poisson_sampled_gaussian(sigma, q):
    alone = Mechanism(noise_multiplier=sigma, sampling_probability=q, steps=1).curve()
    np.testing.assert_allclose(group_rdp(sigma, q, 1, ORDERS), alone, rtol=1e-6)


@pytest.mark.parametrize("group", [2, 4, 9])
@pytest.mark.parametrize("order", [2, 3, 5, 8, 16])
def test_integer_orders_are_at_least_the_closed_form_and_no_more(group, order):
    (found,) = group_rdp(2.0, 0.05, group, (float(order),))
    assert found == pytest.approx(closed_form(2.0, 0.05, group, order), rel=1e-6)


def test_without_sampling_a_group_is_a_gaussian_with_its_sensitivity():
    (found,) = group_rdp(3.0, 1.0, 4, (5.0,))
    assert found == pytest.approx(5.0 * 4**2 / (2 * 3.0**2), rel=1e-6)


def test_composing_the_records_charges_undercounts():
    def run(group: int) -> Mechanism:
        return Mechanism(noise_multiplier=2.0, sampling_probability=0.05, steps=100, group=group)

    assert epsilon_of([run(4)], 1e-5) > 2 * epsilon_of([run(1)] * 4, 1e-5)
    figures = [epsilon_of([run(group)], 1e-5) for group in (1, 2, 3, 4)]
    assert figures == sorted(figures)


def test_noise_is_calibrated_for_the_person():
    noise = noise_multiplier_for(2.0, 1e-5, 0.1, 50, group=3)
    person = Mechanism(noise_multiplier=noise, sampling_probability=0.1, steps=50, group=3)
    assert 1.98 < epsilon_of([person], 1e-5) <= 2.0
    assert noise > 2 * noise_multiplier_for(2.0, 1e-5, 0.1, 50)


def test_no_noise_is_infinite():
    assert group_rdp(0.0, 0.1, 2, (2.0,)) == (np.inf,)
