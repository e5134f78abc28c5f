"""What a recipe by accuracy costs: what is counted."""

import subprocess
import sys
import time

from benchmarks.search_cost import cpu_seconds


def busy() -> None:
    until = time.process_time() + 0.3
    while time.process_time() < until:
        pass


def test_work_counts_and_waiting_does_not():
    assert cpu_seconds(busy)[1] >= 0.25
    assert cpu_seconds(lambda: time.sleep(0.3))[1] < 0.1


def test_what_a_child_works_counts():
    code = "import time\nwhile time.process_time() < 0.3: pass"
    assert cpu_seconds(lambda: subprocess.run([sys.executable, "-c", code], check=True))[1] >= 0.25
