"""Servers that speak TLS: who they are is checked where sslmode says so, by every client that can."""

import datetime
import ipaddress
import shutil
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from benchmarks.database_servers import Server, mariadb, postgresql
from components.common import mlmd
from components.common.errors import ServiceError
from components.common.mlmd import opened
from components.privacy.database import Database
from tests.conftest import skip_without

USER, PASSWORD = "encrypted", "k9-Sesame-open"
CA, CERTIFICATE, KEY = "ca.pem", "server.pem", "server.key"


def signed(name: str, issuer: str, key, signer, *, authority: bool) -> x509.Certificate:
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (name, issuer)]
    now = datetime.datetime.now(datetime.timezone.utc)
    built = x509.CertificateBuilder().subject_name(names[0]).issuer_name(names[1]).public_key(key.public_key())
    built = built.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
    built = built.not_valid_after(now + datetime.timedelta(days=1))
    built = built.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    return (built if authority else built.add_extension(address, critical=False)).sign(signer, hashes.SHA256())


def certified(folder: Path) -> None:
    """Writes an authority's certificate, and one of 127.0.0.1 with its key."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    authority = signed(folder.name, folder.name, keys[0], keys[0], authority=True)
    server = signed("server", folder.name, keys[1], keys[0], authority=False)
    pem = serialization.Encoding.PEM
    (folder / CA).write_bytes(authority.public_bytes(pem))
    (folder / CERTIFICATE).write_bytes(server.public_bytes(pem))
    private = keys[1].private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / KEY).write_bytes(private)
    (folder / KEY).chmod(0o600)


def encrypting(server: Server, folder: Path, *options: str) -> None:
    """Starts a server again, with a certificate."""
    server.stop()
    data = server.log.parent
    for name in (CA, CERTIFICATE, KEY):
        shutil.copy(folder / name, data / name)
        if server.user:
            shutil.chown(data / name, server.user)
    server.command += [option.format(ca=data / CA, cert=data / CERTIFICATE, key=data / KEY) for option in options]
    server.start()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The servers' certificates, and an authority that did not sign them."""
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "other").mkdir()
    certified(folder), certified(folder / "other")
    return folder


@pytest.fixture(scope="module")
def encrypted_postgresql(folder):
    try:
        with postgresql() as server:
            options = ("-c", "ssl=on", "-c", "ssl_cert_file={cert}", "-c", "ssl_key_file={key}")
            encrypting(server, folder, *options)
            server.execute(f"CREATE USER {USER} PASSWORD '{PASSWORD}'")
            server.fresh("encrypted")
            server.execute(f"ALTER DATABASE encrypted OWNER TO {USER}")
            yield server
    except FileNotFoundError as missing:
        skip_without(f"Debian's package {missing}")


@pytest.fixture(scope="module")
def encrypted_mariadb(folder):
    try:
        with mariadb() as server:
            encrypting(server, folder, "--ssl-ca={ca}", "--ssl-cert={cert}", "--ssl-key={key}")
            server.execute(f"CREATE USER {USER} IDENTIFIED BY '{PASSWORD}' REQUIRE SSL")
            server.execute(f"GRANT ALL ON *.* TO {USER}")
            server.fresh("encrypted")
            yield server
    except FileNotFoundError as missing:
        skip_without(f"Debian's package {missing}")


@pytest.fixture(autouse=True)
def secrets(monkeypatch):
    monkeypatch.setenv(mlmd.USER, USER)
    monkeypatch.setenv(mlmd.PASSWORD, PASSWORD)
    monkeypatch.setenv("LOCKGATE_LEDGER_PASSWORD", PASSWORD)


def ledger(server: Server, scheme: str, options: str) -> Database:
    return Database(f"{scheme}://{USER}@{server.url.split('@')[1].split('/')[0]}/encrypted{options}")


@pytest.mark.parametrize(
    ("scheme", "asked"),
    [
        ("postgresql", "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()"),
        ("mariadb", "SHOW STATUS LIKE 'Ssl_cipher'"),
    ],
)
def test_the_ledgers_connection_is_encrypted_with_whom_it_should_be(scheme, asked, request, folder):
    server = request.getfixturevalue(f"encrypted_{scheme}")
    for options in ("?sslmode=require", f"?sslmode=verify-full&sslrootcert={folder / CA}"):
        with ledger(server, scheme, options).transaction() as connection:
            assert connection.exec_driver_sql(asked).fetchone()[-1] not in ("", "false")
    stranger = f"?sslmode=verify-full&sslrootcert={folder / 'other' / CA}"
    with (
        pytest.raises(ServiceError, match="must be readable and writable. Received: .*certificate verify failed"),
        ledger(server, scheme, stranger).transaction(),
    ):
        pass


def test_a_server_without_tls_is_refused_where_tls_is_asked_for(encrypted_mariadb):
    encrypted_mariadb.stop()
    encrypted_mariadb.command.append("--skip-ssl")
    encrypted_mariadb.start()
    try:
        with (
            pytest.raises(ServiceError, match="Received: .*(SSL is required|offers no TLS)"),
            ledger(encrypted_mariadb, "mariadb", "?sslmode=require").transaction(),
        ):
            pass
    finally:
        encrypted_mariadb.stop()
        encrypted_mariadb.command.remove("--skip-ssl")
        encrypted_mariadb.start()


def test_mlmd_on_mysql_is_encrypted_where_it_is_asked_for(encrypted_mariadb):
    place = f"mysql://{encrypted_mariadb.url.split('@')[1].split('/')[0]}/encrypted"
    with opened(f"{place}?sslmode=require") as store:  # as a user whom the server lets in with TLS alone
        assert store.get_artifacts() == []
    for options in ("", "?sslmode=disable"):
        with (
            pytest.raises(ServiceError, match="^MLMD at .* must be readable and writable. Received: ."),
            opened(place + options),
        ):
            pass


def test_mlmds_client_for_mysql_still_cannot_check_who_a_server_is(encrypted_mariadb, folder):
    """If it learns to, `sslmode=verify-full` can be taken. It turns the right authority away and takes a wrong one."""
    config = mlmd.connection(f"mysql://{encrypted_mariadb.url.split('@')[1].split('/')[0]}/encrypted?sslmode=require")
    config.mysql.ssl_options.ca = str(folder / "other" / CA)
    assert MetadataStore(config).get_artifacts() == []
    config.mysql.ssl_options.ca, config.mysql.ssl_options.verify_server_cert = str(folder / CA), True
    with pytest.raises(RuntimeError, match="mysql_real_connect failed"):
        MetadataStore(config)


def test_mlmds_client_for_postgresql_is_still_built_without_tls(encrypted_postgresql):
    """If it is not any more, sslmode can be taken there."""
    config = pb.ConnectionConfig()
    config.postgresql.host, config.postgresql.port = encrypted_postgresql.url.split("@")[1].split("/")[0].split(":")
    config.postgresql.dbname, config.postgresql.user, config.postgresql.password = "encrypted", USER, PASSWORD
    config.postgresql.ssloption.sslmode, config.postgresql.skip_db_creation = "require", True
    with pytest.raises(RuntimeError, match="PostgreSQL metadata source error"):
        MetadataStore(config)
