"""Makes the secret `lockgate-postgres` through Kubernetes' API, from inside the cluster, if it is not there.

It holds what PostgreSQL's owner (`postgres-password`) and Lockgate's steps (`username`, `password`) log in with. The
passwords are 32 random bytes each; they are never printed, and never on the machine of whoever installs.
"""

import json
import os
import secrets
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path

SECRET, USER = "lockgate-postgres", "lockgate"
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")  # what a pod's service account is told
_CONFLICT = 409


def manifest() -> dict:
    """The secret, with passwords that nobody has seen."""
    labels = {"app.kubernetes.io/name": SECRET, "app.kubernetes.io/part-of": "lockgate"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "labels": labels},
        "type": "Opaque",
        "stringData": {
            "username": USER,
            "password": secrets.token_urlsafe(32),
            "postgres-password": secrets.token_urlsafe(32),
        },
    }


def create(server: str, account: Path) -> bool:
    """Makes the secret.

    Args:
        server: address of Kubernetes' API, https://host:port.
        account: folder with the service account's `token`, `namespace` and `ca.crt`.

    Returns:
        Whether it was made; else it is there, and as it was.

    Raises:
        urllib.error.URLError: the server does not answer, or refuses.
    """
    namespace, token = ((account / name).read_text().strip() for name in ("namespace", "token"))
    request = urllib.request.Request(
        f"{server}/api/v1/namespaces/{namespace}/secrets",
        data=json.dumps(manifest()).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        method="POST",
    )
    trusted = ssl.create_default_context(cafile=str(account / "ca.crt"))
    try:
        urllib.request.urlopen(request, timeout=30, context=trusted).close()
    except urllib.error.HTTPError as error:
        if error.code == _CONFLICT:
            return False
        raise
    return True


def main() -> None:
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    try:
        created = create(server, ACCOUNT)
    except (urllib.error.URLError, OSError) as error:
        print(f"Kubernetes' API must take the secret {SECRET}. Received: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"The secret {SECRET} is made." if created else f"The secret {SECRET} is there, and left as it is.")


if __name__ == "__main__":
    main()
