"""PostgreSQL and MariaDB of Debian's packages, started in a folder of their own for a test or a benchmark."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from components.common.databases import DRIVERS

_START_SECONDS = 60
_WHO = "host all lockgate 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"  # its owner without a password


@dataclass(kw_only=True)
class Server:
    """A database server that can be stopped and started again. url: of its database, as the ledger takes it."""

    command: list[str]
    user: str
    url: str
    log: Path
    process: subprocess.Popen | None = field(default=None)

    def start(self) -> None:
        """Starts it and waits until it answers.

        Raises:
            RuntimeError: it does not.
        """
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, user=self.user, group=self.user)
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            if _answers(self.url):
                return
            time.sleep(0.1)
        raise RuntimeError(f"{self.command[0]} must start: {self.log.read_text(errors='replace')[-2000:]}")

    def fresh(self, name: str) -> str:
        """The URL of another, empty database."""
        self.execute(f"CREATE DATABASE {name}")
        return self.url.rsplit("/", 1)[0] + "/" + name

    def execute(self, statement: str) -> None:
        """Runs a statement as the server's owner."""
        with _engine(self.url).connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(sa.text(statement))

    def dump(self, database: str) -> bytes:
        """All that is in a database, as text."""
        with _engine(self.url.rsplit("/", 1)[0] + "/" + database).connect() as connection:
            tables = sa.inspect(connection).get_table_names()
            rows = [connection.execute(sa.text(f"SELECT * FROM {name}")).all() for name in tables]
        return repr(rows).encode()

    def stop(self) -> None:
        """Stops it at once, as a power cut would."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextlib.contextmanager
def postgresql() -> Iterator[Server]:
    """A PostgreSQL with an empty database.

    Raises:
        FileNotFoundError: it is not installed.
        RuntimeError: it does not start.
    """
    tools = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    initdb, postgres = (str(tools[-1].with_name(name)) for name in ("initdb", "postgres")) if tools else ("", "")
    if not tools:
        raise FileNotFoundError("postgresql")
    user, port = _owner("postgres"), _free_port()
    with _folder(user) as data:
        _made([initdb, "-D", f"{data}/d", "-U", "lockgate", "--auth=trust", "--no-sync"], user)
        Path(data, "d", "pg_hba.conf").write_text(_WHO)
        command = [postgres, "-D", f"{data}/d", "-p", str(port), "-k", str(data), "-c", "listen_addresses=127.0.0.1"]
        server = Server(
            command=[*command, "-c", "max_connections=200"],
            user=user,
            url=f"postgresql://lockgate@127.0.0.1:{port}/postgres",
            log=data / "log",
        )
        with _running(server):
            yield server


@contextlib.contextmanager
def mariadb() -> Iterator[Server]:
    """A MariaDB with an empty database.

    Raises:
        FileNotFoundError: it is not installed.
        RuntimeError: it does not start.
    """
    install, daemon = shutil.which("mariadb-install-db"), shutil.which("mariadbd", path="/usr/sbin:/usr/bin")
    if not install or not daemon:
        raise FileNotFoundError("mariadb-server")
    user, port = _owner("mysql"), _free_port()
    with _folder(user) as data:
        own = ["--no-defaults", f"--datadir={data}/d", f"--tmpdir={data}"]
        _made([install, *own, f"--user={user}", "--skip-test-db"], user)
        start = data / "init.sql"
        start.write_text(
            "CREATE DATABASE IF NOT EXISTS ledger;\nCREATE USER IF NOT EXISTS lockgate@'127.0.0.1';\n"
            "CREATE USER IF NOT EXISTS lockgate@'localhost';\n"
            "GRANT ALL ON *.* TO lockgate@'127.0.0.1' WITH GRANT OPTION;\n"
            "GRANT ALL ON *.* TO lockgate@'localhost' WITH GRANT OPTION;\n"
        )
        start.chmod(0o644)
        arguments = [f"--socket={data}/s", f"--port={port}", "--bind-address=127.0.0.1"]
        server = Server(
            command=[daemon, *own, *arguments, f"--init-file={start}", "--max-connections=200"],
            user=user,
            url=f"mariadb://lockgate@127.0.0.1:{port}/ledger",
            log=data / "log",
        )
        with _running(server):
            yield server


@contextlib.contextmanager
def _running(server: Server) -> Iterator[None]:
    server.start()
    try:
        yield
    finally:
        server.stop()


def _answers(url: str) -> bool:
    try:
        with _engine(url).connect():
            return True
    except sa.exc.SQLAlchemyError:
        return False


def _engine(url: str) -> sa.Engine:
    made = sa.make_url(url)
    return sa.create_engine(made.set(drivername=DRIVERS[made.drivername]), poolclass=sa.NullPool)


def _owner(name: str) -> str | None:
    """Neither server runs as root: the user that its package made, or whoever this is."""
    return name if os.geteuid() == 0 else None


@contextlib.contextmanager
def _folder(user: str | None) -> Iterator[Path]:
    """A folder of the server's own user, which may not look into folders of tests."""
    with tempfile.TemporaryDirectory(prefix="lockgate-server-") as folder:
        if user:
            shutil.chown(folder, user)
        yield Path(folder)


def _made(command: list[str], user: str | None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, user=user, group=user)
    if done.returncode:
        raise RuntimeError(f"{command[0]} must make a database: {done.stdout[-1000:]}{done.stderr[-1000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
