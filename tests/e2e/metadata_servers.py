"""The server that a test's cluster keeps MLMD, the ledger and the count of decisions on: a PostgreSQL, or, where
LOCKGATE_TEST_SERVER=mysql, a MariaDB."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.database_servers import Server, mariadb, postgresql
from pipeline.runners.kubeflow.config import KubeflowConfig
from tests.conftest import skip_without

KIND = os.environ.get("LOCKGATE_TEST_SERVER", "postgresql")
SECRET_NAME = KubeflowConfig().metadata_secret
SECRET = {"username": "pipeline", "password": "k9-Sesame-open"}


@dataclass(kw_only=True)
class Stores:
    """A server with a user of its own, who owns its databases."""

    server: Server

    def fresh(self, database: str) -> str:
        """Makes an empty database; gives where it is, as MLMD's place."""
        self.server.fresh(database)
        if KIND == "postgresql":
            self.server.execute(f"ALTER DATABASE {database} OWNER TO {SECRET['username']}")
        return self.place(database)

    def place(self, database: str) -> str:
        """Where MLMD is in a database."""
        return f"{KIND}://{self._address}/{database}"

    def ledger(self, database: str) -> str:
        """Where the ledger is in a database."""
        return f"{KIND}://{SECRET['username']}@{self._address}/{database}"

    @property
    def _address(self) -> str:
        return self.server.url.split("@")[1].split("/")[0]


@contextmanager
def stores() -> Iterator[Stores]:
    """Starts the server, or skips the test."""
    start = {"postgresql": postgresql, "mysql": mariadb}[KIND]
    try:
        with start() as server:
            if KIND == "postgresql":
                server.execute(f"CREATE USER {SECRET['username']} PASSWORD '{SECRET['password']}'")
            else:
                server.execute(f"CREATE USER {SECRET['username']} IDENTIFIED BY '{SECRET['password']}'")
                server.execute(f"GRANT ALL ON *.* TO {SECRET['username']}")
            yield Stores(server=server)
    except FileNotFoundError as missing:
        skip_without(f"Debian's package {missing}")
