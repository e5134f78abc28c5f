"""What a task's Kubernetes configuration makes of its pod."""

import pytest

from tests.pipeline.runners.kubeflow.cluster import FAILED, SUCCEEDED, Cluster, Run
from tests.pipeline.runners.kubeflow.small import pipeline, step

SECRETS = {"database": {"password": "sesame"}}
NAMED = {"secretName": "database", "keyToEnv": [{"secretKey": "password", "envVar": "PASSWORD"}]}


@pytest.fixture
def ran(tmp_path):
    def ran(kubernetes: dict, script: str = "env", retry: dict | None = None, **settings) -> Run:
        task = {**step(script, kubernetes=kubernetes), **({"retry": retry} if retry else {})}
        cluster = Cluster(folder=tmp_path / "steps", secrets=SECRETS, **settings)
        return cluster.run(pipeline(tmp_path / "small.yaml", {"say": task}))

    return ran


def test_a_step_sees_the_secrets_that_it_names_and_nothing_of_this_machine(ran, monkeypatch):
    monkeypatch.setenv("OF_THIS_MACHINE", "1")
    seen = dict(line.split("=", 1) for line in ran({"secretAsEnv": [NAMED]}).steps["say"].log.splitlines())
    assert seen["PASSWORD"] == "sesame" and set(seen) <= {
        "PASSWORD",
        "KFP_POD_NAME",
        "KFP_POD_UID",
        "PWD",
        "SHLVL",
        "_",
    }
    newer = {**NAMED, "secretNameParameter": {"runtimeValue": {"constant": "database"}}}
    del newer["secretName"]
    assert "PASSWORD=sesame" in ran({"secretAsEnv": [newer]}).steps["say"].log


def test_a_secret_that_is_not_there_keeps_a_step_from_starting_unless_it_is_optional(ran):
    other = {**NAMED, "secretName": "other"}
    ended = ran({"secretAsEnv": [other]})
    assert ended.state == FAILED and ended.steps["say"].tries == []
    assert ended.steps["say"].log == "CreateContainerConfigError: no key password in secret other"
    assert ran({"secretAsEnv": [{**other, "optional": True}]}).state == SUCCEEDED


def test_a_volume_must_be_somewhere(ran, tmp_path):
    mounted = {"constant": "claim", "mountPath": str(tmp_path)}
    assert ran({"pvcMount": [mounted]}).state == SUCCEEDED
    with pytest.raises(AssertionError, match="is mounted nowhere"):
        ran({"pvcMount": [{**mounted, "mountPath": str(tmp_path / "nowhere")}]})


def test_a_pods_deadline_ends_each_try_and_counts_as_its_failure(ran):
    retry = {"maxRetryCount": 1, "backoffDuration": "0s", "backoffFactor": 2, "backoffMaxDuration": "60s"}
    ended = ran({"activeDeadlineSeconds": "1"}, "exec sleep 30", retry)
    assert ended.steps["say"].tries == [-15, -15] and ended.steps["say"].log.count("longer than the specified") == 2


def test_what_kubernetes_may_be_told_has_its_shape(ran):
    known = {
        "podMetadata": {"labels": {"team": "a"}, "annotations": {"note": "b"}},
        "imagePullSecret": [{"secretName": "registry"}],
        "imagePullPolicy": "IfNotPresent",
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "nodeSelector": {"labels": {"pool": "gpu"}},
        "emptyDirMounts": [{"volumeName": "scratch", "mountPath": "/tmp", "sizeLimit": "1Gi"}],
    }
    assert ran(known).state == SUCCEEDED
    for wrong, words in (
        ({"priorityClassName": "high"}, r"fields of KubernetesExecutorConfig. Received: \['priorityClassName'\]"),
        ({"tolerations": [{"taint": "gpu"}]}, r"executors.exec-say.tolerations must hold .* Received: \['taint'\]"),
        ({"podMetadata": [{"labels": {}}]}, "podMetadata must be a mapping"),
        ({"imagePullSecret": {"secretName": "registry"}}, "imagePullSecret must be a list"),
        ({"imagePullPolicy": "Sometimes"}, "imagePullPolicy must be one of"),
    ):
        with pytest.raises(AssertionError, match=words):
            ran(wrong)
    secured = {"securityContext": {"runAsUser": "10001"}}
    assert ran(secured).state == SUCCEEDED
    with pytest.raises(AssertionError, match=r"needs 2\.16"):
        ran(secured, release="2.15.0")
