"""When a cron comes, over clocks that change."""

import datetime
import itertools
import zoneinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.common.errors import ConfigError
from pipeline.schedule.cron import Timetable, fields

UTC = datetime.timezone.utc
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


def times(cron: str, start: str, count: int, zone: str = "Europe/Berlin") -> list[str]:
    table, moment, found = Timetable(cron, zone), datetime.datetime.fromisoformat(start), []
    for _ in range(count):
        moment = table.after(moment)
        found.append(moment.isoformat(timespec="minutes"))
    return found


def test_a_time_that_the_clocks_skip_in_spring_comes_an_hour_later_and_once():
    assert times("30 2 * * *", "2026-03-28T12:00+01:00", 2) == ["2026-03-29T03:30+02:00", "2026-03-30T02:30+02:00"]


def test_a_time_that_the_clocks_repeat_in_autumn_comes_once():
    assert times("30 2 * * *", "2026-10-24T12:00+02:00", 2) == ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]
    inside = "2026-10-25T02:10+01:00"  # the second time round
    assert times("30 2 * * *", inside, 1) == ["2026-10-26T02:30+01:00"]


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 2 * * 0", ["2026-11-29T02:00+01:00", "2026-12-06T02:00+01:00"]),  # Sunday, as in every cron
        ("0 2 * * 7", ["2026-11-29T02:00+01:00", "2026-12-06T02:00+01:00"]),
        ("0 2 * * mon-wed", ["2026-11-30T02:00+01:00", "2026-12-01T02:00+01:00"]),
        ("0 2 1 * 0", ["2026-11-29T02:00+01:00", "2026-12-01T02:00+01:00"]),  # either of the two
        ("0 2 1 * *", ["2026-12-01T02:00+01:00", "2027-01-01T02:00+01:00"]),
        ("0 0 29 2 *", ["2028-02-29T00:00+01:00", "2032-02-29T00:00+01:00"]),
        ("*/20 5 * * *", ["2026-11-28T05:00+01:00", "2026-11-28T05:20+01:00"]),
    ],
)
def test_fields(cron, expected):
    assert times(cron, "2026-11-27T12:00+01:00", 2) == expected


@given(
    start=st.datetimes(datetime.datetime(2025, 1, 1), datetime.datetime(2027, 1, 1), timezones=st.just(UTC)),
    minute=st.integers(0, 59),
    hour=st.integers(0, 23),
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"]),
)
def test_every_local_day_has_one_firing(start, minute, hour, zone):
    table, moment, days = Timetable(f"{minute} {hour} * * *", zone), start, []
    for _ in range(8):
        following = table.after(moment)
        assert following > moment
        moment = following
        days.append(moment.date())
    assert all(b - a == datetime.timedelta(days=1) for a, b in itertools.pairwise(days))


@pytest.mark.parametrize(
    ("cron", "zone", "said"),
    [
        ("0 2 * *", "UTC", "must be five fields"),
        ("60 2 * * *", "UTC", "the minute of `cron`"),
        ("0 2 * * x", "UTC", "the day of the week of `cron`"),
        ("0 2 31 2 *", "UTC", "must name a day that comes"),
        ("0 2 * * *", "Mars/Base", "must be a zone of the IANA database"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(cron, zone, said):
    with pytest.raises(ConfigError, match=said):
        Timetable(cron, zone)


def test_sunday_is_zero_and_seven():
    assert fields("0 2 * * 5-7", "cron")[4] == {5, 6, 0}
