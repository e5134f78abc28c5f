"""Kubeflow Pipelines on this machine, as strict as the real one: a compiled pipeline is refused, resolved, run, tried
again and ended as releases 2.4.1 to 2.17.0 do, each step's own command line as a process in a folder of its own.

What is done stands beside the name of the function of the real system that does it, and nothing else is done:
`placeholders` has the table of what is filled in where, `driver` finds inputs and decides on conditions, `launcher`
runs a step's tries, `retries` says when there is another, `pods` what Kubernetes makes of a step, and `dag` what
follows what. An environment holds nothing but what the YAML and the compiler to Argo set; a volume is the folder it is
mounted at; the image is this checkout. Kubeflow's own cache, loops, importers and artifacts between tasks are refused.
"""

import subprocess
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from pipeline.runners.kubeflow.limits import KEPT, WORKFLOW
from pipeline.runners.kubeflow.size import sizes
from tests.pipeline.runners.kubeflow.dag import Running
from tests.pipeline.runners.kubeflow.driver import About
from tests.pipeline.runners.kubeflow.launcher import Step, World, delete_pod, kill
from tests.pipeline.runners.kubeflow.pods import check_shape
from tests.pipeline.runners.kubeflow.releases import ON_ERROR, RELEASES, Release
from tests.pipeline.runners.kubeflow.retries import ERROR, FAILED, OMITTED, SKIPPED, SUCCEEDED
from tests.pipeline.runners.kubeflow.values import is_of

__all__ = [
    "ERROR",
    "FAILED",
    "OMITTED",
    "SKIPPED",
    "SUCCEEDED",
    "Cluster",
    "Refused",
    "Run",
    "Step",
    "delete_pod",
    "kill",
]
USUAL = "2.16.1"  # the newest release whose own settings do not keep failed steps from being tried again


class Refused(Exception):
    """The API server does not take a run."""


@dataclass(kw_only=True)
class Run:
    """A run. phase: of the workflow, as Argo says; steps: by task name; states: of all tasks by name, with exit tasks
    and `NAME-driver` of those whose driver failed; hooks: exit tasks in the order in which they began, one for each
    task they hang on; drivers: what failed drivers said."""

    id: str
    phase: str = ""
    steps: dict[str, Step] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    hooks: list[str] = field(default_factory=list)
    drivers: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """As Kubeflow says: an exit task's own failure does not count (Argo's assessDAGPhase looks at leaves)."""
        return SUCCEEDED if self.phase == SUCCEEDED else FAILED

    def log(self) -> str:
        """All that was said, for a test that fails."""
        drivers = [f"== {name}-driver {FAILED}\n{error}" for name, error in self.drivers.items()]
        steps = [f"== {step.name} {step.state} {step.tries} {step.stopped}\n{step.log}" for step in self.steps.values()]
        return "\n".join([*drivers, *steps])


@dataclass(kw_only=True)
class Cluster:
    """Runs compiled pipelines.

    folder: for the steps' own folders. secrets: name to key to value. parallel: steps at a time. started: called with
    each process and its task's name. release: of Kubeflow Pipelines. retry_policy: Argo's, where the cluster's
    administrator has changed what the release sets. backoff: called with the seconds before another try, instead of
    waiting. lasts: seconds that a try of a task is taken to have lasted beyond what it did.
    """

    folder: Path
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    parallel: int = 2
    started: Callable[[str, subprocess.Popen], None] = lambda name, process: None
    release: str = USUAL
    retry_policy: str = ""
    backoff: Callable[[float], None] = lambda seconds: None
    lasts: Callable[[str], float] = lambda name: 0.0

    def run(self, file: Path, **parameters: Any) -> Run:
        """Runs a compiled pipeline to its end.

        Raises:
            Refused: as the API server would.
        """
        release = self._release()
        spec, platform = documents(file, release)
        for label, configured in platform.items():
            check_shape(label, configured, release)
        check_size(spec, platform, release)
        inputs = _run_inputs(spec, parameters)
        run = Run(id=str(uuid.uuid4()))
        name = f"{spec['pipelineInfo']['name']}-{run.id[:5]}"
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        about = About(id=run.id, name=name, display_name=spec["pipelineInfo"]["name"], create_time=created)
        world = World(secrets=self.secrets, started=self.started, backoff=self.backoff, lasts=self.lasts)
        running = Running(spec, platform, about, release, world, run, self.folder / run.id, self.parallel)
        run.phase = running.whole(inputs)
        return run

    def _release(self) -> Release:
        release = RELEASES[self.release]
        return replace(release, retry_policy=self.retry_policy) if self.retry_policy else release


