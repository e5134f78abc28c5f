"""The SDK's client of Kubeflow Pipelines, less patient and more careful, on the way that the environment says."""

import os
import urllib.parse
import urllib.request
from typing import Any

import kfp
from kfp_server_api import V2beta1GetHealthzResponse

from components.common.errors import ConfigError, ServiceError

TOKEN = "LOCKGATE_KFP_TOKEN"
AUTHORITIES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_REQUEST_SECONDS = (10.0, 60.0)  # to connect, and for an answer


def way_to(host: str) -> dict[str, str | None]:
    """By which certificates and over which proxy a server is asked, as the client's arguments.

    Raises:
        ConfigError: the environment names what cannot be used.
    """
    return {"ssl_ca_cert": _authorities(), "proxy": _proxy(host)}


class Client(kfp.Client):
    """The SDK's client, less patient and more careful."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        rest = self._run_api.api_client.rest_client
        request = rest.request

        def careful(*args: Any, **kw: Any) -> Any:
            answer = request(*args, **{**kw, "_request_timeout": _REQUEST_SECONDS})  # the SDK would wait for ever
            kind = answer.urllib3_response.headers.get("Content-Type", "nothing")
            if "json" not in kind:  # the SDK would take a login page for an empty list
                raise ServiceError(
                    "Kubeflow Pipelines must answer in JSON, and what came may be a login page: look at `--host` and "
                    f"{TOKEN}. Received: {kind}"
                )
            return answer

        rest.request = careful

    def get_kfp_healthz(self, sleep_duration: int = 5) -> V2beta1GetHealthzResponse:
        """Asks nobody: the SDK would log five tracebacks before it says that a server is away, and would write the
        namespace that it finds to the home directory. The namespace is an option here."""
        return V2beta1GetHealthzResponse(multi_user=False)


def _authorities() -> str | None:
    """The file of certificates that servers are trusted by, where the environment names one, as for curl and requests.

    Raises:
        ConfigError: it is not there.
    """
    name = next((name for name in AUTHORITIES if os.environ.get(name)), None)
    if name is None:
        return None
    if not os.path.isfile(os.environ[name]):
        raise ConfigError(f"{name} must name a file of certificates. Received: {os.environ[name]}")
    return os.environ[name]


def _proxy(host: str) -> str | None:
    """The proxy between this machine and a server, by the environment: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY.

    Raises:
        ConfigError: it is of another kind than http.
    """
    address, proxies = urllib.parse.urlsplit(host), urllib.request.getproxies()
    proxy = proxies.get(address.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(address.netloc):
        return None
    if not proxy.startswith(("http://", "https://")):
        raise ConfigError(f"a proxy must begin with http:// or https://. Received: {proxy.partition('://')[0]}://…")
    return proxy
