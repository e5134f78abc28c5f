"""A step's pod: what Kubernetes gives the container, and what KFP's launcher does around the step's command.

The functions of KFP 2.17.0's backend/src/v2/component/launcher_v2.go that are followed:

- `qualifyExecutorLogsForRetry`, `getLogWriter`: a log of its own for each try.
- `addDefaultParams`, `getPlaceholders`, `compileCmdAndArgs`: `{{$}}` in all of the command; inputs' parameters, and
  outputs' paths, URIs and files, in all but its first word. **Nothing else: any other placeholder stays what it is.**
- `prepareOutputFolders`, `execute`, `getExecutorOutputFile`, `collectOutputParameters`: the process, and what it
  wrote; a declared output parameter that was not written fails the try.
- `uploadOutputArtifacts`, `mergeRuntimeArtifacts`: metadata; a file that was not written is no failure.

Of Kubernetes: a claim, a secret or a key that is not there means that the pod waits for ever. A container has a file
system and processes of its own: here its `/tmp`, home and `/minio` are in a folder of the try, TMPDIR says so, and all
that is left of its processes is killed when the first one ends.
"""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf import json_format, struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from tests.e2e.kfp_driver.driver import LOGS, PodSpec, SecretKey
from tests.e2e.kfp_driver.spec import one_line
from tests.e2e.kfp_driver.values import as_text, from_text

_GRACE_SECONDS = 30  # Kubernetes' terminationGracePeriodSeconds


class NeverStarts(Exception):
    """A pod would wait for ever for something that is not there."""


@dataclass(frozen=True, kw_only=True)
class Namespace:
    """What is in the namespace, and on a node. image: the image's environment. secrets: of each, its keys. claims: of
    each, its folder, which must be mounted at its own path, because a process sees no other file system."""

    image: Mapping[str, str]
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    claims: Mapping[str, Path] = field(default_factory=dict)

    def environment(self, name: str, pod: PodSpec) -> dict[str, str]:
        """The container's environment.

        Raises:
            NeverStarts: a secret or a claim is missing.
        """
        for path, claim in pod.claims.items():
            if claim not in self.claims or not self.claims[claim].is_dir():
                raise NeverStarts(f'{name}: persistentvolumeclaim "{claim}" not found')
            if Path(path).resolve() != self.claims[claim].resolve():
                raise NeverStarts(f"{name}: {claim} must be mounted at {self.claims[claim]} here. Received: {path}")
        environment = dict(self.image)
        for variable, value in pod.environment.items():
            if not isinstance(value, SecretKey):
                environment[variable] = value
            elif value.key in self.secrets.get(value.secret, {}):
                environment[variable] = self.secrets[value.secret][value.key]
            elif not value.optional:
                raise NeverStarts(f"{name}: couldn't find key {value.key} in Secret {value.secret}")
        return environment


@dataclass(frozen=True, kw_only=True)
class Try:
    """One pod that has ended. code: of the step's process; error: the launcher's. started, finished: seconds of the
    monotonic clock."""

    code: int
    started: float
    finished: float
    log: Path
    error: str = ""
    outputs: dict[str, struct_pb2.Value] = field(default_factory=dict)
    artifacts: dict[str, Path] = field(default_factory=dict)
    metadata: dict[str, dict] = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        return self.code == 0 and not self.error


