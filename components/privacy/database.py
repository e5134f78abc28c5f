"""The ledger's database: sqlite, PostgreSQL, MySQL or MariaDB; one transaction at a time writes."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from components.common.errors import ConfigError, ServiceError
from components.common.sqlite import locking_engine
from components.privacy.entries import Entry

PASSWORD = "LOCKGATE_LEDGER_PASSWORD"
SCHEMA = "0002"  # the newest of migrations/versions
DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql"}
_WAIT_SECONDS = 60
_POSTGRESQL = (
    f"lock_timeout={_WAIT_SECONDS}s",
    f"idle_in_transaction_session_timeout={_WAIT_SECONDS}s",
    "enable_sort=off",  # so that the newest few come by the index: it takes them for a third of all, and would scan
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
_LOCK_THEN_READ = f"SELECT id FROM ledger_lock FOR UPDATE; {_READ}"
_READ_LOCKED = (
    "SELECT CONCAT_WS('\n', number, HEX(curve), kind, made, hash, body) "
    "FROM ledger_lock LEFT JOIN entries ON number >= {first:d} FOR UPDATE"
)
_APPEND = f"INSERT INTO entries ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"
_VERSION = sa.text("SELECT version_num FROM alembic_version")


class Database:
    """Where the entries are.

    Args:
        place: path of a sqlite file, made with mode 0600, or a URL `postgresql://user@host/name`, `mysql://…`,
            `mariadb://…` without a password, which comes from the environment's LOCKGATE_LEDGER_PASSWORD.

    Raises:
        ConfigError: the URL is none, or holds a password.
        ServiceError: by every method, if the database cannot be used.
    """

    def __init__(self, place: str | Path):
        self.place, self._ready = str(place), False
        self._is_file = "://" not in self.place
        self._engine = locking_engine(self.place, _WAIT_SECONDS) if self._is_file else _server(self.place)

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """A transaction that holds the ledger alone from its `read` on, with which it begins: what it reads stays true
        until it commits. The lock goes with the connection, however its process ends."""
        try:
            self._prepare()
            with self._engine.begin() as connection:
                yield connection
        except (OSError, sa.exc.SQLAlchemyError, self._engine.dialect.loaded_dbapi.Error) as error:
            reason = " ".join(str(getattr(error, "orig", None) or error).split())
            raise ServiceError(f"the ledger {self.place} must be readable and writable. Received: {reason}") from None

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
            if not _is_current(connection):
                from components.privacy.migrations import upgrade

                with _alone(connection):
                    if not _is_current(connection):
                        upgrade(connection)
                    connection.commit()
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


def _server(place: str) -> sa.Engine:
    try:
        url = sa.make_url(place)
    except sa.exc.ArgumentError:
        url = None
    if url is None or url.drivername not in DRIVERS:
        known = ", ".join(f"{name}://" for name in DRIVERS)
        raise ConfigError(f"a ledger must be a file or one of {known}. Received: {place.split('://')[0]}://…")
    if url.password is not None:
        raise ConfigError(f"a ledger's URL must hold no password, the lineage keeps it. Give it in {PASSWORD}")
    waits = (
        {"options": " ".join(f"-c {setting}" for setting in _POSTGRESQL)}
        if url.drivername == "postgresql"
        else {"init_command": f"SET SESSION innodb_lock_wait_timeout={_WAIT_SECONDS}"}
    )
    return sa.create_engine(
        url.set(drivername=DRIVERS[url.drivername], password=os.environ.get(PASSWORD)),
        isolation_level="READ COMMITTED",
        pool_size=1,
        pool_pre_ping=True,
        connect_args={**waits, "connect_timeout": 10},
    )


def _is_current(connection: sa.Connection) -> bool:
    if not sa.inspect(connection).has_table("alembic_version"):
        return False
    return connection.execute(_VERSION).scalars().all() == [SCHEMA]


@contextmanager
def _alone(connection: sa.Connection) -> Iterator[None]:
    """Keeps other processes from changing the schema meanwhile; sqlite's transaction does so by itself."""
    name = connection.dialect.name
    if name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('lockgate ledger'))"))
    if name not in ("mysql", "mariadb"):
        yield
        return
    connection.execute(sa.text("SELECT GET_LOCK('lockgate ledger', 60)"))
    try:
        yield
    finally:
        connection.execute(sa.text("SELECT RELEASE_LOCK('lockgate ledger')"))
