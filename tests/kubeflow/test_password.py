"""postgres/password.py, against a server that answers as Kubernetes' API does when a secret is made."""

import base64
import http.server
import importlib.util
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import skip_without
from tests.kubeflow.conftest import MANIFESTS

TOKEN = "token-of-the-pod"

spec = importlib.util.spec_from_file_location("password", MANIFESTS / "postgres" / "password.py")
password = importlib.util.module_from_spec(spec)
spec.loader.exec_module(password)


class Api(http.server.BaseHTTPRequestHandler):
    """Secrets of one namespace: POST answers 201 for a new one, 409 for one that is there, 401 and 403 for others.

    That is Create in apiserver's registry/generic/registry/store.go, behind its authentication and authorization; it
    turns `stringData` into `data` as PrepareForCreate of the secret's strategy does.
    """

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        secrets, name = self.server.secrets, body["metadata"]["name"]
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self._answer(401, "Unauthorized")
        if self.path != "/api/v1/namespaces/team-a/secrets":
            return self._answer(403, "Forbidden")
        if name in secrets:
            return self._answer(409, "AlreadyExists")
        secrets[name] = {key: base64.b64encode(value.encode()) for key, value in body["stringData"].items()}
        return self._answer(201, "Created")

    def _answer(self, code: int, reason: str) -> None:
        self.send_response(code, reason)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("certificate")
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=kubernetes"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{folder}/key", "-out", f"{folder}/ca.crt"]
    try:
        subprocess.run([*make, *names], check=True, capture_output=True)
    except FileNotFoundError:
        skip_without("openssl")
    return folder


@pytest.fixture
def api(certificate) -> Iterator[http.server.HTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "ca.crt", certificate / "key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.secrets = {}
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def account(tmp_path, certificate) -> Path:
    """What Kubernetes mounts into a pod."""
    for name, text in (("token", TOKEN), ("namespace", "team-a"), ("ca.crt", (certificate / "ca.crt").read_text())):
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def inside(api, account, monkeypatch):
    """This process, as a pod of the job."""
    monkeypatch.setattr(password, "ACCOUNT", account)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(api.server_port))


def test_the_secret_is_made_once_and_then_left(inside, api, capsys):
    password.main()
    made = dict(api.secrets["lockgate-postgres"])
    assert set(made) == {"username", "password", "postgres-password"}
    assert base64.b64decode(made["username"]) == b"lockgate"
    assert len({*made.values()}) == 3 and all(len(base64.b64decode(made[k])) >= 43 for k in made if "password" in k)
    password.main()
    assert api.secrets == {"lockgate-postgres": made}
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "The secret lockgate-postgres is made.",
        "The secret lockgate-postgres is there, and left as it is.",
    ]
    assert err == "" and not any(base64.b64decode(value).decode() in out for k, value in made.items() if "pass" in k)


def test_no_two_installations_have_the_same_passwords():
    assert password.manifest()["stringData"]["password"] != password.manifest()["stringData"]["password"]


@pytest.mark.parametrize(
    ("file", "text", "received"),
    [("token", "another", "HTTP Error 401"), ("namespace", "team-b", "HTTP Error 403")],
)
def test_a_refusal_is_one_line_and_exit_code_2(inside, api, account, capsys, file, text, received):
    (account / file).write_text(text)
    with pytest.raises(SystemExit) as ended:
        password.main()
    assert ended.value.code == 2 and api.secrets == {}
    line = capsys.readouterr().err
    assert line.startswith(f"Kubernetes' API must take the secret lockgate-postgres. Received: {received}")
    assert line.count("\n") == 1


def test_a_server_that_the_cluster_does_not_vouch_for_gets_no_password(inside, api, account, tmp_path, capsys):
    other = tmp_path / "other"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other", "-keyout", "/dev/null"]
    subprocess.run([*make, "-out", str(other)], check=True, capture_output=True)
    (account / "ca.crt").write_text(other.read_text())
    with pytest.raises(SystemExit):
        password.main()
    assert "CERTIFICATE_VERIFY_FAILED" in capsys.readouterr().err and api.secrets == {}
