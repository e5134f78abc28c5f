"""KFP without a cluster: a package is sent, translated to Argo's workflow, and run by a state machine, every step a
process that has nothing but what the package gives it.

It shares no code with the project's other stand-in, and was written from KFP's and Argo's sources alone. Each file
says which of their functions it follows: `workflow` (argocompiler), `driver` (v2/driver), `pod` (launcher_v2.go,
Kubernetes), `retries` and this one (Argo's workflow controller, v3.7.9; v4.0.5, which KFP 2.17.0 has, does the same):

- `executeDAGTask`: a task waits until all that it depends on has ended one way or another. Then it runs if all of them
  have succeeded, and is omitted if not. `when` is asked after that: a task that is not wanted is skipped.
- `runOnExitNode` after `node.Completed()`: a hook runs once its task has succeeded or failed, never after one that was
  skipped or omitted. What becomes of it changes nothing for the run.
- `assessDAGPhase`: a DAG ends when all in it has, hooks included; it fails if a task that nothing depends on has, or
  was omitted after one that has.
- A driver's pod has no retryStrategy.
"""

import queue
import re
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any

from tests.e2e.kfp_driver.driver import Driver, DriverFailed, PodSpec, Run, place
from tests.e2e.kfp_driver.pod import Namespace, Pod, Try, kill
from tests.e2e.kfp_driver.retries import Again, next_try
from tests.e2e.kfp_driver.spec import KFP_2_17, Release, read
from tests.e2e.kfp_driver.workflow import (
    CONTAINER_DRIVER,
    DAG,
    DAG_DRIVER,
    ENTRYPOINT,
    EXECUTOR,
    ROOT_DRIVER,
    Task,
    flattened,
)

RUNNING, SUCCEEDED, FAILED = "Running", "Succeeded", "Failed"
SKIPPED, OMITTED = "Skipped", "Omitted"
_COMPLETED = (SUCCEEDED, FAILED)


def nothing(name: str, index: int, process: Popen) -> None:
    """What is done about a pod that has started, unless a test wants something else."""


