"""What Kubeflow Pipelines' driver and launcher do with a compiled pipeline, on this machine.

The DAG is resolved from the YAML, each step's own command line runs as a process in a folder of its own, with an
environment of nothing but what the YAML sets (its secrets are looked up as Kubernetes would), tried again as its retry
policy says, so many steps at a time. A volume is the folder it is mounted at; the image is this checkout.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

SUCCEEDED, FAILED, SKIPPED = "succeeded", "failed", "skipped"
_PLACEHOLDER = re.compile(r"\{\{\$(.*?)\}\}")


@dataclass(kw_only=True)
class Step:
    """What became of a container step. tries: exit codes; log: of all tries; begun, ended: seconds."""

    name: str
    state: str
    log: str
    begun: float
    ended: float
    tries: list[int] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, Path] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(kw_only=True)
class Run:
    """A run. state: as Kubeflow's own; steps: by task name."""

    id: str
    steps: dict[str, Step] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> str:
        return FAILED if FAILED in self.states.values() else SUCCEEDED

    def log(self) -> str:
        return "\n".join(f"== {step.name} {step.state} {step.tries}\n{step.log}" for step in self.steps.values())


@dataclass(kw_only=True)
class Cluster:
    """Runs compiled pipelines.

    folder: for the steps' own folders. secrets: name to key to value. parallel: steps at a time. started: called with
    each process and its task's name.
    """

    folder: Path
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    parallel: int = 2
    started: Callable[[str, subprocess.Popen], None] = lambda name, process: None

    def run(self, file: Path, **parameters: Any) -> Run:
        """Runs a compiled pipeline to its end."""
        spec, platform = _documents(file)
        return _Running(self, spec, platform, Run(id=str(uuid.uuid4()))).whole(parameters)


def _documents(file: Path) -> tuple[dict, dict]:
    """The two documents of a compiled pipeline, the first checked against Kubeflow's own schema."""
    documents = list(yaml.safe_load_all(file.read_text()))
    json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())
    executors = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"] if documents[1:] else {}
    return documents[0], executors


class _Running:
    def __init__(self, cluster: Cluster, spec: dict, platform: dict, run: Run):
        self._cluster, self._spec, self._platform, self._run = cluster, spec, platform, run
        self._slots = threading.Semaphore(cluster.parallel)

    def whole(self, given: dict[str, Any]) -> Run:
        known = self._spec["root"].get("inputDefinitions", {}).get("parameters", {})
        assert set(given) <= set(known), f"no parameters of the pipeline: {set(given) - set(known)}"
        inputs = {name: given.get(name, about.get("defaultValue")) for name, about in known.items()}
        assert None not in inputs.values(), f"each of these parameters must be given: {inputs}"
        self._dag(self._spec["root"]["dag"], inputs)
        return self._run

    def _dag(self, dag: dict, inputs: dict[str, Any]) -> str:
        """Runs the tasks of a DAG, each when those that it depends on have ended."""
        tasks, states, outputs = dag["tasks"], {}, {}
        pending: dict[Future, str] = {}
        with ThreadPoolExecutor(len(tasks)) as pool:
            while len(states) < len(tasks):
                for name, task in tasks.items():
                    if name in states or name in pending.values():
                        continue
                    behind = [states.get(d) for d in task.get("dependentTasks", [])]
                    if None in behind:
                        continue
                    trigger = task.get("triggerPolicy", {})
                    anyway = trigger.get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED"
                    if not anyway and set(behind) - {SUCCEEDED}:
                        states[name] = SKIPPED
                        continue
                    taken = {key: _taken(about, inputs, outputs) for key, about in _parameters(task).items()}
                    if "condition" in trigger and not _holds(trigger["condition"], taken):
                        states[name] = SKIPPED
                        continue
                    pending[pool.submit(self._task, name, task, taken)] = name
                if not pending:
                    continue
                for done in wait(pending, return_when=FIRST_COMPLETED).done:
                    name = pending.pop(done)
                    states[name], outputs[name] = done.result()
                self._run.states |= {tasks[name]["taskInfo"]["name"]: state for name, state in states.items()}
        self._run.states |= {tasks[name]["taskInfo"]["name"]: state for name, state in states.items()}
        return FAILED if FAILED in states.values() else SUCCEEDED

    def _task(self, name: str, task: dict, taken: dict[str, Any]) -> tuple[str, dict[str, str]]:
        component = self._spec["components"][task["componentRef"]["name"]]
        if "dag" in component:
            return self._dag(component["dag"], taken), {}
        assert not task.get("cachingOptions", {}).get("enableCache"), f"{name} must leave the cache to TFX"
        with self._slots:
            step = self._step(name, task, component, taken)
        self._run.steps[task["taskInfo"]["name"]] = step
        return step.state, step.outputs

    def _step(self, name: str, task: dict, component: dict, taken: dict[str, Any]) -> Step:
        label = component["executorLabel"]
        container = self._spec["deploymentSpec"]["executors"][label]["container"]
        folder = self._cluster.folder / self._run.id / name
        place = _Place(folder=folder, run=self._run.id, parameters=taken, component=component)
        command = [place.filled(text) for text in (*container["command"], *container.get("args", []))]
        begun, tries, environment = time.time(), [], self._environment(label, container)
        if isinstance(environment, str):
            return Step(name=name, state=FAILED, log=environment, begun=begun, ended=begun)
        for volume in self._platform.get(label, {}).get("pvcMount", []):
            assert Path(volume["mountPath"]).exists(), f"{volume['mountPath']} is mounted nowhere"
        log = folder / "log.txt"
        while not tries or (tries[-1] != 0 and len(tries) <= task.get("retryPolicy", {}).get("maxRetryCount", 0)):
            own = folder / f"try-{len(tries) + 1}"
            own.mkdir(parents=True)
            with log.open("a") as written:
                process = subprocess.Popen(
                    [sys.executable if command[0] == "python" else command[0], *command[1:]],
                    env=environment,
                    cwd=own,
                    stdout=written,
                    stderr=written,
                    stdin=subprocess.DEVNULL,
                )
                self._cluster.started(task["taskInfo"]["name"], process)
                tries.append(process.wait())
        state = SUCCEEDED if tries[-1] == 0 else FAILED
        return Step(
            name=task["taskInfo"]["name"],
            state=state,
            tries=tries,
            log=log.read_text(),
            outputs=place.outputs() if state == SUCCEEDED else {},
            artifacts=place.artifacts,
            metrics=place.metrics(),
            begun=begun,
            ended=time.time(),
        )

    def _environment(self, label: str, container: dict) -> dict[str, str] | str:
        """What the YAML sets; or the sentence with which Kubernetes would not start the container."""
        found = {entry["name"]: entry["value"] for entry in container.get("env", [])}
        for secret in self._platform.get(label, {}).get("secretAsEnv", []):
            name = secret["secretName"]
            for pair in secret["keyToEnv"]:
                if pair["secretKey"] not in self._cluster.secrets.get(name, {}):
                    return f"CreateContainerConfigError: no key {pair['secretKey']} in secret {name}"
                found[pair["envVar"]] = self._cluster.secrets[name][pair["secretKey"]]
        return found


