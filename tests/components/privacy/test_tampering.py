"""Every kind of damage is found, and nothing is spent until a person has decided."""

import shutil

import pytest
import sqlalchemy as sa

from components.common.errors import BudgetError, ConfigError, LedgerError
from components.privacy.entries import Head
from components.privacy.ledger import Ledger
from components.privacy.witness import LineageWitness
from tests.components.privacy.conftest import DELTA, RUN, policy

A, B = "a/span-1", "a/span-2"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def witness(tmp_path) -> LineageWitness:
    """A real MLMD."""
    return LineageWitness(str(tmp_path / "metadata.sqlite"))


@pytest.fixture
def filled(path, witness):
    """A ledger of six entries, which the witness has seen; a copy from before the last two lies beside it."""
    ledger = Ledger(path, witness)
    for run, span in (("1", A), ("2", B)):
        ledger.settle(ledger.reserve([span], run, RUN, policy(10.0)).id, 200)
    shutil.copyfile(path, path.with_suffix(".old"))
    ledger.settle(ledger.reserve([A], "3", RUN, policy(10.0)).id, 150)
    return ledger


def execute(path, *statements: str) -> None:
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


CHANGES = {
    "changed steps": ["UPDATE entries SET body = replace(body, '\"executed\":200', '\"executed\":1') WHERE number = 2"],
    "changed curve": ["UPDATE entries SET curve = zeroblob(length(curve)) WHERE number = 1"],
    "changed time": ["UPDATE entries SET made = '2001-01-01T00:00:00+00:00' WHERE number = 1"],
    "changed kind": ["UPDATE entries SET kind = 'note' WHERE number = 3"],
    "changed hash": ["UPDATE entries SET hash = replace(hash, substr(hash, 1, 1), 'x') WHERE number = 6"],
    "missing": ["DELETE FROM entries WHERE number = 3"],
    "missing and renumbered": ["DELETE FROM entries WHERE number = 3"]
    + [f"UPDATE entries SET number = {n - 1} WHERE number = {n}" for n in (4, 5, 6)],
    "first missing": ["DELETE FROM entries WHERE number = 1"],
    "reordered": [
        "UPDATE entries SET number = 100 WHERE number = 1",
        "UPDATE entries SET number = 1 WHERE number = 3",
        "UPDATE entries SET number = 3 WHERE number = 100",
    ],
    "newest deleted": ["DELETE FROM entries WHERE number = 6"],
    "newest two deleted": ["DELETE FROM entries WHERE number > 4"],
    "all deleted": ["DELETE FROM entries"],
    "all dropped": ["DROP TABLE entries", "DROP TABLE ledger_lock", "DROP TABLE alembic_version"],
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("opened", ["before", "after"])
def test_nothing_is_spent_on_a_ledger_that_was_changed(filled, path, witness, name, opened):
    execute(path, *CHANGES[name])
    ledger = filled if opened == "before" and name in SEEN_WHILE_OPEN else Ledger(path, witness)
    assert ledger.verify()
    before = read(path)
    for spend in (
        lambda: ledger.reserve([A], "4", RUN, policy(10.0)),
        lambda: ledger.reserve(["new"], "4", RUN, policy(10.0)),
        lambda: ledger.settle(1, 200),
        lambda: ledger.epsilon(A, DELTA),
        ledger.export,
    ):
        with pytest.raises(LedgerError, match="the ledger must be whole: .*until its owner"):
            spend()
    assert read(path) == before


SEEN_WHILE_OPEN = {
    name for name in CHANGES if name.startswith(("newest", "all deleted", "missing and", "changed hash"))
}


def read(path) -> list:
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        return connection.execute(sa.text("SELECT * FROM entries ORDER BY number")).fetchall()


@pytest.mark.parametrize("column", ["kind", "made", "hash", "body"])
def test_on_any_database_a_line_break_hides_nothing(place, column):
    ledger = Ledger(place)
    for run in "123":
        ledger.reserve([f"ä{chr(10)}%s/{run}"], f"{run}%\n", RUN, policy(10.0))
    assert Ledger(place).verify() == [] and len(Ledger(place).book().charges) == 3
    with ledger._database.transaction() as connection:
        changed = f"'\n' || {column}" if connection.dialect.name != "mariadb" else f"CONCAT('\n', {column})"
        changed = f"'\n{'0' * 63}'" if column == "hash" else changed
        connection.exec_driver_sql(f"UPDATE entries SET {column} = {changed} WHERE number = 2")
    assert "entry 2" in Ledger(place).verify()[0]
    with pytest.raises(LedgerError):
        Ledger(place).reserve(["new"], "4", RUN, policy(10.0))


def test_an_old_copy_that_was_restored_is_found(filled, path, witness):
    shutil.copyfile(path.with_suffix(".old"), path)
    (found,) = Ledger(path, witness).verify()
    assert found == "entry 6, which a run has seen, must be there: the newest here is 4"
    with pytest.raises(LedgerError):
        Ledger(path, witness).reserve([A], "4", RUN, policy(10.0))


def test_an_old_copy_that_went_on_without_us_is_found(filled, path, witness):
    shutil.copyfile(path.with_suffix(".old"), path)
    unwatched = Ledger(path)
    unwatched.settle(unwatched.reserve([B], "other", RUN, policy(10.0)).id, 200)
    (found,) = Ledger(path, witness).verify()
    assert "entry 6, which a run has seen, must be there: another one has its number" in found


def test_another_ledger_than_the_one_that_was_seen_is_found(filled, tmp_path, witness):
    with pytest.raises(LedgerError, match="the newest here is 0"):
        Ledger(tmp_path / "new.sqlite", witness).reserve([A], "1", RUN, policy(10.0))


def test_a_whole_ledger_is_whole_and_the_witness_knows_its_head(filled, witness):
    assert filled.verify() == []
    assert witness.head() == filled.book().head and witness.head().number == 6


def test_after_a_decision_only_what_a_person_vouched_for_is_spent(filled, path, witness):
    execute(path, *CHANGES["newest two deleted"])
    ledger = Ledger(path, witness)
    ledger.decide([B], "the restore of Monday lost runs on span 1")
    assert ledger.verify() == []
    ledger.reserve([B], "4", RUN, policy(10.0))
    for span in (A, "unheard/of"):
        with pytest.raises(BudgetError, match="closed"):
            Ledger(path, witness).reserve([span], "5", RUN, policy(10.0))
    assert ledger.epsilon(A, DELTA) == float("inf") and ledger.epsilon(B, DELTA) < 10.0
    ledger.decide([B, "a/span-[3-9]"], "new spans are untouched")
    ledger.reserve(["a/span-3"], "6", RUN, policy(10.0))
    assert Ledger(path, witness).verify() == []


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_the_damage_a_decision_goes_on_from_it_and_later_damage_is_found_again(filled, path, witness, name):
    execute(path, *CHANGES[name])
    Ledger(path, witness).decide(["b/*"], "start over with b")
    ledger = Ledger(path, witness)
    ledger.reserve(["b/1"], "4", RUN, policy(10.0))
    with pytest.raises(BudgetError, match="closed"):
        ledger.reserve([A], "4", RUN, policy(10.0))
    execute(path, "UPDATE entries SET made = 'x' WHERE number = (SELECT max(number) FROM entries)")
    assert Ledger(path, witness).verify()


def test_damage_under_a_decision_that_is_changed_further_is_found(filled, path, witness):
    execute(path, *CHANGES["missing"])
    Ledger(path, witness).decide(["*"], "known")
    execute(path, "UPDATE entries SET kind = 'note' WHERE number = 1")
    assert Ledger(path, witness).verify()


def test_a_decision_about_a_whole_ledger_or_without_a_reason_is_refused(filled, path):
    with pytest.raises(ConfigError, match="Nothing is wrong"):
        filled.decide(["*"], "just so")
    execute(path, *CHANGES["missing"])
    with pytest.raises(ConfigError, match="--reason"):
        filled.decide(["*"], "")


def test_a_witness_that_remembers_nothing_says_so(witness):
    assert witness.head() == Head()


def test_an_export_moves_every_entry_and_the_witness_agrees(filled, place, witness):
    moved = Ledger(place, witness)
    moved.take_over(filled.export())
    assert moved.export() == filled.export() and Ledger(place, witness).verify() == []
    assert moved.epsilon(A, DELTA) == filled.epsilon(A, DELTA)
    with pytest.raises(ConfigError, match="empty ledger"):
        moved.take_over(filled.export())


def test_a_damaged_export_is_not_taken_over(filled, tmp_path):
    entries = filled.export()
    for bad in (entries[1:], entries[:2] + entries[3:], [entries[0]._replace(made="x"), *entries[1:]]):
        fresh = Ledger(tmp_path / "other.sqlite")
        with pytest.raises(LedgerError):
            fresh.take_over(bad)
        assert fresh.export() == []
