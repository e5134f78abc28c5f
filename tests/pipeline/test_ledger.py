"""`lockgate ledger`, as a process of its own: what it prints, what it moves, and what it exits with."""

import getpass
import json
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from components.privacy.accounting import Mechanism
from components.privacy.config import PrivacyConfig
from components.privacy.ledger import Ledger
from components.privacy.witness import LineageWitness

PROJECT = Path(__file__).parents[2]
RUN = Mechanism(noise_multiplier=2.0, sampling_probability=0.05, steps=200)
POLICY = PrivacyConfig(epsilon=1.0, delta=1e-5, budget_epsilon=8.0)


def lockgate(*arguments: str, root: Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "ledger", *arguments, "--root", str(root)],
        capture_output=True, text=True, cwd="/", timeout=300,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "COLUMNS": "100", **environment},
    )  # fmt: skip


def as_json(*arguments: str, root: Path) -> dict:
    done = lockgate(*arguments, "--json", root=root)
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.fixture
def root(tmp_path) -> Path:
    """A root whose MLMD has seen three entries of its ledger."""
    ledger = Ledger(tmp_path / "ledger.sqlite", LineageWitness(str(tmp_path / "metadata.sqlite")))
    ledger.settle(ledger.reserve(["a/span-1"], "r1", RUN, POLICY).id, 200)
    ledger.reserve(["a/span-1", "a/span-2"], "r2", RUN, POLICY)
    return tmp_path


def test_it_shows_spans_runs_spent_and_left(root):
    found = as_json("show", root=root)
    first, second = found["spans"]
    assert (first["span"], first["runs"], first["open_runs"], first["budget"]) == ("a/span-1", 2, 1, 8.0)
    assert 0 < second["used"] < first["used"] < 1 and second["lifetime"] < first["lifetime"] <= 8.0
    assert [(r["charge"], r["settled"], r["spans"]) for r in found["runs"]] == [
        (1, True, ["a/span-1"]),
        (3, False, ["a/span-1", "a/span-2"]),
    ]
    table = lockgate("show", root=root).stdout.splitlines()
    assert table[0].split()[:3] == ["span", "runs", "budget"] and len(table) == 3


def test_a_whole_ledger_verifies_and_a_changed_one_exits_with_three(root):
    assert as_json("verify", root=root) == {"whole": True, "wrong": []}
    with sqlite3.connect(root / "ledger.sqlite") as connection:
        connection.execute("DELETE FROM entries WHERE number = 3")
    done = lockgate("verify", root=root)
    assert done.returncode == 3 and "entry 3, which a run has seen, must be there" in done.stdout
    assert lockgate("show", root=root).returncode == 3
    done = lockgate("decide", "--keep", "a/*", "--reason", "a test", root=root)
    assert (done.returncode, done.stdout) == (0, "The ledger goes on; vouched for: a/*.\n")
    assert lockgate("verify", root=root).returncode == 0
    assert len(as_json("show", root=root)["runs"]) == 1


def test_it_moves_to_another_place_without_losing_an_entry(root, tmp_path):
    file = tmp_path / "moved.json"
    assert as_json("export", str(file), root=root) == {"entries": 3}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = as_json("show", root=root)
    other = str(tmp_path / "other.sqlite")
    done = lockgate("import", str(file), "--json", root=root, LOCKGATE_LEDGER=other)
    assert json.loads(done.stdout) == {"entries": 3}
    again = lockgate("show", "--json", "--ledger", other, root=root)
    assert json.loads(again.stdout) == before
    assert lockgate("import", str(file), root=root).returncode == 2  # it is not empty


def test_a_policy_is_put_in_force_by_its_owner_alone(root, tmp_path):
    file = tmp_path / "policy.toml"
    budget = '[[budgets]]\nspans = "a/*"\nepsilon = 12.0\ndelta = 1e-5\n'
    file.write_text(f'owners = ["nobody-here"]\n{budget}')
    refused = lockgate("policy", str(file), "--reason", "x", root=root)
    assert refused.returncode == 3 and "nobody-here" in refused.stderr
    file.write_text(f'owners = ["{getpass.getuser()}"]\n{budget}')
    done = lockgate("policy", str(file), "--reason", "x", root=root)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"The policy is in force, of 1 budgets; {getpass.getuser()} may replace it.\n"
    assert {s["budget"] for s in as_json("show", root=root)["spans"]} == {12.0}


def test_a_budget_that_fits_no_span_is_named_as_it_may_be_a_slip(root, tmp_path):
    file = tmp_path / "policy.toml"
    budgets = [f'[[budgets]]\nspans = "{spans}"\nepsilon = 1.0\ndelta = 1e-5\n' for spans in ("a/2026-11-26", "a/*")]
    file.write_text("\n".join([f'owners = ["{getpass.getuser()}"]', *budgets]))
    done = lockgate("policy", str(file), "--reason", "x", root=root)
    assert done.returncode == 0 and done.stdout.splitlines()[1:] == [
        "No span of the ledger fits a/2026-11-26 yet; `lockgate ledger show` prints their names."
    ]


@pytest.mark.parametrize("content", ["", "[]", '{"entries": [{}]}', '{"entries": 7}'])
def test_an_import_of_something_else_is_one_line(tmp_path, content):
    (tmp_path / "file").write_text(content)
    done = lockgate("import", str(tmp_path / "file"), root=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


def test_an_empty_ledger_says_so(tmp_path):
    assert "Nothing was spent yet" in lockgate("show", root=tmp_path).stdout


def test_a_server_s_mlmd_tells_that_a_ledger_on_a_server_was_cut_short(tmp_path, postgresql_server, monkeypatch):
    """As in the manifests' pod for commands, whose root has no MLMD of its own."""
    address = postgresql_server.url.split("@")[1].split("/")[0]
    for name in ("witness_mlmd", "witness_ledger"):
        postgresql_server.execute(f"DROP DATABASE IF EXISTS {name}")
        postgresql_server.fresh(name)
    place, ledger = f"postgresql://{address}/witness_mlmd", f"postgresql://lockgate@{address}/witness_ledger"
    monkeypatch.setenv("LOCKGATE_METADATA_USER", "lockgate")
    monkeypatch.setenv("LOCKGATE_LEDGER", ledger)
    book = Ledger(ledger, LineageWitness(place))
    for run in ("first", "second"):
        book.reserve(["a/span-1"], run, RUN, POLICY)
    book.close()
    with psycopg.connect(ledger) as connection:
        connection.execute("DELETE FROM entries WHERE number = 2")
    assert lockgate("verify", root=tmp_path).returncode == 0, "nobody else remembers it"
    monkeypatch.setenv("LOCKGATE_LEDGER_WITNESS", place)
    done = lockgate("verify", root=tmp_path)
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout == "entry 2, which a run has seen, must be there: the newest here is 1\n"
    done = lockgate("decide", "--reason", "it was restored", root=tmp_path)
    assert (done.returncode, done.stdout) == (0, "The ledger goes on; vouched for: no span.\n")
    assert lockgate("verify", root=tmp_path).returncode == 0
