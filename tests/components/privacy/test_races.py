"""Fifty processes race for a budget of twenty, and processes are killed at any moment: nothing is ever undercounted."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from components.privacy.ledger import Ledger
from tests.components.privacy.conftest import RUN, budget_for, policy

PROJECT = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PROJECT)}


def raced(place: str, rounds: int) -> None:
    arguments = [place, "50", str(rounds), str(budget_for(20))]
    done = subprocess.run(
        [sys.executable, "-m", "tests.components.privacy.racing", *arguments],
        capture_output=True, text=True, env=ENVIRONMENT, cwd=PROJECT, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [20] * rounds
    ledger = Ledger(place)
    assert [len(ledger.charges(f"race/{i}")) for i in range(rounds)] == [20] * rounds
    assert ledger.verify() == []


def test_fifty_race_for_a_budget_of_twenty_and_twenty_win(place):
    raced(place, 3)


@pytest.mark.races
@pytest.mark.timeout(1800)
def test_so_they_do_in_two_hundred_rounds(place):
    raced(place, 200)


KILLED = """
import sys, time
from components.privacy.ledger import Ledger
from tests.components.privacy.conftest import RUN, policy
place, first = sys.argv[1], int(sys.argv[2])
RUN.curve()
ledger = Ledger(place)

def tell(line):  # in one piece, or a kill cuts it where Python writes without a buffer
    print(line + "\\n", end="", flush=True)

tell("ready")
for run in range(first, first + 1000):
    charge = ledger.reserve([f"kill/{run}"], "r", RUN, policy(10.0))
    tell(f"reserved {run}")
    for step in (1, 2, 3):
        tell(f"executed {run} {step}")  # as the journal does: counted before it is executed
    ledger.settle(charge.id, 3)
    tell(f"settled {run}")
"""


def killed(place: str, moments: int) -> None:
    """Kills a process that reserves and settles in a loop at random moments, and looks at what is left each time."""
    chance = random.Random(11)
    seen = 0
    for moment in range(moments):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, place, str(1000 * moment)],
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        assert process.stdout.readline() == "ready\n"
        lines = [process.stdout.readline() for _ in range(chance.randrange(8))]
        time.sleep(chance.uniform(0, 0.02))
        os.kill(process.pid, signal.SIGKILL)
        lines = "".join([*lines, process.communicate()[0]]).splitlines()
        ledger, begun = Ledger(place), time.monotonic()
        book = ledger.book()
        ledger.reserve([f"after/{moment}"], "r", RUN, policy(10.0))
        assert time.monotonic() - begun < 45, "a lock was left"  # one is waited for 60 seconds
        reserved = {line.split()[1] for line in lines if line.startswith("reserved")}
        seen += len(reserved)
        for run in reserved:
            (charge,) = book.charges_on(f"kill/{run}")
            executed = max([int(line.split()[2]) for line in lines if line.startswith(f"executed {run} ")], default=0)
            assert charge.mechanism.steps >= executed
            assert charge.settled or charge.mechanism.steps == RUN.steps
        for line in lines:
            if line.startswith("settled"):
                assert book.charges_on(f"kill/{line.split()[1]}")[0].settled
        ledger.close()
    assert seen and Ledger(place).verify() == []


def test_a_kill_at_any_moment_undercounts_nothing_and_leaves_no_lock(place):
    killed(place, 4)


@pytest.mark.races
@pytest.mark.timeout(1800)
def test_so_do_a_hundred_kills(place):
    killed(place, 100)
