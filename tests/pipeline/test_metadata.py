"""`lockgate metadata`: what a person sees of a move, and one line where there is none."""

import json
import subprocess
import sys

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb

from components.common import mlmd
from components.common.mlmd import opened
from pipeline.cli import main


@pytest.fixture
def filled(tmp_path):
    place = str(tmp_path / "metadata.sqlite")
    with opened(place) as store:
        kind = store.put_context_type(pb.ContextType(name="C"))
        store.put_contexts([pb.Context(type_id=kind, name=f"c{i}") for i in range(1200)])
    return place


@pytest.fixture
def empty(postgresql_server, monkeypatch):
    monkeypatch.setenv(mlmd.USER, "lockgate")
    postgresql_server.execute("DROP DATABASE IF EXISTS moved_by_command")
    postgresql_server.fresh("moved_by_command")
    return f"postgresql://{postgresql_server.url.split('@')[1].split('/')[0]}/moved_by_command"


def ended(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(["metadata", "move", *arguments])
    return exit_.value.code or 0


def test_it_prints_the_rows_of_each_table(filled, empty, capsys):
    assert ended(filled, empty) == 0
    out = capsys.readouterr().out
    assert "Context                1,200\n" in out and "Event                      0\n" in out
    assert f"All 1,210 rows of {filled} are in {empty}." in out
    assert ended(filled, empty) == 2
    said = capsys.readouterr().err
    assert said == f"lockgate: what it is moved to must be empty. Received: {empty}, which has rows in Context\n"


def test_nothing_else_is_printed(filled, empty):
    """In a process of its own, as MLMD's client writes to the terminal past Python."""
    call = f"from pipeline.cli import main; main({['metadata', 'move', filled, empty]})"
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_json(filled, empty, capsys):
    assert ended(filled, empty, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["rows"]["Context"] == 1200 and (printed["from"], printed["to"]) == (filled, empty)


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ("nowhere.sqlite", "postgresql://h/d", "what is moved must be a file that is there"),
        ("nowhere.sqlite", "postgresql://me:hunter2@h/d", "what it is moved to must hold no password"),
        ("mysql://h/d", "postgresql://127.0.0.1:1/d", "the user of what is moved must be in the environment's"),
    ],
)
def test_what_cannot_be_moved_is_one_line(source, target, says, capsys, monkeypatch):
    monkeypatch.setenv(mlmd.USER, "lockgate")
    assert ended(source, target) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"lockgate: {says}") and said.count("\n") == 1 and "hunter2" not in said
