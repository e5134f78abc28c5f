"""Moves an MLMD, whole, into the empty database of another server: its tables are the same everywhere, so rows are
copied as they are. Ids stay, because records, the ledger and the places of artifacts name them."""

import base64
import dataclasses
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from components.common.databases import engine_of, reason
from components.common.errors import ConfigError, ServiceError
from components.common.mlmd import connection as mlmd_connection
from components.common.mlmd import credentials, opened
from components.common.mlmd_postgresql import escaped, one_of_a_name, unescaped
from components.common.server_urls import MARIADB, METADATA, MYSQL, POSTGRESQL, server_url

FROM_USER, FROM_PASSWORD = "LOCKGATE_METADATA_FROM_USER", "LOCKGATE_METADATA_FROM_PASSWORD"
TABLES = (
    "Type",
    "TypeProperty",
    "ParentType",
    "Artifact",
    "ArtifactProperty",
    "Execution",
    "ExecutionProperty",
    "Context",
    "ContextProperty",
    "ParentContext",
    "Event",
    "EventPath",
    "Association",
    "Attribution",
)
_VERSION = "MLMDEnv"
_OWN_TYPES = "mlmd.%"  # those that MLMD registers by itself in an empty database
_MYSQLS = (MYSQL, MARIADB)
_TAKEN_TOGETHER, _PATIENCE_MILLISECONDS = 1000, 10_000
_FROM = dataclasses.replace(
    METADATA, subject="what is moved", schemes=(POSTGRESQL, MYSQL), user=FROM_USER, password=FROM_PASSWORD
)
_TO = dataclasses.replace(METADATA, subject="what it is moved to", schemes=(POSTGRESQL, MYSQL), file=False)


@dataclass(frozen=True, kw_only=True)
class _Side:
    """A database of MLMD. tables: as they are there, by their names in lower case."""

    place: str
    connection: sa.Connection
    tables: dict[str, sa.Table]

    @property
    def kind(self) -> str:
        return self.connection.dialect.name

    def table(self, name: str) -> sa.Table:
        return self.tables[name.lower()]

    def count(self, name: str, where: str = "TRUE") -> int:
        statement = sa.select(sa.func.count()).select_from(self.table(name)).where(sa.text(where))
        return self.connection.execute(statement).scalar()

    def version(self) -> int | None:
        return self.connection.execute(sa.select(self.table(_VERSION).c.schema_version)).scalar()


def move(source: str, target: str) -> dict[str, int]:
    """Copies all that an MLMD knows.

    Args:
        source: a sqlite file, or the address of a database of PostgreSQL, MySQL or MariaDB, whose user and password are
            in LOCKGATE_METADATA_FROM_USER and LOCKGATE_METADATA_FROM_PASSWORD. It is read as it is at one moment.
        target: address of a database of PostgreSQL or MySQL, with the user and password of `mlmd.connection`.

    Returns:
        Rows by table.

    Raises:
        ConfigError: one of them is none; `target` is not empty; or their schemas are of two versions of MLMD.
        ServiceError: one of them cannot be used. `target` is then as empty as it was.
    """
    if "://" in source and server_url(source, _FROM) == server_url(target, _TO):
        raise ConfigError(f"what it is moved to must be another database. Received: {target} for both")
    server_url(target, _TO)
    with _reading(source) as here, _writing(target) as there:
        versions = {here.version(), there.version()}
        if len(versions) > 1:
            raise ConfigError(
                "both must have the schema of the same version of MLMD: upgrade the older one with its own client. "
                f"Received: {here.version()} in {source}, {there.version()} in {target}"
            )
        _require_empty(there, target)
        for name in TABLES:
            _copy(here, there, name)
        if there.kind == POSTGRESQL:
            _go_on_counting(there)
        counts = {name: here.count(name) for name in TABLES}
        differing = [name for name in TABLES if there.count(name) != counts[name]]
        if differing:
            raise ServiceError(f"every row must arrive. Received: fewer or more of {', '.join(differing)}")
    return counts


@contextmanager
def _reading(place: str) -> Iterator[_Side]:
    if "://" not in place:
        if not Path(place).is_file():
            must = f"be a file that is there, or begin with {POSTGRESQL}:// or {MYSQL}://"
            raise ConfigError(f"what is moved must {must}. Received: {place}")
        uri = f"{Path(place).absolute().as_uri()}?mode=ro"
        engine = sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(uri, uri=True), poolclass=sa.NullPool)
        sa.event.listen(engine, "begin", lambda opened: opened.exec_driver_sql("BEGIN"))  # so it reads one moment
    else:
        url, user = server_url(place, _FROM), os.environ.get(FROM_USER)
        if not user:
            raise ConfigError(f"the user of what is moved must be in the environment's {FROM_USER}. Received: nothing")
        engine = engine_of(url, user, os.environ.get(FROM_PASSWORD), isolation="REPEATABLE READ")
    with _side(engine, place) as side:
        if side.kind == POSTGRESQL:  # the target holds what is locked until this has read it: one database is both
            side.connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_PATIENCE_MILLISECONDS}")
        yield side


@contextmanager
def _writing(place: str) -> Iterator[_Side]:
    url = server_url(place, _TO)
    mlmd_connection(place)
    with opened(place):  # which makes its tables
        pass
    with _side(engine_of(url, *credentials()), place) as side:
        yield side


