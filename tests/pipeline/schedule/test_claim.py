"""Taking a span of what is due: the oldest, once, for one run alone."""

import datetime
import json
from pathlib import Path

import filelock
import pytest
import tensorflow as tf

from pipeline.config import load
from pipeline.schedule.claim import give_back, take
from pipeline.schedule.firing import AT_WORK, NOTHING_NEW, set_aside
from pipeline.schedule.state import Claim, Memory, State

NOW = datetime.datetime(2026, 11, 27, 4, tzinfo=datetime.timezone.utc)
OWN = [f"data.roles.{role}=span-{{SPAN}}/{role}/*" for role in ("train", "public", "validation", "holdout")]


class Place:
    """A folder of spans and a root. alive: whether a run that left no record may be at work; closed: those that were
    given one."""

    def __init__(self, folder: Path):
        self.root, self.data, self.alive = folder / "root", folder / "data", False
        self.closed: list[str] = []
        self.data.mkdir()
        self.config = load("tiny", [f"data.root={self.data}", "data.marker=_SUCCESS", *OWN])
        self.memory = Memory(self.root, self.config.name)

    def arrive(self, span: int, whole: bool = True, marker: bool = True) -> None:
        for role in ("train", "public", "validation", "holdout"):
            file = self.data / f"span-{span}" / role / "a"
            file.parent.mkdir(parents=True)
            with tf.io.TFRecordWriter(str(file)) as writer:
                writer.write(b"an example")
            if not whole:
                file.write_bytes(file.read_bytes()[:-2])
        if marker:
            (self.data / f"span-{span}" / "_SUCCESS").touch()

    def take(self, run: str):
        return take(self.config, self.root, run, NOW, lambda claim: self.alive, self.close)

    def close(self, claim: Claim) -> None:
        self.closed.append(claim.run)
        self.ended(claim.run, claim.span, exit_code=1, cause="fault")

    def ended(self, run: str, span: int, exit_code: int = 0, cause: str | None = None) -> None:
        folder = self.root / "runs" / run
        folder.mkdir(parents=True)
        record = {"run": run, "config": self.config.name, "data": {"span": span}, "exit_code": exit_code}
        (folder / "run.json").write_text(json.dumps({**record, "cause": cause, "error": "why"}))


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_each_run_takes_the_oldest_span_that_none_has_decided_on(place):
    assert (place.take("a").span, place.take("a").idle) == (None, NOTHING_NEW)
    place.arrive(2), place.arrive(1)
    assert place.take("b").span == 1
    place.ended("b", 1, exit_code=3, cause="drift")
    place.arrive(0)
    assert place.take("c").span == 0
    place.ended("c", 0)
    assert place.take("d").span == 2
    place.ended("d", 2)
    assert (place.take("e").span, place.take("e").idle) == (None, NOTHING_NEW)


def test_a_step_that_is_tried_again_gets_the_span_that_its_run_has(place):
    place.arrive(2)
    assert place.take("a").span == 2
    place.arrive(1)
    place.alive = True
    assert place.take("a").span == 2


def test_a_run_that_failed_leaves_its_span_to_the_next(place):
    place.arrive(1), place.arrive(2)
    assert place.take("a").span == 1
    place.ended("a", 1, exit_code=1, cause="fault")
    place.alive = True  # it left a record, so nobody asks
    assert place.take("b").span == 1 and place.closed == []


def test_while_a_run_may_be_at_work_no_other_takes_a_span(place):
    place.arrive(1), place.arrive(2)
    assert place.take("a").span == 1
    place.alive = True
    assert (place.take("b").span, place.take("b").idle) == (None, AT_WORK)
    give_back(place.memory, "b")  # which has none
    assert place.take("b").idle == AT_WORK
    give_back(place.memory, "a")
    assert place.take("b").span == 1


def test_a_run_of_which_there_is_no_sign_has_lost_its_span(place):
    place.arrive(1)
    assert place.take("a").span == place.take("b").span == 1
    assert place.memory.load().claim.run == "b" and place.closed == ["a"]


def test_a_run_that_is_closed_as_decided_does_not_leave_its_span(place):
    place.arrive(1), place.arrive(2)
    assert place.take("a").span == 1
    place.close = lambda claim: place.ended(claim.run, claim.span)
    assert place.take("b").span == 2


def test_what_closing_a_run_remembers_is_kept(place):
    place.arrive(1)
    assert place.take("a").span == 1
    place.close = lambda claim: set_aside(place.memory, claim.fingerprint, {"error": "an image is cut off"})
    assert place.take("b").idle == NOTHING_NEW and place.memory.load().damaged


def test_while_another_firing_holds_the_lock_nothing_is_taken(place):
    place.arrive(1)
    assert place.take("a").span == 1
    with filelock.FileLock(place.root / "schedule" / f"{place.config.name}.lock"):
        assert (place.take("b").idle, place.take("b").found) == (AT_WORK, None)


def test_what_waits_and_what_is_damaged_is_left_out_and_named(place):
    place.arrive(1, whole=False), place.arrive(2, marker=False), place.arrive(3), place.arrive(4)
    taken = place.take("a")
    assert taken.span == 3
    assert [[a.span for a in found] for found in (taken.found.damaged, taken.found.waiting)] == [[1], [2]]
    set_aside(place.memory, place.memory.load().claim.fingerprint, {"error": "an image is cut off"})
    place.ended("a", 3, exit_code=2, cause="data")
    again = place.take("b")
    assert again.span == 4 and [a.reason for a in again.found.damaged][1] == "an image is cut off"


def test_the_state_comes_back_as_it_was(place):
    claim = Claim(run="a", span=7, fingerprint="f", since=NOW)
    for state in (State(), State(fired=NOW, told=("x",), damaged={"f": "why"}, claim=claim)):
        place.memory.save(state)
        assert place.memory.load() == state
