"""What Kubernetes says of a run: whether anything of it is still at work.

Kubeflow Pipelines gives a run's Workflow and all its pods a label with the run's id (`RunWorkflow` of its
backend/src/apiserver/template/v2_template.go). The API server is asked as every pod may ask it: with the token of its
service account, which must be allowed to list `workflows.argoproj.io` and `pods` in its namespace.
"""

import http.client
import json
import os
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import quote

from components.common.errors import ServiceError

HOST, PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"  # which the kubelet sets in every container
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")  # where it puts the token
_LABEL = "pipeline/runid"
_WORKFLOWS, _PODS = "/apis/argoproj.io/v1alpha1/namespaces/{}/workflows", "/api/v1/namespaces/{}/pods"
_ENDED = ("Succeeded", "Failed", "Error")  # Argo's WorkflowPhase.Completed
_STOPPED = ("Succeeded", "Failed")  # phases of a pod none of whose containers runs, or will again
_ANSWER_SECONDS = 10.0


class Unknown(ServiceError):
    """Kubernetes does not say: this is no cluster, or its API server is away or refuses."""


def at_work(run: str) -> bool:
    """Whether something of a run is, or may come, to work: its Workflow has not ended, or a pod of it is there that may
    still run.

    Between two steps no pod of a run is there, so the Workflow is asked first; of one that has ended, or was deleted,
    no new pod comes. A pod that is being deleted counts until it is gone.

    Args:
        run: the run's id.

    Raises:
        Unknown: Kubernetes does not say.
    """
    try:
        if any(_status(workflow).get("phase") not in _ENDED for workflow in _labelled(_WORKFLOWS, run)):
            return True
        return any(_may_run(pod) for pod in _labelled(_PODS, run))
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise Unknown(f"Kubernetes must say whether a run is at work. Received: {reason[:200]}") from None


def _may_run(pod: dict[str, Any]) -> bool:
    return "deletionTimestamp" in pod["metadata"] or _status(pod).get("phase") not in _STOPPED


def _status(found: dict[str, Any]) -> dict[str, Any]:
    return found.get("status") or {}


def _labelled(kind: str, run: str) -> list[dict[str, Any]]:
    """The objects of a kind that carry the run's id, as they are now: a list without `resourceVersion` is not read from
    a cache."""
    if HOST not in os.environ:
        raise Unknown(f"Kubernetes must be around this process. Received: no {HOST}")
    token, namespace = ((ACCOUNT / name).read_text().strip() for name in ("token", "namespace"))
    trusted = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    port = int(os.environ.get(PORT, http.client.HTTPS_PORT))
    server = http.client.HTTPSConnection(os.environ[HOST], port, timeout=_ANSWER_SECONDS, context=trusted)
    try:
        asked = kind.format(quote(namespace))
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        server.request("GET", f"{asked}?labelSelector={quote(f'{_LABEL}={run}', safe='')}", headers=headers)
        answer = server.getresponse()
        content = answer.read()
    finally:
        server.close()
    if answer.status != http.HTTPStatus.OK:
        raise Unknown(f"Kubernetes must let this pod's account list {asked}. Received: {answer.status}")
    return json.loads(content)["items"]
