"""What follows what: tasks of a DAG as the compiler to Argo makes them, run as Argo runs them.

A task `X` becomes two tasks of Argo (argocompiler/dag.go: task): `X-driver`, which depends on `.Succeeded` of all that
X depends on, and `X`, which depends on `X-driver.Succeeded` and has a `when` if X has a condition. A task with the
strategy ALL_UPSTREAM_TASKS_COMPLETED becomes no task but an exit hook of each task it depends on (taskToExitTemplate).
"""

import itertools
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.pipeline.runners.kubeflow import driver, launcher
from tests.pipeline.runners.kubeflow.driver import About, DriverError, Scope
from tests.pipeline.runners.kubeflow.releases import Release
from tests.pipeline.runners.kubeflow.retries import (
    ERROR,
    FAILED,
    OMITTED,
    SKIPPED,
    SUCCEEDED,
    NoStrategy,
    inherited,
    strategy_of,
)

_COMPLETED = {SUCCEEDED, FAILED, ERROR}  # NodePhase.Completed: a skipped or an omitted node is not


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What became of a task of Argo's. driver_failed: X-driver did, so that X is omitted."""

    phase: str
    outputs: dict[str, Any] = field(default_factory=dict)
    driver_failed: bool = False


class Running:
    """One run of a pipeline."""

    def __init__(
        self,
        spec: dict,
        platform: dict,
        about: About,
        release: Release,
        world: launcher.World,
        run: Any,
        folder: Path,
        parallel: int,
    ):
        self._spec, self._platform, self._about, self._release = spec, platform, about, release
        self._world, self._run, self._folder = world, run, folder
        self._slots, self._executions = threading.Semaphore(parallel), itertools.count(1)

    def whole(self, inputs: dict[str, Any]) -> str:
        """Runs the root DAG; gives its phase."""
        try:
            driver.check_arguments(self._spec["root"])
        except DriverError as error:
            self._run.drivers["root"] = str(error)
            return FAILED
        return self._dag(self._spec["root"], inputs, None, self._folder).phase

    def _dag(self, component: dict, inputs: dict[str, Any], policy: dict | None, folder: Path) -> Ended:
        return _Dag(self, component["dag"], inputs, policy, folder, next(self._executions)).whole()

    def task(self, name: str, task: dict, scope: Scope, policy: dict | None, folder: Path) -> Ended:
        """Runs a task: its driver, and, if that says so, the task itself."""
        shown, component = task["taskInfo"]["name"], self._spec["components"][task["componentRef"]["name"]]
        own = inherited(task, policy, self._release)
        label = component.get("executorLabel", "")
        container = self._spec["deploymentSpec"]["executors"][label]["container"] if label else None
        configured = self._platform.get(label, {})
        try:
            driver.check_arguments(component, task, container, configured)
            inputs = driver.resolved_inputs(name, task, component, scope)
            if not driver.triggers(task, inputs):
                return self._state(shown, Ended(phase=SKIPPED))
            if label:
                assert not task.get("cachingOptions", {}).get("enableCache"), f"{name} must leave the cache to TFX"
                executor_input = driver.executor_input(inputs, component, "minio://mlpipeline/v2", "/tmp/kfp/outputs")
                driver.check_launcher_arguments(executor_input, component)
        except DriverError as error:
            self._run.drivers[shown] = str(error)
            self._run.states[f"{shown}-driver"] = FAILED
            return self._state(shown, Ended(phase=OMITTED, driver_failed=True))
        if not label:
            return self._state(shown, self._dag(component, inputs, own, folder / name))
        return self._state(shown, self._container(name, task, component, container, configured, inputs, own, folder))

    def _container(self, name, task, component, container, configured, inputs, policy, folder) -> Ended:
        shown = task["taskInfo"]["name"]
        try:
            strategy = strategy_of(self._spec, name, policy, self._release)
        except NoStrategy as error:
            self._run.drivers[shown] = str(error)
            return Ended(phase=ERROR)
        step = launcher.Container(
            name=shown,
            folder=folder / name,
            component=component,
            container=container,
            configured=configured,
            inputs=inputs,
            strategy=strategy,
            release=self._release,
        )
        with self._slots:
            self._run.steps[shown] = launcher.ran(step, self._world)
        return Ended(phase=self._run.steps[shown].state, outputs=self._run.steps[shown].outputs)

    def _state(self, shown: str, ended: Ended) -> Ended:
        self._run.states[shown] = ended.phase
        return ended

    def omit(self, task: dict) -> Ended:
        """What becomes of a task whose dependencies did not all succeed."""
        return self._state(task["taskInfo"]["name"], Ended(phase=OMITTED))

    def hooked(self, task: dict) -> None:
        self._run.hooks.append(task["taskInfo"]["name"])

    def scope(self, execution: int, inputs: dict[str, Any], ended: dict[str, Ended]) -> Scope:
        return Scope(
            about=self._about,
            execution=execution,
            inputs=inputs,
            outputs={name: each.outputs for name, each in ended.items()},
            states={name: each.phase for name, each in ended.items()},
            release=self._release,
        )


