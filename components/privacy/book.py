"""The book: what the entries add up to. One divergence curve a span, charges, the policy in force."""

import datetime
import fnmatch
import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from components.common.settings import from_mapping
from components.privacy import filters
from components.privacy.accounting import ORDERS, Mechanism, epsilon_of
from components.privacy.entries import DECIDE, POLICY, RESERVE, SETTLE, Entry, Head
from components.privacy.policy import Budget, Policy

_mechanism = functools.lru_cache(maxsize=1024)(Mechanism)  # nightly runs are alike


@dataclass(kw_only=True)
class Charge:
    """What a run spends on each of its spans. id: number of its reservation's entry. executed: steps, None while it is
    a reservation, which counts in full; never fewer than were ever reported. curve: of the whole reservation. batch: id
    of the first of the charges whose mechanisms were fixed together, before any of them was executed."""

    id: int
    run: str
    spans: tuple[str, ...]
    reserved: Mechanism
    curve: np.ndarray
    made: datetime.datetime
    batch: int
    executed: int | None = None

    @property
    def settled(self) -> bool:
        """Whether its run has said what it executed."""
        return self.executed is not None

    @property
    def mechanism(self) -> Mechanism:
        """What counts: the reservation until it is settled, then what was executed."""
        return self.reserved if self.executed is None else self.reserved.first(self.executed)

    @property
    def counted(self) -> np.ndarray:
        """The part of the curve that counts; divergence is linear in the steps."""
        return self.curve if self.executed in (None, self.reserved.steps) else self.mechanism.curve()


@dataclass(kw_only=True)
class Span:
    """All that was spent on the records that arrived together.

    order: at which the filter sums, pinned with the budget before the first charge. pinned: that budget. closed:
    whether nobody knows any more what was spent on it: its ε is then infinite. total: divergence of all charges at
    that order.
    """

    name: str
    order: float
    pinned: Budget
    closed: bool
    charges: list[Charge] = field(default_factory=list)
    total: float = 0.0

    @functools.cached_property
    def at(self) -> int:
        """Where the pinned order is among `ORDERS`."""
        return ORDERS.index(self.order)

    @property
    def curve(self) -> np.ndarray:
        """Divergences of all charges."""
        return sum((c.counted for c in self.charges), np.zeros(len(ORDERS)))

    def add(self, charge: Charge) -> None:
        """Takes in another charge."""
        self.charges.append(charge)
        self.total += float(charge.counted[self.at])

    def spent(self, since: datetime.datetime | None = None) -> float:
        """Divergence at the pinned order of what was charged, all of it or only since then."""
        if self.closed:
            return math.inf
        if since is None:
            return self.total
        return float(sum(c.counted[self.at] for c in self.charges if c.made >= since))

    def bound(self, budget: Budget) -> float:
        """What the divergence at the pinned order may come to under a budget."""
        raised = budget.epsilon > self.pinned.epsilon or budget.delta > self.pinned.delta
        return filters.bound(budget.epsilon, budget.delta, self.order, raised)

    def period_start(self, budget: Budget, now: datetime.datetime) -> datetime.datetime | None:
        """When the budget was last renewed, counted from the first charge; None if it never is."""
        if budget.days is None or not self.charges:
            return None
        period, first = datetime.timedelta(days=budget.days), self.charges[0].made
        return first + (now - first) // period * period

    def epsilon(self, delta: float, since: datetime.datetime | None = None) -> float:
        """ε at `delta` of all that was ever charged to the span, or only since a time.

        Charges that were fixed together are one mechanism that was fixed beforehand, for which the best order may be
        taken; where it stopped, or what was left out, may have depended on what it gave out, so all that was reserved
        counts. Others are what `filters` says: their sum at the pinned order, and, while it is within the pinned
        budget's bound, that budget.
        """
        if self.closed:
            return math.inf
        spent, first = self.spent(since), self.pinned
        epsilon = filters.running_epsilon(spent, self.order, delta)
        fixed = _fixed_epsilon([c for c in self.charges if since is None or c.made >= since], delta)
        if fixed is not None:
            return min(epsilon, fixed)
        return min(epsilon, first.epsilon) if delta >= first.delta and spent <= self.bound(first) else epsilon


def _fixed_epsilon(charges: list[Charge], delta: float) -> float | None:
    """ε of charges that were all fixed together, in full; None where they were not."""
    batches = {c.batch for c in charges if c.mechanism.steps}
    if len(batches) > 1:
        return None
    whole = [c.reserved.first(max(c.reserved.steps, c.mechanism.steps)) for c in charges if c.batch in batches]
    return epsilon_of(whole, delta)


def _for_group(charge: Charge, group: int) -> Charge:
    """The charge as it counts for a person with so many records; one that was made for more stays as it is."""
    if charge.reserved.group >= group:
        return charge
    reserved = replace(charge.reserved, group=group)
    return replace(charge, reserved=reserved, curve=reserved.curve())


