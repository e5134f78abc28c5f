"""What Kubernetes gives a step: its image, volume and secrets, what it may use, where it may run, and how often it is
tried.

The table for Kubernetes is written here and not by kfp-kubernetes: the release of the Python 3.10 line knows node
selectors, secrets and volumes alone, and newer ones write fields that servers of Kubeflow Pipelines 2.5 do not know.
The fields are those of KubernetesExecutorConfig (kubernetes_platform/proto) that 2.5.0 and 2.17.0 both have.
"""

import re
from typing import Any

from kfp.dsl.pipeline_task import PipelineTask

from components.common import s3
from components.common.mlmd import PASSWORD as METADATA_PASSWORD
from components.common.mlmd import USER as METADATA_USER
from components.privacy.database import PASSWORD as LEDGER_PASSWORD
from pipeline.runners.kubeflow.config import KubeflowConfig, StepConfig, Toleration
from pipeline.runners.kubeflow.settings import read

_FIRST_PAUSE, _DOUBLING = 10, 6  # seconds before the second try; how often the pause is doubled, where it is
_END_SECONDS = 600  # beside its own timeout, a try waits for its node, its image and its end


def allow(task: PipelineTask, cluster: KubeflowConfig, own: StepConfig) -> None:
    """Gives a step what it may use; Kubeflow's cache stays off, because TFX has its own."""
    task.set_caching_options(False)
    for set_, value in (
        (task.set_cpu_request, own.cpu_request),
        (task.set_cpu_limit, own.cpu_limit),
        (task.set_memory_request, own.memory_request),
        (task.set_memory_limit, own.memory_limit),
    ):
        if value:
            set_(value)
    if own.gpu:
        task.set_accelerator_type(own.gpu_type)
        task.set_accelerator_limit(own.gpu)
    task.set_retry(own.retries, f"{_FIRST_PAUSE}s", 2.0 if own.retries <= _DOUBLING else 1.0)
    tell(task, **_placed(cluster, own))


def tell(task: PipelineTask, **fields: Any) -> None:
    """Adds to what Kubernetes is told of a step; lists grow, empty values are left out."""
    told = task.platform_config.setdefault("kubernetes", {})
    for name, value in fields.items():
        if isinstance(value, list):
            value = told.get(name, []) + value
        if value:
            told[name] = value


def connect(task: PipelineTask, cluster: KubeflowConfig, *, ledger: bool, bucket: bool) -> None:
    """Gives a step the volume, and the secrets of the servers that it asks.

    Args:
        ledger: whether it asks the ledger. bucket: whether it reads or writes artifacts.
    """
    tell(task, pvcMount=[{"constant": cluster.claim, "mountPath": cluster.root}])
    if cluster.metadata.startswith(("postgresql://", "mysql://")):
        _secret(task, cluster.metadata_secret, username=METADATA_USER, password=METADATA_PASSWORD)
    if cluster.ledger_secret and ledger:
        _secret(task, cluster.ledger_secret, password=LEDGER_PASSWORD)
    if not cluster.artifacts.startswith("s3://") or not bucket:
        return
    server = cluster.s3
    for name, value in ((s3.ENDPOINT, server.endpoint), (s3.REGION, server.region), (s3.ADDRESSING, server.addressing)):
        if value:
            task.set_env_variable(name, value)
    if server.secret:
        _secret(task, server.secret, accesskey=s3.ACCESS_KEY, secretkey=s3.SECRET_KEY)


def give_webhook(task: PipelineTask, cluster: KubeflowConfig, settings: str) -> None:
    """Gives a step that tells what became of a firing what the webhook's address must not hold itself."""
    names = re.findall(r"\$\{?(\w+)", read(settings).schedule.webhook)
    if cluster.webhook_secret and names:
        _secret(task, cluster.webhook_secret, **{name: name for name in names})


def longest(own: StepConfig) -> int:
    """Seconds from a step's first start to the end of its last try.

    Argo takes a retry policy's `backoffMaxDuration` for how long after the first start a try may begin, so all tries
    and all pauses must fit. The SDK caps it at an hour, which is why it is put into the compiled file afterwards.
    """
    pauses = sum(_FIRST_PAUSE * 2**i if own.retries <= _DOUBLING else _FIRST_PAUSE for i in range(own.retries))
    return (own.retries + 1) * (own.timeout_seconds + _END_SECONDS) + pauses


def _placed(cluster: KubeflowConfig, own: StepConfig) -> dict[str, Any]:
    scratch = {"volumeName": "lockgate-scratch", "mountPath": "/tmp", "sizeLimit": own.ephemeral_storage}
    metadata = {"labels": own.labels, "annotations": own.annotations}
    return {
        "nodeSelector": {"labels": own.node_selector} if own.node_selector else {},
        "podMetadata": {name: values for name, values in metadata.items() if values},
        "imagePullSecret": [{"secretName": name} for name in cluster.image_pull_secrets],
        "imagePullPolicy": cluster.image_pull_policy,
        "activeDeadlineSeconds": str(own.timeout_seconds + _END_SECONDS),  # JSON has no 64-bit numbers
        "tolerations": [_tolerated(toleration) for toleration in own.tolerations],
        "emptyDirMounts": [scratch] if own.ephemeral_storage else [],
    }


def _tolerated(toleration: Toleration) -> dict[str, str]:
    fields = {name: getattr(toleration, name) for name in ("key", "operator", "value", "effect")}
    if toleration.seconds is not None:
        fields["tolerationSeconds"] = str(toleration.seconds)
    return {name: value for name, value in fields.items() if value}


def _secret(task: PipelineTask, name: str, **variables: str) -> None:
    """Puts keys of a secret into variables of a step's environment."""
    keys = [{"secretKey": key, "envVar": variable} for key, variable in variables.items()]
    tell(task, secretAsEnv=[{"secretName": name, "keyToEnv": keys}])