def documents(file: Path, release: Release) -> tuple[dict, dict[str, dict]]:
    """A compiled pipeline, and its executors' Kubernetes configuration. Both documents are read strictly, as the API
    server does (template/v2_template.go: NewV2SpecTemplate); only inside an executor's configuration may be anything.

    Raises:
        Refused: of a setting of the whole pipeline that the release does not know.
    """
    spec, *platforms = yaml.safe_load_all(file.read_text())
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    platform = platforms[0]["platforms"]["kubernetes"] if platforms else {"deploymentSpec": {"executors": {}}}
    unknown = sorted(set(platform) - {"deploymentSpec", *(["pipelineConfig"] if release.since("2.17.0") else [])})
    if unknown:
        raise Refused(f"unknown field {', '.join(unknown)}")
    assert "pipelineConfig" not in platform, "a deadline of the whole run is not known here"
    executors = platform["deploymentSpec"]["executors"]
    for name, executor in spec["deploymentSpec"]["executors"].items():
        assert "container" in executor, f"{name}: importers and resolvers are not known here"
    _check_shared_containers(spec)
    return spec, executors


def check_size(spec: dict, platform: dict[str, dict], release: Release) -> None:
    """Refuses what etcd would not take, and what Argo would end with an error before the last step
    (workflow/packer/packer.go: compressWorkflow). How many bytes that is, is an estimate."""
    document = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": platform}}}}
    measured = sizes(spec, document, retried=release.retry_policy == ON_ERROR)
    if measured.workflow > WORKFLOW:
        raise Refused(f"etcdserver: request is too large: {measured.workflow} bytes")
    if measured.kept > KEPT:
        raise Refused(f"workflow is longer than maximum allowed size: {measured.kept} > {KEPT}")


def _check_shared_containers(spec: dict) -> None:
    """Components whose containers are the same share one component's inputs and outputs (argocompiler/argo.go:
    hashComponentContainer): they must have the same ones."""
    seen: dict[str, dict] = {}
    for name, component in spec["components"].items():
        if "executorLabel" in component:
            container = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
            own = {key: value for key, value in component.items() if key != "executorLabel"}
            other = seen.setdefault(repr(sorted(container.items())), own)
            assert own == other, f"{name}: another component has the same container, and Kubeflow takes one for both"


def _run_inputs(spec: dict, given: dict[str, Any]) -> dict[str, Any]:
    """A run's parameters, as the API server checks them (template/v2_template.go: validatePipelineJobInputs) and fills
    in what is not given (argocompiler/argo.go: Compile)."""
    declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    unknown = sorted(set(given) - set(declared))
    if unknown:
        raise Refused(f"parameter(s) provided are not required by pipeline: {', '.join(unknown)}")
    inputs = {}
    for name, about in declared.items():
        if name in given and not is_of(given[name], about["parameterType"]):
            raise Refused(f"input parameter {name} requires type {about['parameterType']}. Received: {given[name]!r}")
        if name not in given and about.get("defaultValue") is None and not about.get("isOptional"):
            raise Refused(f"parameter {name} is not optional, yet has neither default value nor user provided value")
        inputs[name] = given.get(name, about.get("defaultValue"))
    return inputs
