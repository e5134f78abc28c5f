"""The way to a server: certificates of a company's own, and proxies, by the environment as for curl."""

import datetime
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from components.common.errors import ConfigError, ServiceError
from pipeline.runners.kubeflow.client import Away, Kubeflow

VARIABLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def certificate(tmp_path) -> Path:
    """A certificate of 127.0.0.1, signed by itself, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a company's own")]), datetime.datetime.utcnow()
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain, pem = serialization.NoEncryption(), serialization.Encoding.PEM
    file = tmp_path / "certificate.pem"
    file.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + signed.public_bytes(pem))
    return file


@pytest.mark.parametrize("variable", VARIABLES[:3])
def test_a_companys_own_certificate_is_trusted_where_the_environment_names_it(
    server, certificate, monkeypatch, variable
):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.secure(context)
    with pytest.raises(
        ServiceError, match="must have a certificate that this machine trusts: .* SSL_CERT_FILE"
    ) as caught:
        Kubeflow(server.address).runs(1)
    assert not isinstance(caught.value, Away)  # it will not be better soon
    monkeypatch.setenv(variable, str(certificate))
    assert Kubeflow(server.address).runs(1) == []
    monkeypatch.setenv(variable, "/no/such/file")
    with pytest.raises(ConfigError, match=f"{variable} must name a file of certificates"):
        Kubeflow(server.address)


def test_a_proxy_is_asked_where_the_environment_names_one(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", server.address)  # the server takes a proxy's requests too
    assert Kubeflow("http://kubeflow.example.org").runs(1) == []
    monkeypatch.setenv("NO_PROXY", "kubeflow.example.org,127.0.0.1")
    with pytest.raises(Away):
        Kubeflow("http://kubeflow.example.org").runs(1)
    assert Kubeflow(server.address).runs(1) == []
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with pytest.raises(Away, match="Connection refused"):
        Kubeflow(server.address).runs(1)
    monkeypatch.setenv("HTTP_PROXY", "socks5://user:secret@127.0.0.1:9")
    with pytest.raises(ConfigError, match="must begin with http") as caught:
        Kubeflow(server.address)
    assert "secret" not in str(caught.value)
