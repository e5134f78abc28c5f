"""Lineage as MLMD has it: from an artifact back to everything that it was made from."""

from ml_metadata.proto import metadata_store_pb2 as pb


def connection(place: str) -> pb.ConnectionConfig:
    """The connection to the MLMD in a sqlite file."""
    config = pb.ConnectionConfig()
    config.sqlite.filename_uri = place
    config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    return config