@dataclass(kw_only=True)
class Book:
    """The sum of all entries up to `head`. newest: the latest time in any entry. kept: patterns of the spans that a
    person's last decision vouched for; None where there was none. curves: ids of the charges whose entries hold these
    bytes, so that others with the same need not."""

    head: Head = field(default_factory=Head)
    newest: datetime.datetime | None = None
    policy: Policy | None = None
    kept: tuple[str, ...] | None = None
    spans: dict[str, Span] = field(default_factory=dict)
    charges: dict[int, Charge] = field(default_factory=dict)
    curves: dict[bytes, int] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        """Takes one more entry in."""
        said, made = entry.says(), datetime.datetime.fromisoformat(entry.made)
        if entry.kind == RESERVE:
            self._reserve(entry, said, made)
        elif entry.kind == SETTLE:
            self._settle(self.charges[said["charge"]], said["executed"])
        elif entry.kind == POLICY:
            self.policy = from_mapping(Policy, said["policy"], "policy")
        elif entry.kind == DECIDE:
            self.kept = tuple(said["kept"])
            for span in self.spans.values():
                span.closed = self.is_closed(span.name)
        self.head, self.newest = entry.head, max(self.newest or made, made)

    def add_what_can_be_read(self, entries: Iterable[Entry]) -> None:
        """Takes in entries that a decision covers; those that are too damaged to add up are left out."""
        for entry in entries:
            try:
                self.add(entry)
            except (KeyError, TypeError, ValueError, ArithmeticError):
                self.head = entry.head

    def budget_of(self, span: str) -> Budget | None:
        """The budget in force: of the policy, else the one that the first charge came with; None for a span that
        neither knows."""
        named = (
            next((b for b in self.policy.budgets if fnmatch.fnmatchcase(span, b.spans)), None) if self.policy else None
        )
        return named or (self.spans[span].pinned if span in self.spans else None)

    def is_closed(self, span: str) -> bool:
        """Whether the last decision, if there was one, did not vouch for the span."""
        return self.kept is not None and not any(fnmatch.fnmatchcase(span, pattern) for pattern in self.kept)

    def charge_of(self, spans: Iterable[str], run: str, mechanism: Mechanism) -> Charge | None:
        """A run's newest charge on these spans if it covers the whole mechanism: one that was settled with fewer steps,
        because the run failed, covers no others. Else None."""
        mine = [c for c in self.charges.values() if c.run == run and set(c.spans) == set(spans)]
        return mine[-1] if mine and mine[-1].mechanism == mechanism else None

    def epsilon(self, spans: Iterable[str], delta: float, group: int = 1) -> float:
        """ε at `delta` of all that was ever charged to some spans, for what comes from any of them.

        A record is in one span, so it is the largest of theirs. A person with several records may have them in several
        spans: then each charge on any of them counts once, for that many records. The sum is taken at the order that
        was pinned before the first of these charges; no budget was kept over them all, so none is stated.

        Args:
            spans: their names; one that the ledger does not know, or that is closed, makes ε infinite.
            group: the most records of one person.
        """
        known = [self.spans.get(name) for name in dict.fromkeys(spans)]
        if any(span is None or span.closed for span in known):
            return math.inf
        charges = {c.id: _for_group(c, group) for span in known for c in span.charges}
        alone = len(known) <= 1 and all(c is self.charges[id] for id, c in charges.items())
        if group == 1 or alone:
            return max((span.epsilon(delta) for span in known), default=0.0)
        order = min((span for span in known if span.charges), key=lambda span: span.charges[0].id).order
        spent = float(sum(c.counted[ORDERS.index(order)] for c in charges.values()))
        running, fixed = filters.running_epsilon(spent, order, delta), _fixed_epsilon(list(charges.values()), delta)
        return running if fixed is None else min(running, fixed)

    def charges_on(self, span: str) -> list[Charge]:
        """All charges on a span, oldest first."""
        return self.spans[span].charges if span in self.spans else []

    def _reserve(self, entry: Entry, said: dict[str, Any], made: datetime.datetime) -> None:
        charge = Charge(
            id=entry.number,
            run=said["run"],
            spans=tuple(said["spans"]),
            reserved=_mechanism(**said["mechanism"]),
            curve=np.frombuffer(entry.curve) if entry.curve else self.charges[said["curve_of"]].curve,
            made=made,
            batch=said.get("fixed_with", entry.number),
        )
        for name, pin in said["pins"].items():
            pinned, closed = Budget(**pin["budget"]), self.is_closed(name)
            self.spans[name] = Span(name=name, order=pin["order"], pinned=pinned, closed=closed)
        self.charges[charge.id] = charge
        if entry.curve:
            self.curves[entry.curve] = charge.id
        for name in charge.spans:
            self.spans[name].add(charge)

    def _settle(self, charge: Charge, executed: int) -> None:
        charge.executed = max(executed, charge.executed or 0)
        if charge.executed == charge.reserved.steps:
            return
        for name in charge.spans:
            span = self.spans[name]
            span.total = float(sum(c.counted[span.at] for c in span.charges))