@dataclass(kw_only=True)
class Workflow:
    """One run.

    Attributes:
        run: its names. tasks: of the workflow, by path. driver: KFP's, with what it has recorded.
        phases: of the tasks that have started or ended. messages: why one failed, was skipped or omitted.
        tries: of each executor, one after the other.
    """

    run: Run
    tasks: dict[str, Task]
    driver: Driver
    phases: dict[str, str] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    tries: dict[str, list[Try]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def phase(self) -> str:
        return self.phases[ENTRYPOINT]

    def path(self, name: str) -> str:
        """The path of the one step of that name."""
        (path,) = (path for path, task in self.tasks.items() if task.name == name and task.kind in (EXECUTOR, DAG))
        return path

    def phase_of(self, name: str) -> str:
        return self.phases[self.path(name)]

    def tries_of(self, name: str) -> list[Try]:
        return self.tries.get(self.path(name), [])

    def log(self, name: str) -> str:
        """All that a step's tries have printed."""
        return "".join(end.log.read_text(errors="replace") + end.error for end in self.tries_of(name))

    def started(self) -> list[str]:
        """The names of steps of which a pod was started."""
        return [self.tasks[path].name for path in self.tries]

    def explained(self) -> str:
        """What went wrong, for a test that fails."""
        lines = [f"{path}: {self.phases[path]}: {why}" for path, why in self.messages.items()]
        bad = [path for path, tries in self.tries.items() if not tries[-1].succeeded]
        return "\n".join(lines + [f"== {path}\n{self.log(self.tasks[path].name)[-2000:]}" for path in bad])


@dataclass(frozen=True, kw_only=True)
class Kubeflow:
    """A cluster. folder: for pods. slots: how many pods its nodes have room for. started: is told of each container
    that has started, in a thread of its own: the step's name, the number of the try from 0, and the process."""

    folder: Path
    namespace: Namespace
    slots: int = 2
    release: Release = KFP_2_17
    started: Callable[[str, int, Popen], None] = nothing

    def run(self, file: Path, arguments: dict[str, Any] | None = None) -> Workflow:
        """Sends a package and waits for its run's end.

        Raises:
            Refused: the package, or its arguments.
            NeverStarts: a pod waits for what is not there.
        """
        package = read(file, self.release)
        values = package.arguments(arguments or {})
        id, pipeline = str(uuid.uuid4()), package.pipeline.pipeline_info.name
        run = Run(id=id, name=f"{pipeline}-{id[:5]}", display_name=f"Run of {pipeline}")
        workflow = Workflow(
            run=run,
            tasks=flattened(package, self.release),
            driver=Driver(package=package, release=self.release, run=run),
        )
        began = time.monotonic()
        _Controller(self, workflow, values).operate()
        workflow.seconds = time.monotonic() - began
        return workflow


class _Controller:
    """Argo's controller of one workflow."""

    def __init__(self, cluster: Kubeflow, workflow: Workflow, arguments: dict[str, Any]):
        self._cluster, self._workflow, self._arguments = cluster, workflow, arguments
        self._phases, self._messages, self._tries = workflow.phases, workflow.messages, workflow.tries
        self._wanted: dict[str, PodSpec | bool | None] = {}
        self._due: dict[str, Again] = {}
        self._ends: queue.Queue[tuple[str, Try | Exception]] = queue.Queue()
        self._room, self._over = threading.Semaphore(cluster.slots), threading.Event()
        self._processes: list[Popen] = []
        self._pods = 0
        self._after_failure: set[str] = set()

    def operate(self) -> None:
        """Runs the workflow to its end."""
        self._phases[ENTRYPOINT] = RUNNING
        try:
            while self._phases[ENTRYPOINT] == RUNNING:
                if not self._reconciled():
                    self._wait()
        finally:
            self._over.set()
            for process in self._processes:
                if process.poll() is None:
                    kill(process)

    def _reconciled(self) -> bool:
        """Starts what can start and ends what has ended; whether anything changed."""
        before = len(self._phases), [*self._phases.values()].count(RUNNING)
        for task in self._workflow.tasks.values():
            if task.path not in self._phases and not task.hooked and self._phases.get(task.within) == RUNNING:
                self._consider(task)
        for path in [path for path, phase in self._phases.items() if phase == RUNNING]:
            if path == ENTRYPOINT or self._workflow.tasks[path].kind == DAG:
                self._assess(path)
        return before != (len(self._phases), [*self._phases.values()].count(RUNNING))

    def _consider(self, task: Task) -> None:
        """Starts a task, if all that it depends on has ended (`executeDAGTask`)."""
        phases = [self._phases.get(path, RUNNING) for path in task.depends]
        if RUNNING in phases or any(not self._hook_has_ended(path) for path in task.depends):
            return
        if any(phase != SUCCEEDED for phase in phases):
            self._end(task, OMITTED, "omitted: depends condition not met")
        elif task.kind in (ROOT_DRIVER, DAG_DRIVER, CONTAINER_DRIVER):
            self._drive(task)
        elif task.conditional and not self._wanted[task.driver]:
            self._end(task, SKIPPED, "when 'false != false' evaluated false")
        else:
            self._phases[task.path] = RUNNING
            if task.kind == EXECUTOR:
                self._start(task, None)

    def _drive(self, task: Task) -> None:
        driver = self._workflow.driver
        try:
            if task.kind == ROOT_DRIVER:
                self._wanted[task.path] = driver.root(self._arguments)
            else:
                self._wanted[task.path] = driver.dag(task) if task.kind == DAG_DRIVER else driver.container(task)
            self._end(task, SUCCEEDED)
        except DriverFailed as error:
            self._end(task, FAILED, str(error))

    def _start(self, task: Task, deadline: float | None) -> None:
        """Creates a pod for the next try."""
        spec, index = self._wanted[task.driver], len(self._tries.setdefault(task.path, []))
        pod = Pod(
            name=task.name,
            spec=spec,
            folder=self._cluster.folder / re.sub(r"\W+", "-", f"{place(task)}-{index}-{uuid.uuid4().hex[:5]}"),
            index=index,
            environment=self._cluster.namespace.environment(task.name, spec),
            deadline=deadline,
        )

        def scheduled() -> None:
            with self._room:
                if self._over.is_set():
                    return
                try:
                    self._ends.put((task.path, pod.run(self._processes, self._cluster.started)))
                except Exception as error:  # of this driver itself: the run ends with it
                    self._ends.put((task.path, error))

        self._pods += 1
        threading.Thread(target=scheduled, daemon=True).start()

    def _wait(self) -> None:
        """Waits until a pod has ended, or one is due to be tried again."""
        soonest = min((again.at for again in self._due.values()), default=None)
        if soonest is None and not self._pods:
            raise RuntimeError(f"a workflow must end. Running without a pod: {self._phases}")
        try:
            path, end = self._ends.get(timeout=None if soonest is None else max(0.0, soonest - time.monotonic()))
        except queue.Empty:
            now = time.monotonic()
            for path in [path for path, again in self._due.items() if again.at <= now]:
                self._start(self._workflow.tasks[path], self._due.pop(path).deadline)
            return
        self._pods -= 1
        if isinstance(end, Exception):
            raise end
        self._tried(self._workflow.tasks[path], end)

    def _tried(self, task: Task, end: Try) -> None:
        """Takes in what became of a try (`processNodeRetries`)."""
        tries = self._tries[task.path]
        tries.append(end)
        if end.succeeded:
            self._workflow.driver.publish(task, end.outputs)
            self._end(task, SUCCEEDED)
            return
        again = next_try(task.retry, len(tries), tries[0].started, end.finished)
        if isinstance(again, Again):
            self._due[task.path] = again
        else:
            self._end(task, FAILED, f"{again} (exit code {end.code}) {end.error}".rstrip())

    def _end(self, task: Task, phase: str, why: str = "") -> None:
        """Marks a task as ended, and starts its hook if it has completed."""
        self._phases[task.path] = phase
        if phase == FAILED or phase not in _COMPLETED and self._after_failure.intersection(task.depends):
            self._after_failure.add(task.path)
        if why:
            self._messages[task.path] = why
        if task.hook and phase in _COMPLETED:
            self._phases[task.hook] = RUNNING

    def _hook_has_ended(self, path: str) -> bool:
        hook = self._workflow.tasks[path].hook
        return not hook or self._phases.get(hook, SKIPPED) != RUNNING

    def _assess(self, path: str) -> None:
        """Ends a DAG whose tasks have all ended (`assessDAGPhase`)."""
        tasks = [task for task in self._workflow.tasks.values() if task.within == path and not task.hooked]
        if any(
            self._phases.get(task.path, RUNNING) == RUNNING or not self._hook_has_ended(task.path) for task in tasks
        ):
            return
        needed = {dependency for task in tasks for dependency in task.depends}
        failed = [task.path for task in tasks if task.path not in needed and task.path in self._after_failure]
        phase = FAILED if failed else SUCCEEDED
        if path == ENTRYPOINT:
            self._phases[path] = phase
        else:
            self._end(self._workflow.tasks[path], phase, f"child {failed[0]} failed" if failed else "")
