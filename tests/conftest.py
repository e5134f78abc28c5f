"""What all tests share. tf_keras is the Keras of this project, which must be said before TensorFlow is imported."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, NoReturn

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from types import ModuleType

    from benchmarks.database_servers import Server
    from tests.s3_server import S3Server

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

settings.register_profile(  # the same examples every time, however slow the machine
    "repeatable", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")


def skip_without(what: str) -> NoReturn:
    """Skips a test for want of something on this machine; where CI=true, that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"must be there in CI: {what}", pytrace=False)
    pytest.skip(what)


def _started(server: "Callable[[], AbstractContextManager[Server]]") -> "Iterator[Server]":
    try:
        with server() as running:
            yield running
    except FileNotFoundError as missing:
        skip_without(f"Debian's package {missing}")


@pytest.fixture(scope="session")
def postgresql_server() -> "Iterator[Server]":
    from benchmarks.database_servers import postgresql

    yield from _started(postgresql)


@pytest.fixture(scope="session")
def mariadb_server() -> "Iterator[Server]":
    from benchmarks.database_servers import mariadb

    yield from _started(mariadb)


@pytest.fixture(scope="session")
def s3_running() -> "Iterator[S3Server]":
    from tests.s3_server import s3_server

    with s3_server() as server:
        yield server


@pytest.fixture
def bucket(s3_running: "S3Server", monkeypatch) -> "Iterator[S3Server]":
    """An S3 server with an empty bucket, which this process's environment leads to."""
    from components.common import s3

    s3_running.furnish()
    for name, value in s3_running.environment.items():
        monkeypatch.setenv(name, value)
    s3._client.cache_clear()
    yield s3_running
    s3._client.cache_clear()


@pytest.fixture(params=["gs", "s3"])
def bucket_kind(request) -> "Iterator[ModuleType]":
    """The module of a kind of bucket, whose bucket is reached, and empty."""
    from tests.buckets import KINDS
    from tests.gcs_server import gcs_server
    from tests.s3_server import BUCKET

    module = KINDS[request.param]
    if request.param == "s3":
        request.getfixturevalue("bucket")
        yield module
        return
    module._client.cache_clear()
    with gcs_server(BUCKET):
        yield module
    module._client.cache_clear()
