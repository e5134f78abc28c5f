"""Addresses of servers: what is taken, and what is refused before anything keeps it, without a word of it."""

import pytest

from components.common.databases import engine_of
from components.common.errors import ConfigError
from components.common.server_urls import LEDGER, METADATA, server_url

SECRET = "hunter2"


def test_each_part_is_taken():
    url = server_url("postgresql://lock%40gate@[::1]:6432/a%20b?sslmode=verify-full&sslrootcert=/ca.pem", LEDGER)
    assert (url.scheme, url.user, url.host, url.port, url.database) == ("postgresql", "lock@gate", "::1", 6432, "a b")
    assert url.tls == {"sslmode": "verify-full", "sslrootcert": "/ca.pem"} and hash(url)
    url = server_url("mariadb://lockgate@db/ledger", LEDGER)
    assert (url.scheme, url.port, url.database, url.tls) == ("mariadb", None, "ledger", {})
    assert server_url("grpc://metadata-grpc-service.kubeflow:8080", METADATA).database == ""


@pytest.mark.parametrize(
    ("text", "must"),
    [
        (f"postgresql://me:{SECRET}@h/d", "hold no password, .*LOCKGATE_LEDGER_PASSWORD"),
        (f"postgresql://:{SECRET}@h/d", "hold no password"),
        (f"postgresql://me@h/d?password={SECRET}", "have no options but sslmode, sslrootcert, sslcert, sslkey"),
        (f"postgresql://me@h/d?sslmode=require&sslpassword={SECRET}", "have no options but"),
        (f"postgresql://me@h/d?{SECRET}", "have no options but"),
        (f"mysql://me:{SECRET[:3]}/{SECRET[3:]}@h/d", "have a host and a port"),
        (f"postgresql://me@h/{SECRET}@other/d", "be [a-z]+://host:port/database, each part of its own kind"),
        (f"postgresql://h/d#{SECRET}", "be [a-z]+://host:port/database, each part of its own kind"),
        ("postgresql://me@h:bad/d", "have a host and a port from 1 to 65535"),
        ("postgresql://me@h:99999/d", "have a host and a port from 1 to 65535"),
        ("mysql://me@h:0/d", "be [a-z]+://host:port/database, each part of its own kind"),
        ("mysql://me@[::1/d", "have a host and a port"),
        ("mysql://me@h", "be [a-z]+://host:port/database, each part of its own kind"),
        ("mysql:///d", "be [a-z]+://host:port/database, each part of its own kind"),
        ("mysql://me@h/d?foo=1", "have no options but"),
        ("postgresql://me@h/d?options=-csearch_path%3Down", "have no options but"),
        ("postgresql://me@h/d?sslmode=always", "say sslmode, as one of disable, prefer, require, verify-ca"),
        ("postgresql://me@h/d?sslrootcert=/ca.pem", "say sslmode"),
        ("postgresql://me@h/d?sslmode=verify-full&sslrootcert=ca.pem", "have absolute paths"),
        ("mysql://me@h/d?sslmode=verify-full", "name the authority's file in sslrootcert"),
        ("mysql://me@h/d?sslmode=require&sslrootcert=/ca.pem", "name the authority's file in sslrootcert"),
        ("postgres://me@h/d", "be a file or one of postgresql://, mysql://, mariadb://"),
        ("sqlite:///d", "be a file or one of"),
        ("oracle://me@h/d", "be a file or one of"),
        ("grpc://h:8080", "be a file or one of"),
    ],
)
def test_what_nothing_would_use_or_all_would_see_is_refused(text, must):
    with pytest.raises(ConfigError, match=f"^a ledger must {must}.* Received: [a-z]+://…$") as refused:
        server_url(text, LEDGER)
    said = str(refused.value)
    assert SECRET not in said and SECRET[3:] not in said and "\n" not in said


@pytest.mark.parametrize(
    ("text", "must"),
    [
        ("mysql://me@h/d", "hold no user: LOCKGATE_METADATA_USER has it"),
        ("grpc://h:1/d", "be grpc://host:port"),
        ("grpc://h:1?sslmode=require", "have no options. Received"),
        (
            "mysql://h/d?sslmode=verify-full&sslrootcert=/ca.pem",
            "say sslmode, as one of disable, require. MLMD's client",
        ),
        ("mysql://h/d?sslmode=require&sslrootcert=/ca.pem", "name the authority's file"),
        ("postgresql://h/d?sslmode=require", "have no options. MLMD's client for PostgreSQL is built without TLS"),
    ],
)
def test_what_mlmd_cannot_use_is_refused(text, must):
    with pytest.raises(ConfigError, match=f"^MLMD's place must {must}"):
        server_url(text, METADATA)


def test_what_a_server_is_asked_for_reaches_its_driver():
    url = server_url("postgresql://me@h/d?sslmode=verify-full&sslrootcert=/ca.pem", LEDGER)
    engine = engine_of(url, url.user, "s3:cret@/")
    arguments = engine.dialect.create_connect_args(engine.url)[1]
    assert arguments["password"] == "s3:cret@/" and "s3:cret@/" not in repr(engine)
