"""What Vertex AI Pipelines does with a job, on this machine: gives artifacts addresses, runs each step's own command.

A step with a hook before the cache has that run first, as TFX's ExampleGen needs it; what it says of the artifacts and
parameters is handed to the step. An address under the job's gs:// root is a folder here, because no bucket is at hand.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2


@dataclass(kw_only=True)
class Service:
    """Runs jobs. folder: in place of the root. source: this checkout, in place of the image's."""

    folder: Path
    source: Path
    logs: dict[str, str] = field(default_factory=dict)

    def run(self, job: dict[str, Any]) -> dict[str, dict[str, dict]]:
        """Runs a job to its end; gives every task's artifacts by name.

        Raises:
            AssertionError: a step failed.
        """
        json_format.ParseDict(job, pipeline_spec_pb2.PipelineJob())
        spec, made = job["pipelineSpec"], {}
        assert not job["runtimeConfig"].get("parameterValues")
        tasks = dict(spec["root"]["dag"]["tasks"])
        while tasks:
            ready = [name for name, task in tasks.items() if set(task.get("dependentTasks", [])) <= set(made)]
            assert ready, f"tasks wait for each other: {sorted(tasks)}"
            for name in ready:
                made[name] = self._task(spec, name, tasks.pop(name), made)
        return made

    def _task(self, spec: dict, name: str, task: dict, made: dict) -> dict[str, dict]:
        component = spec["components"][task["componentRef"]["name"]]
        container = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        folder = self.folder / name
        outputs = {
            key: {"name": f"projects/1/{name}/{key}", "uri": str(folder / key), "type": about["artifactType"]}
            for key, about in component["outputDefinitions"]["artifacts"].items()
        }
        inputs = {}
        for key, about in task.get("inputs", {}).get("artifacts", {}).items():
            source = about["taskOutputArtifact"]
            inputs[key] = made[source["producerTask"]][source["outputArtifactKey"]]
        parameters = {key: about["runtimeValue"]["constant"] for key, about in task["inputs"]["parameters"].items()}
        given = {
            "inputs": {"parameterValues": parameters, "artifacts": {k: {"artifacts": [a]} for k, a in inputs.items()}},
            "outputs": {
                "artifacts": {k: {"artifacts": [a]} for k, a in outputs.items()},
                "outputFile": str(folder / "executor_output.json"),
            },
        }
        hook = container.get("lifecycle", {}).get("preCacheCheck")
        if hook:
            self._process(name, hook, given)
            self._told(folder, outputs)
        self._process(name, container, given)
        self._told(folder, outputs)
        return outputs

    def _told(self, folder: Path, outputs: dict[str, dict]) -> None:
        """Takes over what a step's output file says of its artifacts."""
        told = json.loads((folder / "executor_output.json").read_text())
        for key, listed in told.get("artifacts", {}).items():
            outputs[key]["metadata"] = listed["artifacts"][0].get("metadata", {})

    def _process(self, name: str, container: dict, given: dict) -> None:
        parts = [*container["command"], *(json.dumps(given) if a == "{{$}}" else a for a in container["args"])]
        own = self.folder / name
        own.mkdir(parents=True, exist_ok=True)
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(self.source), "TF_CPP_MIN_LOG_LEVEL": "2"}
        assert parts[0] == "python"
        done = subprocess.run(
            [sys.executable, *parts[1:]], capture_output=True, text=True, cwd=own, env=environment, timeout=500
        )
        self.logs[name] = self.logs.get(name, "") + done.stdout + done.stderr
        assert done.returncode == 0, f"{name}: {self.logs[name][-3000:]}"
