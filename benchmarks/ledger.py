"""The ledger's two rates: reservations a second of eight processes, beside inserts that lock one row in the same
transaction on the same server; and how much longer a reservation decides behind 10,000 runs over 1,000 spans.

Starts PostgreSQL and MariaDB of Debian's packages; prints JSON last, and exits 1 where a bound of
baselines/ledger.json is missed, that of the rates by the median of all runs.

uv run python -m benchmarks.ledger [--seconds 3] [--rounds 3] [--runs 1] [--keep]
"""

import argparse
import contextlib
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import sqlalchemy as sa

from benchmarks.database_servers import Server, mariadb, postgresql
from components.privacy.accounting import Mechanism
from components.privacy.book import Book
from components.privacy.config import PrivacyConfig
from components.privacy.database import Database, lock
from components.privacy.entries import RESERVE, SETTLE, Entry, sealed
from components.privacy.ledger import Ledger

PROCESSES = 8
BASELINE = Path(__file__).parent / "baselines" / "ledger.json"
RUNS, SPANS, DECISIONS, OPENINGS = 10_000, 1_000, 60, 5
RUN = Mechanism(noise_multiplier=20.0, sampling_probability=0.01, steps=100)
POLICY = PrivacyConfig(epsilon=1.0, delta=1e-5, budget_epsilon=1e9)
_LOCK = sa.select(lock.c.id).with_for_update()
_INSERT = sa.text("INSERT INTO plain (number, body, curve) VALUES (:number, :body, :curve)")


def measure(seconds: float, rounds: int) -> dict:
    """All figures, by database."""
    found = {}
    for name, running in (("sqlite", sqlite()), ("postgresql", on(postgresql)), ("mariadb", on(mariadb))):
        with running as fresh:
            figures = {**_rates(fresh, seconds, rounds), **_decisions(fresh)}
            print(name, json.dumps(figures), flush=True)
            found[name] = figures
    return found


@contextlib.contextmanager
def sqlite() -> Iterator[Callable[[str], str]]:
    """Gives places of empty databases."""
    with tempfile.TemporaryDirectory() as folder:
        yield lambda name: str(Path(folder, name))


@contextlib.contextmanager
def on(server: Callable[[], contextlib.AbstractContextManager[Server]]) -> Iterator[Callable[[str], str]]:
    """The same on a server."""
    with server() as running:
        yield running.fresh


def _rates(fresh: Callable[[str], str], seconds: float, rounds: int) -> dict:
    """Transactions a second of all processes, the median of windows that take turns."""
    place = fresh("rates")
    Ledger(place).reserve(["warm"], "up", RUN, POLICY)
    database = Database(place)
    with database.transaction() as connection:
        binary = "LONGBLOB" if connection.dialect.name in ("mysql", "mariadb") else None
        binary = binary or ("BYTEA" if connection.dialect.name == "postgresql" else "BLOB")
        connection.execute(sa.text(f"CREATE TABLE plain (number BIGINT PRIMARY KEY, body TEXT, curve {binary})"))
    database.close()
    windows = {"inserts": [], "reservations": []}
    for _ in range(rounds):
        for kind, work in (("inserts", _inserting), ("reservations", _reserving)):
            windows[kind].append(_together(work, place, seconds))
    inserts, reservations = (statistics.median(windows[kind]) for kind in ("inserts", "reservations"))
    return {
        "inserts_a_second": round(inserts, 1),
        "reservations_a_second": round(reservations, 1),
        "ratio": round(reservations / inserts, 3),
    }


