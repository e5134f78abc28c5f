"""A lock: others wait for it, and it goes with its process."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from components.common.locks import alone, hold
from components.common.progress import watching

HOLDER = """
import sys, time
from pathlib import Path
from components.common.locks import hold
lock = hold(Path(sys.argv[1]), "the well")
print("held", flush=True)
time.sleep(300)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "deep" / "lock")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_who_waits_says_so_and_goes_on_when_the_holder_is_killed(tmp_path, holder):
    told, entered = [], threading.Event()

    def work():
        with watching(told.append), alone(tmp_path / "deep" / "lock", "the well"):
            entered.set()

    waiting = threading.Thread(target=work)
    waiting.start()
    deadline = time.monotonic() + 60
    while not told and time.monotonic() < deadline:
        time.sleep(0.01)
    assert told == ["another run holds the well: waiting for it"] and not entered.is_set()
    holder.kill()
    waiting.join(60)
    assert entered.is_set()


def test_one_process_may_take_it_again(tmp_path):
    first = hold(tmp_path / "lock", "the well")
    with alone(tmp_path / "lock", "the well"):
        assert first.is_locked
