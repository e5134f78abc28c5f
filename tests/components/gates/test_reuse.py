"""Decisions of a holdout are counted, for good, whoever asks."""

import hashlib
import itertools
import multiprocessing
import sqlite3
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
import sqlalchemy as sa

from components.common.errors import ServiceError
from components.gates import reuse
from components.gates.measured import Spent
from components.gates.migrations import SCHEMA
from components.gates.reuse import Decisions
from components.privacy.ledger import Ledger

_names = (f"decisions{i}" for i in itertools.count())
FIRST = (
    "CREATE TABLE decisions (id INTEGER NOT NULL PRIMARY KEY, holdout VARCHAR(64) NOT NULL, "
    "models VARCHAR(64) NOT NULL, alpha FLOAT NOT NULL, made VARCHAR(32) NOT NULL, UNIQUE (holdout, models))",
    "CREATE TABLE holdouts (fingerprint VARCHAR(64) NOT NULL PRIMARY KEY, examples BLOB NOT NULL)",
)


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def place(request, tmp_path) -> str:
    """Where nothing was counted yet, on each kind of database."""
    if request.param == "sqlite":
        return str(tmp_path / "d.sqlite")
    return request.getfixturevalue(f"{request.param}_server").fresh(next(_names))


def holdout(*numbers: int) -> np.ndarray:
    """Digests of examples."""
    return np.array([hashlib.sha256(str(n).encode()).hexdigest() for n in numbers], dtype=str)


ONE, OTHER = holdout(*range(50)), holdout(*range(50, 100))


def test_every_decision_of_a_holdout_is_counted_with_what_earlier_ones_took(place):
    book = Decisions(place)
    assert book.take(ONE, "a", 0.01) == Spent(number=1, earlier=0)
    assert book.take(ONE, "b", 0.02) == Spent(number=2, earlier=0.01)
    assert book.take(ONE, "c", 0.03) == Spent(number=3, earlier=pytest.approx(0.03))


def test_the_same_models_are_the_same_decision(place):
    book = Decisions(place)
    first = [book.take(ONE, m, 0.01) for m in ("a", "b")]
    assert [Decisions(place).take(ONE, m, 0.01) for m in ("a", "b")] == first
    assert book.take(ONE, "c", 0.01).number == 3


def test_another_holdout_starts_anew(place):
    book = Decisions(place)
    book.take(ONE, "a", 0.05)
    assert book.take(OTHER, "a", 0.05) == Spent(number=1, earlier=0)


def test_a_holdout_with_an_example_of_an_earlier_one_inherits_its_decisions(place):
    book = Decisions(place)
    book.take(ONE, "a", 0.01)
    book.take(OTHER, "a", 0.02)
    both = holdout(49, *range(200, 240), 50)
    assert book.take(both, "a", 0.04) == Spent(number=3, earlier=pytest.approx(0.03))
    assert book.take(ONE, "b", 0.08) == Spent(number=3, earlier=pytest.approx(0.05))
    assert book.take(holdout(*range(300, 340)), "a", 0.01) == Spent(number=1, earlier=0)


def test_the_order_of_examples_does_not_make_another_holdout(place):
    book = Decisions(place)
    assert [book.take(order, "a", 0.01).number for order in (ONE, ONE[::-1])] == [1, 1]


def counted(place: str, first: int, decisions: int) -> list[int]:
    """Of a process: the numbers that its decisions get."""
    return [Decisions(place).take(ONE, f"m{i}", 0.01).number for i in range(first, first + decisions)]


