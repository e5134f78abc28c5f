"""Where MLMD is: a sqlite file, a MySQL database, or MLMD's own server."""

import os
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from ml_metadata.proto import metadata_store_pb2 as pb

from components.common.errors import ConfigError

USER, PASSWORD = "LOCKGATE_METADATA_USER", "LOCKGATE_METADATA_PASSWORD"
_MYSQL_PORT, _GRPC_PORT = 3306, 8080


def connection(place: str) -> pb.ConnectionConfig | pb.MetadataStoreClientConfig:
    """How to connect to it.

    Args:
        place: path of a sqlite file, which is made if it is missing; `mysql://host[:port]/database`, whose user and
            password come from the environment's LOCKGATE_METADATA_USER and LOCKGATE_METADATA_PASSWORD, because a
            place is kept in the lineage; or `grpc://host[:port]`.

    Raises:
        ConfigError: it is none of these, or the user is not in the environment.
    """
    if "://" not in place:
        config = pb.ConnectionConfig()
        config.sqlite.filename_uri = place
        config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        return config
    url = urlsplit(place)
    if url.scheme == "grpc" and url.hostname:
        return pb.MetadataStoreClientConfig(host=url.hostname, port=url.port or _GRPC_PORT)
    return _mysql(url)


def exists(place: str) -> bool:
    """Whether there is one: a sqlite file is not there before a root's first run, a server always is."""
    return "://" in place or Path(place).exists()


def _mysql(url: SplitResult) -> pb.ConnectionConfig:
    database = url.path.strip("/")
    if url.scheme != "mysql" or not url.hostname or not database or url.username or url.password:
        raise ConfigError(
            "MLMD's place must be a file, mysql://host:port/database without a user, or grpc://host:port. "
            f"Received: {url.scheme}://…"
        )
    if not os.environ.get(USER):
        raise ConfigError(f"MLMD's user must be in the environment's {USER}, from a secret. Received: nothing")
    config = pb.ConnectionConfig()
    config.mysql.host, config.mysql.port, config.mysql.database = url.hostname, url.port or _MYSQL_PORT, database
    config.mysql.user, config.mysql.password = os.environ[USER], os.environ.get(PASSWORD, "")
    return config
