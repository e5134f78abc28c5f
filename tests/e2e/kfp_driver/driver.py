"""What KFP's driver does in a pod before each task: inputs, condition, places of outputs, and the pod's specification.

The functions of KFP 2.17.0's backend/src/v2/driver that are followed:

- `RootDAG`, `DAG`, `Container`: in this order inputs, condition, outputs. A driver that cannot is a pod that failed.
- `resolveInputs`, `resolveInputParameter`: a parameter comes from the parent DAG's inputs, from another task's output,
  or is a constant. **Here alone, and only where it is all of the constant, `{{$.pipeline_job_uuid}}` and its like are
  filled in.** A value must be of the component's type; anything becomes a string.
- `resolveUpstreamParameters`: a DAG's output leads on to the task within it; what a task has not written is null.
- `resolveContainerArgs` (2.17.0): `{{$.inputs.parameters['x']}}` in arguments that name no output.
- `provisionOutputs`: URIs, the files of output parameters, the executor's log.
- `initPodSpecPatch`, `extendPodSpecPatch`, `makeVolumeMountPatch`: the command, the environment, secrets, claims.
"""

import re
import uuid
from dataclasses import dataclass, field

from google.protobuf import struct_pb2
from google.protobuf.message import Message
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from tests.e2e.kfp_driver.spec import Package, PodConfig, Release, is_of, one_line
from tests.e2e.kfp_driver.values import as_text, holds
from tests.e2e.kfp_driver.workflow import ROOT, Task

LOGS = "executor-logs"
_LONGEST_ARGUMENT = 128 * 1024 - 1  # bytes: Linux' MAX_ARG_STRLEN with its final zero
_PIPELINE_ROOT = "minio://mlpipeline/v2/artifacts"  # config/env.go, defaultPipelineRoot
_INPUT = re.compile(r"\{\{\$\.inputs\.parameters\['(.+?)'\]\}\}")


class DriverFailed(Exception):
    """A driver's pod has failed."""


@dataclass(frozen=True, kw_only=True)
class Execution:
    """What MLMD knows of a task: KFP's own record, from which other tasks' inputs come."""

    inputs: dict[str, struct_pb2.Value]
    outputs: dict[str, struct_pb2.Value] = field(default_factory=dict)
    component: spec_pb2.ComponentSpec = field(default_factory=spec_pb2.ComponentSpec)


@dataclass(frozen=True, kw_only=True)
class SecretKey:
    """A variable of the environment that Kubernetes takes from a secret."""

    secret: str
    key: str
    optional: bool


@dataclass(frozen=True, kw_only=True)
class PodSpec:
    """The pod of a step. command: with its arguments. claims: by the path where each is mounted. deadline: seconds.
    numbered: whether its log says which try it is; retried: whether there may be more than one."""

    command: tuple[str, ...]
    executor_input: spec_pb2.ExecutorInput
    component: spec_pb2.ComponentSpec
    environment: dict[str, str | SecretKey]
    claims: dict[str, str]
    deadline: int | None
    numbered: bool
    retried: bool


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run's names, which placeholders may ask for."""

    id: str
    name: str
    display_name: str


