"""Five fields in a zone mean the same times as what is sent, read as KFP reads it."""

import datetime
import zoneinfo

import pytest

from components.common.errors import ConfigError
from pipeline.runners.kubeflow.cron import for_cluster
from tests.pipeline.runners.kubeflow.robfig import following, parse

NOW = datetime.datetime(2026, 11, 24, 12, tzinfo=datetime.timezone.utc)

# What the Go program itself answered: cron.Parse and Next of github.com/robfig/cron v1.2.0, from NOW on, in UTC.
GO = {
    "0 0 2 * * *": ["2026-11-25T02:00:00", "2026-11-26T02:00:00", "2026-11-27T02:00:00"],
    "0 2 * * *": ["2026-11-24T12:02:00", "2026-11-24T13:02:00", "2026-11-24T14:02:00"],
    "0 30 6 13 * 5": ["2026-11-27T06:30:00", "2026-12-04T06:30:00", "2026-12-11T06:30:00"],
    "0 30 6 */9 * 5": ["2027-01-01T06:30:00", "2027-02-19T06:30:00", "2027-03-19T06:30:00"],
    "0 0,30 21 * 1-3 0,1,2": ["2027-01-03T21:00:00", "2027-01-03T21:30:00", "2027-01-04T21:00:00"],
    "0 5/25 0 1 jan ?": ["2027-01-01T00:05:00", "2027-01-01T00:30:00", "2027-01-01T00:55:00"],
}
GO_REFUSES = ("TZ=Europe/Berlin 0 0 2 * * *", "CRON_TZ=UTC 0 0 2 * * *", "0 0 2 * * 7", "0 0 24 * * *", "0 2 * *")


@pytest.mark.parametrize("cron", GO)
def test_the_reference_of_these_tests_is_the_go_program(cron):
    assert [t.isoformat()[:19] for t in following(cron, NOW, 3)] == GO[cron]


@pytest.mark.parametrize("cron", GO_REFUSES)
def test_the_reference_refuses_what_the_go_program_refuses(cron):
    with pytest.raises(ValueError):
        parse(cron)


@pytest.mark.parametrize(
    ("cron", "sent"),
    [
        ("0 2 * * *", "0 0 2 * * *"),
        ("*/10 8-18 * * mon-fri", "0 */10 8-18 * * 1,2,3,4,5"),
        ("0 4 * * 7", "0 0 4 * * 0"),
        ("0 4 * * Fri-Sun", "0 0 4 * * 0,5,6"),
        ("15 3 1,15 jan-mar */2", "0 15 3 1,15 jan-mar */2"),
    ],
)
def test_a_cron_in_the_clusters_zone_gets_its_seconds(cron, sent):
    assert for_cluster(cron, "Europe/Berlin", "Europe/Berlin", NOW) == sent
    assert for_cluster(cron, "Europe/Berlin", "Europe/Paris", NOW) == sent  # the same clock all year
    parse(sent)


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "Asia/Kolkata", "America/Phoenix", "Pacific/Kiritimati", "UTC"])
@pytest.mark.parametrize("cluster", ["UTC", "Asia/Kathmandu"])
@pytest.mark.parametrize("cron", ["0 2 * * *", "30 23 * * 1,3", "*/15 * * * *", "20 6-8 * * *", "5 0 * * sun"])
def test_a_cron_in_another_zone_means_the_same_moments(cron, zone, cluster):
    here, there = zoneinfo.ZoneInfo(zone), zoneinfo.ZoneInfo(cluster)
    sent = for_cluster(cron, zone, cluster, NOW)
    wanted = following(f"0 {cron}", NOW.astimezone(here), 40)
    assert following(sent, NOW.astimezone(there), 40) == wanted


@pytest.mark.parametrize(
    ("cron", "zone", "part"),
    [
        ("0 2 * * *", "Europe/Berlin", "set `cronScheduleTimezone`"),
        ("0 2 1 * *", "Asia/Tokyo", "one line of cron"),
        ("0 2,12 * * 1", "Asia/Tokyo", "one line of cron"),
        ("0,30 3 * * *", "Asia/Kolkata", "one line of cron"),
        ("0 2 * * *", "Europe/Atlantis", "IANA"),
        ("0 2 * * *", "../UTC", "IANA"),
        ("0 0 2 * * *", "UTC", "five fields"),
        ("@daily", "UTC", "five fields"),
        ("TZ=UTC 0 2 * *", "UTC", "the minute of"),
        ("60 2 * * *", "UTC", "the minute of"),
        ("0 24 * * *", "UTC", "the hour of"),
        ("0 2 0 * *", "UTC", "the day of the month of"),
        ("0 2 * 13 *", "UTC", "the month of"),
        ("0 2 * * 8", "UTC", "the day of the week of"),
        ("5/15 2 * * *", "UTC", "the minute of"),
        ("*/0 2 * * *", "UTC", "the minute of"),
        ("30-10 2 * * *", "UTC", "the minute of"),
        ("1,,2 2 * * *", "UTC", "the minute of"),
        ("0 2 31 2,4 *", "UTC", "a day that comes"),
    ],
)
def test_what_cannot_be_meant_or_sent_is_refused(cron, zone, part):
    with pytest.raises(ConfigError, match="(?i)" + part.replace("*", r"\*")) as caught:
        for_cluster(cron, zone, "UTC", NOW)
    assert "Received: " in str(caught.value)


def test_a_day_of_leap_years_and_either_of_two_days_are_allowed():
    assert for_cluster("0 2 29 2 *", "UTC", "UTC", NOW) == "0 0 2 29 2 *"
    assert for_cluster("0 2 31 2 1", "UTC", "UTC", NOW) == "0 0 2 31 2 1"  # Mondays of February
