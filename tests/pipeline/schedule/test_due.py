"""Which spans are due."""

from pathlib import Path

import pytest

from components.example_gen.arrivals import BAD, READY, WAITING, Arrival
from pipeline.schedule.due import decided, due


def arrival(span: int, state: str = READY) -> Arrival:
    reason = "" if state == READY else "why"
    return Arrival(
        span=span, name=f"span-{span}", folder=Path("x"), state=state, reason=reason, fingerprint=f"print {span}"
    )


def spans(arrivals) -> list[int]:
    return [a.span for a in arrivals]


def test_what_is_new_is_due_in_order_and_what_waits_or_is_damaged_is_named():
    arrived = [arrival(5), arrival(2), arrival(3, BAD), arrival(4, WAITING)]
    found = due(arrived, {}, "wait")
    assert (spans(found.spans), spans(found.waiting), spans(found.damaged)) == ([2, 5], [4], [3])
    assert found.rows() == {
        "waiting": [{"span": "span-4", "reason": "why", "fingerprint": "print 4"}],
        "damaged": [{"span": "span-3", "reason": "why", "fingerprint": "print 3"}],
    }


def test_a_damaged_span_stops_those_after_it_if_the_configuration_says_so():
    found = due([arrival(1), arrival(2, BAD), arrival(3)], {}, "stop")
    assert (spans(found.spans), spans(found.damaged)) == ([1], [2])


def test_a_span_that_a_run_found_damaged_is_so_until_its_files_change():
    found = due([arrival(1), arrival(2)], {"print 1": "an image is cut off"}, "wait")
    assert spans(found.spans) == [2]
    assert [(a.span, a.reason) for a in found.damaged] == [(1, "an image is cut off")]
    assert spans(due([arrival(1)], {"another print": "x"}, "wait").spans) == [1]


@pytest.mark.parametrize(
    ("exit_code", "cause", "counts"),
    [(0, None, True), (3, "gate", True), (3, "budget", True), (3, "ledger", False), (2, "data", False)]
    + [(1, "fault", False), (143, None, False)],
)
def test_a_run_that_pushed_or_was_refused_has_decided(exit_code, cause, counts):
    record = {"config": "mine", "data": {"span": 7}, "exit_code": exit_code, "cause": cause}
    assert decided([record, {**record, "config": "another"}], "mine") == ({7} if counts else set())
    assert decided([{**record, "config": "another"}], "mine") == set()
