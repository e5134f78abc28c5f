"""What a reservation asks of the book, and the entries that it becomes. Pure."""

import dataclasses
import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.privacy.accounting import Mechanism
from components.privacy.book import Book, Span
from components.privacy.config import PrivacyConfig
from components.privacy.entries import RESERVE, Entry, sealed
from components.privacy.filters import pinned_order
from components.privacy.policy import Budget


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What one run will execute at most, and the ledger's names of the spans that it will read."""

    spans: tuple[str, ...]
    mechanism: Mechanism


def pinned(book: Book, name: str, curve: np.ndarray, policy: PrivacyConfig) -> Span:
    """A span that is charged for the first time: its budget, and the order that holds the most runs like this one."""
    budget = book.budget_of(name) or policy.budget(name)
    order = pinned_order(budget.epsilon, budget.delta, curve)
    return Span(name=name, order=order, pinned=dataclasses.replace(budget, spans=name), closed=book.is_closed(name))


def without_room(
    book: Book, span: Span, curve: np.ndarray, policy: PrivacyConfig, now: datetime.datetime
) -> tuple[Span, Budget, float] | None:
    """The span, the budget and what is left of its divergence, where the run does not fit; None where it does."""
    for budget in (book.budget_of(span.name) or span.pinned, policy.budget(span.name)):
        left = span.bound(budget) - span.spent(span.period_start(budget, now))
        if not curve[span.at] <= left:
            return span, budget, left
    return None


def reservations(
    book: Book, runs: Mapping[str, Wanted], pins: Mapping[str, Span], now: datetime.datetime
) -> list[Entry]:
    """Their entries; the first one pins, and the others name it."""
    made, head = [], book.head
    for run, wanted in runs.items():
        curve = wanted.mechanism.curve().tobytes()
        like = book.curves.get(curve)
        body = {"run": run, "spans": sorted(set(wanted.spans)), "mechanism": vars(wanted.mechanism), "curve_of": like}
        body["pins"] = {} if made else {name: _as_pin(span) for name, span in pins.items()}
        if made:
            body["fixed_with"] = made[0].number
        curve = curve if like is None else b""
        made.append(sealed(head.hash, head.number + 1, RESERVE, now.isoformat(), body, curve))
        head = made[-1].head
    return made


def _as_pin(span: Span) -> dict[str, Any]:
    return {"order": span.order, "budget": dataclasses.asdict(span.pinned)}
