"""Cron as Kubeflow Pipelines reads it: what robfig/cron v1.2.0 does in parser.go and spec.go, second by second."""

import datetime

_BOUNDS = ((0, 59, ()), (0, 59, ()), (0, 23, ()), (1, 31, ()))
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


def parse(cron: str) -> list[tuple[set[int], bool]]:
    """Values, and whether there was a star, of second, minute, hour, day, month, weekday; ValueError if it is wrong."""
    texts = cron.split()
    if len(texts) not in (5, 6):
        raise ValueError(f"Expected 5 to 6 fields, found {len(texts)}: {cron}")
    bounds = (*_BOUNDS, (1, 12, _MONTHS), (0, 6, _DAYS))
    return [_field(t, *b) for t, b in zip([*texts, "*"][:6], bounds, strict=True)]


def following(cron: str, moment: datetime.datetime, count: int) -> list[datetime.datetime]:
    """The next times, in the zone of `moment`, for zones whose clocks never change."""
    second, minute, hour, day, month, weekday = parse(cron)
    found: list[datetime.datetime] = []
    today = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    while len(found) < count:
        fits = [today.day in day[0], (today.weekday() + 1) % 7 in weekday[0]]
        if today.month in month[0] and (all(fits) if day[1] or weekday[1] else any(fits)):
            times = (today.replace(hour=h, minute=m, second=s) for h in hour[0] for m in minute[0] for s in second[0])
            found += sorted(t for t in times if t > moment)
        today += datetime.timedelta(days=1)
    return found[:count]


def _field(text: str, low: int, high: int, names: tuple[str, ...]) -> tuple[set[int], bool]:
    values, star = set(), False
    for part in filter(None, text.split(",")):
        bounds, *steps = part.split("/")
        first, *last = bounds.split("-")
        if len(steps) > 1 or len(last) > 1:
            raise ValueError(f"too many slashes or hyphens: {part}")
        if first in ("*", "?"):
            start, end, star = low, high, True
        else:
            start = _number(first, low, names)
            end = _number(last[0], low, names) if last else high if steps else start
        step = int(steps[0]) if steps else 1
        if not low <= start <= end <= high or step < 1:
            raise ValueError(f"out of bounds: {part}")
        values |= set(range(start, end + 1, step))
    return values, star


def _number(text: str, low: int, names: tuple[str, ...]) -> int:
    return low + names.index(text.lower()) if text.lower() in names else int(text)
