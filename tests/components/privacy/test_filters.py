"""The Rényi filter's arithmetic against dp_accounting's, and its direction of safety."""

import dp_accounting
import numpy as np
import pytest

from components.privacy import filters
from components.privacy.accounting import ORDERS, Mechanism

DELTA = 1e-5


@pytest.mark.parametrize("order", [1.5, 3.7, 20.0])
@pytest.mark.parametrize("divergence", [0.01, 0.5, 5.0])
def test_a_fixed_bound_is_dp_accountings_conversion_at_one_order(order, divergence):
    theirs, _ = dp_accounting.rdp.compute_epsilon([order], [divergence], DELTA)
    assert filters.fixed_epsilon(divergence, order, DELTA) == pytest.approx(theirs)


@pytest.mark.parametrize("raised", [False, True])
@pytest.mark.parametrize("epsilon", [1.0, 3.0, 8.0])
def test_the_bound_is_the_inverse_of_the_conversion(epsilon, raised):
    divergence = filters.bound(epsilon, DELTA, 30.0, raised)
    back = filters.running_epsilon if raised else filters.fixed_epsilon
    assert back(divergence, 30.0, DELTA) == pytest.approx(epsilon)


def test_what_holds_at_all_times_is_never_below_what_was_fixed_beforehand():
    for order in ORDERS:
        for divergence in (0.001, 0.1, 1.0, 10.0):
            fixed = filters.fixed_epsilon(divergence, order, DELTA)
            assert filters.running_epsilon(divergence, order, DELTA) >= fixed
        assert filters.bound(3.0, DELTA, order, raised=True) <= filters.bound(3.0, DELTA, order)


def test_nothing_spent_is_zero_and_no_noise_is_infinite():
    assert filters.running_epsilon(0.0, 2.0, DELTA) == 0.0
    assert filters.fixed_epsilon(np.inf, 2.0, DELTA) == filters.running_epsilon(np.inf, 2.0, DELTA) == np.inf


@pytest.mark.parametrize("budget", [1.0, 3.0, 8.0, 50.0])
def test_the_pinned_order_holds_as_many_equal_runs_as_the_best_order_would(budget):
    curve = Mechanism(noise_multiplier=4.0, sampling_probability=0.1, steps=50).curve()
    order = filters.pinned_order(budget, DELTA, curve)
    runs = filters.bound(budget, DELTA, order) / curve[ORDERS.index(order)]
    best = dp_accounting.rdp.compute_epsilon(ORDERS, runs * curve, DELTA)[0]
    assert best == pytest.approx(budget)
