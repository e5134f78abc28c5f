"""How large a compiled pipeline becomes on a cluster: Argo's Workflow that Kubeflow makes of it, and its status.

The objects are built here as the compiler to Argo and Argo build them, with names, numbers and times of the length that
they have there, and measured: Kubeflow Pipelines 2.14 to 2.17 with Argo 3.6 to 4.0. Four Workflows that Kubeflow keeps
beside its own tests are 12 to 17 KB there and up to 0.8 KB more here, and what Kubernetes and Kubeflow add themselves
(owners, managed fields, labels) is taken to be 3 KB.
"""

import base64
import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_AROUND = 3_000
_FIXED, _PLAIN, _RETRIED = 5_500, 2_310, 3_300  # bytes: of each Workflow, of containers without and with retries
_TIME, _LAUNCHER = "2026-11-27T04:00:00Z", "/kfp-launcher/launch"
_EXIT = "ALL_UPSTREAM_TASKS_COMPLETED"
_FLAGS = (
    "--execution_id 12345 --pod_name $(KFP_POD_NAME) --pod_uid $(KFP_POD_UID) --publish_logs true "
    "--mlmd_server_address metadata-grpc-service.kubeflow.svc.cluster.local --mlmd_server_port 8080 "
    "--ml_pipeline_server_address ml-pipeline.kubeflow.svc.cluster.local --ml_pipeline_server_port 8887"
)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Bytes. workflow: what is submitted. status: of all nodes, when every step has run once. compressed: of these, as
    Argo compresses them. argument: the longest of one process.

    Example: the default preset's 29 steps at commit 108d9a3: workflow 157 KB, status 610 KB, compressed 166 KB.
    """

    workflow: int
    status: int
    compressed: int
    argument: int

    @property
    def kept(self) -> int:
        """The least that Argo must keep in the end: workflow and compressed status."""
        return self.workflow + self.compressed


def sizes(spec: dict, platform: dict, *, retried: bool = False) -> Sizes:
    """Measures a compiled pipeline.

    Args:
        spec: the first document of the compiled file. platform: the second; empty where there is none.
        retried: whether the cluster tries every template again, as the workflow-controller-configmap of Kubeflow
            Pipelines 2.17 has it: each then has another node, with all that the first says.
    """
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"] if platform else {}
    measured = _Measured(spec, executors, retried)
    nodes = go_json({node["id"]: node for node in measured.nodes}).encode()
    return Sizes(
        workflow=measured.workflow(),
        status=len(nodes),
        compressed=len(base64.b64encode(gzip.compress(nodes, 6))),
        argument=measured.longest,
    )


def go_json(message: Any) -> str:
    """As Go's encoding/json writes a message: keys in order, no spaces, `<`, `>` and `&` escaped."""
    written = json.dumps(message, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return written.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


class _Measured:
    """The Workflow's arguments and templates, and the status' nodes."""

    def __init__(self, spec: dict, executors: dict[str, dict], retried: bool):
        self._spec, self._executors, self._retried = spec, executors, retried
        self._name = f"{spec['pipelineInfo']['name']}-x7k2p"
        self._arguments: dict[str, str] = {}
        self._templates: list[dict] = []
        self._written: set[str] = set()
        self.nodes: list[dict] = []
        self.longest = 0
        root = self._argument("components-root", spec["root"])
        top = self._node("", "DAG", "entrypoint", "")
        driver = self._driver(top, "root-driver", {"component": root, "runtime-config": "{}"}, "system-dag-driver")
        self._dag("root", spec["root"], self._node("root", "DAG", "root", top, _given(driver)))

    def workflow(self) -> int:
        parameters = [{"name": name, "value": value} for name, value in self._arguments.items()]
        tasks = [task for t in self._templates for task in t["dag"]["tasks"]]
        kinds = {"retry-" in task["template"] for task in tasks if task["template"].endswith("container-executor")}
        fixed = _FIXED + _AROUND + _RETRIED * (True in kinds) + _PLAIN * (False in kinds)
        return len(go_json([parameters, self._templates]).encode()) + fixed

    def _argument(self, name: str, message: dict) -> str:
        """A message as a parameter of the Workflow (saveProtoToArguments), and as an argument of a driver."""
        text = self._arguments.setdefault(name, go_json(message))
        self.longest = max(self.longest, len(text.encode()))
        return text

    def _dag(self, name: str, component: dict, at: str) -> None:
        """Adds a DAG's template and its tasks' nodes (argocompiler/dag.go: DAG)."""
        own: list[dict] = []
        for key, task in sorted(component["dag"]["tasks"].items()):
            exits = task.get("triggerPolicy", {}).get("strategy") == _EXIT
            tasks = [_argo_task(*pair) for pair in self._tasks(key, task, at)]
            if exits:
                self._templates.append(_template(f"exit-hook-{name}-{key}", tasks))
            else:
                own += tasks
        if name not in self._written:
            self._written.add(name)
            self._templates.append(_template(name, own))

    def _tasks(self, key: str, task: dict, at: str) -> Iterator[tuple[str, str, dict, list[str]]]:
        """Both tasks of Argo that one of Kubeflow's becomes: name, template, parameters, and what comes before."""
        ref = task["componentRef"]["name"]
        component, text = self._spec["components"][ref], go_json(task)
        before = task.get("dependentTasks", [])
        self.longest = max(self.longest, len(text.encode()))
        if "dag" in component:
            given = {"component": self._argument(f"components-{ref}", component), "task": text, "task-name": key}
            driver = self._driver(at, f"{key}-driver", given, "system-dag-driver")
            self._dag(ref, component, self._node(key, "DAG", ref, at, _given(driver)))
            placed = given | {"component": _parameter(f"components-{ref}")}
            yield f"{key}-driver", "system-dag-driver", placed, before
            passed = {"parent-dag-id": _output(key, "execution-id"), "condition": _output(key, "condition")}
            yield key, ref, passed, [f"{key}-driver"]
            return
        given, placed = self._container(ref, component, text, key)
        patch = self._patch(component, given, task)
        driver = self._driver(at, f"{key}-driver", given, "system-container-driver", patch)
        self._executor(at, key, task, driver["outputs"])
        yield f"{key}-driver", "system-container-driver", placed, before
        passed = {"pod-spec-patch": _output(key, "pod-spec-patch"), "cached-decision": _output(key, "cached-decision")}
        yield key, _executor(task), passed | _retries(task), [f"{key}-driver"]

    def _container(self, ref: str, component: dict, text: str, key: str) -> tuple[dict, dict]:
        """A container driver's parameters, with their values, and as the DAG's template names them."""
        label = component["executorLabel"]
        container = self._spec["deploymentSpec"]["executors"][label]["container"]
        hashed = hashlib.sha256(go_json(container).encode()).hexdigest()
        names = {"component": f"components-{hashed}", "container": f"implementations-{hashed}"}
        given = {
            "component": self._argument(names["component"], component),
            "task": text,
            "container": self._argument(names["container"], container),
            "task-name": key,
        }
        if label in self._executors:
            names["kubernetes-config"] = f"kubernetes-{ref}"
            given["kubernetes-config"] = self._argument(names["kubernetes-config"], self._executors[label])
        return given, {k: _parameter(names[k]) if k in names else v for k, v in given.items()}

    def _patch(self, component: dict, given: dict[str, str], task: dict) -> str:
        """What a driver patches its task's pod with (driver.go: initPodSpecPatch, k8s.go: extendPodSpecPatch)."""
        label = component["executorLabel"]
        container, configured = json.loads(given["container"]), self._executors.get(label, {})
        inputs = {"parameterValues": _values(task)}
        executor_input = go_json({"inputs": inputs, "outputs": _outputs(self._name, component)})
        words = [*container.get("command", []), *container.get("args", [])]
        self.longest = max(self.longest, *(len(each.encode()) for each in (executor_input, *words)))
        flags = f"{_LAUNCHER} --pipeline_name {self._spec['pipelineInfo']['name']} --run_id {36 * '0'} {_FLAGS}".split()
        main = {
            "name": "main",
            "image": container["image"],
            "command": [*flags, "--executor_input", executor_input, "--component_spec", given["component"], "--"],
            "args": words,
            "env": container.get("env", []),
            "resources": container.get("resources", {}),
        }
        return go_json({"containers": [main], "kubernetes": configured})

    def _driver(self, at: str, name: str, given: dict[str, str], template: str, patch: str = "") -> dict:
        """Adds a driver's node, with all that it was given and all that it gave."""
        outputs = {"execution-id": "12345", "iteration-count": "0", "condition": "true"}
        if patch:
            outputs = {"pod-spec-patch": patch, "cached-decision": "false", "condition": "nil"}
        inputs = {**given, "parent-dag-id": "12345", "iteration-index": "-1"}
        self._node(name, "Pod", template, at, inputs, outputs)
        return {"outputs": outputs}

    def _executor(self, at: str, key: str, task: dict, outputs: dict[str, str]) -> None:
        """Adds a step's nodes: a DAG of one task, and its try, below a node for all tries where there may be more."""
        passed = {"pod-spec-patch": outputs["pod-spec-patch"], **_retries(task)}
        inner = self._node(key, "DAG", _executor(task), at, passed | {"cached-decision": "false"})
        if "retryPolicy" in task and not self._retried:
            self._node("executor", "Retry", _executor(task), inner, passed)
        self._node("executor(0)", "Pod", _executor(task), inner, passed)

    def _node(
        self, name: str, kind: str, template: str, at: str, inputs: dict | None = None, outputs: dict | None = None
    ) -> str:
        """Adds a node of the status (NodeStatus); gives its full name."""
        if self._retried and kind != "Retry":
            self._node(f"{name}.tries", "Retry", template, at, inputs, outputs)
        full = f"{at}.{name}" if at else self._name
        own = f"{self._name}-{_fnv(full)}"
        node = {
            "id": own,
            "name": full,
            "displayName": name or full,
            "type": kind,
            "templateName": template,
            "templateScope": f"local/{self._name}",
            "phase": "Succeeded",
            "boundaryID": own,
            "startedAt": _TIME,
            "finishedAt": _TIME,
            "progress": "1/1",
            "resourcesDuration": {"cpu": 10, "memory": 100},
            "children": [own],
        }
        if inputs:
            node["inputs"] = {"parameters": [{"name": n, "value": v} for n, v in inputs.items()]}
        if kind == "DAG":
            node["outboundNodes"] = [own]
        else:
            node |= {"hostNodeName": "gke-cluster-pool-12345678-abcd", "taskResultSynced": True, "nodeFlag": {}}
            log = f"private-artifacts/kubeflow/{self._name}/2026/11/27/{self._name}-{template}-1234567890/main.log"
            node["outputs"] = {"artifacts": [{"name": "main-logs", "s3": {"key": log}}], "exitCode": "0"}
        if outputs:
            parameters = [
                {"name": n, "value": v, "valueFrom": {"path": f"/tmp/outputs/{n}"}} for n, v in outputs.items()
            ]
            node["outputs"]["parameters"] = parameters
        self.nodes.append(node)
        return full


def _fnv(name: str) -> int:
    """FNV-1a of 32 bits, which makes a node's id of its name (NodeID). Nodes are kept in the order of their ids, so
    that what is said twice is far apart, and compresses badly."""
    digest = 2_166_136_261
    for byte in name.encode():
        digest = (digest ^ byte) * 16_777_619 % 2**32
    return digest


def _argo_task(name: str, template: str, parameters: dict[str, str], before: list[str]) -> dict:
    given = parameters | {"parent-dag-id": "{{inputs.parameters.parent-dag-id}}"}
    return {
        "name": name,
        "template": template,
        "arguments": {"parameters": [{"name": n, "value": v} for n, v in given.items()]},
        "depends": " && ".join(f"{each}.Succeeded" for each in before),
    }


def _executor(task: dict) -> str:
    return "retry-system-container-executor" if "retryPolicy" in task else "system-container-executor"


def _template(name: str, tasks: list[dict]) -> dict:
    inputs = {"parameters": [{"name": "parent-dag-id"}]}
    return {"name": name, "dag": {"tasks": tasks}, "inputs": inputs, "outputs": {}, "metadata": {}}


def _retries(task: dict) -> dict[str, str]:
    names = ("retry-max-count", "retry-backoff-duration", "retry-backoff-factor", "retry-backoff-max-duration")
    return dict.fromkeys(names, "3600") if "retryPolicy" in task else {}


def _given(driver: dict) -> dict[str, str]:
    return {"parent-dag-id": driver["outputs"]["execution-id"]}


def _parameter(name: str) -> str:
    return "{{" + f"workflow.parameters.{name}" + "}}"


def _output(task: str, name: str) -> str:
    return "{{" + f"tasks.{task}-driver.outputs.parameters.{name}" + "}}"


def _values(task: dict) -> dict[str, Any]:
    """Inputs as a driver finds them; one that another task or the run gives is taken to be as long as its name."""
    parameters = task.get("inputs", {}).get("parameters", {})
    return {name: about.get("runtimeValue", {}).get("constant", name) for name, about in parameters.items()}


def _outputs(name: str, component: dict) -> dict:
    outputs, place = component.get("outputDefinitions", {}), f"minio://mlpipeline/v2/artifacts/{name}/{36 * '0'}"
    artifacts = {
        key: {"artifacts": [{"name": key, "uri": f"{place}/{key}", "type": about["artifactType"]}]}
        for key, about in outputs.get("artifacts", {}).items()
    }
    files = {key: {"outputFile": f"/tmp/kfp/outputs/{key}"} for key in outputs.get("parameters", {})}
    return {"artifacts": artifacts, "parameters": files, "outputFile": f"{place}/output_metadata.json"}