def _together(work, place: str, seconds: float) -> float:
    context = multiprocessing.get_context("fork")
    barrier, done = context.Barrier(PROCESSES), context.Array("i", PROCESSES)
    workers = [context.Process(target=work, args=(place, i, seconds, barrier, done)) for i in range(PROCESSES)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        if worker.exitcode:
            raise RuntimeError(f"a worker must end well. Received: exit code {worker.exitcode}")
    return sum(done) / seconds


def _inserting(place: str, worker: int, seconds: float, barrier, done) -> None:
    """Locks one row, inserts one row of an entry's size, commits."""
    database = Database(place)
    number = time.time_ns() // 1000 * PROCESSES + worker  # of another window than any before
    with database.transaction():
        pass
    barrier.wait(60)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        number += PROCESSES
        with database.transaction() as connection:
            if connection.dialect.name != "sqlite":
                connection.execute(_LOCK)
            connection.execute(_INSERT, {"number": number, "body": "x" * 400, "curve": b""})
        done[worker] += 1


def _reserving(place: str, worker: int, seconds: float, barrier, done) -> None:
    """Reserves, as a run does."""
    ledger = Ledger(place)
    ledger.reserve([f"span-{worker}"], "first", RUN, POLICY)
    barrier.wait(60)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ledger.reserve([f"span-{worker}"], "run", RUN, POLICY)
        done[worker] += 1


def _decisions(fresh: Callable[[str], str]) -> dict:
    """Median seconds of one reservation in an empty ledger and behind many runs, with the ledger open; and what a
    process pays once, before its first one, to read and verify every entry."""
    empty, full = Ledger(fresh("none_behind")), Ledger(fresh("many_behind"))
    full.take_over(many(RUNS, SPANS))
    timed = {"empty": [], "full": []}
    for i in range(DECISIONS):
        for name, ledger in (("empty", empty), ("full", full)):
            begun = time.perf_counter()
            ledger.reserve([f"span-{i}"], "timed", RUN, POLICY)
            timed[name].append(time.perf_counter() - begun)
    openings = []
    for _ in range(OPENINGS):
        begun = time.perf_counter()
        Ledger(full._database.place).book()
        openings.append(time.perf_counter() - begun)
    before, behind = (statistics.median(timed[name]) for name in ("empty", "full"))
    return {
        "decision_empty_ms": round(1000 * before, 2),
        "decision_full_ms": round(1000 * behind, 2),
        "extra_ms": round(1000 * (behind - before), 2),
        "opening_full_ms": round(1000 * statistics.median(openings), 1),
    }


def many(runs: int, spans: int) -> list[Entry]:
    """Entries of so many runs, each reserved and settled, over so many spans."""
    made = []
    head = Book().head
    budget = {"spans": "*", "epsilon": 1e9, "delta": 1e-5, "days": None}
    mechanism = vars(RUN)
    for run in range(runs):
        span, when = f"span-{run % spans}", f"2026-01-01T00:00:{run % 60:02d}+00:00"
        pins = {span: {"order": 2.0, "budget": budget}} if run < spans else {}
        body = {"run": f"run-{run}", "spans": [span], "mechanism": mechanism, "pins": pins}
        curve = b"" if run else RUN.curve().tobytes()
        body["curve_of"] = 1 if run else None
        made.append(sealed(head.hash, head.number + 1, RESERVE, when, body, curve))
        said = {"charge": made[-1].number, "executed": RUN.steps}
        made.append(sealed(made[-1].hash, made[-1].number + 1, SETTLE, when, said))
        head = made[-1].head
    return made


def main() -> None:
    """Measures, prints, and says whether the thresholds hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a window")
    parser.add_argument("--rounds", type=int, default=3, help="windows of each kind")
    parser.add_argument("--runs", type=int, default=1, help="times that all is measured")
    parser.add_argument("--keep", action="store_true", help="write the last run and the ratios of all to the baseline")
    arguments = parser.parse_args()
    runs = [measure(arguments.seconds, arguments.rounds) for _ in range(arguments.runs)]
    ratios = {name: [run[name]["ratio"] for run in runs] for name in runs[-1]}
    baseline = json.loads(BASELINE.read_text())
    if arguments.keep:
        BASELINE.write_text(json.dumps({**baseline, "measured": runs[-1], "ratios": ratios}, indent=2) + "\n")
    bounds = baseline["bounds"]
    passed = all(statistics.median(found) >= bounds["ratio"] for found in ratios.values()) and all(
        found["extra_ms"] < bounds["extra_ms"] for run in runs for found in run.values()
    )
    print(json.dumps({"databases": runs[-1], "ratios": ratios, "bounds": bounds, "passed": passed}))
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
