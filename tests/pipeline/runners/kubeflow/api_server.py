"""A Kubernetes API server on this machine that lists objects by label, over TLS, with an authority of its own.

It does what kube-apiserver does for `GET …/namespaces/N/RESOURCE?labelSelector=KEY=VALUE`, and refuses all else:
`ListResource` of apiserver/pkg/endpoints/handlers/get.go and `ListPredicate` of apiserver/pkg/registry/generic/
registry/store.go (every object of the namespace that the selector matches, without resourceVersion as it is now; an
empty list where there is none), `WithAuthentication` (401) and `WithAuthorization` (403) of apiserver/pkg/endpoints/
filters, and 404 for a resource that no CustomResourceDefinition has made known.
"""

import datetime
import http.server
import ipaddress
import json
import ssl
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pipeline.runners.kubeflow import pods

NAMESPACE, TOKEN = "team-a", "k8s-Sesame-open"
WORKFLOWS, PODS = "apis/argoproj.io/v1alpha1", "api/v1"
_LABEL = "pipeline/runid"


@dataclass(kw_only=True)
class ApiServer:
    """The server. account: a folder as the kubelet mounts one; installed: the resources that it knows; allowed: those
    that the account may list; silent: it takes requests and does not answer; asked: the paths that came."""

    account: Path
    port: int = 0
    objects: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {"workflows": [], "pods": []})
    installed: set[str] = field(default_factory=lambda: {"workflows", "pods"})
    allowed: set[str] = field(default_factory=lambda: {"workflows", "pods"})
    silent: threading.Event | None = None
    asked: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What the kubelet sets in every container."""
        return {pods.HOST: "127.0.0.1", pods.PORT: str(self.port)}

    def has(
        self, resource: str, run: str, phase: str | None, deleted: bool = False, namespace: str = NAMESPACE
    ) -> None:
        """Adds a run's Workflow or pod; a phase of None is a status that is not there yet."""
        metadata: dict[str, Any] = {"name": f"{run}-{len(self.objects[resource])}", "namespace": namespace}
        metadata["labels"] = {_LABEL: run, "pipelines.kubeflow.org/v2_component": "true"}
        if deleted:
            metadata["deletionTimestamp"] = "2026-11-27T04:00:00Z"
        self.objects[resource].append({"metadata": metadata, **({"status": {"phase": phase}} if phase else {})})

    def answer(self, path: str, query: dict[str, list[str]], authorization: str | None) -> tuple[int, dict[str, Any]]:
        """The status and the body of a list."""
        if authorization != f"Bearer {TOKEN}":
            return 401, {"kind": "Status", "reason": "Unauthorized"}
        group, _, rest = path.strip("/").partition("/namespaces/")
        namespace, _, resource = rest.partition("/")
        if resource not in self.installed or group != {"workflows": WORKFLOWS, "pods": PODS}[resource]:
            return 404, {"kind": "Status", "message": "the server could not find the requested resource"}
        if resource not in self.allowed or namespace != NAMESPACE:
            return 403, {"kind": "Status", "reason": "Forbidden"}
        if set(query) != {"labelSelector"}:
            return 400, {"kind": "Status", "message": f"this stand-in knows labelSelector alone: {query}"}
        (selector,) = query["labelSelector"]
        key, _, value = selector.partition("=")
        found = [o["metadata"] for o in self.objects[resource]]
        matching = {m["name"] for m in found if m["namespace"] == namespace and m["labels"].get(key) == value}
        return 200, {
            "kind": "List",
            "metadata": {"resourceVersion": "7"},
            "items": [o for o in self.objects[resource] if o["metadata"]["name"] in matching],
        }


@contextmanager
def api_server(folder: Path) -> Iterator[ApiServer]:
    """Starts one; its authority's certificate, the token and the namespace are in `account` under the folder."""
    server = ApiServer(account=folder / "account")
    server.account.mkdir(parents=True)
    key_file = _certified(folder, server.account / "ca.crt")
    (server.account / "token").write_text(TOKEN)
    (server.account / "namespace").write_text(NAMESPACE)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append(self.path)
            if server.silent is not None:
                server.silent.wait()
                return
            split = urllib.parse.urlsplit(self.path)
            query = urllib.parse.parse_qs(split.query)
            status, body = server.answer(split.path, query, self.headers.get("Authorization"))
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    secured = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secured.load_cert_chain(str(key_file))
    listening.socket = secured.wrap_socket(listening.socket, server_side=True, do_handshake_on_connect=False)
    listening.daemon_threads = True
    listening.handle_error = lambda *_: None  # whoever trusts another authority hangs up
    server.port = listening.server_address[1]
    threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server
    finally:
        if server.silent is not None:
            server.silent.set()
        listening.shutdown()
        listening.server_close()


def authority(file: Path) -> None:
    """Writes the certificate of an authority that has signed nothing."""
    key = ec.generate_private_key(ec.SECP256R1())
    file.write_bytes(
        _signed("another", key, "another", key, is_authority=True).public_bytes(serialization.Encoding.PEM)
    )


def _certified(folder: Path, authority_file: Path) -> Path:
    """Writes an authority's certificate, and a file with the server's key and what the authority signed of it."""
    root, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    pem = serialization.Encoding.PEM
    authority_file.write_bytes(_signed("kubernetes", root, "kubernetes", root, is_authority=True).public_bytes(pem))
    secret = own.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / "server.pem"
    file.write_bytes(secret + _signed("kube-apiserver", own, "kubernetes", root, is_authority=False).public_bytes(pem))
    return file


def _signed(name: str, key: Any, issuer: str, signer: Any, is_authority: bool) -> x509.Certificate:
    subject, by = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, n)]) for n in (name, issuer))
    now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(by).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_before(now - day).not_valid_after(now + day)
    made = made.add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    return made.add_extension(here, critical=False).sign(signer, hashes.SHA256())