@dataclass(frozen=True, kw_only=True)
class Driver:
    """KFP's driver for the tasks of one run. executions: by path of the task, without the names of hooks."""

    package: Package
    release: Release
    run: Run
    executions: dict[str, Execution] = field(default_factory=dict)

    def root(self, arguments: dict[str, struct_pb2.Value]) -> None:
        """Starts the run's record."""
        self.executions[ROOT] = Execution(inputs=arguments, component=self.package.pipeline.root)

    def dag(self, task: Task) -> bool:
        """Drives a DAG; whether it is to run."""
        self._check_lengths(task.component, task.spec)
        inputs = self._inputs(task, optional=True)
        self.executions[place(task)] = Execution(inputs=inputs, component=task.component)
        return self._wanted(task, inputs)

    def container(self, task: Task) -> PodSpec | None:
        """Drives a step; its pod, or none if its condition does not hold.

        Raises:
            DriverFailed: it cannot.
        """
        label = task.component.executor_label
        container = self.package.containers[label]
        pod = self.package.pods.get(label, PodConfig())
        self._check_lengths(task.component, task.spec, container, pod.config)
        inputs = self._inputs(task)
        self.executions[place(task)] = Execution(inputs=inputs, component=task.component)
        if not self._wanted(task, inputs):
            return None
        given = spec_pb2.ExecutorInput()
        for name, value in inputs.items():
            given.inputs.parameter_values[name].CopyFrom(value)
        self._provision(task, given.outputs)
        self._check_lengths(given)
        command = [*container.command, *container.args]
        if self.release.driver_fills_arguments:
            command = [_filled(part, inputs) for part in command]
        environment: dict[str, str | SecretKey] = {pair.name: pair.value for pair in container.env}
        return PodSpec(
            command=tuple(command),
            executor_input=given,
            component=task.component,
            environment=environment | self._secrets(task, pod.config),
            claims=self._claims(task, pod.config),
            deadline=pod.deadline,
            numbered=self.release.numbers_tries,
            retried=task.spec.HasField("retry_policy"),
        )

    def publish(self, task: Task, outputs: dict[str, struct_pb2.Value]) -> None:
        """Records what a step has written (`publish`, launcher_v2.go)."""
        self.executions[place(task)].outputs.update(outputs)

    def _wanted(self, task: Task, inputs: dict[str, struct_pb2.Value]) -> bool:
        condition = task.spec.trigger_policy.condition
        try:
            return not condition or holds(condition, inputs)
        except ValueError as error:
            raise DriverFailed(f"evaluation error: {error}") from None

    def _inputs(self, task: Task, optional: bool = False) -> dict[str, struct_pb2.Value]:
        """A task's parameters. optional: a DAG's optional ones get their default, or null, if the task gives none."""
        declared = task.component.input_definitions.parameters
        values, nulls = {}, set()
        for name, parameter in declared.items() if optional else ():
            if parameter.is_optional and name not in task.spec.inputs.parameters:
                null = struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
                values[name] = parameter.default_value if parameter.HasField("default_value") else null
                nulls |= set() if parameter.HasField("default_value") else {name}
        for name, given in task.spec.inputs.parameters.items():
            value = self._value(task, given)
            if value is not None:
                values[name] = _selected(given, value)
            elif name not in declared or not declared[name].is_optional:
                raise DriverFailed(f"{task.name}: the resolved input parameter is null: {name}")
        for name, parameter in declared.items():
            if name in values and name not in nulls:
                values[name] = _typed(task, name, parameter.parameter_type, values[name])
            elif name not in values and not parameter.is_optional and not parameter.HasField("default_value"):
                raise DriverFailed(f"{task.name}: neither value nor default value provided for {name}")
        return values

    def _value(self, task: Task, given: Message) -> struct_pb2.Value | None:
        """A parameter's value; none for a null of the parent DAG."""
        kind = given.WhichOneof("kind")
        if kind == "component_input_parameter":
            inputs = self.executions[task.scope].inputs
            if given.component_input_parameter not in inputs:
                raise DriverFailed(f"parent DAG does not have input parameter {given.component_input_parameter}")
            value = inputs[given.component_input_parameter]
            return None if value.WhichOneof("kind") == "null_value" else value
        if kind == "task_output_parameter":
            wanted = given.task_output_parameter
            return self._output(f"{task.scope}/{wanted.producer_task}", wanted.output_parameter_key)
        if kind == "runtime_value" and given.runtime_value.WhichOneof("value") == "constant":
            return self._constant(task, given.runtime_value.constant)
        raise DriverFailed(f"{task.name}: parameter spec of type {kind} not implemented yet")

    def _output(self, path: str, key: str) -> struct_pb2.Value:
        while True:
            execution = self.executions.get(path)
            if execution is None:
                raise DriverFailed(f"producer task, {path}, not in tasks")
            if execution.component.WhichOneof("implementation") != "dag":
                return execution.outputs.get(key, struct_pb2.Value())
            leads = execution.component.dag.outputs.parameters[key].value_from_parameter
            path, key = f"{path}/{leads.producer_subtask}", leads.output_parameter_key

    def _constant(self, task: Task, constant: struct_pb2.Value) -> struct_pb2.Value:
        texts = {
            "{{$.pipeline_job_name}}": self.run.display_name,
            "{{$.pipeline_job_resource_name}}": self.run.name,
            "{{$.pipeline_job_uuid}}": self.run.id,
            "{{$.pipeline_task_name}}": task.name,
        }
        text = texts.get(constant.string_value)
        return struct_pb2.Value(string_value=text) if text is not None else constant

    def _provision(self, task: Task, outputs: Message) -> None:
        base = f"{_PIPELINE_ROOT}/{self.package.pipeline.pipeline_info.name}/{self.run.id}/{task.name}/{uuid.uuid4()}"
        outputs.output_file = "/tmp/kfp_outputs/output_metadata.json"
        if self.release.output_file_beside_artifacts:
            outputs.output_file = f"/{base.replace('://', '/')}/output_metadata.json"
        for name, artifact in task.component.output_definitions.artifacts.items():
            place_of = outputs.artifacts[name].artifacts.add(uri=f"{base}/{name}", type=artifact.artifact_type)
            place_of.metadata.CopyFrom(artifact.metadata)
            place_of.name = name if self.release.output_file_beside_artifacts else ""
        outputs.artifacts[LOGS].artifacts.add(uri=f"{base}/{LOGS}").type.schema_title = "system.Artifact"
        for name in task.component.output_definitions.parameters:
            outputs.parameters[name].output_file = f"/tmp/kfp/outputs/{name}"

    def _secrets(self, task: Task, config: Message) -> dict[str, SecretKey]:
        environment = {}
        for secret in config.secret_as_env:
            name = self._name(task, secret, "secret_name_parameter") or secret.secret_name
            optional = bool(getattr(secret, "optional", False))
            for pair in secret.key_to_env:
                environment[pair.env_var] = SecretKey(secret=name, key=pair.secret_key, optional=optional)
        return environment

    def _claims(self, task: Task, config: Message) -> dict[str, str]:
        claims = {}
        for mount in config.pvc_mount:
            name = self._name(task, mount, "pvc_name_parameter") or mount.constant
            if not name or not mount.mount_path:
                raise DriverFailed(f"{task.name}: failed to mount volume, missing mountpath or pvc name")
            claims[mount.mount_path] = name
        return claims

    def _name(self, task: Task, message: Message, key: str) -> str:
        """A name that newer protocol buffers give as a parameter (`resolveInputParameterStr`)."""
        if key not in message.DESCRIPTOR.fields_by_name or not message.HasField(key):
            return ""
        value = self._value(task, getattr(message, key))
        if value is None or not value.string_value:
            raise DriverFailed(f"{task.name}: {key} must be a text that is not empty")
        return value.string_value

    @staticmethod
    def _check_lengths(*messages: Message) -> None:
        """Each travels in one argument of a driver's or a launcher's process, which Linux limits."""
        for message in messages:
            if len(one_line(message).encode()) > _LONGEST_ARGUMENT:
                raise DriverFailed(f"argument list too long: a {message.DESCRIPTOR.name} of more than 128 KiB")


def place(task: Task) -> str:
    """Where a task's execution is: under the DAG whose record its driver is told of."""
    return f"{task.scope}/{task.name}"


def _typed(task: Task, name: str, kind: int, value: struct_pb2.Value) -> struct_pb2.Value:
    if kind == spec_pb2.ParameterType.STRING:
        return struct_pb2.Value(string_value=as_text(value))
    if not is_of(value, kind):
        raise DriverFailed(f"{task.name}: input parameter {name} type mismatch: got {value.WhichOneof('kind')}")
    return value


def _selected(given: Message, value: struct_pb2.Value) -> struct_pb2.Value:
    if given.parameter_expression_selector:
        raise DriverFailed(f"this driver evaluates no selector. Received: {given.parameter_expression_selector}")
    return value


def _filled(argument: str, inputs: dict[str, struct_pb2.Value]) -> str:
    if "$.outputs" in argument:
        return argument
    if argument.strip().startswith('{"IfPresent":'):
        raise DriverFailed("this driver resolves no IfPresent")
    for name in _INPUT.findall(argument):
        if name not in inputs:
            raise DriverFailed(f"parameter {name} not found in executor input")
    return _INPUT.sub(lambda match: as_text(inputs[match[1]]), argument)
