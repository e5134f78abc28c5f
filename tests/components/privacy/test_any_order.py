"""No order of reserve, settle, crash, retry, lost databases and clocks spends less than was executed, or more than the
budget."""

import math
import tempfile
from pathlib import Path

import dp_accounting
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from components.common.errors import BudgetError, ServiceError
from components.privacy import filters
from components.privacy.accounting import ORDERS, Mechanism
from components.privacy.ledger import Ledger
from components.privacy.reservation import Wanted
from tests.components.privacy.conftest import DELTA, policy

SPANS = ("a", "b", "c")
SOME = st.sets(st.sampled_from(SPANS), min_size=1)
MECHANISMS = [
    Mechanism(noise_multiplier=noise, sampling_probability=q, steps=steps)
    for noise, q, steps in ((1.5, 0.05, 40), (3.0, 0.1, 100), (0.8, 0.01, 10))
]


class Runs(RuleBasedStateMachine):
    """Runs on three spans; what they really executed is kept beside the ledger."""

    open_runs = Bundle("open_runs")

    @initialize(budget=st.floats(1.0, 9.0))
    def begin(self, budget):
        self.folder = tempfile.TemporaryDirectory()
        self.place = Path(self.folder.name, "ledger.sqlite")
        self.ledger, self.budget, self.names = Ledger(self.place), budget, 0
        self.executed = {span: np.zeros(len(ORDERS)) for span in SPANS}

    def teardown(self):
        if hasattr(self, "folder"):
            self.folder.cleanup()

    @rule(target=open_runs, spans=SOME, mechanism=st.sampled_from(MECHANISMS))
    def reserve(self, spans, mechanism):
        self.names += 1
        try:
            charge = self.ledger.reserve(sorted(spans), str(self.names), mechanism, policy(self.budget))
        except BudgetError:
            return multiple()
        return self.begun(charge.id, spans, mechanism)

    @rule(target=open_runs, spans=SOME, others=SOME, two=st.permutations(MECHANISMS))
    def reserve_together(self, spans, others, two):
        """Two runs whose mechanisms are fixed together, each on its own spans."""
        self.names += 1
        first, second, name = two[0], two[1], f"with {self.names}"
        try:
            also = {name: Wanted(spans=tuple(others), mechanism=second)}
            charge = self.ledger.reserve(sorted(spans), str(self.names), first, policy(self.budget), also)
        except BudgetError:
            return multiple()
        other = self.ledger.charge_of(sorted(others), name, second)
        return multiple(self.begun(charge.id, spans, first), self.begun(other.id, others, second))

    def begun(self, id, spans, mechanism):
        return {"id": id, "spans": spans, "mechanism": mechanism, "steps": 0, "over": False}

    @rule(run=open_runs, steps=st.integers(1, 60))
    def execute(self, run, steps):
        """A run executes some of what it reserved; once it is settled, nothing more."""
        if run["over"]:
            return
        steps = min(steps, run["mechanism"].steps - run["steps"])
        run["steps"] += steps
        for span in run["spans"]:
            self.executed[span] += run["mechanism"].first(steps).curve()

    @rule(run=consumes(open_runs))
    def settle(self, run):
        self.ledger.settle(run["id"], run["steps"])

    @rule(run=open_runs)
    def settle_twice(self, run):
        """A settlement whose answer was lost is tried again."""
        self.ledger.settle(run["id"], run["steps"])
        self.ledger.settle(run["id"], run["steps"])
        run["over"] = True

    @rule(run=consumes(open_runs))
    def crash(self, run):
        """A run ends without a word."""

    @rule()
    def restart(self):
        self.ledger = Ledger(self.place)

    @rule()
    def database_goes_away(self):
        """A reservation while the database is away spends nothing, and what was spent is there when it is back."""
        aside = self.place.rename(self.place.with_suffix(".aside"))
        self.place.mkdir()
        try:
            with pytest.raises(ServiceError):
                self.ledger.reserve(SPANS, "lost", MECHANISMS[0], policy(self.budget))
        finally:
            self.place.rmdir()
            aside.rename(self.place)

    @invariant()
    def the_ledger_counts_at_least_what_was_executed_and_at_most_the_budget(self):
        if not hasattr(self, "ledger"):
            return
        book = self.ledger.book()
        for name in SPANS:
            span = book.spans.get(name)
            counted = span.curve if span else np.zeros(len(ORDERS))
            assert np.all(counted >= self.executed[name] * (1 - 1e-12))
            if span:
                assert span.spent() <= filters.bound(self.budget, DELTA, span.order) * (1 + 1e-12)
                assert not math.isnan(span.epsilon(DELTA))
                if np.any(self.executed[name]):
                    least = dp_accounting.rdp.compute_epsilon(ORDERS, self.executed[name], DELTA)[0]
                    assert span.epsilon(DELTA) >= least - 1e-9
                assert span.epsilon(DELTA) <= self.budget * (1 + 1e-9)


TestAnyOrder = Runs.TestCase
TestAnyOrder.settings = settings(max_examples=40, stateful_step_count=25, suppress_health_check=list(HealthCheck))
