"""Two schedulers, and whatever else, on one root: one works, the others say so, and a kill -9 leaves no lock."""

import datetime
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from components.privacy.ledger import Ledger
from pipeline.schedule.state import Memory, State
from tests.e2e.conftest import command, environment, lockgate
from tests.e2e.nights import PIPELINE, Images, records, running, write_config

pytestmark = pytest.mark.nights
LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)


def scheduler(config: Path, root: Path, out: Path) -> subprocess.Popen:
    """A schedule in the foreground, in a group of processes with the retrainings that it starts."""
    asked = command("schedule", "--config", str(config), root=root)
    with out.open("w") as said:
        return subprocess.Popen(asked, stdout=said, stderr=said, env=environment(), cwd="/", start_new_session=True)


def wait_for(text: str, out: Path, process: subprocess.Popen) -> None:
    while text not in out.read_text():
        assert process.poll() is None, out.read_text()
        time.sleep(0.02)


def test_each_span_is_entered_once_whoever_is_at_work(tmp_path):
    data, root = tmp_path / "data", tmp_path / "root"
    data.mkdir()
    cron = {"cron": "0 0 1 1 *"}  # so that only the firing that was missed comes
    config = write_config(tmp_path, data, schedule=cron, trainer={"population": 300, "steps": 6})
    Images(600).arrive(data, 1)
    Memory(root, PIPELINE).save(State(fired=LONG_AGO))

    first = tmp_path / "killed"
    killed = scheduler(config, root, first)
    wait_for("ImportExampleGen", first, killed)
    busy = lockgate("run", "--config", str(config), root=root)
    assert busy.returncode == 2 and "one run at a time must use a root. Another is running on" in busy.stderr
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()

    outs = [tmp_path / "one", tmp_path / "two"]
    both = [scheduler(config, root, out) for out in outs]
    for process, out in zip(both, outs, strict=True):
        wait_for("Next retraining: ", out, process)
    for process in both:
        process.terminate()
    assert [process.wait(60) for process in both] == [143, 143]
    said = "".join(out.read_text() for out in outs)
    assert said.count("Another retraining of this pipeline is at work: no run was started.") == 1
    assert said.count("Pushed int8") == 1 and "Traceback" not in said and "must" not in said
    assert [(r["data"]["span"], r["state"]) for r in records(root)] == [(1, "pushed")]
    (charge,) = Ledger(root / "ledger.sqlite").book().charges.values()
    assert (charge.spans, charge.executed) == (("nightly/span-1",), 6) and running(root) == 0
    assert not list(root.rglob("*.writing")) and (root / "status.html").exists()
