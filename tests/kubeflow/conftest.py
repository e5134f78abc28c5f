"""A PostgreSQL as the manifests start one: its owner has a password, and everybody logs in by SCRAM."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.database_servers import Server
from tests.conftest import skip_without

MANIFESTS = Path(__file__).parents[2] / "kubeflow" / "manifests"
OWNER = "the owner's: p@ss' word"


class Postgres:
    """A server, and the scripts of the manifests run against it."""

    def __init__(self, server: Server, port: int, folder: Path):
        self.server, self.port, self.folder = server, port, folder

    def environment(self, user: str, password: str) -> dict[str, str]:
        """What a pod is told of the server."""
        return {
            **os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": user, "PGPASSWORD": password,
        }  # fmt: skip

    def make_databases(self, password: str, owner: str = OWNER) -> subprocess.CompletedProcess:
        """Runs databases.sh, as the job does."""
        told = {"LOCKGATE_USER": "lockgate", "LOCKGATE_PASSWORD": password}
        return subprocess.run(
            ["bash", str(MANIFESTS / "postgres" / "databases.sh")],
            env={**self.environment("postgres", owner), **told}, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    def ask(self, statement: str, database: str = "postgres", user: str = "postgres", password: str = OWNER) -> str:
        """What psql prints, or raises CalledProcessError with what it says on stderr."""
        return subprocess.run(
            ["psql", "-X", "-At", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", statement],
            env=self.environment(user, password), capture_output=True, text=True, timeout=60, check=True,
        ).stdout.strip()  # fmt: skip


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    tools = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not tools:
        skip_without("postgresql")
    user = "postgres" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="lockgate-postgres-") as folder, contextlib.ExitStack() as stop:
        data = Path(folder)
        (data / "password").write_text(OWNER)
        if user:
            shutil.chown(data, user)
            shutil.chown(data / "password", user)
        make = [str(tools[-1].with_name("initdb")), "-D", f"{data}/d", "-U", "postgres", f"--pwfile={data}/password"]
        made_as_the_image_does = [
            "--auth-local=peer",
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--data-checksums",
            "--no-sync",
        ]
        subprocess.run([*make, *made_as_the_image_does], user=user, group=user, check=True, capture_output=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = Server(
            command=[
                str(tools[-1]),
                "-D",
                f"{data}/d",
                "-p",
                str(port),
                "-k",
                str(data),
                "-c",
                "listen_addresses=127.0.0.1",
            ],
            user=user,
            url=f"postgresql://postgres:{OWNER.replace('@', '%40')}@127.0.0.1:{port}/postgres",
            log=data / "log",
        )
        stop.callback(server.stop)
        server.start()
        yield Postgres(server, port, data)
