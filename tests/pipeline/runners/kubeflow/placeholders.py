"""Where Kubeflow Pipelines fills in a placeholder. What is not in the table stays text, as it does on a cluster.

All files are below backend/src/v2 of Kubeflow Pipelines, 2.4.1 to 2.17.0. Two things are easily overlooked: the run's
id and name stand only for the *whole* constant of a task's input, never for a part of it and never in a container's
arguments; and nobody knows `{{$.json_escape[1]}}`.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from tests.pipeline.runners.kubeflow.releases import Release
from tests.pipeline.runners.kubeflow.values import text, text_of_driver

CONSTANT = "the whole constant of a task's input"
PART = "anywhere in the constant of a task's input"
ARGUMENT = "anywhere in a container's command or arguments"
POD = "an image, a request or a limit"
_DRIVER, _LAUNCHER = "driver/resolve.go: resolveInputParameter", "component/launcher_v2.go: getPlaceholders"
WORKSPACE = "/kfp-workspace"  # component/constants.go: WorkspaceMountPath


@dataclass(frozen=True, kw_only=True)
class Placeholder:
    """A placeholder. text: NAME is any name. place: where it is filled in. since: by which release. by: which file and
    function does it (2.5.0 has the first in driver/driver.go)."""

    text: str
    place: str
    since: str
    by: str


TABLE = (
    Placeholder(text="{{$.pipeline_job_uuid}}", place=CONSTANT, since="2.5.0", by=_DRIVER),
    Placeholder(text="{{$.pipeline_job_name}}", place=CONSTANT, since="2.5.0", by=_DRIVER),
    Placeholder(text="{{$.pipeline_job_resource_name}}", place=CONSTANT, since="2.5.0", by=_DRIVER),
    Placeholder(text="{{$.pipeline_task_name}}", place=CONSTANT, since="2.5.0", by=_DRIVER),
    Placeholder(text="{{$.pipeline_task_uuid}}", place=CONSTANT, since="2.5.0", by=_DRIVER),
    Placeholder(text="{{$.pipeline_job_create_time_utc}}", place=CONSTANT, since="2.16.0", by=_DRIVER),
    Placeholder(text="{{$.pipeline_job_schedule_time_utc}}", place=CONSTANT, since="2.16.0", by=_DRIVER),
    Placeholder(text="{{$.workspace_path}}", place=PART, since="2.15.0", by=_DRIVER),
    Placeholder(
        text="{{$.inputs.parameters['NAME']}}",
        place=POD,
        since="2.4.1",
        by="driver/resolve.go: resolvePodSpecInputRuntimeParameter",
    ),
    Placeholder(
        text="{{$.inputs.parameters['NAME']}}",
        place=ARGUMENT,
        since="2.17.0",
        by="driver/util.go: resolveContainerArgs",
    ),
    Placeholder(text="{{$.inputs.parameters['NAME']}}", place=ARGUMENT, since="2.4.1", by=_LAUNCHER),
    Placeholder(text="{{$.outputs.parameters['NAME'].output_file}}", place=ARGUMENT, since="2.4.1", by=_LAUNCHER),
    Placeholder(text="{{$.outputs.artifacts['NAME'].path}}", place=ARGUMENT, since="2.4.1", by=_LAUNCHER),
    Placeholder(text="{{$.outputs.artifacts['NAME'].uri}}", place=ARGUMENT, since="2.4.1", by=_LAUNCHER),
    Placeholder(text="{{$}}", place=ARGUMENT, since="2.4.1", by="component/launcher_v2.go: compileCmdAndArgs"),
)
_NAMED = re.compile(r"\{\{\$\.inputs\.parameters\['(.+?)']}}")  # driver/util.go: fullInputParameterRe
_CHANNEL = re.compile(r"\$.inputs.parameters\['(.+?)'\]")  # driver/util.go: inputPipelineChannelPattern
_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\)|)")


class MissingInput(Exception):
    """An input parameter that is to be filled in has no value."""


def filled_constant(constant: Any, facts: dict[str, Any], release: Release) -> Any:
    """A constant of a task's input as the driver hands it on.

    Args:
        facts: what each placeholder of the table stands for in this task.
    """
    if not isinstance(constant, str) or not release.fills_constants:
        return constant
    for row in TABLE:
        if row.place == PART and release.since(row.since) and row.text in constant:
            return constant.replace(row.text, facts[row.text])
    for row in TABLE:
        if row.place == CONSTANT and release.since(row.since) and row.text == constant:
            return facts[row.text]
    return constant


def filled_by_driver(arguments: list[str], parameters: dict[str, Any], release: Release) -> list[str]:
    """A container's command and arguments as the driver writes them into the pod (driver.go: initPodSpecPatch).

    Raises:
        MissingInput: a parameter has no value: the driver does not know defaults, which the launcher adds later.
    """
    if not release.driver_fills_arguments:
        return arguments

    def value(match: re.Match) -> str:
        if match[1] not in parameters:
            raise MissingInput(f'parameter "{match[1]}" not found in executor input')
        return text_of_driver(parameters[match[1]])

    assert not [each for each in arguments if each.strip().startswith('{"IfPresent":')], "IfPresent is not known here"
    return [each if "$.outputs" in each else _NAMED.sub(value, each) for each in arguments]


def filled_by_kubelet(arguments: list[str], environment: dict[str, str]) -> list[str]:
    """Arguments as Kubernetes gives them to the container: `$(NAME)` is a variable that the pod sets, `$$` is `$`
    (kubernetes, third_party/forked/golang/expansion: Expand). What the launcher fills in comes after it."""

    def value(match: re.Match) -> str:
        if match[0] == "$$":
            return "$"
        return environment.get(match[1], match[0]) if match[1] is not None else match[0]

    return [_REFERENCE.sub(value, each) for each in arguments]


def filled_by_launcher(
    arguments: list[str], executor_input: dict, paths: dict[str, str], release: Release
) -> list[str]:
    """A container's command and arguments as the launcher starts them (compileCmdAndArgs; 2.5.0: executeV2).

    Since 2.14, the first word of the command knows no placeholder but `{{$}}`.

    Args:
        paths: of output artifacts, which the launcher takes from their URIs (LocalPathForURI).
    """
    whole, named = {"{{$}}": compact(executor_input)}, _named(executor_input, paths)
    first = whole if release.since("2.14.0") else {**whole, **named}
    return [_replaced(arguments[0], first), *(_replaced(each, {**whole, **named}) for each in arguments[1:])]


def filled_in_pod(given: str, parameters: dict[str, Any]) -> str:
    """An image, a request or a limit: a text that names a parameter is its value, which must be a text."""
    match = _CHANNEL.search(given)
    if not match:
        return given
    if match[1] not in parameters:
        raise MissingInput("executorInput did not contain container Image input parameter")
    value = parameters[match[1]]
    return value if isinstance(value, str) else ""


def compact(message: dict) -> str:
    """A message as protojson writes it, without the spaces that it adds at random."""
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False)


def marked(kind: str, name: str, of: str = "") -> str:
    """The placeholder of something that has a name: `inputs.parameters`, `outputs.artifacts`, …"""
    return "{{$." + f"{kind}['{name}']{of}" + "}}"


def _named(executor_input: dict, paths: dict[str, str]) -> dict[str, str]:
    inputs, outputs = executor_input["inputs"], executor_input["outputs"]
    named = {marked("inputs.parameters", name): text(value) for name, value in inputs["parameterValues"].items()}
    for name, about in outputs["parameters"].items():
        named[marked("outputs.parameters", name, ".output_file")] = about["outputFile"]
    for name, about in outputs["artifacts"].items():
        named[marked("outputs.artifacts", name, ".uri")] = about["artifacts"][0]["uri"]
        named[marked("outputs.artifacts", name, ".path")] = paths[name]
    return named


def _replaced(argument: str, placeholders: dict[str, str]) -> str:
    for placeholder, value in placeholders.items():
        argument = argument.replace(placeholder, value)
    return argument