def test_decisions_at_once_are_counted_one_by_one(place):
    """Two processes, and three threads here with connections of their own, on a database without a schema."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as processes, ThreadPoolExecutor(3) as threads:
        others = [processes.submit(counted, place, 100 * i, 6) for i in range(1, 3)]
        own = list(threads.map(lambda i: Decisions(place).take(ONE, f"m{i}", 0.01).number, range(9)))
        numbers = own + [number for other in others for number in other.result()]
    assert sorted(numbers) == list(range(1, 22))


@pytest.mark.parametrize("server", ["postgresql", "mariadb"])
def test_a_server_keeps_it_beside_the_ledger(server, request):
    place = request.getfixturevalue(f"{server}_server").fresh(next(_names))
    assert Ledger(place).verify() == []
    assert [Decisions(place).take(ONE, m, 0.01).number for m in "ab"] == [1, 2]
    assert Ledger(place).verify() == [] and Ledger(place).book().head.number == 0


@pytest.mark.parametrize("server", ["postgresql", "mariadb"])
def test_what_a_file_has_counted_is_taken_over_once(server, request, tmp_path):
    file, place = tmp_path / "holdout.sqlite", request.getfixturevalue(f"{server}_server").fresh(next(_names))
    before = [Decisions(file).take(ONE, "a", 0.01), Decisions(file).take(OTHER, "a", 0.02)]
    assert before == [Spent(number=1, earlier=0)] * 2
    for _ in range(2):
        assert Decisions(place, file).take(ONE, "b", 0.04) == Spent(number=2, earlier=pytest.approx(0.01))
    both = holdout(49, *range(200, 240), 50)  # inherits what was counted of the holdouts in the file
    assert Decisions(place, file).take(both, "a", 0.08) == Spent(number=4, earlier=pytest.approx(0.07))
    assert Decisions(place, file).take(ONE, "a", 0.01) == before[0]
    with Decisions(place)._transaction() as connection:
        assert len(connection.execute(reuse._decisions.select()).fetchall()) == 4
    Decisions(file).take(OTHER, "z", 0.16)  # by somebody who still counts in the file
    assert Decisions(place, file).take(OTHER, "c", 0.32).earlier == pytest.approx(0.02 + 0.08 + 0.16)


def test_a_file_that_cannot_be_read_is_no_reason_to_begin_anew(postgresql_server, tmp_path):
    file, place = tmp_path / "holdout.sqlite", postgresql_server.fresh(next(_names))
    file.write_bytes(b"this is no database " * 100)
    with pytest.raises(ServiceError, match="^the count of decisions before, .* must be readable: .*not a database"):
        Decisions(place, file).take(ONE, "a", 0.01)
    file.write_bytes(b"")  # of a run that was killed before it counted
    assert Decisions(place, file).take(ONE, "a", 0.01).number == 1


def test_a_file_of_before_the_migrations_goes_on(tmp_path):
    Decisions(tmp_path / "d.sqlite").take(ONE, "a", 0.01)
    with sqlite3.connect(tmp_path / "d.sqlite") as new, sqlite3.connect(tmp_path / "old.sqlite") as old:
        for statement in FIRST:
            old.execute(statement)
        old.executemany("INSERT INTO decisions VALUES (?, ?, ?, ?, ?)", new.execute("SELECT * FROM decisions"))
        old.executemany("INSERT INTO holdouts VALUES (?, ?)", new.execute("SELECT * FROM holdouts"))
    assert Decisions(tmp_path / "old.sqlite").take(ONE, "b", 0.01) == Spent(number=2, earlier=pytest.approx(0.01))


def test_the_tables_are_those_that_the_code_declares(place):
    Decisions(place).take(ONE, "a", 0.01)
    assert SCHEMA.scripts().get_current_head() == SCHEMA.newest
    with Decisions(place)._transaction() as connection:
        found = sa.inspect(connection)
        assert set(found.get_table_names()) == {SCHEMA.version_table, *reuse.metadata.tables}
        for table in reuse.metadata.sorted_tables:
            assert [c["name"] for c in found.get_columns(table.name)] == [c.name for c in table.columns]


def test_a_holdout_of_many_examples_fits(place):
    many = holdout(*range(20_000))  # more than a BLOB of MySQL holds
    assert [Decisions(place).take(many, m, 0.01).number for m in "ab"] == [1, 2]


def test_a_database_that_cannot_be_used_is_one_line(tmp_path):
    for place in (tmp_path / "nowhere/d.sqlite", "postgresql://lockgate@127.0.0.1:1/lockgate"):
        with pytest.raises(ServiceError, match="^the count of decisions") as caught:
            Decisions(place).take(ONE, "a", 0.01)
        assert "\n" not in str(caught.value)


def test_only_the_owner_may_read_it(tmp_path):
    Decisions(tmp_path / "d.sqlite").take(ONE, "a", 0.01)
    assert (tmp_path / "d.sqlite").stat().st_mode & 0o077 == 0
