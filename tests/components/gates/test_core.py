"""The gate's arithmetic against an independent computation and its stated properties."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from components.gates.config import GatesConfig
from components.gates.core import Measurement, Paired, drop_bound, judge, worst

GOOD = Paired(both=6700, parent_only=60, variant_only=55, neither=1185)


def measured(**changes) -> Measurement:
    base = Measurement(
        overall=GOOD,
        classes={str(i): Paired(both=670, parent_only=6, variant_only=6, neither=118) for i in range(10)},
        bytes=30_000,
        latency_ratio=1.0,
        broken=(),
        evaluator=True,
        epsilon=2.9,
    )
    return dataclasses.replace(base, **changes)


def verdict(m: Measurement, **config) -> str:
    return judge(m, GatesConfig(**config), competitors=4, max_epsilon=3.0)[0]


def tango_by_root(p: Paired, alpha: float) -> float:
    """The same bound by scipy's root finder on Tango's statistic with a numerically maximised likelihood."""
    n, b, c = p.total, p.parent_only, p.variant_only

    def statistic(d):
        def score(q):
            return b / (q + d) + c / q - (n - b - c) * 2 / (1 - 2 * q - d)

        q = brentq(score, 1e-12, (1 - d) / 2 - 1e-12)
        return (b - c - n * d) / math.sqrt(n * (2 * q + d * (1 - d)))

    return brentq(lambda d: statistic(d) + norm.ppf(1 - alpha), (b - c) / n + 1e-9, 0.9)


@pytest.mark.parametrize("pairs", [(43, 20, 12, 25), (6700, 60, 55, 1185), (500, 30, 10, 260)])
@pytest.mark.parametrize("alpha", [0.05, 0.0125])
def test_the_bound_is_tangos(pairs, alpha):
    p = Paired(both=pairs[0], parent_only=pairs[1], variant_only=pairs[2], neither=pairs[3])
    assert drop_bound(p, alpha) == pytest.approx(tango_by_root(p, alpha), abs=1e-6)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 50))
def test_more_loss_never_lowers_the_bound(parent_only, variant_only, more):
    before = Paired(both=1000, parent_only=parent_only, variant_only=variant_only, neither=100)
    after = Paired(both=1000 - more, parent_only=parent_only + more, variant_only=variant_only, neither=100)
    assert drop_bound(after, 0.05) >= drop_bound(before, 0.05) - 1e-9


def test_a_good_variant_passes():
    assert verdict(measured()) == "pass"


@pytest.mark.parametrize(
    "changes",
    [
        {"overall": Paired(both=6400, parent_only=360, variant_only=55, neither=1185)},
        {"overall": Paired(both=0, parent_only=0, variant_only=0, neither=0)},
        {"classes": {}},
        {"classes": {"0": Paired(both=40, parent_only=0, variant_only=0, neither=10)}},
        {"classes": {"0": Paired(both=400, parent_only=300, variant_only=0, neither=100)}},
        {"bytes": 20_000_000},
        {"latency_ratio": math.nan},
        {"broken": ("layer dense must hold 50.00 % zeros in the file. Received: 10.00 %",)},
        {"evaluator": None},
        {"evaluator": False},
        {"epsilon": None},
        {"epsilon": 3.1},
        {"epsilon": math.nan},
    ],
)
def test_what_is_bad_or_missing_never_passes(changes):
    assert verdict(measured(**changes)) != "pass"


def test_floors_block_with_their_reason():
    answer, checks = judge(measured(), GatesConfig(min_accuracy=0.999), 4, 3.0)
    assert answer == "fail"
    assert [c.gate for c in checks if c.verdict == "fail"] == ["floor"]


def test_nothing_is_not_a_pass():
    assert worst([]) == "inconclusive"
