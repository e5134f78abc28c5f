"""Where MLMD is: a sqlite file, a PostgreSQL or MySQL database, or MLMD's own server."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ml_metadata import errors, metadata_store
from ml_metadata.proto import metadata_store_pb2 as pb

from components.common import mlmd_postgresql
from components.common.errors import ConfigError, ServiceError
from components.common.server_urls import (
    CERTIFICATE,
    GRPC,
    KEY,
    METADATA,
    MODE,
    POSTGRESQL,
    ServerUrl,
    server_url,
)
from components.common.server_urls import METADATA_PASSWORD as PASSWORD
from components.common.server_urls import METADATA_USER as USER

_MYSQL_PORT, _GRPC_PORT = 3306, 8080


def connection(place: str) -> pb.ConnectionConfig | pb.MetadataStoreClientConfig:
    """How to connect to it. A PostgreSQL database is made ready for MLMD first, once a process.

    Args:
        place: path of a sqlite file, which is made if it is missing; `postgresql://host[:port]/database` or
            `mysql://host[:port]/database`, whose user and password come from the environment's LOCKGATE_METADATA_USER
            and LOCKGATE_METADATA_PASSWORD, because a place is kept in the lineage; or `grpc://host[:port]`.

    Raises:
        ConfigError: it is none of these, or the user is not in the environment.
        ServiceError: the PostgreSQL server is away, or does not let the user in.
    """
    if "://" not in place:
        config = pb.ConnectionConfig()
        config.sqlite.filename_uri = place
        config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        return config
    url = server_url(place, METADATA)
    if url.scheme == GRPC:
        return pb.MetadataStoreClientConfig(host=url.host, port=url.port or _GRPC_PORT)
    user, password = credentials()
    if url.scheme == POSTGRESQL:
        return mlmd_postgresql.prepared(url, user, password)
    return _mysql(url, user, password)


def credentials() -> tuple[str, str]:
    """The user and the password of MLMD's database.

    Raises:
        ConfigError: there is no user.
    """
    user = os.environ.get(USER)
    if not user:
        must = f"MLMD's user must be in the environment's {USER}, from a secret"
        raise ConfigError(f"{must}. Received: nothing")
    return user, os.environ.get(PASSWORD, "")


def exists(place: str) -> bool:
    """Whether there is one: a sqlite file is not there before a root's first run, a server always is."""
    return "://" in place or Path(place).exists()


@contextmanager
def opened(place: str) -> Iterator[metadata_store.MetadataStore]:
    """MLMD, for whoever does not go through TFX.

    Raises:
        ConfigError: see `connection`. ServiceError: it cannot be used; raised for what the context does with it, too.
    """
    config = connection(place)
    try:
        try:
            store = metadata_store.MetadataStore(config)
        except RuntimeError as error:  # as MLMD's binding says that it could not connect
            raise away(place, error) from None
        yield store
    except errors.StatusError as error:
        raise away(place, error) from None


def node_ids(store: metadata_store.MetadataStore) -> dict[int, str]:
    """The id of the node of each execution of TFX's. A node's context is named `PIPELINE.NODE`, and both may hold
    dots."""
    pipelines, nodes = (_contexts(store, kind) for kind in ("pipeline", "node"))
    return {id: name.removeprefix(f"{pipelines.get(id, '')}.") for id, name in nodes.items()}


def _contexts(store: metadata_store.MetadataStore, kind: str) -> dict[int, str]:
    """The name of the context of a kind that each execution is in."""
    contexts = store.get_contexts_by_type(kind)
    return {e.id: context.name for context in contexts for e in store.get_executions_by_context(context.id)}


def away(place: str, error: Exception) -> ServiceError:
    """The one line for what MLMD's client raises when its server is away or refuses."""
    return ServiceError(f"MLMD at {place} must be readable and writable. Received: {' '.join(str(error).split())}")


def _mysql(url: ServerUrl, user: str, password: str) -> pb.ConnectionConfig:
    config = pb.ConnectionConfig()
    config.mysql.host, config.mysql.port, config.mysql.database = url.host, url.port or _MYSQL_PORT, url.database
    config.mysql.user, config.mysql.password = user, password
    if url.tls.get(MODE, "disable") != "disable":
        config.mysql.ssl_options.cert, config.mysql.ssl_options.key = url.tls.get(CERTIFICATE, ""), url.tls.get(KEY, "")
    return config
