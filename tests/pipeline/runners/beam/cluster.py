"""A cluster for Beam on this machine: its portable job service, and a pool that starts workers, each a process."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc

PROJECT = Path(__file__).parents[4]
WORKERS = Path(__file__).parent / "workers"
_PATIENCE = 120  # seconds


@dataclass(frozen=True, kw_only=True)
class BeamCluster:
    """folder: its logs and notes. flags: of a node that runs here."""

    folder: Path
    flags: list[str]

    @property
    def setting(self) -> str:
        """The flags as a TOML list."""
        return json.dumps(self.flags)

    def jobs(self) -> list[dict[int, int]]:
        """What each job so far was: elements by process of a worker."""
        found: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        notes = self.folder / "notes"
        for line in notes.read_text().splitlines() if notes.exists() else ():
            note = json.loads(line)
            found[note["job"]][note["pid"]] += note["elements"]
        return [dict(job) for job in found.values()]

    def log(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))


@contextlib.contextmanager
def beam_cluster(folder: Path) -> Iterator[BeamCluster]:
    """Runs a cluster; at the end its workers must have ended by themselves, with their jobs."""
    folder.mkdir(parents=True, exist_ok=True)
    workers, port_file = _free_port(), folder / "port"
    pool = _started(folder, "pool", "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={workers}")
    service = _started(folder, "service", str(WORKERS / "job_service.py"), f"--port_file={port_file}")
    try:
        _until(port_file.exists, service)
        jobs = port_file.read_text()
        for port in (workers, jobs):
            with grpc.insecure_channel(f"localhost:{port}") as channel:
                grpc.channel_ready_future(channel).result(_PATIENCE)
        flags = ["--runner=PortableRunner", f"--job_endpoint=localhost:{jobs}", "--environment_type=EXTERNAL"]
        flags.append(f"--environment_config=localhost:{workers}")
        yield BeamCluster(folder=folder, flags=flags)
        _until(lambda: running(pool.pid) == [pool.pid], pool)
    finally:
        for process in (pool, service):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(_PATIENCE)


def running(group: int) -> list[int]:
    """Processes of a group that have not ended."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, owner = entry.read_text().rpartition(")")[2].split()[:3]
            if int(owner) == group and state != "Z":
                found.append(int(entry.parent.name))
    return found


def _started(folder: Path, name: str, *arguments: str) -> subprocess.Popen:
    """A server in a process group of its own; what it starts finds `python`, as in an image."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{WORKERS}:{PROJECT}",
        "TF_USE_LEGACY_KERAS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "NOTES": str(folder / "notes"),
    }
    with open(folder / f"{name}.log", "w") as log:
        return subprocess.Popen(
            [sys.executable, *arguments], stdout=log, stderr=log, env=environment, cwd=folder, start_new_session=True
        )


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def _until(done, process: subprocess.Popen) -> None:
    end = time.monotonic() + _PATIENCE
    while not done():
        assert process.poll() is None and time.monotonic() < end, f"{process.args} is not ready"
        time.sleep(0.05)
