"""Signals, kills and a full disk in the middle of a run: nothing half-made stays, and the next run goes on."""

import contextlib
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import skip_without
from tests.e2e.conftest import command, environment, kept, lockgate, run_tiny


def start(root) -> subprocess.Popen:
    return subprocess.Popen(
        command("run", "--config", "tiny", root=root),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd="/",
    )


def wait_for(process: subprocess.Popen, node: str) -> None:
    """Reads the terminal until the node has ended."""
    for line in process.stdout:
        if node in line:
            return
    raise AssertionError(f"{node} did not end: {process.stderr.read()}")


def unpublished(root) -> list[str]:
    """Output folders of executions that MLMD does not have as complete."""
    import sqlite3

    with sqlite3.connect(root / "metadata.sqlite") as connection:
        known = {str(id) for (id,) in connection.execute("SELECT id FROM Execution WHERE last_known_state IN (3, 5)")}
    outputs = [p for p in (root / "artifacts").glob("*/*/*") if p.parent.name != ".system"]
    return [
        str(p) for p in outputs if p.name not in known and p.name not in ("executor_execution", "stateful_working_dir")
    ]


@pytest.mark.parametrize(
    ("number", "code", "after"), [(signal.SIGINT, 130, "DataChecker"), (signal.SIGTERM, 143, "DPTrainer")]
)
def test_an_interrupted_run_says_so_and_the_next_goes_on(tmp_path, number, code, after):
    process = start(tmp_path)
    wait_for(process, after)
    if after == "DataChecker":
        wait_for_step(tmp_path)
    else:
        time.sleep(1.5)  # into the Evaluator's Beam job
    process.send_signal(number)
    out, err = process.communicate(timeout=300)
    assert process.returncode == code
    assert "Interrupted:" in out and "Run again" in out and err == ""
    assert kept(tmp_path).serving == {}
    assert unpublished(tmp_path) == []
    code, record = run_tiny(tmp_path)
    assert code == 0 and record["pushed"]
    cached = {n["id"] for n in record["nodes"] if n["state"] == "cached"}
    assert {"ImportExampleGen", "StatisticsGen", "DataChecker"} <= cached
    assert ("DPTrainer" in cached) == (after == "DPTrainer")


def test_a_killed_training_goes_on_under_the_charge_it_has(tmp_path):
    process = start(tmp_path)
    wait_for(process, "DataChecker")
    executed = wait_for_step(tmp_path)
    process.kill()
    process.communicate()
    (charge,) = kept(tmp_path).charges
    code, record = run_tiny(tmp_path)
    assert code == 0 and record["pushed"]
    (settled,) = kept(tmp_path).charges
    assert settled == charge and [entry.kind for entry in kept(tmp_path).entries] == ["reserve", "settle"]
    assert 0 < record["epsilon"] <= 3
    assert int.from_bytes(executed.read_bytes(), "little") == 12  # the tiny preset's steps, none of them twice
    assert unpublished(tmp_path) == []


def wait_for_step(root) -> Path:
    """Waits until private training has begun its first step; gives the file that counts them."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for path in root.glob("journals/*/executed"):
            if path.stat().st_size:
                return path
        time.sleep(0.005)
    raise AssertionError("no private step began")


@contextlib.contextmanager
def disk(folder, size: str):
    """A file system of its own of that size."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], capture_output=True)
    if mounted.returncode:
        skip_without("a small disk of its own, which only root may mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_one_line_and_the_next_run_goes_on_until_it_is_full_again_or_all_is_done(tmp_path):
    with disk(tmp_path / "disk", "700k") as folder:
        root = folder / "root"
        for size in ("700k", "2m", "3500k"):
            subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)
            done = lockgate("run", "--config", "tiny", root=root)
            assert done.returncode == 2, done.stdout + done.stderr
            assert "Traceback" not in done.stdout + done.stderr
            assert "It is full" in done.stdout + done.stderr or "No space left" in done.stdout + done.stderr
            assert kept(root).serving == {}
        subprocess.run(["mount", "-o", "remount,size=300m", str(folder)], check=True)
        code, record = run_tiny(root)
        assert code == 0 and record["pushed"]
        assert unpublished(root) == []
