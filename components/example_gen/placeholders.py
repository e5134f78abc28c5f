"""Spans in patterns of files: by number (`{SPAN}`) or by date (`{YYYY}`, `{MM}`, `{DD}`), as in TFX's ExampleGen.

A dated span has a number too, the days since 1970-01-01 (tfx.components.example_gen.utils.date_to_span_number). A date
is that of the calendar, without hours or zones, so clocks that change move no span.
"""

import datetime
import fnmatch
import re

_NUMBER, _YEAR, _MONTH, _DAY = "{SPAN}", "{YYYY}", "{MM}", "{DD}"
_DATE = (_YEAR, _MONTH, _DAY)
_ALL = {_NUMBER: "*", _YEAR: "????", _MONTH: "??", _DAY: "??"}
_GROUPS = {  # a number has no zeros before it
    _NUMBER: "(?P<number>0|[1-9][0-9]*)",
    _YEAR: "(?P<year>[0-9]{4})",
    _MONTH: "(?P<month>[0-9]{2})",
    _DAY: "(?P<day>[0-9]{2})",
}
_PLACEHOLDER = re.compile("|".join(re.escape(placeholder) for placeholder in _ALL))
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_EPOCH = datetime.date(1970, 1, 1)
LAST_DAY = (datetime.date.max - _EPOCH).days


def has_span(pattern: str) -> bool:
    """Whether a pattern says which span a file is of."""
    return bool(_PLACEHOLDER.search(pattern))


def is_dated(pattern: str) -> bool:
    """Whether it says so by date."""
    return any(placeholder in pattern for placeholder in _DATE)


def in_words(pattern: str) -> str:
    """Its placeholders, for messages."""
    return "{YYYY}, {MM} and {DD}" if is_dated(pattern) else _NUMBER


def problem(pattern: str) -> str | None:
    """What must hold of a pattern's placeholders and does not."""
    if pattern.count(_NUMBER) > 1:
        return "have {SPAN} at most once"
    if is_dated(pattern) and (_NUMBER in pattern or any(pattern.count(p) != 1 for p in _DATE)):
        return "have {YYYY}, {MM} and {DD} once each and no {SPAN} beside them, or none of them"
    return None


def for_span(pattern: str, span: int) -> str:
    """The glob of one span's files; the pattern itself where it has no placeholders."""
    if not is_dated(pattern):
        return pattern.replace(_NUMBER, str(span))
    date = _date(span)
    values = {_YEAR: f"{date.year:04}", _MONTH: f"{date.month:02}", _DAY: f"{date.day:02}"}
    return _PLACEHOLDER.sub(lambda found: values[found.group()], pattern)


def for_all(pattern: str) -> str:
    """A glob that matches the files of all spans, and may match more."""
    return _PLACEHOLDER.sub(lambda found: _ALL[found.group()], pattern)


def span_of(pattern: str, path: str) -> int | None:
    """The span of a path that `for_all` matches; None if it is of none (span-7.old, 2026-02-30)."""
    pieces = re.split(f"({_PLACEHOLDER.pattern})", pattern)
    made = "".join(_GROUPS.get(piece) or fnmatch.translate(piece).removesuffix(r"\Z") for piece in pieces if piece)
    found = re.fullmatch(made, path)
    if not found:
        return None
    if not is_dated(pattern):
        return int(found["number"]) if _NUMBER in pattern else 0
    try:
        return (datetime.date(*(int(found[part]) for part in ("year", "month", "day"))) - _EPOCH).days
    except ValueError:
        return None


def folder_of(pattern: str) -> str | None:
    """The part of a pattern up to the folder whose name says which span it is; None where a file's name does, or
    nothing."""
    parts = pattern.split("/")
    last = max((i for i, part in enumerate(parts) if has_span(part)), default=len(parts))
    return "/".join(parts[: last + 1]) if last < len(parts) - 1 else None


def as_text(pattern: str, span: int) -> str:
    """A span as a person says it: 7, or 2026-11-27."""
    return _date(span).isoformat() if is_dated(pattern) and span <= LAST_DAY else str(span)


def name_of(pattern: str, span: int) -> str:
    """A span's name: span-7, or 2026-11-27."""
    return as_text(pattern, span) if is_dated(pattern) else f"span-{span}"


def number_of(date: str) -> int | None:
    """The number of a span that is given as 2026-11-27; None where that is no date from 1970-01-01 on."""
    try:
        days = (datetime.date.fromisoformat(date) - _EPOCH).days if _ISO.fullmatch(date) else -1
    except ValueError:
        return None
    return days if days >= 0 else None


def _date(span: int) -> datetime.date:
    return _EPOCH + datetime.timedelta(days=span)
