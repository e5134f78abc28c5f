"""The ledger's database: sqlite, PostgreSQL, MySQL or MariaDB; one transaction at a time writes."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from components.common.databases import WAIT_SECONDS, engine_of, reason
from components.common.errors import ServiceError
from components.common.server_urls import LEDGER, POSTGRESQL, server_url
from components.common.server_urls import LEDGER_PASSWORD as PASSWORD
from components.common.sqlite import locking_engine
from components.privacy.entries import Entry
from components.privacy.migrations import SCHEMA

_POSTGRESQL = (
    f"SET LOCAL lock_timeout = '{WAIT_SECONDS}s'; "
    f"SET LOCAL idle_in_transaction_session_timeout = '{WAIT_SECONDS}s'; "
    "SET LOCAL enable_sort = off; "  # so that the newest few come by the index: it takes them for a third of all
)

metadata = sa.MetaData()
_binary = sa.LargeBinary(2**16 - 1)
entries = sa.Table(
    "entries",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("made", sa.String(40), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("curve", _binary, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)
lock = sa.Table("ledger_lock", metadata, sa.Column("id", sa.Integer, primary_key=True, autoincrement=False))
# What a reservation executes under the lock goes past SQLAlchemy, which would take longer than the database.
_COLUMNS = ", ".join(Entry._fields)
_READ = f"SELECT {_COLUMNS} FROM entries WHERE number >= {{first:d}} ORDER BY number"
_LOCK_THEN_READ = f"{_POSTGRESQL}SELECT id FROM ledger_lock FOR UPDATE; {_READ}"
_READ_LOCKED = (
    "SELECT CONCAT_WS('\n', number, HEX(curve), kind, made, hash, body) "
    "FROM ledger_lock LEFT JOIN entries ON number >= {first:d} FOR UPDATE"
)
_APPEND = f"INSERT INTO entries ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"


class Database:
    """Where the entries are.

    Args:
        place: path of a sqlite file, made with mode 0600, or an address `postgresql://user@host/name`, `mysql://…`,
            `mariadb://…`, see `server_url`, without a password, which comes from the environment's
            LOCKGATE_LEDGER_PASSWORD.

    Raises:
        ConfigError: the address is none, or holds a password.
        ServiceError: by every method, if the database cannot be used.
    """

    def __init__(self, place: str | Path):
        self.place, self._ready = str(place), False
        self._is_file = "://" not in self.place
        self._engine = locking_engine(self.place, WAIT_SECONDS) if self._is_file else server_engine(self.place)

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """A transaction that holds the ledger alone from its `read` on, with which it begins: what it reads stays true
        until it commits. The lock goes with the connection, however its process ends."""
        try:
            self._prepare()
            with self._engine.begin() as connection:
                yield connection
        except (OSError, sa.exc.SQLAlchemyError, self._engine.dialect.loaded_dbapi.Error) as error:
            must = f"the ledger {self.place} must be readable and writable"
            raise ServiceError(f"{must}. Received: {reason(error)}") from None

    def close(self) -> None:
        """Gives its connections back."""
        self._engine.dispose()

    def _prepare(self) -> None:
        """Brings the schema up to date, once; of several processes one does it."""
        if self._ready:
            return
        if self._is_file:
            Path(self.place).touch(mode=0o600)
        with self._engine.connect() as connection:
            SCHEMA.prepare(connection)
        self._ready = True


def read(connection: sa.Connection, first: int = 0) -> list[Entry]:
    """The entries from a number on, in order.

    Servers take the lock here too, in the same round trip. PostgreSQL would show a locking read the entries as they
    were before it waited, so it gets two statements. MySQL and MariaDB get one: it sees what is committed when it gets
    to a row, and the outer join gets to the lock's row first. It gives an entry as one column, because their driver,
    in Python, pays for every value; they are put in order here, because MariaDB would do it in a table on disk.
    """
    name = connection.dialect.name
    if name in ("mysql", "mariadb"):
        lines = _executed(connection, _READ_LOCKED.format(first=first)).fetchall()
        return sorted(_parted(line) for (line,) in lines if line)
    cursor = _executed(connection, (_LOCK_THEN_READ if name == "postgresql" else _READ).format(first=first))
    if name == "postgresql":
        for _ in range(_LOCK_THEN_READ.count(";")):
            cursor.nextset()
    return [Entry._make(row) for row in cursor.fetchall()]


def append(connection: sa.Connection, new: Iterable[Entry]) -> None:
    """Writes entries."""
    statement = _APPEND if connection.dialect.name == "sqlite" else _APPEND.replace("?", "%s")
    for entry in new:
        _executed(connection, statement, entry)


def _executed(connection: sa.Connection, statement: str, *values: Entry) -> Any:
    """The driver's cursor after a statement; after an error its connection is thrown away."""
    cursor = connection.connection.cursor()
    try:
        cursor.execute(statement, *values)
    except connection.dialect.loaded_dbapi.Error:
        connection.invalidate()
        raise
    return cursor


def _parted(line: str) -> Entry:
    """An entry that came as one column. A line break in what was tampered with moves the rest, and no hash fits it."""
    number, curve, kind, made, hash_, body = line.split("\n", 5)
    return Entry(int(number), kind, made, body, bytes.fromhex(curve), hash_)


def server_engine(place: str) -> sa.Engine:
    """An engine for what is kept on the ledger's server.

    Raises:
        ConfigError: `place` is no address of one.
    """
    url = server_url(place, LEDGER)
    engine = engine_of(url, url.user, os.environ.get(PASSWORD))
    if url.scheme != POSTGRESQL:
        sa.event.listen(engine, "connect", _wait_for_locks)
    return engine


def _wait_for_locks(connection, _record) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET SESSION innodb_lock_wait_timeout = {WAIT_SECONDS}")
