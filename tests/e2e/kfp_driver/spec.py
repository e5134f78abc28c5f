"""A compiled package as the messages of KFP's own protocol buffers, and what differs between KFP's releases."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format, struct_pb2
from google.protobuf.message import Message
from kfp.kubernetes import kubernetes_executor_config_pb2 as kubernetes_pb2
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2


@dataclass(frozen=True, kw_only=True)
class Release:
    """What a release of KFP does, of what this driver needs.

    Attributes:
        retries_everywhere: a task's retryPolicy counts wherever the task is. In 2.5.0 `getTaskRetryPolicySpec`
            (argocompiler/container.go) looks among the tasks of the root alone; from 2.14.0 on
            `getTaskRetryParametersWithValues` takes the task itself.
        driver_fills_arguments: 2.17.0's driver fills in input parameters (`resolveContainerArgs`, driver/util.go), and
            fails where one has no value; before, only the launcher does, and leaves what it does not know.
        output_file_beside_artifacts: where `provisionOutputs` puts the executor's output file.
        numbers_tries: from 2.16.1 on the launcher knows which try it is (`retryIndexEnv`, argocompiler/common.go), and
            the log's name ends in that.
        pipeline_config: fields of the message PipelineConfig (api/v2alpha1/pipeline_spec.proto).
    """

    retries_everywhere: bool
    driver_fills_arguments: bool
    output_file_beside_artifacts: bool
    numbers_tries: bool
    pipeline_config: tuple[str, ...]


KFP_2_5 = Release(
    retries_everywhere=False,
    driver_fills_arguments=False,
    output_file_beside_artifacts=False,
    numbers_tries=False,
    pipeline_config=("semaphoreKey", "mutexName", "resourceTtl"),
)
KFP_2_14 = Release(
    retries_everywhere=True,
    driver_fills_arguments=False,
    output_file_beside_artifacts=False,
    numbers_tries=False,
    pipeline_config=("semaphoreKey", "mutexName", "resourceTtl", "workspace"),
)
KFP_2_17 = Release(
    retries_everywhere=True,
    driver_fills_arguments=True,
    output_file_beside_artifacts=True,
    numbers_tries=True,
    pipeline_config=(
        *("resourceTtlOnCompletion", "resourceTtlOnSuccess", "resourceTtlOnFailure"),
        *("workspace", "activeDeadlineSeconds"),
    ),
)
# Of KubernetesExecutorConfig, as 2.5.0 has it: what is done here, and what says where a pod may run, under what name.
_DONE = ("secretAsEnv", "pvcMount", "activeDeadlineSeconds")
_PLACED = ("nodeSelector", "tolerations", "nodeAffinity", "podAffinity", "podMetadata")
_PULLED = ("imagePullSecret", "imagePullPolicy")


class Refused(Exception):
    """The API server does not take the package, or its arguments."""


@dataclass(frozen=True, kw_only=True)
class PodConfig:
    """What Kubernetes is told of a step. config: claims and secrets. deadline: seconds after which a pod is ended."""

    config: kubernetes_pb2.KubernetesExecutorConfig = field(default_factory=kubernetes_pb2.KubernetesExecutorConfig)
    deadline: int | None = None


@dataclass(frozen=True, kw_only=True)
class Package:
    """A compiled pipeline. containers, pods: by the label of the executor."""

    pipeline: spec_pb2.PipelineSpec
    containers: dict[str, spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec]
    pods: dict[str, PodConfig]

    def component(self, name: str) -> spec_pb2.ComponentSpec:
        return self.pipeline.components[name]

    def arguments(self, given: dict[str, Any]) -> dict[str, struct_pb2.Value]:
        """The pipeline's parameters for one run, as `validatePipelineJobInputs` (template/v2_template.go) checks them
        and `Compile` (argocompiler/argo.go) fills them in: a default, or null for an optional one without.

        Raises:
            Refused: one is missing or of another type.
        """
        declared = self.pipeline.root.input_definitions.parameters
        arguments = {name: json_format.ParseDict(value, struct_pb2.Value()) for name, value in given.items()}
        for name, parameter in declared.items():
            if name in arguments:
                if not is_of(arguments[name], parameter.parameter_type):
                    raise Refused(f"parameter {name} must be of its type. Received: {given[name]!r}")
            elif parameter.HasField("default_value"):
                arguments[name] = parameter.default_value
            elif parameter.is_optional:
                arguments[name] = struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
            else:
                raise Refused(f"parameter {name} must be given, because it has no default")
        if unknown := set(arguments) - set(declared):
            raise Refused(f"parameters must be declared. Received: {', '.join(sorted(unknown))}")
        return arguments


def read(file: Path, release: Release) -> Package:
    """Reads a package as the API server does (`protojson.Unmarshal`, template/v2_template.go).

    Raises:
        Refused: it has a field that the server, or this driver, does not know, or an executor that is no container.
    """
    pipeline, platform, *_ = [*yaml.safe_load_all(file.read_text()), None]
    try:
        spec = json_format.ParseDict(pipeline, spec_pb2.PipelineSpec())
        deployment = json_format.MessageToDict(spec.deployment_spec)
        executors = json_format.ParseDict(deployment, spec_pb2.PipelineDeploymentConfig()).executors
    except json_format.ParseError as error:
        raise Refused(f"a package must have fields that KFP knows. {error}") from None
    containers = {}
    for label, executor in executors.items():
        if executor.WhichOneof("spec") != "container":
            raise Refused(f"executor {label} must be a container. Received: {executor.WhichOneof('spec')}")
        containers[label] = executor.container
    pods = _pods(platform, release) if platform else {}
    return Package(pipeline=spec, containers=containers, pods=pods)


def _pods(platform: dict[str, Any], release: Release) -> dict[str, PodConfig]:
    """Platform settings. The protocol buffers of kfp-kubernetes 1.0.0, which the Python 3.10 line has, know less than
    the oldest server does, so that names of fields are compared with the server's."""
    (settings,) = platform["platforms"].values()
    _check(settings, ("deploymentSpec", "pipelineConfig"), "SinglePlatformSpec")
    _check(settings.get("pipelineConfig", {}), release.pipeline_config, "PipelineConfig")
    if settings.get("pipelineConfig"):
        raise Refused(f"this driver ends no run by itself. Received: {settings['pipelineConfig']}")
    pods = {}
    for label, told in settings["deploymentSpec"]["executors"].items():
        _check(told, (*_DONE, *_PLACED, *_PULLED), "KubernetesExecutorConfig, as far as this driver has it,")
        message = kubernetes_pb2.KubernetesExecutorConfig()
        given = {name: told[name] for name in ("secretAsEnv", "pvcMount") if name in told}
        deadline = int(told["activeDeadlineSeconds"]) if "activeDeadlineSeconds" in told else None
        pods[label] = PodConfig(config=json_format.ParseDict(given, message), deadline=deadline)
    return pods


def _check(fields: dict[str, Any], known: tuple[str, ...], message: str) -> None:
    if unknown := set(fields) - set(known):
        raise Refused(f"{message} must have fields that KFP knows. Received: {', '.join(sorted(unknown))}")


_KINDS = {
    "STRING": ("string_value",),
    "NUMBER_INTEGER": ("number_value",),
    "NUMBER_DOUBLE": ("number_value",),
    "BOOLEAN": ("bool_value",),
    "LIST": ("list_value",),
    "STRUCT": ("struct_value",),
}


def is_of(value: struct_pb2.Value, kind: int) -> bool:
    """Whether a value is of a declared type; an integer is any number, as it is for KFP."""
    return value.WhichOneof("kind") in _KINDS[spec_pb2.ParameterType.ParameterTypeEnum.Name(kind)]


def one_line(message: Message) -> str:
    """A message as JSON in one line, as it travels in an argument."""
    return json_format.MessageToJson(message, indent=None)
