"""MLMD on PostgreSQL: its database made ready, and what its client does wrong there set right.

Read in ml-metadata's metadata_store/postgresql_metadata_source.cc and seen with 1.16 and 1.21: the client
- strips the quotes from what PQescapeLiteral gives, so that a text with a backslash, which comes as E'…', ends its
  literal at once and the rest of it runs as SQL; and it cuts a text at a NUL;
- joins a connection string of values without quotes;
- gives no reason where it cannot connect;
- has an index on the whole text of every property, which refuses one above some 2,700 bytes after compression, and
  keeps integers in 32 bits;
- makes its tables, and registers types, without a lock: two processes at once fail, or leave a type twice.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, MutableMapping
from typing import Any

import sqlalchemy as sa
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from ml_metadata import errors, metadata_store
from ml_metadata.proto import metadata_store_pb2 as pb

from components.common.databases import alone, engine_of, reason
from components.common.errors import ServiceError
from components.common.server_urls import MODE, ServerUrl

_PORT = 5432
_KEPT_AS_BASE64 = "google.protobuf.Struct"
_OWNERS = ("artifact", "execution", "context")  # of properties
_ESCAPE = "\uf05c"  # private use; what Cygwin writes for a backslash where none may stand
_CODES = {_ESCAPE: "e", "\\": "b", "\0": "0"}
_WRITTEN = {code: character for character, code in _CODES.items()}
_TO_ESCAPE, _ESCAPED = re.compile(r"[\\\0\uf05c]"), re.compile("\uf05c([eb0])")
_READY = sa.text(
    "SELECT to_regclass('mlmdenv') IS NOT NULL AND NOT EXISTS ("
    "SELECT FROM information_schema.columns WHERE column_name = 'int_value' AND data_type = 'integer' "
    "AND table_schema = current_schema() AND table_name LIKE '%property')"
)
_TWICE = sa.text("SELECT EXISTS (SELECT FROM type GROUP BY name, type_kind, coalesce(version, '') HAVING count(*) > 1)")
_ONE_OF_A_NAME = "CREATE UNIQUE INDEX lockgate_type ON type (name, type_kind, coalesce(version, ''))"


def escaped(text: str) -> str:
    """A text as MLMD keeps it on PostgreSQL: without backslashes and NULs."""
    return _TO_ESCAPE.sub(lambda match: _ESCAPE + _CODES[match[0]], text)


def unescaped(text: str) -> str:
    """The inverse of `escaped`."""
    return _ESCAPED.sub(lambda match: _WRITTEN[match[1]], text)


@functools.cache
def prepared(url: ServerUrl, user: str, password: str) -> pb.ConnectionConfig:
    """How to connect to a database, in which all is as MLMD and we need it.

    Raises:
        ServiceError: the server is away, does not let the user in, or the database is not there.
    """
    _guard_texts()
    config = pb.ConnectionConfig()
    place = config.postgresql
    place.host, place.port, place.dbname = _quoted(url.host), str(url.port or _PORT), _quoted(url.database)
    place.user, place.password = _quoted(user), _quoted(password)
    place.ssloption.sslmode, place.skip_db_creation = "disable", True
    engine = engine_of(dataclasses.replace(url, tls={MODE: "disable"}), user, password)
    try:
        with engine.begin() as connection:
            _make_ready(connection, config)
    except (sa.exc.SQLAlchemyError, RuntimeError) as error:
        place = f"postgresql://{url.host}:{url.port or _PORT}/{url.database}"
        raise ServiceError(f"MLMD at {place} must be readable and writable. Received: {reason(error)}") from None
    finally:
        engine.dispose()
    return config


def _make_ready(connection: sa.Connection, config: pb.ConnectionConfig) -> None:
    if connection.execute(_READY).scalar():
        return
    encoding = connection.execute(sa.text("SHOW server_encoding")).scalar()
    if encoding != "UTF8":
        raise ServiceError(f"MLMD's database must be of the encoding UTF8. Received: {encoding}")
    with alone(connection, "lockgate mlmd"):
        metadata_store.MetadataStore(config)  # makes its tables, through a connection of its own
        for owner in _OWNERS:
            connection.exec_driver_sql(f"DROP INDEX IF EXISTS idx_{owner}_property_string")
            connection.exec_driver_sql(f"ALTER TABLE {owner}property ALTER int_value TYPE bigint")
        one_of_a_name(connection)


def one_of_a_name(connection: sa.Connection) -> None:
    """Lets nobody register a type twice, in a database where nobody has yet."""
    connection.exec_driver_sql("DROP INDEX IF EXISTS lockgate_type")
    if not connection.execute(_TWICE).scalar():
        connection.exec_driver_sql(_ONE_OF_A_NAME)


def _quoted(value: str) -> str:
    """A value as it stands in a connection string of libpq."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _guard_texts() -> None:
    """Has every store of this process on PostgreSQL, TFX's own included, keep texts `escaped`."""
    store = metadata_store.MetadataStore
    call = store._pywrap_cc_call
    if hasattr(call, "__wrapped__"):
        return

    @functools.wraps(call)
    def guarded(self, method, request, response):
        if self._config.WhichOneof("config") != "postgresql":
            return call(self, method, request, response)
        safe = type(request)()
        safe.CopyFrom(request)
        _change_texts(safe, escaped)
        try:
            call(self, method, safe, response)
        except errors.InternalError as error:
            if "lockgate_type" not in str(error):
                raise
            call(self, method, safe, response)  # another process has just registered the type
        if _ESCAPE.encode() in response.SerializeToString():
            _change_texts(response, unescaped)

    store._pywrap_cc_call = guarded


def _change_texts(message: Message, change: Callable[[str], str]) -> None:
    """Replaces every text in a message and those in it, keys of maps included."""
    for field, value in message.ListFields():
        if field.message_type and field.message_type.GetOptions().map_entry:
            _change_map(value, change)
        elif isinstance(value, str):
            setattr(message, field.name, change(value))
        elif isinstance(value, Message):
            if value.DESCRIPTOR.full_name != _KEPT_AS_BASE64:
                _change_texts(value, change)
        elif field.type == FieldDescriptor.TYPE_STRING:
            value[:] = [change(text) for text in value]
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for part in value:
                _change_texts(part, change)


def _change_map(entries: MutableMapping[str, Any], change: Callable[[str], str]) -> None:
    """MLMD's maps lead from texts to messages, or to numbers."""
    for key in list(entries):
        if isinstance(entries[key], Message):
            _change_texts(entries[key], change)
        if change(key) != key:
            if isinstance(entries[key], Message):
                entries[change(key)].CopyFrom(entries[key])
            else:
                entries[change(key)] = entries[key]
            del entries[key]