@contextmanager
def _side(engine: sa.Engine, place: str) -> Iterator[_Side]:
    """A database in one transaction."""
    try:
        with engine.begin() as connection:
            inspected = sa.inspect(connection)
            tables = {name.lower(): _described(name, inspected) for name in inspected.get_table_names()}
            missing = [name for name in (*TABLES, _VERSION) if name.lower() not in tables]
            if missing:
                raise ConfigError(f"{place} must be an MLMD. Received: one without the table {missing[0]}")
            yield _Side(place=place, connection=connection, tables=tables)
    except (sa.exc.SQLAlchemyError, UnicodeDecodeError) as error:
        raise _unusable(place, error) from None
    finally:
        engine.dispose()


def _described(name: str, inspected: sa.Inspector) -> sa.Table:
    columns = [sa.Column(column["name"], column["type"]) for column in inspected.get_columns(name)]
    return sa.Table(name, sa.MetaData(), *columns)


def _require_empty(there: _Side, place: str) -> None:
    if there.kind == POSTGRESQL:
        names = ", ".join(there.table(name).name for name in TABLES)
        there.connection.exec_driver_sql(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")
        there.connection.exec_driver_sql("DROP INDEX IF EXISTS lockgate_type")  # what is moved may have a type twice
    full = [name for name in ("Artifact", "Execution", "Context") if there.count(name)]
    full += ["Type"] if there.count("Type", f"name NOT LIKE '{_OWN_TYPES}'") else []
    if full:
        raise ConfigError(f"what it is moved to must be empty. Received: {place}, which has rows in {full[0]}")
    for name in ("Type", "TypeProperty", "ParentType"):
        there.connection.execute(there.table(name).delete())


def _copy(here: _Side, there: _Side, name: str) -> None:
    source, target = here.table(name), there.table(name)
    missing = [column.name for column in source.columns if column.name not in target.columns]
    if missing:
        raise ConfigError(f"both must have the same columns. Received: {name}.{missing[0]} in one of them")
    columns = [target.columns[column.name] for column in source.columns]
    convert = [_conversion(column, here.kind, there.kind) for column in columns]
    select = sa.select(*(_read(column, here.kind) for column in source.columns)).select_from(source)
    insert = sa.insert(target).values({column: _written(column, there.kind) for column in columns})
    for part in _parts(here, select):
        values = [
            {f"new_{column.name}": change(value) for column, change, value in zip(columns, convert, row, strict=True)}
            for row in part
        ]
        there.connection.execute(insert, values)


def _parts(here: _Side, select: sa.Select) -> Iterator[Sequence[sa.Row]]:
    """Some rows at a time; that they cannot be read is not laid to where they are to go."""
    try:
        streamed = here.connection.execution_options(stream_results=True, yield_per=_TAKEN_TOGETHER)
        yield from streamed.execute(select).partitions()
    except sa.exc.SQLAlchemyError as error:
        raise _unusable(here.place, error) from None


def _unusable(place: str, error: Exception) -> ServiceError:
    return ServiceError(f"MLMD at {place} must be readable and writable. Received: {reason(error)}")


def _read(column: sa.Column, kind: str) -> sa.ColumnElement:
    """A column to select. MLMD's client for MySQL says that its UTF-8 is latin1, and the server keeps it so."""
    if kind in _MYSQLS and _is_text(column):
        kept = f"CONVERT(CONVERT(`{column.name}` USING latin1) USING binary)"
        return sa.type_coerce(sa.literal_column(kept), sa.LargeBinary)
    return column


def _written(column: sa.Column, kind: str) -> sa.ColumnElement:
    """What a column is filled with, see `_read`."""
    if kind in _MYSQLS and _is_text(column):
        kept = sa.bindparam(f"new_{column.name}", type_=sa.LargeBinary)
        return sa.func.convert(kept.op("USING")(sa.literal_column("latin1")))
    return sa.bindparam(f"new_{column.name}", type_=column.type)


def _is_text(column: sa.Column) -> bool:
    return column.type.python_type is str


def _conversion(column: sa.Column, here: str, there: str) -> Callable[[Any], Any]:
    """From a value as it is kept on one kind of database to the same on another. column: where it goes."""
    steps: list[Callable[[Any], Any]] = []
    if _is_text(column):
        steps += [bytes.decode] if here in _MYSQLS else []
        steps += [unescaped] if here == POSTGRESQL else []
        steps += [escaped] if there == POSTGRESQL else []
        steps += [str.encode] if there in _MYSQLS else []
    elif column.type.python_type is bytes:
        steps += [base64.b64decode] if here != POSTGRESQL and there == POSTGRESQL else []
        steps += [base64.b64encode] if here == POSTGRESQL and there != POSTGRESQL else []
        steps += [] if here == there == POSTGRESQL or there == POSTGRESQL else [_as_bytes]
    elif isinstance(column.type, sa.Boolean):
        steps += [bool]

    def converted(value: Any) -> Any:
        for step in steps if value is not None else ():
            value = step(value)
        return value

    return converted


def _as_bytes(value: str | bytes) -> bytes:
    """sqlite gives a text that stands in a column of bytes as a text."""
    return value.encode() if isinstance(value, str) else value


def _go_on_counting(there: _Side) -> None:
    """New ids come after those that were copied."""
    for name in TABLES:
        table = there.table(name)
        if "id" in table.columns:
            newest = sa.select(sa.func.max(table.c.id)).scalar_subquery()
            sequence = sa.func.pg_get_serial_sequence(table.name, "id")
            there.connection.execute(
                sa.select(sa.func.setval(sequence, sa.func.coalesce(newest, 1), newest.is_not(None)))
            )
    one_of_a_name(there.connection)