@dataclass(kw_only=True)
class _Place:
    """Where a step's outputs go, and what its placeholders stand for."""

    folder: Path
    run: str
    parameters: dict[str, Any]
    component: dict

    @property
    def artifacts(self) -> dict[str, Path]:
        return {name: self.folder / "artifacts" / name for name in self._of("artifacts")}

    def outputs(self) -> dict[str, str]:
        return {name: (self.folder / "parameters" / name).read_text() for name in self._of("parameters")}

    def metrics(self) -> dict[str, float]:
        """What the step wrote into its output file for the artifact `metrics`."""
        file = self.folder / "output.json"
        if not file.exists():
            return {}
        (artifact,) = json.loads(file.read_text())["artifacts"]["metrics"]["artifacts"]
        return artifact["metadata"]

    def filled(self, text: str) -> str:
        return _PLACEHOLDER.sub(lambda match: self._value(match[1]), text)

    def _of(self, kind: str) -> dict:
        return self.component.get("outputDefinitions", {}).get(kind, {})

    def _value(self, key: str) -> str:
        for parent in (*self.artifacts.values(), self.folder / "parameters" / "any"):
            parent.parent.mkdir(parents=True, exist_ok=True)
        if key == ".pipeline_job_uuid":
            return self.run
        if key == "":
            return json.dumps(self._executor_input())
        kind, name, rest = re.fullmatch(r"\.(\w+\.\w+)\['([^']+)'\](.*)", key).groups()
        if kind == "inputs.parameters" and not rest:
            return _text(self.parameters[name])
        if (kind, rest) == ("outputs.parameters", ".output_file"):
            return str(self.folder / "parameters" / name)
        if (kind, rest) == ("outputs.artifacts", ".path"):
            return str(self.artifacts[name])
        raise AssertionError(f"Kubeflow knows no placeholder {key}")

    def _executor_input(self) -> dict:
        made = {
            name: {"artifacts": [{"name": name, "type": about["artifactType"], "uri": f"minio://x/{name}"}]}
            for name, about in self._of("artifacts").items()
        }
        return {
            "inputs": {"parameterValues": self.parameters},
            "outputs": {"artifacts": made, "outputFile": str(self.folder / "output.json")},
        }


def _text(value: Any) -> str:
    """A parameter's value as Kubeflow's launcher writes it: numbers without an exponent, whole ones without a point."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{Decimal(repr(value)):f}".removesuffix(".0")
    return value if isinstance(value, str) else json.dumps(value)


def _parameters(task: dict) -> dict[str, dict]:
    return task.get("inputs", {}).get("parameters", {})


def _taken(about: dict, inputs: dict[str, Any], outputs: dict[str, dict[str, str]]) -> Any:
    if "componentInputParameter" in about:
        return inputs[about["componentInputParameter"]]
    if "taskOutputParameter" in about:
        source = about["taskOutputParameter"]
        return outputs[source["producerTask"]][source["outputParameterKey"]]
    return about["runtimeValue"]["constant"]


def _holds(condition: str, taken: dict[str, Any]) -> bool:
    name, value = re.fullmatch(r"inputs\.parameter_values\['([^']+)'\] == '([^']*)'", condition).groups()
    return str(taken[name]) == value


def kill(process: subprocess.Popen) -> None:
    """Ends a step as the kernel would that is out of memory."""
    os.kill(process.pid, signal.SIGKILL)
