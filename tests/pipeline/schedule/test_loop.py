"""The loop, on a clock that a test sets."""

import datetime

import pytest

from pipeline.schedule.cron import Timetable
from pipeline.schedule.loop import Loop
from pipeline.schedule.state import Memory, State

UTC = datetime.timezone.utc


class Over(Exception):
    """The test's time is up."""


class Clock:
    """A clock that goes only where a pause, or a jump that is planned for a time, takes it."""

    def __init__(self, start: str, until: str, jumps: dict[str, str] | None = None):
        self.now, self._until = _at(start), _at(until)
        self._jumps = [(_at(k), _at(v)) for k, v in (jumps or {}).items()]

    def pause(self, seconds: float) -> None:
        assert 0 < seconds <= 60
        self.now += datetime.timedelta(seconds=seconds)
        if self._jumps and self.now >= self._jumps[0][0]:
            self.now = self._jumps.pop(0)[1]
        if self.now >= self._until and not self._jumps:
            raise Over


def _at(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=UTC)


def fired(root, clock: Clock, cron: str = "0 2 * * *", seconds: float = 60.0, zone: str = "UTC"):
    """When the loop fired, each firing taking so long."""
    memory, found, announced = Memory(root, "p"), [], []

    def fire() -> None:
        found.append(clock.now.strftime("%m-%d %H:%M"))
        clock.now += datetime.timedelta(seconds=seconds)
        memory.save(State(fired=clock.now))

    with pytest.raises(Over):
        Loop(Timetable(cron, zone), memory, lambda: clock.now, clock.pause, announced.append).run(fire)
    return found, announced


def test_fires_at_its_times_and_says_the_next_one_once(tmp_path):
    found, announced = fired(tmp_path, Clock("2026-11-27T23:00", "2026-11-30T01:00"))
    assert found == ["11-28 02:00", "11-29 02:00"]
    assert [a.day for a in announced] == [28, 29, 30]


def test_what_was_missed_while_nothing_ran_is_made_up_for_once_and_at_once(tmp_path):
    Memory(tmp_path, "p").save(State(fired=_at("2026-11-20T02:05")))
    found, _ = fired(tmp_path, Clock("2026-11-27T09:00", "2026-11-28T03:00"))
    assert found == ["11-27 09:00", "11-28 02:00"]


def test_a_firing_that_takes_longer_than_a_period_is_followed_by_the_next_one_that_comes(tmp_path):
    found, _ = fired(tmp_path, Clock("2026-11-27T01:00", "2026-11-28T03:00"), "0 * * * *", seconds=9000)
    assert found[:3] == ["11-27 02:00", "11-27 05:00", "11-27 08:00"]


def test_a_clock_that_jumps_a_year_ahead_fires_once(tmp_path):
    clock = Clock("2026-11-27T01:00", "2027-11-28T03:00", {"2026-11-27T01:30": "2027-11-27T01:30"})
    assert fired(tmp_path, clock)[0] == ["11-27 01:30", "11-27 02:00", "11-28 02:00"]


def test_a_clock_that_is_set_back_goes_on_with_the_times_that_come_again(tmp_path):
    clock = Clock("2026-11-27T01:00", "2025-11-27T03:00", {"2026-11-27T12:00": "2025-11-25T12:00"})
    assert fired(tmp_path, clock)[0] == ["11-27 02:00", "11-26 02:00", "11-27 02:00"]


def test_a_firing_that_was_remembered_from_the_future_does_not_hold_up_the_next(tmp_path):
    Memory(tmp_path, "p").save(State(fired=_at("2030-01-01T00:00")))
    assert fired(tmp_path, Clock("2026-11-27T01:00", "2026-11-27T03:00"))[0] == ["11-27 02:00"]


def test_daylight_saving_makes_no_night_fire_twice_or_not_at_all(tmp_path):
    spring = fired(tmp_path / "a", Clock("2026-03-28T12:00", "2026-03-30T12:00"), "30 2 * * *", zone="Europe/Berlin")
    autumn = fired(tmp_path / "b", Clock("2026-10-24T12:00", "2026-10-26T12:00"), "30 2 * * *", zone="Europe/Berlin")
    assert spring[0] == ["03-29 01:30", "03-30 00:30"] and autumn[0] == ["10-25 00:30", "10-26 01:30"]