@dataclass(frozen=True, kw_only=True)
class Pod:
    """A pod that is to run. folder: its own file system. index: of the try. deadline: when Argo ends it, or none."""

    name: str
    spec: PodSpec
    folder: Path
    index: int
    environment: dict[str, str]
    deadline: float | None = None

    def run(self, processes: list[subprocess.Popen], started: Callable[[str, int, subprocess.Popen], None]) -> Try:
        """Runs the launcher. processes: to which the step's is added. started: is told of it in a thread."""
        given = self._qualified()
        command = _compiled(_with_defaults(given, self.spec.component), self.spec.command, self.folder)
        for place in (*self._files(given), *self._artifacts(given).values(), self.folder / "tmp/x", self._home() / "x"):
            place.parent.mkdir(parents=True, exist_ok=True)
        log, began = self._artifacts(given)[LOGS], time.monotonic()
        own = {"HOME": str(self._home()), "TMPDIR": str(self.folder / "tmp"), "KFP_POD_NAME": self.name}
        own |= {"KFP_POD_UID": self.folder.name}
        own |= {"KFP_RETRY_INDEX": str(self.index)} if self.spec.numbered and self.spec.retried else {}
        code, error, written = 1, "", {}
        try:
            with open(log, "wb") as writer:
                code = self._ended(command, {**self.environment, **own}, writer, processes, started)
            written = self._written(given) if code == 0 else {}
        except (OSError, ValueError, json_format.ParseError) as failure:
            error = f"failed to execute component: {failure}"
        return Try(code=code, started=began, finished=time.monotonic(), log=log, error=error, **written)

    def _home(self) -> Path:
        return self.folder / "home"

    def _qualified(self) -> spec_pb2.ExecutorInput:
        """The executor's input as this pod sees it: with its own log, and places in its own file system."""
        given = spec_pb2.ExecutorInput()
        given.CopyFrom(self.spec.executor_input)
        given.outputs.artifacts[LOGS].artifacts[0].uri += f"-{self.index}" if self.spec.numbered else ""
        given.outputs.output_file = f"{self.folder}{given.outputs.output_file}"
        for parameter in given.outputs.parameters.values():
            parameter.output_file = f"{self.folder}{parameter.output_file}"
        return given

    def _files(self, given: spec_pb2.ExecutorInput) -> list[Path]:
        parameters = given.outputs.parameters.values()
        return [Path(parameter.output_file) for parameter in parameters] + [Path(given.outputs.output_file)]

    def _artifacts(self, given: spec_pb2.ExecutorInput) -> dict[str, Path]:
        return {name: local(self.folder, found.artifacts[0].uri) for name, found in given.outputs.artifacts.items()}

    def _ended(
        self, command: list[str], environment: dict[str, str], writer, processes: list, started: Callable
    ) -> int:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=subprocess.STDOUT,
            cwd=self._home(),
            env=environment,
            start_new_session=True,
        )
        processes.append(process)
        watching = threading.Thread(target=started, args=(self.name, self.index, process), daemon=True)
        watching.start()
        try:
            code = process.wait(self._seconds())
        except subprocess.TimeoutExpired:
            code = _stopped(process)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return code

    def _seconds(self) -> float | None:
        """How long the pod may run: until Argo's deadline for all tries, and as long as its own."""
        left = [] if self.deadline is None else [max(0.0, self.deadline - time.monotonic())]
        return min(left + [self.spec.deadline] * (self.spec.deadline is not None), default=None)

    def _written(self, given: spec_pb2.ExecutorInput) -> dict[str, dict]:
        """What the step has left.

        Raises:
            OSError: a declared output is not there.
            ValueError: it is not of its type.
        """
        declared, said = self.spec.component.output_definitions.parameters, spec_pb2.ExecutorOutput()
        if Path(given.outputs.output_file).is_file():
            json_format.Parse(Path(given.outputs.output_file).read_bytes(), said)
        outputs = dict(said.parameter_values)
        for name, parameter in given.outputs.parameters.items():
            if name not in outputs:
                outputs[name] = from_text(Path(parameter.output_file).read_text(), declared[name].parameter_type)
        metadata = {}
        for name, found in given.outputs.artifacts.items():
            merged = dict(json_format.MessageToDict(found.artifacts[0].metadata))
            if name in said.artifacts and name != LOGS:
                merged |= json_format.MessageToDict(said.artifacts[name].artifacts[0].metadata)
            metadata[name] = merged
        return {"outputs": outputs, "artifacts": self._artifacts(given), "metadata": metadata}


def kill(process: subprocess.Popen) -> None:
    """Kills a container as the kernel does that has no memory left: with `kill -9`, all of it."""
    os.killpg(process.pid, signal.SIGKILL)


def local(folder: Path, uri: str) -> Path:
    """Where an artifact is in the pod (`LocalPathForURI`)."""
    return folder / uri.replace("://", "/", 1)


def _stopped(process: subprocess.Popen) -> int:
    """Ends a pod whose time is over."""
    os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(_GRACE_SECONDS)
    kill(process)
    return process.wait()


def _with_defaults(given: spec_pb2.ExecutorInput, component: spec_pb2.ComponentSpec) -> spec_pb2.ExecutorInput:
    filled = spec_pb2.ExecutorInput()
    filled.CopyFrom(given)
    for name, parameter in component.input_definitions.parameters.items():
        if parameter.HasField("default_value") and name not in given.inputs.parameter_values:
            filled.inputs.parameter_values[name].CopyFrom(parameter.default_value)
    return filled


def _compiled(given: spec_pb2.ExecutorInput, command: tuple[str, ...], folder: Path) -> list[str]:
    whole = one_line(given)
    known = {f"{{{{$.inputs.parameters['{n}']}}}}": as_text(v) for n, v in given.inputs.parameter_values.items()}
    for name, parameter in given.outputs.parameters.items():
        known[f"{{{{$.outputs.parameters['{name}'].output_file}}}}"] = parameter.output_file
    for name, found in given.outputs.artifacts.items():
        known[f"{{{{$.outputs.artifacts['{name}'].uri}}}}"] = found.artifacts[0].uri
        known[f"{{{{$.outputs.artifacts['{name}'].path}}}}"] = str(local(folder, found.artifacts[0].uri))
    program, *arguments = (part.replace("{{$}}", whole) for part in command)
    for placeholder, text in known.items():
        arguments = [argument.replace(placeholder, text) for argument in arguments]
    return [program, *arguments]
