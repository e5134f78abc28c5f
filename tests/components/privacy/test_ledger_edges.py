"""The ledger's edges: who may read it, two processes at once, and a database that cannot be used."""

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from components.common.errors import BudgetError, ServiceError
from components.privacy.accounting import Mechanism, epsilon_of
from components.privacy.config import PrivacyConfig
from components.privacy.ledger import Ledger

RUN = Mechanism(noise_multiplier=2.0, sampling_probability=0.05, steps=200)


def policy(budget: float) -> PrivacyConfig:
    return PrivacyConfig(epsilon=1.0, delta=1e-5, budget_epsilon=budget)


def test_only_the_owner_may_read_it_whatever_the_umask(tmp_path):
    umask = os.umask(0)
    try:
        ledger = Ledger(tmp_path / "ledger.sqlite")
        ledger.reserve("a/span-1", "1", RUN, policy(10.0))
    finally:
        os.umask(umask)
    assert {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()} == {"ledger.sqlite": 0o600}


def test_a_path_is_taken_literally(tmp_path):
    path = tmp_path / "led?ger%20#1.sqlite"
    Ledger(path).reserve("a/span-1", "1", RUN, policy(10.0))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(Ledger(path).charges("a/span-1")) == 1


def test_charges_outlive_the_object_that_made_them(tmp_path):
    charge, _ = Ledger(tmp_path / "l").reserve("a/span-1", "run 9", RUN, policy(10.0))
    Ledger(tmp_path / "l").settle(charge, 20)
    (found,) = Ledger(tmp_path / "l").charges("a/span-1")
    assert (found.id, found.run, found.settled, found.mechanism.steps) == (charge, "run 9", True, 20)


RACER = """
import sys
from components.common.errors import BudgetError
from components.privacy.accounting import Mechanism
from components.privacy.config import PrivacyConfig
from components.privacy.ledger import Ledger
path, budget, run = sys.argv[1], float(sys.argv[2]), sys.argv[3]
mechanism = Mechanism(noise_multiplier=2.0, sampling_probability=0.05, steps=200)
ledger = Ledger(path)
print("ready", flush=True)
for line in sys.stdin:
    try:
        policy = PrivacyConfig(epsilon=1.0, delta=1e-5, budget_epsilon=budget)
        ledger.reserve("a/" + line.strip(), run, mechanism, policy)
        print("won", flush=True)
    except BudgetError:
        print("refused", flush=True)
"""


def test_of_two_processes_that_race_for_a_budget_that_fits_one_exactly_one_wins(tmp_path):
    path, budget = tmp_path / "ledger.sqlite", 1.01 * epsilon_of([RUN], 1e-5)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(path), str(budget), name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True,
        )
        for name in ("first", "second")
    ]  # fmt: skip
    try:
        assert [r.stdout.readline() for r in racers] == ["ready\n"] * 2
        for span in range(8):
            for racer in racers:
                racer.stdin.write(f"span-{span}\n")
                racer.stdin.flush()
            assert sorted(r.stdout.readline() for r in racers) == ["refused\n", "won\n"]
    finally:
        for racer in racers:
            racer.communicate(timeout=30)
    assert [len(Ledger(path).charges(f"a/span-{span}")) for span in range(8)] == [1] * 8


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
        Ledger(place).reserve("a/span-1", "1", RUN, policy(10.0))
    assert str(place) in str(caught.value) and "\n" not in str(caught.value)


def test_a_ledger_that_another_process_holds_too_long_is_one_line(tmp_path):
    ledger = Ledger(tmp_path / "l")
    sa.event.listen(ledger._engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout = 100"))
    holder = sqlite3.connect(tmp_path / "l", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(ServiceError, match="locked"):
            ledger.reserve("a/span-1", "1", RUN, policy(10.0))
    finally:
        holder.close()
    assert ledger.charges("a/span-1") == []


def test_no_noise_is_never_within_a_budget(tmp_path):
    ledger = Ledger(tmp_path / "l")
    with pytest.raises(BudgetError):
        bare = Mechanism(noise_multiplier=0.0, sampling_probability=0.05, steps=1)
        ledger.reserve("a/span-1", "1", bare, policy(1e300))
    assert ledger.charges("a/span-1") == []
