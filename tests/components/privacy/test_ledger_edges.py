"""The ledger's edges: who may read its file, and a database that is away, full, or none."""

import os
import sqlite3
import stat
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa

from benchmarks.ledger import many
from components.common.errors import ConfigError, ServiceError
from components.privacy import database
from components.privacy.accounting import epsilon_of
from components.privacy.ledger import Ledger
from tests.components.privacy.conftest import DELTA, RUN, budget_for, policy
from tests.conftest import skip_without

A = "a/span-1"


def test_only_the_owner_may_read_it_whatever_the_umask(tmp_path):
    umask = os.umask(0)
    try:
        Ledger(tmp_path / "ledger.sqlite").reserve([A], "1", RUN, policy(10.0))
    finally:
        os.umask(umask)
    assert {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()} == {"ledger.sqlite": 0o600}


def test_a_path_is_taken_literally(tmp_path):
    path = tmp_path / "led?ger%20#1.sqlite"
    Ledger(path).reserve([A], "1", RUN, policy(10.0))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert len(Ledger(path).charges(A)) == 1


def folder(tmp_path):
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


def garbage(tmp_path):
    (tmp_path / "garbage").write_bytes(b"this is no database " * 100)
    return tmp_path / "garbage"


@pytest.mark.parametrize(
    "path",
    [lambda t: t / "no" / "such" / "folder" / "ledger.sqlite", folder, garbage, lambda t: Path("/proc/ledger.sqlite")],
    ids=["missing folder", "a folder", "garbage", "not writable"],
)
def test_a_database_that_cannot_be_used_is_one_line(tmp_path, path):
    place = path(tmp_path)
    with pytest.raises(ServiceError, match="^the ledger .* must be readable and writable. Received: .") as caught:
        Ledger(place).reserve([A], "1", RUN, policy(10.0))
    assert str(place) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["oracle://u@h/d", "://", "postgresql+asyncpg://u@h/d"])
def test_a_url_of_another_database_is_refused(url):
    with pytest.raises(ConfigError, match="a ledger must be a file or one of postgresql://, mysql://, mariadb://"):
        Ledger(url)


def test_a_password_in_a_url_is_refused_and_never_repeated():
    with pytest.raises(ConfigError, match="must hold no password") as caught:
        Ledger("postgresql://me:geheim@h/d")
    assert "geheim" not in str(caught.value)


def test_a_ledger_that_another_process_holds_too_long_is_one_line(tmp_path):
    ledger = Ledger(tmp_path / "l")
    assert ledger.charges(A) == []
    sa.event.listen(
        ledger._database._engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout = 100")
    )
    holder = sqlite3.connect(tmp_path / "l", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(ServiceError, match="locked"):
            ledger.reserve([A], "1", RUN, policy(10.0))
    finally:
        holder.close()
    assert ledger.charges(A) == []


@pytest.fixture(params=["postgresql_server", "mariadb_server"])
def server(request):
    found = request.getfixturevalue(request.param)
    yield found
    if found.process is None:
        found.start()


def test_a_server_that_is_away_spends_nothing_and_gives_nothing_back(server):
    """Away before the reservation, between it and the settlement, and at the settlement."""
    url = server.fresh("away")
    ledger = Ledger(url)
    assert ledger.charges(A) == []
    server.stop()
    with pytest.raises(ServiceError, match="must be readable and writable"):
        ledger.reserve([A], "1", RUN, policy(10.0))
    server.start()
    charge = ledger.reserve([A], "1", RUN, policy(budget_for(1)))
    server.stop()
    server.start()
    assert ledger.epsilon(A, DELTA) == epsilon_of([RUN], DELTA)
    server.stop()
    with pytest.raises(ServiceError):
        ledger.settle(charge.id, 100)
    server.start()
    assert [c.settled for c in ledger.charges(A)] == [False]
    assert Ledger(url).charge_of([A], "1", RUN).id == charge.id
    ledger.settle(charge.id, 100)
    assert [(c.settled, c.mechanism.steps) for c in Ledger(url).charges(A)] == [(True, 100)]
    assert Ledger(url).verify() == []


def test_a_server_that_goes_away_inside_a_reservation_has_reserved_nothing(server, monkeypatch):
    ledger, append = Ledger(server.fresh("within")), database.append
    ledger.reserve([A], "1", RUN, policy(10.0))
    with monkeypatch.context() as patch:
        patch.setattr(database, "append", lambda *arguments: (server.stop(), append(*arguments)))
        with pytest.raises(ServiceError, match="must be readable and writable. Received: .*(terminat|Lost)"):
            ledger.reserve([A], "2", RUN, policy(10.0))
    server.start()
    ledger.reserve([A], "3", RUN, policy(10.0))
    assert [c.run for c in ledger.charges(A)] == ["1", "3"] and ledger.verify() == []


def test_postgresql_finds_the_newest_entries_by_their_index(postgresql_server):
    ledger = Ledger(postgresql_server.fresh("by_index"))
    ledger.take_over(many(runs=1000, spans=10))
    with ledger._database.transaction() as connection:
        connection.exec_driver_sql(database._POSTGRESQL)
        plan = connection.exec_driver_sql(f"EXPLAIN {database._READ.format(first=1995)}").scalars().all()
    assert "Index Scan using entries_pkey" in plan[0]


def test_a_full_disk_refuses_and_what_was_reserved_stays(tmp_path):
    (tmp_path / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(tmp_path / "disk")]
    if subprocess.run(mount, capture_output=True).returncode:
        skip_without("a small disk of its own, which only root may mount")
    try:
        ledger, reserved = Ledger(tmp_path / "disk" / "l"), 0
        with pytest.raises(ServiceError, match="full"):
            for reserved in range(1000):
                ledger.reserve([f"a/span-{reserved}"], "1", RUN, policy(10.0))
        assert reserved > 10 and len(ledger.book().charges) == len(Ledger(tmp_path / "disk" / "l").book().charges)
        assert len(ledger.book().charges) == reserved and ledger.verify() == []
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "disk")], check=True)
