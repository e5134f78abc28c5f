"""Charges that are fixed together: stated at their best order, whatever the budget; no other charge is."""

import dataclasses
import re

import dp_accounting
import pytest

from components.common.errors import BudgetError, ServiceError
from components.dp_training.charged import mechanism_for
from components.privacy import database, filters
from components.privacy.accounting import ORDERS, Mechanism, epsilon_of
from components.privacy.config import PrivacyConfig
from components.privacy.filters import pinned_order
from components.privacy.ledger import Ledger
from components.privacy.reservation import Wanted
from tests.components.privacy.conftest import DELTA

A, B = "a/span-1", "a/span-2"


def config(budget: float, epsilon: float = 2.95, share: float = 0.05) -> PrivacyConfig:
    return PrivacyConfig(
        epsilon=epsilon, delta=DELTA, budget_epsilon=budget, statistics="noised", statistics_share=share
    )


def training(policy: PrivacyConfig) -> Mechanism:
    return mechanism_for(policy.training_epsilon, policy, 0.05, 400)


def counts(policy: PrivacyConfig) -> Mechanism:
    return mechanism_for(policy.statistics_epsilon, policy, 1.0, 1)


def reserve(ledger: Ledger, policy: PrivacyConfig, run: str = "training"):
    return ledger.reserve([A], run, training(policy), policy, {"counts": Wanted(spans=(A,), mechanism=counts(policy))})


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


@pytest.mark.parametrize("budget", [2.95, 8.0, 100.0])
def test_they_are_stated_as_one_mechanism_that_was_fixed_beforehand(ledger, budget):
    policy = config(budget)
    charge = reserve(ledger, policy)
    also = ledger.charge_of([A], "counts", counts(policy))
    assert (charge.run, also.id) == ("training", charge.id + 1)
    book = dp_accounting.rdp.RdpAccountant(ORDERS)
    book.compose(training(policy).event()).compose(counts(policy).event())
    epsilon = ledger.epsilon(A, DELTA)
    assert epsilon == pytest.approx(book.get_epsilon(DELTA)) and 0.95 * 2.94 < epsilon <= 2.95
    ledger.settle(charge.id, 400)
    ledger.settle(also.id, 1)
    assert Ledger(ledger._database.place).epsilon(A, DELTA) == epsilon


def test_apart_they_are_what_a_filter_says(ledger):
    policy = config(8.0)
    ledger.reserve([A], "training", training(policy), policy)
    ledger.reserve([A], "counts", counts(policy), policy)
    span = ledger.book().spans[A]
    assert ledger.epsilon(A, DELTA) == filters.running_epsilon(span.spent(), span.order, DELTA) > 4.0


def test_what_was_left_out_or_stopped_early_still_counts_whole(ledger):
    """Whether the counts are made, and where the training stops, may depend on what the training gave out."""
    policy = config(100.0)
    charge = reserve(ledger, policy)
    whole = ledger.epsilon(A, DELTA)
    ledger.settle(charge.id, 399)
    ledger.settle(charge.id + 1, 0)
    assert ledger.epsilon(A, DELTA) == whole > epsilon_of([training(policy)], DELTA)


@pytest.mark.parametrize(
    "later",
    [
        lambda ledger, policy: ledger.reserve([A], "counts", counts(config(100.0, share=0.06)), policy),
        lambda ledger, policy: ledger.reserve([A], "counts", counts(policy), policy),
        lambda ledger, policy: ledger.reserve([A], "stage", training(policy), policy),
        lambda ledger, policy: reserve(ledger, policy, "another"),
    ],
    ids=["another share", "another draw", "a stage", "another training"],
)
def test_what_was_chosen_later_is_not_fixed_beforehand(ledger, later):
    policy = config(100.0)
    reserve(ledger, policy)
    later(ledger, policy)
    span = ledger.book().spans[A]
    assert ledger.epsilon(A, DELTA) == filters.running_epsilon(span.spent(), span.order, DELTA)
    assert ledger.epsilon(A, DELTA) > epsilon_of([c.reserved for c in span.charges], DELTA)


def test_counts_that_have_their_charge_get_no_other(ledger):
    policy = config(100.0)
    first = reserve(ledger, policy)
    ledger.settle(first.id + 1, 1)
    reserve(ledger, policy, "another")
    assert [c.run for c in ledger.charges(A)] == ["training", "counts", "another"]


def test_past_the_budget_neither_is_reserved_and_the_epsilon_that_fits_does(ledger):
    with pytest.raises(BudgetError, match="a run of ε") as caught:
        reserve(ledger, config(2.0))
    assert ledger.charges(A) == []
    fits = float(re.search("a run of ε ([0-9.]+) would fit", str(caught.value))[1])
    assert 1.9 < fits <= 2.0
    reserve(ledger, config(2.0, epsilon=fits))
    assert ledger.epsilon(A, DELTA) <= 2.0


def test_both_stand_or_neither(place, monkeypatch):
    ledger, executed = Ledger(place), database._executed
    ledger.reserve(["b"], "1", training(config(8.0)), config(8.0))
    written = []

    def fails_at_the_second(connection, statement, *values):
        written.extend(values)
        if len(written) == 2:
            raise OSError("no power")
        return executed(connection, statement, *values)

    with monkeypatch.context() as patch:
        patch.setattr(database, "_executed", fails_at_the_second)
        with pytest.raises(ServiceError, match="no power"):
            reserve(ledger, config(8.0))
    assert ledger.charges(A) == Ledger(place).charges(A) == []
    reserve(ledger, config(8.0))
    assert len(Ledger(place).charges(A)) == 2 and Ledger(place).verify() == []


def apart(ledger: Ledger, policy: PrivacyConfig):
    """A training on two spans, with counts of the newer one alone."""
    return ledger.reserve(
        [A, B], "training", training(policy), policy, {"counts": Wanted(spans=(B,), mechanism=counts(policy))}
    )


def test_each_is_charged_on_its_own_spans_alone(ledger):
    policy = config(8.0)
    charge = apart(ledger, policy)
    assert [c.run for c in ledger.charges(A)] == ["training"]
    assert [(c.run, c.batch) for c in ledger.charges(B)] == [("training", charge.id), ("counts", charge.id)]
    assert ledger.charge_of([B], "counts", counts(policy)).spans == (B,)
    assert ledger.epsilon(A, DELTA) == epsilon_of([training(policy)], DELTA)
    assert ledger.epsilon(B, DELTA) == epsilon_of([training(policy), counts(policy)], DELTA)
    book = ledger.book()
    assert book.spans[A].order == pinned_order(8.0, DELTA, training(policy).curve())
    assert book.spans[B].order == pinned_order(8.0, DELTA, training(policy).curve() + counts(policy).curve())


def test_one_that_does_not_fit_on_its_own_span_refuses_both_and_names_it(ledger):
    policy = config(8.0)
    both = dataclasses.replace(policy, budget_epsilon=epsilon_of([training(policy), counts(policy)], DELTA) - 0.003)
    assert ledger.reserve(["c"], "training alone", training(policy), both)
    with pytest.raises(BudgetError, match=f"the budget of span {B} must hold"):
        apart(ledger, both)
    assert ledger.charges(A) == ledger.charges(B) == []
