"""From the first schema to the newest, on each kind of database, without forgetting what was spent."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from components.common.errors import ServiceError
from components.privacy import database
from components.privacy.accounting import epsilon_of
from components.privacy.database import Database
from components.privacy.ledger import Ledger
from components.privacy.migrations import SCHEMA
from tests.components.privacy.conftest import DELTA, RUN, policy

FIRST = (
    "CREATE TABLE charges (id INTEGER NOT NULL PRIMARY KEY, span VARCHAR(255) NOT NULL, run VARCHAR(64) NOT NULL, "
    "noise_multiplier DOUBLE PRECISION NOT NULL, sampling_probability DOUBLE PRECISION NOT NULL, "
    "steps INTEGER NOT NULL, settled BOOLEAN NOT NULL, made VARCHAR(32) NOT NULL)"
)
ROWS = (
    "INSERT INTO charges VALUES (1, 'a/span-1', 'r1', 2.0, 0.05, 200, true, '2026-01-01T00:00:00+00:00'), "
    "(2, 'a/span-1', 'r2', 2.0, 0.05, 200, false, '2026-01-02T00:00:00+00:00'), "
    "(3, 'a/span-2', 'r3', 2.0, 0.05, 50, true, '2026-01-03T00:00:00+00:00')"
)


def test_the_code_knows_the_newest_revision():
    assert SCHEMA.scripts().get_current_head() == SCHEMA.newest


def test_what_the_first_schema_had_spent_stays_spent(place):
    with Database(place)._engine.begin() as connection:
        connection.exec_driver_sql(FIRST)
        connection.exec_driver_sql(ROWS)
    ledger = Ledger(place)
    assert [(c.run, c.settled, c.mechanism.steps) for c in ledger.charges("a/span-1")] == [
        ("r1", True, 200), ("r2", False, 200),
    ]  # fmt: skip
    assert ledger.epsilon("a/span-1", DELTA) > epsilon_of([RUN, RUN], DELTA)
    assert ledger.epsilon("a/span-2", DELTA) == epsilon_of([RUN.first(50)], DELTA)
    assert ledger.charge_of(["a/span-1"], "r2", RUN) is not None and ledger.verify() == []
    ledger.reserve(["a/span-1"], "r4", RUN, policy(8.0))
    with Database(place)._engine.begin() as connection:
        assert not sa.inspect(connection).has_table("charges")


def test_the_tables_are_those_that_the_code_declares(place):
    Ledger(place).book()
    with Database(place)._engine.begin() as connection:
        found = sa.inspect(connection)
        for table in database.metadata.sorted_tables:
            assert [c["name"] for c in found.get_columns(table.name)] == [c.name for c in table.columns]
        assert set(found.get_table_names()) == {"alembic_version", *database.metadata.tables}


def test_many_that_open_an_empty_database_at_once_make_it_once(place):
    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(lambda _: Ledger(place).book().head.number, range(24))) == [0] * 24


def test_a_first_schema_that_is_damaged_is_one_line(tmp_path):
    with sqlite3.connect(tmp_path / "l") as connection:
        connection.execute("CREATE TABLE charges (id INTEGER)")
        connection.execute("INSERT INTO charges VALUES (1)")
    with pytest.raises(ServiceError):
        Ledger(tmp_path / "l").book()


def test_a_database_that_another_program_migrates_is_refused_and_left_alone(postgresql_server):
    place = postgresql_server.fresh("of_another_program")
    with Database(place)._engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('1b2c3d4e5f60')")
    with pytest.raises(ServiceError, match="^the database of lockgate ledger must be its own, .* says 1b2c3d4e5f60"):
        Ledger(place).book()
    with Database(place)._engine.begin() as connection:
        assert sa.inspect(connection).get_table_names() == ["alembic_version"]
