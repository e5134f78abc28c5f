"""A Kubeflow Pipelines API server to talk to, and a compiled pipeline to send there."""

import pytest


@pytest.fixture
def server():
    """The server; at the end, every request must have been right."""
    from tests.pipeline.runners.kubeflow.stub import Stub

    stub = Stub().start()
    yield stub
    stub.stop()
    assert stub.complaints == []


@pytest.fixture(scope="session")
def pipeline_file(tmp_path_factory):
    """A compiled pipeline of two documents."""
    from tests.pipeline.runners.kubeflow.stub import compile_to

    path = tmp_path_factory.mktemp("compiled") / "a-pipeline.yaml"
    assert len(compile_to(path)) == 2
    return path


@pytest.fixture
def quick(monkeypatch):
    """Waiting, a hundred times as fast."""
    from pipeline.runners.kubeflow import waiting

    monkeypatch.setattr(waiting, "PACE", waiting.Pace(interval=0.05, first=0.01, longest=0.3, patience=6.0))
