"""The arithmetic of paired counts, against published examples, an independent computation and its stated properties."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import binomtest, multinomial, norm

from components.gates.core import (
    Paired,
    drop_bound,
    exact_level,
    pass_probability,
    passing,
    score,
    share_bounds,
    wrong_pass,
)


def counts(n: int, parent_only: int, variant_only: int) -> Paired:
    return Paired(both=n - parent_only - variant_only, parent_only=parent_only, variant_only=variant_only, neither=0)


PUBLISHED = {  # n, b, c, two-sided alpha, lower, upper
    "soft contact lenses, Tango 1998": (44, 0, 1, 0.10, -0.096, 0.037),
    "Newcombe 1998, first of his pairs, as Tango 1999 gives it": (50, 12, 2, 0.05, 0.0611, 0.3447),
    "Newcombe 1998, nothing on one side": (50, 14, 0, 0.05, 0.1747, 0.4167),
    "Newcombe 1998, no pair apart": (50, 0, 0, 0.05, -0.0713, 0.0713),
    "airway hyper-responsiveness, Fagerland, Lydersen and Laake 2014": (21, 1, 7, 0.05, -0.517, -0.026),
    "complete response, Cavo 2012 in CRAN's contingencytables": (161, 6, 16, 0.05, -0.1240, -0.0054),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_interval_is_the_published_one(name):
    n, b, c, alpha, lower, upper = PUBLISHED[name]
    digits = 10 ** -len(str(upper).split(".")[1])
    assert drop_bound(counts(n, b, c), alpha / 2) == pytest.approx(upper, abs=0.51 * digits)
    assert -drop_bound(counts(n, c, b), alpha / 2) == pytest.approx(lower, abs=0.51 * digits)


def score_by_likelihood(n: int, b: int, c: int, d: float) -> float:
    """Tango's statistic with the likelihood maximised by scipy, not by the quadratic."""

    def loss(q):
        parts = ((b, q + d), (c, q), (n - b - c, 1 - 2 * q - d))
        return -sum(count * math.log(p) for count, p in parts if count)

    low, high = max(0.0, -d), (1 - d) / 2
    q = minimize_scalar(loss, bounds=(low + 1e-13, high - 1e-13), method="bounded", options={"xatol": 1e-14}).x
    return (b - c - n * d) / math.sqrt(n * (2 * q + d * (1 - d)))


@pytest.mark.parametrize(("n", "b", "c"), [(44, 0, 1), (100, 20, 12), (8000, 60, 55), (800, 30, 10), (161, 6, 16)])
@pytest.mark.parametrize("alpha", [0.05, 0.0125])
def test_the_bound_is_tangos(n, b, c, alpha):
    independent = brentq(lambda d: score_by_likelihood(n, b, c, d) + norm.ppf(1 - alpha), (b - c) / n + 1e-6, 0.9)
    assert drop_bound(counts(n, b, c), alpha) == pytest.approx(independent, abs=1e-5)


@pytest.mark.parametrize("counted", [(0, 0), (0, 20), (20, 0), (3, 3), (10, 10)])
def test_the_statistic_of_arrays_is_that_of_numbers(counted):
    alone = [float(score(20, counted[0], c, 0.05)) for c in range(20 - counted[0] + 1)]
    np.testing.assert_array_equal(score(20, counted[0], np.arange(20 - counted[0] + 1), 0.05), alone)
    assert np.all(np.diff(alone) <= 1e-12)  # the more the variant alone has right, the smaller the drop


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 50))
def test_more_loss_never_lowers_the_bound(parent_only, variant_only, more):
    before = Paired(both=1000, parent_only=parent_only, variant_only=variant_only, neither=100)
    after = Paired(both=1000 - more, parent_only=parent_only + more, variant_only=variant_only, neither=100)
    assert drop_bound(after, 0.05) >= drop_bound(before, 0.05) - 1e-9


def test_a_wrong_pass_is_enumerated_right():
    """Against the multinomial distribution, outcome by outcome."""
    n, margin, level, q = 30, 0.1, 0.05, 0.07
    by_hand = sum(
        multinomial.pmf([b, c, n - b - c], n, [q + margin, q, 1 - 2 * q - margin])
        for b, c in itertools.product(range(n + 1), repeat=2)
        if b + c <= n and drop_bound(counts(n, b, c), level) < margin
    )
    assert pass_probability(n, passing(n, margin, level), q + margin, q) == pytest.approx(by_hand, rel=1e-9)


@pytest.mark.parametrize("alpha", [0.05, 0.0125, 0.001])
@pytest.mark.parametrize(("n", "margin"), [(1, 0.5), (20, 0.1), (100, 0.05), (317, 0.05), (800, 0.05), (2000, 0.015)])
def test_at_the_exact_level_a_wrong_pass_is_as_rare_as_was_said(n, margin, alpha):
    level = exact_level(n, margin, alpha)
    assert level <= alpha and wrong_pass(n, margin, level) <= alpha
    allowed, top = passing(n, margin, level), (1 - margin) / 2
    between = np.concatenate([np.geomspace(1e-4 / n, 0.9999 * top, 500), np.linspace(1e-4, 0.9999 * top, 500)])
    assert max(pass_probability(n, allowed, q + margin, q) for q in between) <= 1.02 * alpha


def test_the_exact_level_costs_little_where_there_are_many_examples():
    assert exact_level(8000, 0.01, 0.0125) > 0.99 * 0.0125


@settings(max_examples=30)
@given(st.integers(1, 60), st.sampled_from([0.02, 0.05, 0.2]), st.sampled_from([0.05, 0.0125]))
def test_more_loss_never_makes_a_pass(n, margin, alpha):
    allowed = passing(n, margin, exact_level(n, margin, alpha))
    for fewer, c in zip(allowed, range(1, n + 1), strict=False):
        assert min(fewer, n - c) <= allowed[c] <= n - c  # with one right answer more it passes where it did before


@pytest.mark.parametrize(("count", "total"), [(0, 10), (10, 10), (3, 50), (7999, 8000)])
def test_bounds_of_a_share_are_exact(count, total):
    interval = binomtest(count, total).proportion_ci(0.9, "exact")
    assert share_bounds(count, total, 0.05) == pytest.approx((interval.low, interval.high))


def test_no_examples_have_no_accuracy():
    nothing = Paired(both=0, parent_only=0, variant_only=0, neither=0)
    assert math.isnan(nothing.parent_accuracy) and math.isnan(nothing.variant_accuracy) and math.isnan(nothing.drop)
