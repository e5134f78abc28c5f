"""Whether a run is at work, asked of an API server over TLS."""

import threading

import pytest

from pipeline.runners.kubeflow import pods
from pipeline.runners.kubeflow.pods import Unknown, at_work
from tests.pipeline.runners.kubeflow.api_server import ApiServer, authority

RUN, OTHER = "0d1f2b6e-5f4e-4c0e-9d5e-3b1d7a6c2f10", "77aa2b6e-5f4e-4c0e-9d5e-3b1d7a6c2f11"


@pytest.fixture
def server(kubernetes) -> ApiServer:
    """A server which knows that another run is at work."""
    kubernetes.has("workflows", OTHER, "Running")
    kubernetes.has("pods", OTHER, "Running")
    return kubernetes


@pytest.mark.parametrize("phase", [None, "Pending", "Running"])
def test_a_run_between_two_steps_is_at_work_although_no_pod_of_it_is(server, phase):
    server.has("workflows", RUN, phase)
    server.has("pods", RUN, "Succeeded")
    assert at_work(RUN)


@pytest.mark.parametrize("phase", ["Succeeded", "Failed", "Error"])
def test_a_workflow_that_has_ended_is_over_once_its_pods_have_stopped(server, phase):
    server.has("workflows", RUN, phase)
    assert not at_work(RUN)
    server.has("pods", RUN, "Succeeded"), server.has("pods", RUN, "Failed")
    assert not at_work(RUN)


@pytest.mark.parametrize("phase", [None, "Pending", "Running", "Unknown"])
def test_a_pod_that_may_run_keeps_a_terminated_run_at_work(server, phase):
    server.has("workflows", RUN, "Failed")
    server.has("pods", RUN, phase)
    assert at_work(RUN)


@pytest.mark.parametrize("phase", ["Running", "Failed"])
def test_a_pod_that_is_being_deleted_counts_until_it_is_gone(server, phase):
    server.has("pods", RUN, phase, deleted=True)
    assert at_work(RUN)
    server.objects["pods"].pop()
    assert not at_work(RUN)


def test_a_run_whose_workflow_was_deleted_is_over(server):
    assert not at_work(RUN) and at_work(OTHER)
    server.has("workflows", RUN, "Running", namespace="team-b")
    assert not at_work(RUN)


def test_the_workflow_is_asked_before_the_pods(server):
    """In the other order, a step that began in between would be overlooked."""
    assert not at_work(RUN)
    assert [path.split("?")[0].rsplit("/", 1)[-1] for path in server.asked] == ["workflows", "pods"]
    assert all(path.endswith(f"?labelSelector=pipeline%2Frunid%3D{RUN}") for path in server.asked)


@pytest.mark.parametrize("resource", ["workflows", "pods"])
def test_what_the_account_may_not_list_is_not_taken_for_absent(server, resource):
    server.allowed.discard(resource)
    with pytest.raises(Unknown, match=f"account list /apis?/.*/namespaces/team-a/{resource}. Received: 403"):
        at_work(RUN)


def test_a_cluster_without_argo_does_not_say(server):
    server.installed.discard("workflows")
    with pytest.raises(Unknown, match="Received: 404"):
        at_work(RUN)


def test_a_token_that_has_expired_does_not_say(server):
    (server.account / "token").write_text("an old one")
    with pytest.raises(Unknown, match="Received: 401"):
        at_work(RUN)


def test_a_server_that_does_not_answer_is_given_up(server, monkeypatch):
    monkeypatch.setattr(pods, "_ANSWER_SECONDS", 0.3)
    server.silent = threading.Event()
    with pytest.raises(Unknown, match="timed out"):
        at_work(RUN)


def test_a_server_of_another_authority_is_not_told_the_token(server):
    authority(server.account / "ca.crt")
    with pytest.raises(Unknown, match="CERTIFICATE_VERIFY_FAILED"):
        at_work(RUN)
    assert server.asked == []


def test_a_proxy_of_the_environment_is_not_asked(server, monkeypatch):
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert at_work(OTHER)


def test_outside_of_a_cluster_nobody_says(server, monkeypatch):
    monkeypatch.delenv(pods.HOST)
    with pytest.raises(Unknown, match="no KUBERNETES_SERVICE_HOST"):
        at_work(RUN)
    monkeypatch.setenv(pods.HOST, "127.0.0.1")
    (server.account / "token").unlink()
    with pytest.raises(Unknown, match="No such file"):
        at_work(RUN)
