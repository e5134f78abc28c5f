"""What Kubeflow Pipelines' driver does before a task: it finds the task's inputs, decides on its condition, and writes
what the pod is started with (driver/dag.go: DAG, driver/container.go: Container)."""

import json
from dataclasses import dataclass, field
from typing import Any

from tests.pipeline.runners.kubeflow.conditions import CannotEvaluate, holds
from tests.pipeline.runners.kubeflow.placeholders import WORKSPACE, compact, filled_constant
from tests.pipeline.runners.kubeflow.releases import Release
from tests.pipeline.runners.kubeflow.values import is_of, text

LONGEST_ARGUMENT = 131_071  # bytes of one argument that Linux takes (MAX_ARG_STRLEN, with the zero at its end)


class DriverError(Exception):
    """The driver ends with an error: its task is omitted, and the run fails."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What the driver is told of a run. create_time: of the run, as 2026-11-27T04:00:00Z."""

    id: str
    name: str
    display_name: str
    create_time: str


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What the driver finds in a DAG. inputs: of the DAG. outputs: of its tasks that have run, by name."""

    about: About
    execution: int
    inputs: dict[str, Any]
    outputs: dict[str, dict[str, Any]]
    release: Release
    states: dict[str, str] = field(default_factory=dict)


def resolved_inputs(name: str, task: dict, component: dict, scope: Scope) -> dict[str, Any]:
    """A task's input parameters (driver/resolve.go: resolveInputs).

    Raises:
        DriverError: one has no value, or one of another type.
    """
    assert not task.get("parameterIterator") and not task.get("artifactIterator"), f"{name}: loops are not known here"
    assert not task.get("inputs", {}).get("artifacts"), f"{name}: artifacts of other tasks are not known here"
    given, declared = {}, component.get("inputDefinitions", {}).get("parameters", {})
    for key, about in task.get("inputs", {}).get("parameters", {}).items():
        assert "parameterExpressionSelector" not in about, f"{name}: expression selectors are not known here"
        value = _resolved(name, task, about, scope)
        if value is not None:
            given[key] = value
        elif not declared.get(key, {}).get("isOptional"):
            raise DriverError(f"the resolved input parameter is null: {about['componentInputParameter']}")
    return {**given, **_checked(given, declared, "dag" in component)}


def _resolved(name: str, task: dict, about: dict, scope: Scope) -> Any:
    """driver/resolve.go: resolveInputParameter."""
    if "componentInputParameter" in about:
        parameter = about["componentInputParameter"]
        if parameter not in scope.inputs:
            raise DriverError(f"parent DAG does not have input parameter {parameter}")
        return scope.inputs[parameter]
    if "taskOutputParameter" in about:
        producer, key = about["taskOutputParameter"]["producerTask"], about["taskOutputParameter"]["outputParameterKey"]
        if key not in scope.outputs.get(producer, {}):
            raise DriverError(f"cannot find output parameter key, {key}, in producer task {producer}")
        return scope.outputs[producer][key]
    if "taskFinalStatus" in about and scope.release.since("2.14.0"):
        producer = task["dependentTasks"][0]
        state = {"succeeded": "COMPLETE", "failed": "FAILED", "error": "FAILED"}[scope.states[producer]]
        return {
            "state": state,
            "pipelineJobResourceName": scope.about.name,
            "pipelineTaskName": producer,
            "error": {},
        }
    if "runtimeValue" not in about or "constant" not in about["runtimeValue"]:
        raise DriverError(f"parameter spec of {about} not implemented yet")
    return filled_constant(about["runtimeValue"]["constant"], _facts(name, task, scope), scope.release)


def _facts(name: str, task: dict, scope: Scope) -> dict[str, str]:
    """What a constant's placeholders stand for."""
    about, release = scope.about, scope.release
    return {
        "{{$.pipeline_job_uuid}}": about.id,
        "{{$.pipeline_job_name}}": about.display_name,
        "{{$.pipeline_job_resource_name}}": about.name,
        "{{$.pipeline_task_name}}": name if release.since("2.14.0") else task["taskInfo"]["name"],
        "{{$.pipeline_task_uuid}}": str(scope.execution),
        "{{$.pipeline_job_create_time_utc}}": about.create_time,
        "{{$.pipeline_job_schedule_time_utc}}": about.create_time,
        "{{$.workspace_path}}": WORKSPACE,
    }


def _checked(given: dict[str, Any], declared: dict[str, dict], is_dag: bool) -> dict[str, Any]:
    """Values by their declared types (driver/resolve.go: handleParamTypeValidationAndConversion): what is no text but
    is to be one becomes one; nothing else is turned into another type. A DAG hands the defaults on to its tasks."""
    checked: dict[str, Any] = {}
    for name, about in declared.items():
        kind, default = about["parameterType"], about.get("defaultValue")
        if name not in given:
            if not about.get("isOptional") and default is None:
                raise DriverError(f'neither value nor default value provided for non-optional parameter "{name}"')
            if is_dag and about.get("isOptional"):
                checked[name] = default
        elif kind == "STRING":
            checked[name] = text(given[name])
        elif not is_of(given[name], kind):
            raise DriverError(f'input parameter "{name}" type mismatch: expect {kind}, got {given[name]!r}')
    return checked


def triggers(task: dict, inputs: dict[str, Any]) -> bool:
    """Whether a task is to run, once its driver has.

    Raises:
        DriverError: its condition has no value.
    """
    condition = task.get("triggerPolicy", {}).get("condition")
    try:
        return not condition or holds(condition, inputs)
    except CannotEvaluate as error:
        raise DriverError(str(error)) from None


def check_arguments(component: dict, task: dict | None = None, *others: dict | None) -> None:
    """Each message is one argument of the driver's own process (argocompiler/dag.go: addDAGDriverTemplate,
    container.go: addContainerDriverTemplate), as long as Linux lets it be.

    Raises:
        DriverError: one is longer.
    """
    messages = (component, task, *others)
    for name, message in zip(("component", "task", "container", "kubernetes_config"), messages):  # noqa: B905
        size = len(json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()) if message else 0
        if size > LONGEST_ARGUMENT:
            raise DriverError(f"exec driver: argument list too long: --{name} of {size} bytes")


def executor_input(inputs: dict[str, Any], component: dict, uri: str, folder: str) -> dict:
    """What the launcher is told (driver.go: provisionOutputs).

    Args:
        uri: below which artifacts go. folder: of output files, which on a cluster is /tmp/kfp/outputs.
    """
    outputs = component.get("outputDefinitions", {})
    artifacts = {
        name: {"artifacts": [{"name": name, "type": about["artifactType"], "uri": f"{uri}/{name}"}]}
        for name, about in outputs.get("artifacts", {}).items()
    }
    return {
        "inputs": {"parameterValues": inputs},
        "outputs": {
            "parameters": {name: {"outputFile": f"{folder}/{name}"} for name in outputs.get("parameters", {})},
            "artifacts": artifacts,
            "outputFile": f"{folder}/output_metadata.json",
        },
    }


def check_launcher_arguments(executor_input: dict, component: dict) -> None:
    """The launcher gets both in one argument each (driver.go: initPodSpecPatch).

    Raises:
        DriverError: one is too long, with which the pod's container cannot start.
    """
    for name, message in (("executor_input", executor_input), ("component_spec", component)):
        if len(compact(message).encode()) > LONGEST_ARGUMENT:
            raise DriverError(f"exec launch: argument list too long: --{name}")
