"""The package as Argo's workflow: a flat list of tasks, each with what it depends on, its condition and its hook.

The functions of KFP 2.17.0's backend/src/v2/compiler/argocompiler that are followed:

- `DAG`, `addImplicitDependencies`: exit tasks become a hook's template, the others the tasks of the DAG.
- `task`: a DAG is a driver and the DAG, a container step a driver and an executor; only the driver depends on other
  tasks; only a task with a triggerPolicy.condition has a `when`.
- `depends`: every dependency must have succeeded. `addExitTask`: the hook gets the parent DAG's execution.
- `getTaskRetryParametersWithValues`, `addParameterDefault`, `getTaskRetryStrategyFromInput`: the retry strategy.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from tests.e2e.kfp_driver.spec import Package, Refused, Release

ROOT_DRIVER, DAG_DRIVER, CONTAINER_DRIVER = "root driver", "DAG driver", "container driver"
DAG, EXECUTOR = "DAG", "executor"
ROOT, ENTRYPOINT = "root", ""
_EXIT = spec_pb2.PipelineTaskSpec.TriggerPolicy.ALL_UPSTREAM_TASKS_COMPLETED


@dataclass(frozen=True, kw_only=True)
class RetryStrategy:
    """Argo's, of one task. limit: tries after the first. duration, max_duration: seconds; None: no limit."""

    limit: int
    duration: int
    factor: int
    max_duration: int | None


@dataclass(frozen=True, kw_only=True)
class Task:
    """A node of the workflow.

    Attributes:
        path: its name, after the names of the DAGs in which it is.
        kind: one of the constants above.
        within: path of the DAG that starts it; a hook is started by what it hangs on.
        scope: path of the DAG whose inputs and tasks its driver looks at.
        depends: paths of the tasks that must have succeeded.
        driver: path of its driver, for a DAG or an executor.
        conditional: whether its driver's condition is asked.
        hook: path of the DAG that runs once this one has completed.
        hooked: whether it is such a DAG.
    """

    path: str
    kind: str
    within: str
    scope: str = ""
    depends: tuple[str, ...] = ()
    driver: str = ""
    conditional: bool = False
    hook: str = ""
    hooked: bool = False
    name: str = ""
    spec: spec_pb2.PipelineTaskSpec | None = None
    component: spec_pb2.ComponentSpec | None = None
    retry: RetryStrategy | None = None


def flattened(package: Package, release: Release) -> dict[str, Task]:
    """All tasks by their path, as `Compile` writes them.

    Raises:
        Refused: the package has what this driver, or KFP, does not run.
    """
    root, driver = package.pipeline.root, f"{ROOT}-driver"
    tasks = [
        Task(path=driver, kind=ROOT_DRIVER, within=ENTRYPOINT, component=root),
        Task(path=ROOT, kind=DAG, within=ENTRYPOINT, depends=(driver,), driver=driver, component=root),
        *_dag(package, release, ROOT, root.dag),
    ]
    return {task.path: task for task in tasks}


def _dag(package: Package, release: Release, path: str, dag: spec_pb2.DagSpec) -> Iterator[Task]:
    depends = {name: _dependencies(dag, name) for name in dag.tasks}
    hooks = {}
    for name in sorted(dag.tasks):
        if dag.tasks[name].trigger_policy.strategy == _EXIT:
            hook = f"{path}/exit-hook-{name}"
            hooks |= dict.fromkeys(depends[name], hook)
            yield Task(path=hook, kind=DAG, within=path, hooked=True)
            yield from _pair(package, release, hook, path, name, dag.tasks[name], (), "")
    steps = [name for name in sorted(dag.tasks) if dag.tasks[name].trigger_policy.strategy != _EXIT]
    if not steps:
        raise Refused(f"{path} must have a task that is no exit task")
    for name in steps:
        before = tuple(f"{path}/{producer}" for producer in depends[name])
        yield from _pair(package, release, path, path, name, dag.tasks[name], before, hooks.get(name, ""))


def _pair(
    package: Package,
    release: Release,
    within: str,
    scope: str,
    name: str,
    spec: spec_pb2.PipelineTaskSpec,
    depends: tuple[str, ...],
    hook: str,
) -> Iterator[Task]:
    """A task's driver, and what the driver decides about."""
    if spec.WhichOneof("iterator") or len(spec.inputs.artifacts):
        raise Refused(f"{name} must have no iterator and no input artifact, which this driver does not run")
    path, component = f"{within}/{name}", package.component(spec.component_ref.name)
    common = {"within": within, "scope": scope, "name": name, "spec": spec, "component": component}
    driver, inner = f"{path}-driver", component.WhichOneof("implementation") == "dag"
    if spec.caching_options.enable_cache and not inner:
        raise Refused(f"{name} must not be taken from KFP's cache, which this driver does not have")
    yield Task(path=driver, kind=DAG_DRIVER if inner else CONTAINER_DRIVER, depends=depends, **common)
    waits = {"depends": (driver,), "driver": driver, "conditional": bool(spec.trigger_policy.condition), "hook": hook}
    if inner:
        yield Task(path=path, kind=DAG, **waits, **common)
        yield from _dag(package, release, path, component.dag)
    else:
        yield Task(path=path, kind=EXECUTOR, retry=_retry(release, scope, spec), **waits, **common)


def _dependencies(dag: spec_pb2.DagSpec, name: str) -> list[str]:
    """The tasks that are named as such, and those whose outputs are taken."""
    names = list(dag.tasks[name].dependent_tasks)
    for given in dag.tasks[name].inputs.parameters.values():
        producer = given.task_output_parameter.producer_task
        if given.WhichOneof("kind") == "task_output_parameter" and producer not in names:
            names.append(producer)
    if unknown := [producer for producer in names if producer not in dag.tasks]:
        raise Refused(f"{name} must depend on tasks of its own DAG. Received: {unknown[0]}")
    return names


def _retry(release: Release, scope: str, spec: spec_pb2.PipelineTaskSpec) -> RetryStrategy | None:
    """A task's strategy. What is not set is "0" from 2.14.0 on, also for the time that all tries may take: `Duration`
    then waits for nothing, and `MaxDuration` is over when the first try has ended."""
    policy = spec.retry_policy
    if not spec.HasField("retry_policy") or not (release.retries_everywhere or scope == ROOT):
        return None
    if policy.backoff_factor != int(policy.backoff_factor) and release.retries_everywhere:
        raise Refused(f"backoffFactor must be a whole number, which Argo reads. Received: {policy.backoff_factor}")
    unset = 0 if release.retries_everywhere else None
    return RetryStrategy(
        limit=policy.max_retry_count,
        duration=policy.backoff_duration.seconds,
        factor=int(policy.backoff_factor),
        max_duration=policy.backoff_max_duration.seconds if policy.HasField("backoff_max_duration") else unset,
    )
