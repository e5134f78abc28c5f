"""What disjoint, overlapping and rolling windows of spans compose to, against dp_accounting."""

import dataclasses
import math

import dp_accounting
import numpy as np
import pytest

from components.privacy.accounting import ORDERS, Mechanism, epsilon_of
from components.privacy.filters import running_epsilon
from components.privacy.ledger import Ledger
from tests.components.privacy.conftest import DELTA, policy

RUNS = [
    Mechanism(noise_multiplier=noise, sampling_probability=q, steps=steps)
    for noise, q, steps in ((2.0, 0.05, 200), (1.3, 0.02, 50), (4.0, 0.2, 100), (3.0, 1.0, 2), (2.5, 0.1, 30))
]
WINDOWS = {
    "disjoint": [(0,), (1,), (2,), (3,), (4,)],
    "overlapping": [(0, 1), (1, 2), (2, 3), (0, 3), (1,)],
    "rolling": [(0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (4, 5, 6)],
    "all at once": [(0, 1, 2, 3, 4)] * 5,
}


@pytest.mark.parametrize("name", WINDOWS)
def test_each_span_is_charged_in_full_for_every_run_that_read_it(tmp_path, name):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    for i, (run, window) in enumerate(zip(RUNS, WINDOWS[name], strict=True)):
        ledger.settle(ledger.reserve([f"d/span-{s}" for s in window], f"{i}", run, policy(100.0)).id, run.steps)
    spans = sorted({span for window in WINDOWS[name] for span in window})
    for span in spans:
        book = dp_accounting.rdp.RdpAccountant(ORDERS)
        for run, window in zip(RUNS, WINDOWS[name], strict=True):
            if span in window:
                gaussian = dp_accounting.GaussianDpEvent(run.noise_multiplier)
                book.compose(dp_accounting.PoissonSampledDpEvent(run.sampling_probability, gaussian), run.steps)
        found = ledger.book().spans[f"d/span-{span}"]
        np.testing.assert_allclose(found.curve, book.rdp, rtol=1e-9)
        assert ledger.epsilon(f"d/span-{span}", DELTA) >= book.get_epsilon(DELTA) - 1e-9


def test_a_record_costs_the_largest_of_its_spans_and_a_warm_start_adds_nothing_to_a_new_one(tmp_path):
    """A record is in one span. What was trained on span 0 costs span 1 nothing when training goes on there."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.reserve(["d/span-0"], "cold", RUNS[0], policy(100.0))
    before = ledger.book().spans["d/span-0"].curve
    ledger.reserve(["d/span-1"], "warm", RUNS[1], policy(100.0))
    spans = ledger.book().spans
    np.testing.assert_array_equal(spans["d/span-0"].curve, before)
    np.testing.assert_array_equal(spans["d/span-1"].curve, RUNS[1].curve())


def test_settling_short_scales_the_curve_as_dp_accounting_has_it(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.settle(ledger.reserve(["d/span-0"], "1", RUNS[0], policy(100.0)).id, 70)
    book = dp_accounting.rdp.RdpAccountant(ORDERS)
    book.compose(dp_accounting.PoissonSampledDpEvent(0.05, dp_accounting.GaussianDpEvent(2.0)), 70)
    np.testing.assert_allclose(ledger.book().spans["d/span-0"].curve, book.rdp, rtol=1e-9)


def persons(mechanism: Mechanism, group: int = 3) -> Mechanism:
    return dataclasses.replace(mechanism, group=group)


def test_a_record_costs_the_largest_of_the_spans_behind_a_model(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    for i, window in enumerate(WINDOWS["rolling"]):
        ledger.reserve([f"d/span-{s}" for s in window], f"{i}", RUNS[i], policy(100.0))
    book = ledger.book()
    for spans in ((0,), (6,), (0, 1, 2), (4, 5, 6)):
        names = [f"d/span-{s}" for s in spans]
        assert book.epsilon(names, DELTA) == max(book.spans[name].epsilon(DELTA) for name in names)
    assert book.epsilon([], DELTA) == 0.0


def test_a_person_in_several_spans_costs_all_runs_on_any_of_them_each_once(tmp_path):
    """The largest of the spans would leave out what the others were charged for."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    for i, window in enumerate([(0,), (0, 1), (1, 2)]):
        ledger.reserve([f"d/span-{s}" for s in window], f"{i}", persons(RUNS[i]), policy(100.0))
    book, names = ledger.book(), ["d/span-0", "d/span-1", "d/span-2"]
    order = book.spans["d/span-0"].order
    divergence = sum(persons(run).curve()[ORDERS.index(order)] for run in RUNS[:3])
    assert book.epsilon(names, DELTA, 3) == pytest.approx(running_epsilon(divergence, order, DELTA))
    assert book.epsilon(names, DELTA, 3) > max(book.spans[name].epsilon(DELTA) for name in names)
    assert book.epsilon(names[:1], DELTA, 3) == book.spans[names[0]].epsilon(DELTA)


def test_one_run_on_all_spans_costs_a_person_what_it_costs_alone(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.reserve(["d/span-0", "d/span-1"], "r", persons(RUNS[0]), policy(100.0))
    assert ledger.book().epsilon(["d/span-0", "d/span-1"], DELTA, 3) == epsilon_of([persons(RUNS[0])], DELTA)


def test_a_run_that_was_charged_for_one_record_a_person_counts_for_all_that_a_person_has(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.settle(ledger.reserve(["d/span-0"], "r", RUNS[0], policy(100.0)).id, 70)
    book = ledger.book()
    assert (
        book.epsilon(["d/span-0"], DELTA, 3)
        == epsilon_of([persons(RUNS[0])], DELTA)
        > book.epsilon(["d/span-0"], DELTA)
    )
    assert book.charges[1].reserved.group == 1


@pytest.mark.parametrize("group", [1, 3])
def test_a_span_that_the_ledger_does_not_know_or_that_is_closed_makes_epsilon_infinite(tmp_path, group):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.reserve(["d/span-0", "d/span-1"], "r", persons(RUNS[0]), policy(100.0))
    book = ledger.book()
    assert book.epsilon(["d/span-0", "d/span-7"], DELTA, group) == math.inf
    book.spans["d/span-1"].closed = True
    assert book.epsilon(["d/span-0", "d/span-1"], DELTA, group) == math.inf > book.epsilon(["d/span-0"], DELTA, group)
