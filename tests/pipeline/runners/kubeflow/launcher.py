"""A container step: its pod, the launcher in it, the step's own process, and the tries of it."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.pipeline.runners.kubeflow import driver
from tests.pipeline.runners.kubeflow.placeholders import (
    MissingInput,
    filled_by_driver,
    filled_by_kubelet,
    filled_by_launcher,
)
from tests.pipeline.runners.kubeflow.pods import CannotStart, Pod, pod_of
from tests.pipeline.runners.kubeflow.releases import Release
from tests.pipeline.runners.kubeflow.retries import ERROR, FAILED, SUCCEEDED, Strategy, Try, verdict
from tests.pipeline.runners.kubeflow.values import read

_GRACE_SECONDS = 30  # a pod's terminationGracePeriodSeconds, where nothing sets it


@dataclass(kw_only=True)
class Step:
    """What became of a container step. tries: exit codes; log: of all tries; begun, ended: seconds; stopped: why it was
    not tried again."""

    name: str
    state: str
    log: str
    begun: float
    ended: float
    stopped: str = ""
    tries: list[int] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, Path] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Container:
    """A step that is to run. name: shown. inputs: found by the driver. strategy: of its tries; None: one try."""

    name: str
    folder: Path
    component: dict
    container: dict
    configured: dict
    inputs: dict[str, Any]
    strategy: Strategy | None
    release: Release


@dataclass(frozen=True, kw_only=True)
class World:
    """What is around a step. secrets: name to key to value. started: called with each process and its task's name.
    backoff: called with the seconds before another try, instead of waiting for them. lasts: seconds that a try of a
    task is taken to have lasted beyond what it did."""

    secrets: dict[str, dict[str, str]]
    started: Callable[[str, subprocess.Popen], None]
    backoff: Callable[[float], None]
    lasts: Callable[[str], float]


class _Clock:
    """Seconds, of which some are only said to have passed."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        return time.time() + self.ahead


def ran(step: Container, world: World) -> Step:
    """Runs a step's tries, until one ends well or Argo makes no other."""
    begun, clock, tries, codes, stopped = time.time(), _Clock(), [], [], ""
    shutil.rmtree(step.folder, ignore_errors=True)
    step.folder.mkdir(parents=True)
    pod, log, launch = None, step.folder / "log.txt", _Launch(step)
    log.touch()
    try:
        pod = pod_of(step.container, step.configured, world.secrets, step.folder.name)
    except CannotStart as error:
        log.write_text(str(error))
        return _outcome(step, launch, FAILED, codes, str(error), begun)
    deadline = None
    while True:
        started = clock.now()
        phase, code = launch.once(len(tries), pod, deadline, clock, world)
        clock.ahead += world.lasts(step.name)
        codes.append(code)
        if phase == SUCCEEDED or step.strategy is None:
            break
        tries.append(Try(started=started, finished=clock.now(), phase=phase))
        decided = verdict(step.strategy, tries, clock.now())
        if decided.stopped:
            stopped = decided.stopped
            break
        world.backoff(decided.wait)
        clock.ahead += decided.wait
        deadline = decided.deadline
    return _outcome(step, launch, phase, codes, stopped, begun)


def _outcome(step: Container, launch: "_Launch", phase: str, codes: list[int], stopped: str, begun: float) -> Step:
    return Step(
        name=step.name,
        state=phase,
        tries=codes,
        stopped=stopped,
        log=(step.folder / "log.txt").read_text(),
        outputs=launch.outputs if phase == SUCCEEDED else {},
        artifacts=launch.artifacts,
        metrics=launch.metrics(),
        begun=begun,
        ended=time.time(),
    )


