"""The ledger: reserve, settle, refuse."""

import pytest

from components.common.errors import BudgetError
from components.privacy.accounting import Mechanism, epsilon_of
from components.privacy.config import PrivacyConfig
from components.privacy.ledger import Ledger

RUN = Mechanism(noise_multiplier=2.0, sampling_probability=0.05, steps=200)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger.sqlite")


def policy(budget: float) -> PrivacyConfig:
    return PrivacyConfig(epsilon=1.0, delta=1e-5, budget_epsilon=budget)


def test_runs_on_one_span_compose(ledger):
    _, first = ledger.reserve("a/span-1", "1", RUN, policy(10.0))
    _, second = ledger.reserve("a/span-1", "2", RUN, policy(10.0))
    assert first == pytest.approx(epsilon_of([RUN], 1e-5))
    assert second == pytest.approx(epsilon_of([RUN, RUN], 1e-5)) and second > first


def test_spans_do_not_compose(ledger):
    ledger.reserve("a/span-1", "1", RUN, policy(10.0))
    _, other = ledger.reserve("a/span-2", "2", RUN, policy(10.0))
    assert other == pytest.approx(epsilon_of([RUN], 1e-5))


def test_past_the_budget_is_refused_and_leaves_nothing(ledger):
    budget = epsilon_of([RUN], 1e-5) * 1.01
    ledger.reserve("a/span-1", "1", RUN, policy(budget))
    with pytest.raises(BudgetError, match="a/span-1"):
        ledger.reserve("a/span-1", "2", RUN, policy(budget))
    assert len(ledger.charges("a/span-1")) == 1


def test_an_unsettled_reservation_stays_spent_in_full(ledger):
    ledger.reserve("a/span-1", "1", RUN, policy(10.0))
    assert [c.mechanism.steps for c in ledger.charges("a/span-1")] == [200]


def test_settling_charges_what_was_executed_and_never_more_than_reserved(ledger):
    charge, _ = ledger.reserve("a/span-1", "1", RUN, policy(10.0))
    ledger.settle(charge, 50)
    ledger.settle(charge, 1)
    assert [(c.mechanism.steps, c.settled) for c in ledger.charges("a/span-1")] == [(50, True)]
    other, _ = ledger.reserve("a/span-2", "1", RUN, policy(10.0))
    ledger.settle(other, 500)
    assert ledger.charges("a/span-2")[0].mechanism.steps == 200
