"""What `status` says of a root, and its page."""

import dataclasses
import html
import os
from pathlib import Path

import filelock
import pytest

from pipeline.places import places_of
from pipeline.schedule import status as status_module
from pipeline.schedule.status import spans_in_words, status
from tests.pipeline.schedule.nights import BUDGET, NOW, Nights


@pytest.fixture
def nights(tmp_path):
    return Nights(tmp_path)


def test_it_names_all_spans_behind_what_serves(nights):
    for span, behind in ((1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6])):
        nights.pushes(span, behind)
    stands = status(nights.config, nights.root, NOW)["serving"]
    assert stands["spans"] == [f"nightly/span-{n}" for n in (1, 2, 4, 6)] and stands["run"].endswith("-0006")
    assert stands["spans_in_words"] == "span-1 to span-2, span-4, span-6"
    link = places_of(nights.root, nights.config.name).serving / "current"
    os.utime(link, (NOW.timestamp(), NOW.timestamp()), follow_symlinks=False)
    assert status(nights.config, nights.root, NOW)["serving"]["since"] == "2026-11-27T13:00:00+01:00"


def test_spans_in_words(nights):
    dated = dataclasses.replace(nights.config.data.roles, train="{YYYY}-{MM}-{DD}/t", public="{YYYY}-{MM}-{DD}/p")
    data = dataclasses.replace(nights.config.data, roles=dated)
    names = ["nightly/span-20454", "other/span-3", "nightly/span-20453", "nightly/span-20456"]
    assert spans_in_words(data, names) == "2025-12-31 to 2026-01-01, 2026-01-03, other/span-3"


def test_the_page_says_first_what_somebody_must_see(nights):
    assert "Nothing serves yet." in nights.page() and "Nothing new has arrived." in nights.page()
    assert nights.page().count('class="outcome') == 1
    nights.pushes(1, [1])
    nights.refuses(2, BUDGET, "budget")
    nights.arrives(3, whole=False)
    nights.arrives(4, marked=False)
    told = html.unescape(nights.page())
    order = ("Version 1, int8, serves since", "The last run, on span-2, pushed nothing. Refused: " + BUDGET)
    order += ("span-3 is damaged", "Next firing 2026-11-28 02:00", "Nothing is due.", "span-4 is not whole yet")
    order += ("times are those of Europe/Berlin",)
    assert [text for text in order if text not in told] == []
    assert sorted(order, key=told.index) == list(order)
    link = f'href="runs/{sorted(path.name for path in (nights.root / "runs").iterdir())[0]}/report.html"'
    assert link in told and link.replace("runs/", "../root/runs/") in nights.page(nights.data)


def test_one_process_at_a_time_writes_the_page(nights, monkeypatch):
    """Two would write the same file aside, and one of them publish a part of it."""
    held = []

    def write(path: Path, text: str) -> None:
        with pytest.raises(filelock.Timeout):
            filelock.FileLock(nights.root / "schedule" / "page.lock", timeout=0).acquire()
        held.append(path.name)

    monkeypatch.setattr(status_module, "write_whole", write)
    status_module.write_status(nights.config, nights.root, NOW)
    assert held == ["status.html"]
