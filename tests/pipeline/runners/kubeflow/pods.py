"""What a task's Kubernetes configuration makes of its pod: driver/k8s.go, extendPodSpecPatch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.pipeline.runners.kubeflow.releases import Release

_NAME = {"secretName", "secretNameParameter"}
_CONFIG_MAP = {"configMapName", "configMapNameParameter"}
_SELECTOR = {"key", "operator", "values"}
_METADATA = {"labels": None, "annotations": None}
# kubernetes_platform/proto/kubernetes_executor_config.proto, 2.17.0: fields and those inside; None: any mapping, or a
# plain value. `securityContext` came with 2.16; the others are in 2.4.
SHAPE: dict[str, Any] = {
    "secretAsVolume": [dict.fromkeys({*_NAME, "mountPath", "optional"})],
    "secretAsEnv": [{**dict.fromkeys({*_NAME, "optional"}), "keyToEnv": [dict.fromkeys({"secretKey", "envVar"})]}],
    "pvcMount": [
        dict.fromkeys(
            {"taskOutputParameter", "constant", "componentInputParameter", "mountPath", "pvcNameParameter", "subPath"}
        )
    ],
    "nodeSelector": {"labels": None, "nodeSelectorJson": None},
    "podMetadata": _METADATA,
    "imagePullSecret": [dict.fromkeys(_NAME)],
    "imagePullPolicy": None,
    "configMapAsVolume": [dict.fromkeys({*_CONFIG_MAP, "mountPath", "optional"})],
    "configMapAsEnv": [
        {**dict.fromkeys({*_CONFIG_MAP, "optional"}), "keyToEnv": [dict.fromkeys({"configMapKey", "envVar"})]}
    ],
    "activeDeadlineSeconds": None,
    "fieldPathAsEnv": [dict.fromkeys({"name", "fieldPath"})],
    "tolerations": [
        dict.fromkeys({"key", "operator", "value", "effect", "tolerationSeconds", "tolerationJson"}),
    ],
    "genericEphemeralVolume": [
        {
            **dict.fromkeys(
                {"volumeName", "mountPath", "accessModes", "size", "defaultStorageClass", "storageClassName"}
            ),
            "metadata": _METADATA,
        }
    ],
    "nodeAffinity": [
        {
            "matchExpressions": [dict.fromkeys(_SELECTOR)],
            "matchFields": [dict.fromkeys(_SELECTOR)],
            "weight": None,
            "nodeAffinityJson": None,
        }
    ],
    "podAffinity": [
        {
            "matchPodExpressions": [dict.fromkeys(_SELECTOR)],
            "matchNamespaceExpressions": [dict.fromkeys(_SELECTOR)],
            **dict.fromkeys({"matchPodLabels", "matchNamespaceLabels", "topologyKey", "namespaces", "weight", "anti"}),
        }
    ],
    "enabledSharedMemory": {"volumeName": None, "size": None},
    "emptyDirMounts": [dict.fromkeys({"volumeName", "mountPath", "medium", "sizeLimit"})],
    "securityContext": dict.fromkeys({"runAsUser", "runAsGroup", "runAsNonRoot"}),
}
_POLICIES = ("Always", "Never", "IfNotPresent")


class CannotStart(Exception):
    """Kubernetes does not start the container. The pod waits, with this for its reason, until somebody ends the run."""


@dataclass(frozen=True, kw_only=True)
class Pod:
    """environment: of the container. active_deadline_seconds: after which Kubernetes ends it, counted from when the pod
    is on a node; 0: never."""

    environment: dict[str, str] = field(default_factory=dict)
    active_deadline_seconds: int = 0


def check_shape(label: str, configured: dict, release: Release) -> None:
    """Refuses what the driver does not know: it drops such fields without a word (util/json.go: DiscardUnknown)."""
    _check(f"executors.{label}", configured, SHAPE)
    policy = configured.get("imagePullPolicy", _POLICIES[0])
    assert policy in _POLICIES, f"imagePullPolicy must be one of {_POLICIES}. Received: {policy}"
    assert "securityContext" not in configured or release.since("2.16.0"), "securityContext needs 2.16"


def _check(place: str, given: Any, shape: Any) -> None:
    if shape is None:
        return
    if isinstance(shape, list):
        assert isinstance(given, list), f"{place} must be a list. Received: {given!r}"
        for each in given:
            _check(place, each, shape[0])
        return
    assert isinstance(given, dict), f"{place} must be a mapping. Received: {given!r}"
    unknown = sorted(set(given) - set(shape))
    assert not unknown, f"{place} must hold fields of KubernetesExecutorConfig. Received: {unknown}"
    for key, value in given.items():
        _check(f"{place}.{key}", value, shape[key])


def pod_of(container: dict, configured: dict, secrets: dict[str, dict[str, str]], name: str) -> Pod:
    """The pod of a step.

    Args:
        secrets: of the cluster. name: of the pod.

    Raises:
        CannotStart: a secret or its key is not there.
    """
    environment = {"KFP_POD_NAME": name, "KFP_POD_UID": name}  # argocompiler/container.go: commonEnvs
    environment |= {entry["name"]: entry["value"] for entry in container.get("env", [])}
    for secret in configured.get("secretAsEnv", []):
        of = _secret_name(secret)
        for pair in secret["keyToEnv"]:
            value = secrets.get(of, {}).get(pair["secretKey"])
            if value is not None:
                environment[pair["envVar"]] = value
            elif not secret.get("optional"):
                raise CannotStart(f"CreateContainerConfigError: no key {pair['secretKey']} in secret {of}")
    for volume in configured.get("pvcMount", []):
        assert Path(volume["mountPath"]).exists(), f"{volume['mountPath']} is mounted nowhere"
    return Pod(
        environment=environment,
        active_deadline_seconds=int(configured.get("activeDeadlineSeconds", 0)),
    )


def _secret_name(secret: dict) -> str:
    """2.5 and newer read a parameter first, of which the SDK of 2.17 writes constants."""
    asked = secret.get("secretNameParameter")
    return asked["runtimeValue"]["constant"] if asked else secret["secretName"]
