"""Database servers through SQLAlchemy: how to connect, and how one process keeps others out."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from components.common.server_urls import AUTHORITY, CERTIFICATE, KEY, MARIADB, MODE, MYSQL, POSTGRESQL, ServerUrl

DRIVERS = {POSTGRESQL: "postgresql+psycopg", MYSQL: "mysql+pymysql", MARIADB: "mariadb+pymysql"}
WAIT_SECONDS = 60
_CONNECT_SECONDS = 10


def engine_of(url: ServerUrl, user: str, password: str | None, isolation: str = "READ COMMITTED") -> sa.Engine:
    """An engine.

    It says nothing to the server when it connects and keeps no prepared statements, so that it works through a pooler
    that gives it another connection for every transaction.
    """
    address = sa.URL.create(
        DRIVERS[url.scheme],
        username=user or None,
        password=password,
        host=url.host,
        port=url.port,
        database=url.database,
    )
    engine = sa.create_engine(
        address,
        isolation_level=isolation,
        pool_size=1,
        pool_pre_ping=True,
        connect_args={"connect_timeout": _CONNECT_SECONDS, **_arguments(url)},
    )
    if url.scheme != POSTGRESQL and _encrypted(url):
        sa.event.listen(engine, "connect", _refuse_plain)
    return engine


@contextmanager
def alone(connection: sa.Connection, name: str) -> Iterator[None]:
    """Keeps other processes that do so under the same name out, while the context and, on PostgreSQL, the transaction
    lasts; sqlite's transaction does so by itself."""
    kind = connection.dialect.name
    if kind == POSTGRESQL:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{WAIT_SECONDS}s'")
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": name})
    if kind not in (MYSQL, MARIADB):
        yield
        return
    connection.execute(sa.text("SELECT GET_LOCK(:name, :wait)"), {"name": name, "wait": WAIT_SECONDS})
    try:
        yield
    finally:
        connection.execute(sa.text("SELECT RELEASE_LOCK(:name)"), {"name": name})


def reason(error: Exception) -> str:
    """What a database's driver said, in one line."""
    return " ".join(str(getattr(error, "orig", None) or error).split())


def _arguments(url: ServerUrl) -> dict[str, Any]:
    if url.scheme == POSTGRESQL:
        return {**url.tls, "prepare_threshold": None}
    if not _encrypted(url):
        return {"ssl_disabled": True} if url.tls else {}
    files = {"ca": url.tls.get(AUTHORITY), "cert": url.tls.get(CERTIFICATE), "key": url.tls.get(KEY)}
    verified = url.tls[MODE] == "verify-full"
    named = {name: file for name, file in files.items() if file}
    return {"ssl": {**named, "verify_mode": verified, "check_hostname": verified}}


def _encrypted(url: ServerUrl) -> bool:
    """Whether a connection to a MySQL or MariaDB must be encrypted."""
    return url.tls.get(MODE, "disable") != "disable"


def _refuse_plain(connection, _record) -> None:
    """PyMySQL goes on in the clear where a server offers no TLS."""
    if not connection._secure:
        raise connection.OperationalError("the server offers no TLS, which sslmode asks for")
