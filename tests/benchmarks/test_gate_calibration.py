"""The calibration's enumeration, on cases that can be checked by hand, and its bounds."""

import itertools
import json

import pytest
from scipy.stats import multinomial

from benchmarks.gate_calibration import BASELINE, joint_pass, missed_bounds, passes, point_comparison
from components.gates.config import GatesConfig
from components.gates.core import Paired
from components.gates.rules.drop import drop

BOUNDS = json.loads(BASELINE.read_text())["bounds"]
GOOD = {"wrong_pass": 0.05, "power": 0.93, "joint_pass": 0.95, "push_at_margin": 0.05}


def paired(n: int, b: int, c: int) -> Paired:
    return Paired(both=n - b - c, parent_only=b, variant_only=c, neither=0)


def outcomes(n: int, loss: float, gain: float):
    for b, c in itertools.product(range(n + 1), repeat=2):
        if b + c <= n:
            yield paired(n, b, c), multinomial.pmf([b, c, n - b - c], n, [loss, gain, 1 - loss - gain])


@pytest.mark.parametrize(("true_drop", "flips"), [(0.1, 0.1), (0.1, 0.3), (0.0, 0.2)])
def test_what_is_enumerated_is_what_the_gate_passes(true_drop, flips):
    loss, gain = (flips + true_drop) / 2, (flips - true_drop) / 2
    by_gate = sum(p for counts, p in outcomes(25, loss, gain) if drop("g", "w", counts, 0.1, 0.05)[0].verdict == "pass")
    assert passes(25, 0.1, 0.05, true_drop, flips) == pytest.approx(by_gate, abs=1e-9)


def test_the_comparison_of_points_passes_half_of_what_it_must_not():
    by_hand = sum(p for counts, p in outcomes(20, 0.2, 0.1) if counts.drop <= 0.1 + 1e-9)
    assert point_comparison(20, 0.1, 0.3) == pytest.approx(by_hand, abs=1e-9)
    assert point_comparison(2000, 0.01, 0.04) > 0.5


def test_a_smaller_margin_and_more_decisions_pass_less():
    assert joint_pass(GatesConfig(), 0.001, 0.02) > joint_pass(GatesConfig(max_drop=0.008), 0.001, 0.02)
    assert joint_pass(GatesConfig(), 0.001, 0.04) > joint_pass(GatesConfig(planned_decisions=4), 0.001, 0.04)


@pytest.mark.parametrize(
    ("worse", "missed"),
    [
        ({}, []),
        ({"wrong_pass": 0.0551}, ["wrong_pass"]),
        ({"power": 0.89}, ["power"]),
        ({"push_at_margin": float("nan"), "joint_pass": float("nan")}, ["push_at_margin", "joint_pass"]),
    ],
)
def test_a_figure_on_the_wrong_side_of_its_bound_is_missed(worse, missed):
    assert missed_bounds({**GOOD, **worse}, BOUNDS) == missed
