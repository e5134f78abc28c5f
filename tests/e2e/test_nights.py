"""A kill storm, and thirty nights of retraining. Long: `pytest -m nights`.

Both go on where they were stopped if LOCKGATE_NIGHTS names a folder that is kept.
"""

import getpass
import json
import os
import random
import shutil
import sqlite3
import time
from collections import Counter
from pathlib import Path

import dp_accounting
import numpy as np
import pytest

from components.privacy.accounting import ORDERS
from components.privacy.ledger import Ledger
from tests.e2e import nights
from tests.e2e.conftest import lockgate
from tests.e2e.nights import Images, records, retrained, retraining, running, served, watched, write_config

pytestmark = [pytest.mark.nights, pytest.mark.timeout(3 * 3600)]
STEPS = 6


@pytest.fixture
def kept(tmp_path, request) -> Path:
    """A folder of the test's own, which outlives it where LOCKGATE_NIGHTS is set."""
    named = os.environ.get("LOCKGATE_NIGHTS")
    folder = Path(named, request.node.name) if named else tmp_path
    (folder / "data").mkdir(parents=True, exist_ok=True)
    return folder


class Progress:
    """What a story has done so far, kept in its folder."""

    def __init__(self, folder: Path):
        self._file = folder / "progress.json"
        self.facts = json.loads(self._file.read_text()) if self._file.exists() else {}

    def save(self, **facts) -> None:
        self.facts |= facts
        aside = self._file.with_suffix(".writing")
        aside.write_text(json.dumps(self.facts))
        aside.replace(self._file)


def entered(root: Path) -> list[int]:
    """The spans on which a run decided, in that order."""
    return [r["data"]["span"] for r in records(root) if r["exit_code"] in (0, 3)]


def nothing_is_left_behind(root: Path) -> None:
    assert running(root) == 0
    assert not list((root / "serving").glob("*/versions/.writing-*"))
    made = {p.name for p in root.glob("artifacts/*/[!.]*/*")}
    with sqlite3.connect(root / "metadata.sqlite") as connection:
        known = {str(id) for (id,) in connection.execute("SELECT id FROM Execution WHERE last_known_state IN (3, 5)")}
    assert made <= known


def test_a_run_that_is_killed_anywhere_recovers_by_itself(kept):
    """At every boundary of nodes, then at fifty random moments: each time the same command goes on, and in the end
    every span was entered once, under one charge."""
    data, root, told, images = kept / "data", kept / "root", Progress(kept), Images(400)
    config = write_config(kept, data, trainer={"population": 300, "warm_start": True, "steps": STEPS})
    if not told.facts:
        images.arrive(data, 1)
        assert retrained(config, root)[0] == 0
        told.save(span=1, boundary=0, moments=0)
    with watched(root) as wrong:
        while told.facts["boundary"] is not None:
            span = told.facts["span"] + 1
            if not (data / f"span-{span}").exists():
                images.arrive(data, span)
            process, nodes, finished = retraining(config, root), 0, True
            for line in process.stdout:
                if line[:1] in "✓=":
                    nodes += 1
                    if nodes > told.facts["boundary"]:
                        process.kill()
                        finished = False
                        break
            process.communicate()
            told.save(**{"boundary": None, "span": span} if finished else {"boundary": told.facts["boundary"] + 1})
        assert entered(root)[:2] == [1, 2]
        nothing_is_left_behind(root)
        dice = random.Random(9)
        while told.facts["moments"] < 50:
            waiting = told.facts["span"] + 1
            if not (data / f"span-{waiting}").exists():
                images.arrive(data, waiting)
            process = retraining(config, root)
            time.sleep(dice.uniform(0.5, 30))
            finished = process.poll() is not None
            process.kill()
            process.communicate()
            told.save(moments=told.facts["moments"] + (not finished), span=waiting if finished else waiting - 1)
        assert retrained(config, root)[0] == 0
    assert wrong == []
    nothing_is_left_behind(root)
    book, spans = Ledger(root / "ledger.sqlite").book(), entered(root)
    assert spans == sorted(set(spans)) and len(spans) >= 3
    assert Counter(c.spans for c in book.charges.values()) == {(f"nightly/span-{n}",): 1 for n in spans}
    assert all(c.executed == STEPS for c in book.charges.values())
    assert {r["state"] for r in records(root) if r["exit_code"] in (0, 3)} == {"pushed"}


DAMAGED, MENDED, DRIFTED, AWAY, BACK, DRY = 9, 11, 14, (18, 19), 20, 25
KILLED = {5: 3, 12: 8, 22: 17}  # day: how many nodes end before the kill


