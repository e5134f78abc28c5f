"""components/backup: both databases are dumped and put back, against a real PostgreSQL, MLMD and ledger."""

import os
import subprocess
from pathlib import Path

import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as pb

from components.privacy import database
from components.privacy.accounting import Mechanism
from components.privacy.config import PrivacyConfig
from components.privacy.ledger import Ledger
from tests.kubeflow.conftest import MANIFESTS, Postgres

PASSWORD = "steps"
RUN = Mechanism(noise_multiplier=2.0, sampling_probability=0.05, steps=200)
POLICY = PrivacyConfig(epsilon=1.0, delta=1e-5, budget_epsilon=8.0)


def run(script: str, postgres: Postgres, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", str(MANIFESTS / "components" / "backup" / script), *map(str, arguments)],
        env={**postgres.environment("lockgate", PASSWORD), **environment}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def backed_up(postgres: Postgres, folder: Path, keep: int = 14) -> str:
    done = run("backup.sh", postgres, folder, keep)
    assert done.returncode == 0, done.stderr
    return done.stdout.split(",")[0].rsplit("/", 1)[1]


def contexts(postgres: Postgres) -> list[str]:
    """What MLMD has, which makes its tables when it is first asked."""
    config = pb.ConnectionConfig()
    place = config.postgresql
    place.host, place.port, place.dbname = "127.0.0.1", str(postgres.port), "mlmd"
    place.user, place.password = "lockgate", PASSWORD
    store = metadata_store.MetadataStore(config)
    kind = store.put_context_type(pb.ContextType(name="Night"))
    store.put_contexts([pb.Context(type_id=kind, name=f"night-{len(store.get_contexts())}")])
    return sorted(each.name for each in store.get_contexts())


@pytest.fixture
def filled(postgres, monkeypatch) -> Postgres:
    monkeypatch.setenv(database.PASSWORD, PASSWORD)
    assert postgres.make_databases(PASSWORD).returncode == 0
    return postgres


def ledger(postgres: Postgres) -> Ledger:
    return Ledger(f"postgresql://lockgate@127.0.0.1:{postgres.port}/lockgate")


def charge(postgres: Postgres, name: str) -> None:
    opened = ledger(postgres)
    opened.reserve(["span-1"], name, RUN, POLICY)
    opened.close()


def everything(postgres: Postgres) -> str:
    """Both databases, as text without what differs each time."""
    dumped = [
        subprocess.run(
            ["pg_dump", "--restrict-key=a", "-d", name] if _restricts() else ["pg_dump", "-d", name],
            env=postgres.environment("lockgate", PASSWORD), capture_output=True, text=True, check=True,
        ).stdout
        for name in ("mlmd", "lockgate")
    ]  # fmt: skip
    return "\n".join(dumped)


def _restricts() -> bool:
    return "--restrict-key" in subprocess.run(["pg_dump", "--help"], capture_output=True, text=True).stdout


def test_both_databases_are_as_they_were(filled, tmp_path):
    assert contexts(filled) == ["night-0"]
    charge(filled, "first")
    before = everything(filled)
    time = backed_up(filled, tmp_path)
    charge(filled, "second")
    assert contexts(filled) == ["night-0", "night-1"]
    filled.ask("CREATE TABLE later (i int)", "mlmd", "lockgate", PASSWORD)
    for _ in range(2):  # a restored database can be dumped and restored again
        done = run("restore.sh", filled, tmp_path, time)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(f"is as it was at {time}") == 2
    assert "night-0" in before and everything(filled) == before
    opened = ledger(filled)
    assert [each.run for each in opened.book().charges.values()] == ["first"]
    opened.close()
    charge(filled, "third")
    assert contexts(filled) == ["night-0", "night-1"]


def test_the_newest_backups_are_kept_and_the_newest_is_restored(filled, tmp_path):
    for name in ("20250101T000000Z", "20250102T000000Z", "20250103T000000Z"):
        (tmp_path / name).mkdir()
    (tmp_path / "lost+found").mkdir()
    charge(filled, "first")
    newest = backed_up(filled, tmp_path, keep=2)
    assert sorted(os.listdir(tmp_path)) == ["20250103T000000Z", newest, "lost+found"]
    assert f"is as it was at {newest}" in run("restore.sh", filled, tmp_path, "newest").stdout


def test_a_backup_that_is_cut_short_leaves_no_backup(filled, tmp_path):
    charge(filled, "first")
    assert run("backup.sh", filled, tmp_path, 14, PGPASSWORD="wrong").returncode != 0
    assert [name for name in os.listdir(tmp_path) if name != ".writing"] == []
    assert backed_up(filled, tmp_path) in os.listdir(tmp_path)


def test_a_damaged_backup_leaves_the_database_as_it_was(filled, tmp_path):
    contexts(filled)
    charge(filled, "first")
    time = backed_up(filled, tmp_path)
    dump = tmp_path / time / "mlmd.dump"
    dump.write_bytes(dump.read_bytes()[:-200])
    before = everything(filled)
    done = run("restore.sh", filled, tmp_path, time)
    assert done.returncode != 0
    assert everything(filled) == before


@pytest.mark.parametrize("time", ["20200101T000000Z", "newest"])
def test_a_backup_that_is_not_there_is_refused_in_one_line(filled, tmp_path, time):
    done = run("restore.sh", filled, tmp_path, time)
    assert done.returncode == 2
    assert done.stderr == f"BACKUP must name a backup that is there (there is none). Received: {time}\n"


def test_one_that_is_not_there_is_answered_with_those_that_are(filled, tmp_path):
    for name in ("20261127T000000Z", "20261126T000000Z", ".writing"):
        (tmp_path / name).mkdir()
    done = run("restore.sh", filled, tmp_path, "20200101T000000Z")
    there = "20261126T000000Z 20261127T000000Z"
    assert done.stderr == f"BACKUP must name a backup that is there ({there}). Received: 20200101T000000Z\n"


def test_databases_that_a_run_uses_are_not_restored(filled, tmp_path):
    charge(filled, "first")
    time = backed_up(filled, tmp_path)
    used = subprocess.Popen(
        ["psql", "-X", "-d", "mlmd", "-c", "SELECT pg_sleep(60)"], env=filled.environment("lockgate", PASSWORD)
    )
    try:
        while filled.ask("SELECT count(*) FROM pg_stat_activity WHERE datname = 'mlmd'") == "0":
            assert used.poll() is None
        done = run("restore.sh", filled, tmp_path, time)
    finally:
        used.kill()
        used.wait()
    assert done.returncode == 2
    assert done.stderr == "no run may be under way while databases are restored. Received: 1 connections to them\n"