class _Dag:
    def __init__(
        self, running: Running, dag: dict, inputs: dict[str, Any], policy: dict | None, folder: Path, execution: int
    ):
        self._running, self._inputs, self._policy, self._folder = running, inputs, policy, folder
        self._dag, self._execution, self._ended = dag, execution, {}
        exits = {name for name, task in dag["tasks"].items() if _is_exit(task)}
        self._tasks = {name: task for name, task in sorted(dag["tasks"].items()) if name not in exits}
        assert self._tasks, "DAG must contain one or more non-exit tasks"
        # a later exit task takes the place of an earlier one, as in taskToExitTemplate
        self._hooks = {before: name for name in sorted(exits) for before in _before(dag["tasks"][name])}

    def whole(self) -> Ended:
        """Until nothing can begin any more, and all that has begun has ended, hooks too (Argo's executeDAG)."""
        pending: dict[Future, str] = {}
        with ThreadPoolExecutor(2 * len(self._dag["tasks"]) + 1) as pool:
            while True:
                for name in self._ready(set(pending.values())):
                    task = self._tasks[name]
                    if any(self._ended[before].phase != SUCCEEDED for before in _before(task)):
                        self._ended[name] = self._running.omit(task)
                        break  # what depends on it may be decided now
                    pending[self._begun(pool, name, task, self._folder)] = name
                else:
                    if not pending:
                        break
                    for done in wait(pending, return_when=FIRST_COMPLETED).done:
                        name, ended = pending.pop(done), done.result()
                        if name in self._tasks:
                            self._ended[name] = ended
                            pending |= self._hooked(pool, name, ended)
        return Ended(phase=self._phase(), outputs=self._outputs())

    def _ready(self, begun: set[str]) -> list[str]:
        return [
            name
            for name, task in self._tasks.items()
            if name not in self._ended and name not in begun and _before(task) <= set(self._ended)
        ]

    def _begun(self, pool: ThreadPoolExecutor, name: str, task: dict, folder: Path) -> Future:
        scope = self._running.scope(self._execution, self._inputs, self._ended)
        return pool.submit(self._running.task, name, task, scope, self._policy, folder)

    def _hooked(self, pool: ThreadPoolExecutor, name: str, ended: Ended) -> dict[Future, str]:
        """Begins the exit task of a task that has completed (exit_handler.go: runOnExitNode)."""
        if name not in self._hooks or ended.phase not in _COMPLETED:
            return {}
        task, hook = self._dag["tasks"][self._hooks[name]], f"{name}.onExit"
        self._running.hooked(task)
        return {self._begun(pool, self._hooks[name], task, self._folder / hook): hook}

    def _phase(self) -> str:
        """dag.go: assessDAGPhase: that of the leaves; one that did not complete has that of what is before it."""
        leaves = set(self._tasks).difference(*(_before(task) for task in self._tasks.values()))
        phases = {self._branch(name) for name in leaves}
        return next((phase for phase in (ERROR, FAILED) if phase in phases), SUCCEEDED)

    def _branch(self, name: str) -> str:
        ended = self._ended[name]
        if ended.driver_failed:
            return FAILED
        if ended.phase in _COMPLETED:
            return ended.phase
        phases = {self._branch(before) for before in _before(self._tasks[name])}
        return next((phase for phase in (ERROR, FAILED) if phase in phases), SUCCEEDED)

    def _outputs(self) -> dict[str, Any]:
        """Output parameters of a DAG, each that of one of its tasks (resolve.go: resolveUpstreamParameters)."""
        outputs = {}
        for key, about in self._dag.get("outputs", {}).get("parameters", {}).items():
            assert "valueFromParameter" in about, f"{key}: dsl.OneOf is not known here"
            source = about["valueFromParameter"]
            of = self._ended[source["producerSubtask"]].outputs
            if source["outputParameterKey"] in of:
                outputs[key] = of[source["outputParameterKey"]]
        return outputs


def _is_exit(task: dict) -> bool:
    return task.get("triggerPolicy", {}).get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED"


def _before(task: dict) -> set[str]:
    """What a task depends on: as it says, and by its inputs (argocompiler/dag.go: addImplicitDependencies)."""
    parameters = task.get("inputs", {}).get("parameters", {}).values()
    producers = {about["taskOutputParameter"]["producerTask"] for about in parameters if "taskOutputParameter" in about}
    return {*task.get("dependentTasks", []), *producers}
