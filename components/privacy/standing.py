"""Where each span stands: spent, left, for life, and when it will run dry at today's rate. Pure."""

import datetime
import math
from dataclasses import dataclass
from typing import Any

from components.privacy.book import Book, Charge, Span


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One span. runs: charges on it. budget: ε in force. used: share of the budget that is spent in this period, in
    [0, 1] or above. spent, lifetime: ε of this period and of all time, at `delta`. dry: when the budget will be used up
    at the rate of its charges so far; None where it will not be before it is renewed, or there is no rate yet."""

    span: str
    runs: int
    open_runs: int
    budget: float
    delta: float
    days: float | None
    order: float
    used: float
    spent: float
    lifetime: float
    dry: str | None
    closed: bool

    def as_json(self) -> dict[str, Any]:
        """For `--json`, which has no infinity: what is unbounded is null."""
        return {k: None if isinstance(v, float) and math.isinf(v) else v for k, v in vars(self).items()}


def standings(book: Book, now: datetime.datetime) -> list[Standing]:
    """All spans, by name."""
    return [_standing(book, span, now) for _, span in sorted(book.spans.items())]


def history(span: Span, delta: float) -> list[tuple[str, float]]:
    """ε for life after each charge on a span, with its time; what was settled counts as settled."""
    seen = Span(name=span.name, order=span.order, pinned=span.pinned, closed=span.closed)
    found = []
    for charge in span.charges:
        seen.add(charge)
        found.append((charge.made.isoformat(timespec="seconds"), seen.epsilon(delta)))
    return found


def _standing(book: Book, span: Span, now: datetime.datetime) -> Standing:
    budget = book.budget_of(span.name) or span.pinned
    since = span.period_start(budget, now)
    spent, bound = span.spent(since), span.bound(budget)
    period = [c for c in span.charges if since is None or c.made >= since]
    return Standing(
        span=span.name,
        runs=len(span.charges),
        open_runs=sum(not c.settled for c in span.charges),
        budget=budget.epsilon,
        delta=budget.delta,
        days=budget.days,
        order=span.order,
        used=math.inf if span.closed else spent / bound if bound > 0 else 1.0,
        spent=span.epsilon(budget.delta, since),
        lifetime=span.epsilon(budget.delta),
        dry=_dry(period, spent, bound, since, budget.days, now),
        closed=span.closed,
    )


def _dry(period: list[Charge], spent: float, bound: float, since, days: float | None, now) -> str | None:
    """The date on which `bound` is reached at the mean rate between the first charge of the period and now."""
    if spent >= bound:
        return now.date().isoformat()
    past = (now - period[0].made).total_seconds() / 86400 if len(period) > 1 else 0.0
    if past <= 0 or spent <= 0:
        return None
    rest = (bound - spent) / (spent / past)
    if days is not None and now + datetime.timedelta(days=min(rest, 1e5)) >= since + datetime.timedelta(days=days):
        return None
    return (now + datetime.timedelta(days=rest)).date().isoformat() if rest < 1e5 else None
