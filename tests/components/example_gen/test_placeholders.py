"""Spans by number and by date, against TFX's own reading of the same patterns."""

import datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tfx.components.example_gen import utils

from components.example_gen.placeholders import (
    LAST_DAY,
    as_text,
    folder_of,
    for_all,
    for_span,
    has_span,
    is_dated,
    name_of,
    number_of,
    problem,
    span_of,
)

DATED = "d-{YYYY}-{MM}-{DD}/train/*.tfrecord"
DATED_FORMS = (DATED, "{YYYY}/{MM}/{DD}/train/a*", "{DD}.{MM}.{YYYY}/a", "{YYYY}{MM}{DD}/[ab]", "in/{YYYY}{MM}{DD}.x")


@pytest.mark.parametrize(
    ("date", "number"),
    [
        ("1970-01-01", 0),
        ("2024-02-29", 19782),
        ("2024-03-01", 19783),
        ("2026-03-28", 20540),  # clocks in Berlin change on the 29th
        ("2026-03-29", 20541),
        ("2026-03-30", 20542),
        ("2026-10-25", 20751),
        ("2026-10-26", 20752),
        ("2026-12-31", 20818),
        ("2027-01-01", 20819),
        ("9999-12-31", LAST_DAY),
    ],
)
def test_a_date_is_the_days_since_1970_as_tfx_counts_them(date, number, monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    parts = tuple(int(part) for part in date.split("-"))
    assert number_of(date) == number == utils.date_to_span_number(*parts)
    assert as_text(DATED, number) == name_of(DATED, number) == date
    assert for_span(DATED, number) == f"d-{date}/train/*.tfrecord"


@pytest.mark.parametrize("text", ["2026-02-30", "2025-02-29", "1969-12-31", "20261127", "2026-W48-5", "2026-1-1", "x"])
def test_what_is_no_date_has_no_number(text):
    assert number_of(text) is None


@given(span=st.integers(0, LAST_DAY), form=st.sampled_from(DATED_FORMS))
@example(span=number_of("2024-02-29"), form=DATED)
def test_a_dated_pattern_is_filled_as_tfx_fills_it_and_read_back(span, form):
    made = for_span(form, span)
    assert made == utils.get_pattern_for_span_version(form, False, True, False, span, None)
    path = made.replace("[ab]", "b").replace("*", "7")
    assert span_of(form, path) == span
    assert as_text(form, span) == (datetime.date(1970, 1, 1) + datetime.timedelta(days=span)).isoformat()


@given(span=st.integers(0, 2**31 - 1), form=st.sampled_from(["span-{SPAN}/train/*", "{SPAN}.x", "a/{SPAN}/[ab]"]))
def test_a_numbered_pattern_is_filled_and_read_back(span, form):
    path = for_span(form, span).replace("[ab]", "b").replace("*", "7")
    assert span_of(form, path) == span and name_of(form, span) == f"span-{span}" and as_text(form, span) == str(span)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("span-{SPAN}/a", "span-07/a"),
        ("span-{SPAN}/a", "span-7.old/a"),
        ("span-{SPAN}/a", "span-7/b"),
        ("span-{SPAN}/a", "span-٧/a"),
        (DATED, "d-2026-02-30/train/x.tfrecord"),
        (DATED, "d-2025-02-29/train/x.tfrecord"),
        (DATED, "d-2026-13-01/train/x.tfrecord"),
        (DATED, "d-0000-01-01/train/x.tfrecord"),
        (DATED, "d-2026-11-27.tmp/train/x.tfrecord"),
        (DATED, "d-26-11-27/train/x.tfrecord"),
    ],
)
def test_what_only_resembles_a_span_is_of_none(pattern, path):
    assert span_of(pattern, path) is None


@pytest.mark.parametrize(
    ("pattern", "glob", "folder"),
    [
        ("span-{SPAN}/train/*", "span-*/train/*", "span-{SPAN}"),
        ("{YYYY}/{MM}/{DD}/train/*", "????/??/??/train/*", "{YYYY}/{MM}/{DD}"),
        ("train/{YYYY}{MM}{DD}/x", "train/????????/x", "train/{YYYY}{MM}{DD}"),
        ("train/x-{SPAN}", "train/x-*", None),
        ("{YYYY}/{MM}-{DD}.x", "????/??-??.x", None),
        ("train/*", "train/*", None),
    ],
)
def test_the_glob_of_all_spans_and_the_folder_that_names_one(pattern, glob, folder):
    assert (for_all(pattern), folder_of(pattern)) == (glob, folder)
    assert has_span(pattern) == (pattern != "train/*") and is_dated(pattern) == ("{DD}" in pattern)


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("{SPAN}/{SPAN}", "{SPAN} at most once"),
        ("{YYYY}-{MM}/x", "once each"),
        ("{YYYY}-{MM}-{DD}/{DD}", "once each"),
        ("{YYYY}-{MM}-{DD}/{SPAN}", "no {SPAN} beside them"),
    ],
)
def test_placeholders_that_name_no_span_are_a_problem(pattern, says):
    assert says in problem(pattern)


@pytest.mark.parametrize("pattern", ["x", "{SPAN}", *DATED_FORMS])
def test_placeholders_that_tfx_takes_are_none(pattern):
    from tfx.proto import example_gen_pb2

    assert problem(pattern) is None
    utils.verify_split_pattern_specs(example_gen_pb2.Input.Split(name="a", pattern=pattern))


def test_a_number_beyond_every_date_is_told_as_a_number():
    assert as_text(DATED, LAST_DAY + 1) == str(LAST_DAY + 1)
