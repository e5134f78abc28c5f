"""A Kubernetes API server, which this process takes for its own cluster's."""

from collections.abc import Iterator

import pytest

from tests.pipeline.runners.kubeflow.api_server import ApiServer, api_server


@pytest.fixture
def kubernetes(tmp_path, monkeypatch) -> Iterator[ApiServer]:
    """The server; the environment and the account of this process are as a pod of the cluster has them."""
    from pipeline.runners.kubeflow import alive, pods

    alive._say_once.cache_clear()
    with api_server(tmp_path / "kubernetes") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(pods, "ACCOUNT", server.account)
        yield server