class _Launch:
    """The launcher of one step (component/launcher_v2.go: Execute)."""

    def __init__(self, step: Container):
        self._step, self.outputs = step, {}
        self._files = step.folder / "outputs"
        names = step.component.get("outputDefinitions", {}).get("artifacts", {})
        self.artifacts = {name: step.folder / "artifacts" / name for name in names}
        self._executor_input = driver.executor_input(
            step.inputs, step.component, "minio://mlpipeline/v2", str(self._files)
        )

    def once(self, index: int, pod: Pod, deadline: float | None, clock: _Clock, world: World) -> tuple[str, int]:
        """One try, in a pod of its own: nothing that an earlier one has written is there. Gives its phase and code."""
        for folder in (self._files, self._step.folder / "artifacts", self._step.folder / f"try-{index + 1}"):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        environment = dict(pod.environment)
        if self._step.release.since("2.16.1") and self._step.strategy:
            environment["KFP_RETRY_INDEX"] = str(index)  # argocompiler/container.go: retryIndexEnv
        with (self._step.folder / "log.txt").open("a") as log:
            try:
                command = self._command(environment)
                process = subprocess.Popen(
                    [sys.executable if command[0] == "python" else command[0], *command[1:]],
                    env=environment,
                    cwd=self._step.folder / f"try-{index + 1}",
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                )
            except (MissingInput, OSError) as error:
                log.write(f"launcher: {error}\n")
                return FAILED, 1
            world.started(self._step.name, process)
            code, late = _waited(process, _seconds_left(pod, deadline, clock))
            if late:
                log.write(f"{late}\n")
            if getattr(process, "pod_deleted", False):
                return ERROR, code  # operator.go: podReconciliation, markNodeError "pod deleted"
            return self._collected(log) if code == 0 and not late else (FAILED, code)

    def _command(self, environment: dict[str, str]) -> list[str]:
        """The process's words: the launcher gives its own defaults of inputs only to itself (addDefaultParams)."""
        step, given = self._step, self._step.container
        words = filled_by_driver([*given["command"], *given.get("args", [])], step.inputs, step.release)
        words = filled_by_kubelet(words, environment)
        declared = step.component.get("inputDefinitions", {}).get("parameters", {})
        defaults = {name: about["defaultValue"] for name, about in declared.items() if "defaultValue" in about}
        executor_input = {**self._executor_input, "inputs": {"parameterValues": {**defaults, **step.inputs}}}
        return filled_by_launcher(words, executor_input, {n: str(p) for n, p in self.artifacts.items()}, step.release)

    def _collected(self, log: Any) -> tuple[str, int]:
        """component/launcher_v2.go: collectOutputParameters: an output that cannot be read fails the step."""
        declared = self._step.component.get("outputDefinitions", {}).get("parameters", {})
        written = self._output_metadata().get("parameterValues", {})
        for name, about in declared.items():
            try:
                content = written[name] if name in written else (self._files / name).read_text()
                self.outputs[name] = content if name in written else read(content, about["parameterType"])
            except (OSError, ValueError) as error:
                log.write(f"launcher: failed to read output parameter name={name}: {error}\n")
                return FAILED, 1
        return SUCCEEDED, 0

    def _output_metadata(self) -> dict:
        """What the step wrote into its output file (getExecutorOutputFile)."""
        file = Path(self._executor_input["outputs"]["outputFile"])
        return json.loads(file.read_text()) if file.exists() else {}

    def metrics(self) -> dict[str, float]:
        """What the step wrote into its output file for the artifact `metrics`."""
        metrics = self._output_metadata().get("artifacts", {}).get("metrics")
        return metrics["artifacts"][0]["metadata"] if metrics else {}


def _seconds_left(pod: Pod, deadline: float | None, clock: _Clock) -> tuple[float | None, str]:
    """How long a try may take, and what ends it then."""
    ends = []
    if pod.active_deadline_seconds:
        ends.append(
            (float(pod.active_deadline_seconds), "Pod was active on the node longer than the specified deadline")
        )
    if deadline is not None:
        ends.append((max(deadline - clock.now(), 0.0), "Step exceeded its deadline"))
    return min(ends, default=(None, ""))


def _waited(process: subprocess.Popen, end: tuple[float | None, str]) -> tuple[int, str]:
    """The exit code; and why the process was ended, if it was."""
    try:
        return process.wait(end[0]), ""
    except subprocess.TimeoutExpired:
        process.terminate()
    try:
        return process.wait(_GRACE_SECONDS), end[1]
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait(), end[1]


def kill(process: subprocess.Popen) -> None:
    """Ends a step as the kernel would that is out of memory."""
    process.send_signal(signal.SIGKILL)


def delete_pod(process: subprocess.Popen) -> None:
    """Ends a step as somebody would who deletes its pod at once, or as a node that is lost: Argo finds no pod."""
    process.pod_deleted = True
    process.send_signal(signal.SIGKILL)
