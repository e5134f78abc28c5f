"""Where a span stands: what is used, and the date on which it runs dry at the rate so far."""

import datetime

import numpy as np
import pytest

from components.privacy.book import Book, Charge, Span
from components.privacy.policy import Budget
from components.privacy.standing import history, standings
from tests.components.privacy.conftest import DELTA, RUN, budget_for

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


def book(runs: int, every_days: float, budget: float, days: float | None = None) -> Book:
    span = Span(name="a/1", order=4.0, pinned=Budget(spans="a/1", epsilon=budget, delta=DELTA, days=days), closed=False)
    for i in range(runs):
        made = START + datetime.timedelta(days=i * every_days)
        charge = Charge(
            id=i + 1, run=f"{i}", spans=("a/1",), reserved=RUN, curve=RUN.curve(), made=made, batch=i + 1, executed=200
        )
        span.add(charge)
    return Book(spans={"a/1": span})


def at(day: float) -> datetime.datetime:
    return START + datetime.timedelta(days=day)


def test_the_date_goes_on_at_the_rate_so_far():
    (found,) = standings(book(11, 1.0, budget_for(40)), at(10))
    dry = datetime.date.fromisoformat(found.dry)
    share = found.used
    assert dry == (at(10) + datetime.timedelta(days=10 * (1 - share) / share)).date()
    assert found.runs == 11 and 0.2 < share < 0.5


@pytest.mark.parametrize(("runs", "day"), [(0, 5), (1, 5)])
def test_without_a_rate_there_is_no_date(runs, day):
    (found,) = standings(book(runs, 1.0, 8.0), at(day))
    assert found.dry is None


def test_a_budget_that_is_used_up_ran_dry_today():
    (found,) = standings(book(5, 1.0, 0.5), at(9))
    assert found.dry == at(9).date().isoformat() and found.used >= 1


def test_a_renewed_budget_counts_its_period_and_shows_the_lifetime_beside_it():
    (found,) = standings(book(40, 1.0, budget_for(20), days=30), at(39.5))
    assert found.spent < found.lifetime and found.runs == 40
    assert 0 < found.used < 1


def test_the_history_grows_and_ends_at_the_lifetime():
    made = book(6, 1.0, budget_for(10))
    points = history(made.spans["a/1"], DELTA)
    epsilons = [epsilon for _, epsilon in points]
    assert epsilons == sorted(epsilons) and epsilons[-1] == made.spans["a/1"].epsilon(DELTA)
    assert points[0][0] == "2026-01-01T00:00:00+00:00" and np.isfinite(epsilons).all()


def test_a_closed_span_has_no_bound_and_json_says_null():
    made = book(2, 1.0, 8.0)
    made.spans["a/1"].closed = True
    (found,) = standings(made, at(3))
    assert found.closed and found.as_json()["lifetime"] is None