def test_thirty_nights(kept):
    """A span a day, with a damaged one, one that has drifted, two days on which nothing runs, a budget that is dry from
    the twenty-fifth day on, and three kills; cleaned up every day."""
    data, root, told, images = kept / "data", kept / "root", Progress(kept), Images(600)
    config = write_config(
        kept,
        data,
        data={"window": 2},
        trainer={"population": 600, "warm_start": True, "steps": STEPS},
        drift={"action": "stop"},
        gates={"max_regression": 0.1},
    )
    for day in range(told.facts.get("day", 0) + 1, 31):
        arrives(images, data, day)
        if day == DRY:
            cut_the_budget(kept, root)
        if day not in AWAY:
            a_night(config, root, day, told)
        told.save(day=day)
    every_span_was_entered_once_and_the_ledger_is_exact(root)
    never_a_worse_model(told.facts["accuracies"])
    the_report_of_each_day_says_why(root)
    disk = told.facts["disk"]
    print(json.dumps({"bytes_after_5": disk["5"], "bytes_after_30": disk["30"], "ratio": disk["30"] / disk["5"]}))
    assert disk["30"] <= 1.5 * disk["5"]


def arrives(images: Images, data: Path, day: int) -> None:
    """What comes in on a day; a second time it changes nothing."""
    shutil.rmtree(data / f"span-{day}", ignore_errors=True)
    folder = images.arrive(data, day, only=(0, 1) if day == DRIFTED else None)
    if day == DAMAGED:
        file = folder / "train" / "images.tfrecord"
        file.write_bytes(file.read_bytes()[:-5])
    if day == MENDED:
        shutil.rmtree(data / f"span-{DAMAGED}")
        images.arrive(data, DAMAGED)


def cut_the_budget(folder: Path, root: Path) -> None:
    """Somebody who may puts a budget in force that is a little less than what a night costs."""
    spent = Ledger(root / "ledger.sqlite").book().epsilon((f"nightly/span-{DRY - 1}",), 1e-5)  # that of one night
    file = folder / "policy.toml"
    budget = f'spans = "nightly/*"\nepsilon = {spent - 0.01}\ndelta = 1e-5\n'
    file.write_text(f'owners = ["{getpass.getuser()}"]\n[[budgets]]\n{budget}')
    done = lockgate("ledger", "policy", str(file), "--reason", "a year's worth is spent", root=root)
    assert done.returncode == 0, done.stderr


def a_night(config: Path, root: Path, day: int, told: Progress) -> None:
    if day in KILLED and told.facts.get("killed", 0) < day:
        process = retraining(config, root)
        for number, _ in enumerate((line for line in process.stdout if line[:1] in "✓="), 1):
            if number == KILLED[day]:
                break
        process.kill()
        process.communicate()
        told.save(killed=day)
    code, night = retrained(config, root)
    assert code == (3 if day >= DRY or day == DRIFTED else 0), night
    cleaned = lockgate("clean", "--config", str(config), "--json", root=root)
    assert cleaned.returncode == 0, cleaned.stderr
    nothing_is_left_behind(root)
    disk = told.facts.get("disk", {}) | {str(day): json.loads(cleaned.stdout)["kept_bytes"]}
    accuracies = told.facts.get("accuracies", {}) | {str(day): nights.accuracy(served(root))}
    told.save(disk=disk, accuracies=accuracies)
    print(f"day {day}: {[(r['span'], r['state']) for r in night['runs']]}, {accuracies[str(day)]:.3f}", flush=True)


def every_span_was_entered_once_and_the_ledger_is_exact(root: Path) -> None:
    spans = entered(root)
    assert sorted(spans) == list(range(1, 31))
    assert [s for s in spans if s != DAMAGED] == [s for s in range(1, 31) if s != DAMAGED]
    assert spans.index(DAMAGED) in (spans.index(MENDED) - 1, spans.index(MENDED) + 1)
    book = Ledger(root / "ledger.sqlite").book()
    trained = [r["privacy"]["spans"] for r in records(root) if r["privacy"] and r["exit_code"] in (0, 3)]
    charged = sorted(tuple(sorted(c.spans)) for c in book.charges.values())
    assert charged == sorted(tuple(sorted(spans)) for spans in trained) and len(charged) == DRY - 2
    assert all(c.executed == STEPS for c in book.charges.values())
    (mechanism,) = {c.reserved for c in book.charges.values()}
    for name, times in Counter(span for spans in charged for span in spans).items():
        accountant = dp_accounting.rdp.RdpAccountant(ORDERS)
        accountant.compose(mechanism.event(), times)
        np.testing.assert_allclose(book.spans[name].curve, accountant.rdp, rtol=1e-9)


def never_a_worse_model(accuracies: dict[str, float]) -> None:
    """Of any day's model on images that no night has seen, within what the gates allow."""
    in_order = [accuracies[day] for day in sorted(accuracies, key=int)]
    best = 0.0
    for accuracy in in_order:
        assert accuracy >= best - 0.1
        best = max(best, accuracy)
    assert len(set(in_order)) > 10  # it was pushed again and again


def the_report_of_each_day_says_why(root: Path) -> None:
    by_span = {r["data"]["span"]: r for r in records(root) if r["exit_code"] in (0, 3)}
    assert by_span[DRIFTED]["cause"] == "drift" and "Nothing private was read" in by_span[DRIFTED]["error"]
    for day, record in by_span.items():
        if day >= DRY:
            assert record["cause"] == "budget" and "Nothing private was read" in record["error"]
        assert record["pushed"] or record["error"] or any(v["reasons"] for v in record["variants"])
        assert (record["error"] or "Pushed") in Path(record["report"]).read_text() or record["error"]
