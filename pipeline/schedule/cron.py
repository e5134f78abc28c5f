"""Cron: five fields in a time zone, and when they come next."""

import calendar
import datetime
import re
import zoneinfo

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger

from components.common.errors import ConfigError

_MONTHS = ["", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_FIELDS = (
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day of the month", 1, 31, []),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)
_PART = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d+))?", re.ASCII)


def fields(cron: str, setting: str) -> list[set[int]]:
    """The minutes, hours, days of the month, months and days of the week (0 is Sunday) that a cron allows.

    Args:
        cron: numbers, names, `*`, ranges, lists, steps. setting: what it is called, for messages.

    Raises:
        ConfigError: a field is wrong, or no day fits.
    """
    texts = cron.split()
    if len(texts) != len(_FIELDS):
        raise ConfigError(
            f"`{setting}` must be five fields: minute, hour, day of the month, month, day of the week. "
            f"Received: {setting} {cron!r}"
        )
    found = [_values(setting, text, *field) for text, field in zip(texts, _FIELDS, strict=True)]
    days, months = found[2], found[3]
    if texts[4].startswith("*") and not any(d <= calendar.monthrange(2024, m)[1] for d in days for m in months):
        raise ConfigError(f"`{setting}` must name a day that comes. Received: {setting} {cron!r}")
    found[4] = {day % 7 for day in found[4]}
    return found


def zone(name: str, setting: str) -> zoneinfo.ZoneInfo:
    """A time zone by its name.

    Raises:
        ConfigError: there is none of that name.
    """
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"`{setting}` must be a zone of the IANA database, such as Europe/Berlin. Received: {name!r}"
        ) from None


class Timetable:
    """When a cron comes, in a zone.

    A time that the clocks skip in spring comes as much later as they skip; one that they repeat in autumn comes once,
    the first time.

    Args:
        cron: five fields; a day must fit both of the two fields of days, or either one if neither begins with `*`.
        time_zone: IANA name.

    Raises:
        ConfigError: a field is wrong, no day fits, or the zone is unknown.
    """

    def __init__(self, cron: str, time_zone: str):
        self._zone = zone(time_zone, "time_zone")
        self._trigger = _trigger(cron)

    def after(self, moment: datetime.datetime) -> datetime.datetime:
        """The first time strictly after a moment, both with their zones."""
        there = moment.astimezone(self._zone).replace(tzinfo=datetime.timezone.utc, fold=0)
        while True:
            there = self._trigger.get_next_fire_time(None, there + datetime.timedelta(microseconds=1))
            found = there.replace(tzinfo=self._zone)
            if found.astimezone(datetime.timezone.utc) > moment:  # an hour that is repeated lies before it
                return found.astimezone(datetime.timezone.utc).astimezone(self._zone)


def _trigger(cron: str) -> BaseTrigger:
    """The cron on clocks that never change."""
    minutes, hours, days, months, weekdays = fields(cron, "cron")
    texts = cron.split()
    same = {
        "minute": _listed(minutes),
        "hour": _listed(hours),
        "month": _listed(months),
        "timezone": datetime.timezone.utc,
    }
    of_month, of_week = {"day": _listed(days)}, {"day_of_week": ",".join(_DAYS[day] for day in sorted(weekdays))}
    if any(text.startswith("*") for text in (texts[2], texts[4])):
        return CronTrigger(**same, **of_month, **of_week)
    return OrTrigger([CronTrigger(**same, **of_month), CronTrigger(**same, **of_week)])


def _listed(values: set[int]) -> str:
    return ",".join(map(str, sorted(values)))


def _values(setting: str, text: str, name: str, low: int, high: int, names: list[str]) -> set[int]:
    """All values that a field allows."""
    found: set[int] = set()
    for part in text.split(","):
        first, last, step = _part(part, low, high, names)
        if step < 1 or not low <= first <= last <= high or (part.startswith("*") and part != text):
            raise ConfigError(
                f"the {name} of `{setting}` must be `*`, numbers from {low} to {high}, ranges such as "
                f"{low}-{high}, or steps such as */2. Received: {text!r}"
            )
        found |= set(range(first, last + 1, step))
    return found


def _part(part: str, low: int, high: int, names: list[str]) -> tuple[int, int, int]:
    """First, last and step of a part of a field; a step of 0 where it is none."""
    match = _PART.fullmatch(part)
    if not match:
        return low, high, 0
    step = int(match["step"] or 1)
    if match["first"] is None:
        return low, high, step
    first = _value(match["first"], names)
    if match["last"] is None:
        return first, first, 0 if match["step"] else 1  # crons disagree on what 5/15 means
    last = _value(match["last"], names)
    return first, 7 if names is _DAYS and last == 0 < first else last, step


def _value(text: str, names: list[str]) -> int:
    return names.index(text.lower()) if text.lower() in names else int(text) if text.isdecimal() else -1
