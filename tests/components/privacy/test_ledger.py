"""The ledger on each kind of database: reserve, settle, resume, refuse."""

import pytest

from components.common.errors import BudgetError, LedgerError
from components.privacy.accounting import Mechanism, epsilon_of
from components.privacy.ledger import Ledger
from tests.components.privacy.conftest import DELTA, RUN, budget_for, policy

A, B = "a/span-1", "a/span-2"


@pytest.fixture
def ledger(place):
    made = Ledger(place)
    yield made
    made.close()


def test_a_first_run_costs_what_it_costs_alone_and_a_second_one_more_than_both(ledger):
    ledger.reserve([A], "1", RUN, policy(10.0))
    assert ledger.epsilon(A, DELTA) == epsilon_of([RUN], DELTA)
    ledger.reserve([A], "2", RUN, policy(10.0))
    assert epsilon_of([RUN, RUN], DELTA) < ledger.epsilon(A, DELTA) <= 10.0
    assert ledger.epsilon(B, DELTA) == 0.0


def test_a_run_is_charged_in_full_to_every_span_that_it_reads(ledger):
    charge = ledger.reserve([B, A], "1", RUN, policy(10.0))
    assert charge.spans == (A, B)
    assert ledger.epsilon(A, DELTA) == ledger.epsilon(B, DELTA) == epsilon_of([RUN], DELTA)
    ledger.reserve([B], "2", RUN, policy(10.0))
    assert ledger.epsilon(A, DELTA) == epsilon_of([RUN], DELTA) < ledger.epsilon(B, DELTA)


def test_a_run_that_fits_one_span_and_not_the_other_is_charged_to_neither(ledger):
    budget = policy(budget_for(1))
    ledger.reserve([A], "1", RUN, budget)
    with pytest.raises(BudgetError, match=A):
        ledger.reserve([A, B], "2", RUN, budget)
    assert ledger.charges(B) == [] and len(ledger.charges(A)) == 1


def test_a_budget_holds_as_many_equal_runs_as_its_epsilon_composes(ledger):
    budget = policy(budget_for(3))
    for run in "123":
        ledger.reserve([A], run, RUN, budget)
    with pytest.raises(BudgetError, match=f"budget of span {A}"):
        ledger.reserve([A], "4", RUN, budget)
    assert ledger.epsilon(A, DELTA) == pytest.approx(budget.budget_epsilon)


def test_the_epsilon_that_a_refusal_names_fits_and_a_hundredth_more_does_not(ledger):
    budget = policy(budget_for(2.5))
    for run in "12":
        ledger.reserve([A], run, RUN, budget)
    with pytest.raises(BudgetError) as refused:
        ledger.reserve([A], "3", RUN, budget)
    named = float(str(refused.value).split("a run of ε ")[1].split(" would fit")[0])
    with pytest.raises(BudgetError):
        ledger.reserve([A], "4", _of_epsilon(1.01 * named), budget)
    ledger.reserve([A], "5", _of_epsilon(named), budget)


def _of_epsilon(epsilon: float) -> Mechanism:
    from components.privacy.accounting import noise_multiplier_for

    noise = noise_multiplier_for(epsilon, DELTA, RUN.sampling_probability, RUN.steps)
    return Mechanism(noise_multiplier=noise, sampling_probability=RUN.sampling_probability, steps=RUN.steps)


def test_an_unsettled_reservation_stays_spent_in_full(ledger, place):
    ledger.reserve([A], "1", RUN, policy(budget_for(1)))
    with pytest.raises(BudgetError):
        Ledger(place).reserve([A], "2", RUN, policy(budget_for(1)))


def test_settling_gives_back_what_was_not_executed(ledger):
    budget = policy(budget_for(1))
    charge = ledger.reserve([A], "1", RUN, budget)
    ledger.settle(charge.id, 100)
    ledger.reserve([A], "2", RUN.first(100), budget)
    with pytest.raises(BudgetError):
        ledger.reserve([A], "3", RUN.first(1), budget)


def test_what_was_reported_as_executed_is_never_less_again_and_counts_beyond_the_reservation(ledger):
    charge = ledger.reserve([A], "1", RUN, policy(10.0))
    for executed in (50, 1, 50):
        ledger.settle(charge.id, executed)
    assert [(c.settled, c.mechanism.steps) for c in ledger.charges(A)] == [(True, 50)]
    ledger.settle(charge.id, 300)
    assert ledger.charges(A)[0].mechanism.steps == 300
    assert ledger.epsilon(A, DELTA) > epsilon_of([RUN.first(250)], DELTA)
    assert len(ledger.export()) == 3


def test_a_run_finds_its_charge_unless_it_was_settled_short_or_is_another(ledger):
    charge = ledger.reserve([A], "1", RUN, policy(10.0))
    assert ledger.charge_of([A], "1", RUN).id == charge.id
    assert ledger.charge_of([A], "2", RUN) is None
    assert ledger.charge_of([A, B], "1", RUN) is None
    assert ledger.charge_of([A], "1", RUN.first(100)) is None
    ledger.settle(charge.id, 199)
    assert ledger.charge_of([A], "1", RUN) is None


def test_settling_what_was_never_reserved_is_refused(ledger):
    with pytest.raises(LedgerError, match="must be in the ledger"):
        ledger.settle(7, 1)


def test_charges_outlive_the_object_that_made_them(ledger, place):
    charge = ledger.reserve([A], "run 9", RUN, policy(10.0))
    Ledger(place).settle(charge.id, 20)
    (found,) = Ledger(place).charges(A)
    assert (found.id, found.run, found.settled, found.mechanism.steps) == (charge.id, "run 9", True, 20)
    assert ledger.charges(A)[0].executed == 20  # what another process wrote is seen


def test_no_noise_is_never_within_a_budget(ledger):
    with pytest.raises(BudgetError):
        bare = Mechanism(noise_multiplier=0.0, sampling_probability=0.05, steps=1)
        ledger.reserve([A], "1", bare, policy(1e300))
    assert ledger.charges(A) == []


def test_a_person_with_several_records_costs_more_than_the_records_composed(ledger):
    person = Mechanism(noise_multiplier=2.0, sampling_probability=0.05, steps=200, group=4)
    ledger.reserve([A], "1", person, policy(50.0))
    assert ledger.epsilon(A, DELTA) > epsilon_of([RUN] * 4, DELTA) > epsilon_of([RUN], DELTA)
