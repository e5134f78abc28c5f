"""A Google Cloud Storage server on this machine, which answers over HTTP and does not look at who asks."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from gcp_storage_emulator.server import create_server
from google.cloud import storage

ENDPOINT = "STORAGE_EMULATOR_HOST"


@contextmanager
def gcs_server(bucket: str) -> Iterator[str]:
    """Starts one with an empty bucket; gives its address. The environment must not name another one."""
    server = create_server("127.0.0.1", 0, in_memory=True)
    server.start()
    url = f"http://127.0.0.1:{server._api._httpd.server_port}"
    assert ENDPOINT not in os.environ
    os.environ[ENDPOINT] = url
    try:
        storage.Client(project="tests").create_bucket(bucket)
        yield url
    finally:
        del os.environ[ENDPOINT]
        server.stop()
