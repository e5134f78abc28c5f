"""What a compiled pipeline needs and the SDK cannot say.

- Tries are made for as long as all of them may take: the SDK caps `backoffMaxDuration` at an hour.
- All but the first step is skipped where that says that nothing is due: the SDK has no conditions on exit handlers.
  Argo runs the exit hook of a task that has succeeded or failed (workflow/controller/dag.go, `node.Completed()`), so
  the report is skipped with it.
- How long a whole run may take: the SDK of the Python 3.10 line does not know it.
- Steps whose containers are the same share one component: etcd and Argo keep every one of them.
"""

import json
from pathlib import Path
from typing import Any

import yaml

from pipeline.runners.kubeflow.config import StepConfig
from pipeline.runners.kubeflow.resources import longest

_EXIT_HANDLER = "comp-exit-handler-1"


def written(
    file: Path, allowed: dict[str, StepConfig], run_seconds: int, idle: tuple[str, str] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Completes a compiled pipeline, in place.

    Args:
        file: of two documents, the pipeline and what Kubernetes is told. allowed: by display name what a step may use.
        run_seconds: after which a run is ended; 0: never. idle: display name and output of the step that says whether
            nothing is due; None where none does.

    Returns:
        The two documents.
    """
    text = file.read_text()
    head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    spec, platform = yaml.safe_load_all(text)
    for tasks in _dags(spec):
        for task in tasks.values():
            if "retryPolicy" in task:
                task["retryPolicy"]["backoffMaxDuration"] = f"{longest(allowed[task['taskInfo']['name']])}s"
    if idle:
        _skip_where_idle(spec, *idle)
    _share(spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"])
    if run_seconds:
        platform["platforms"]["kubernetes"]["pipelineConfig"] = {"activeDeadlineSeconds": run_seconds}
    file.write_text(head + yaml.safe_dump_all([spec, platform], width=2**20, allow_unicode=True))
    return spec, platform


def _dags(spec: dict[str, Any]) -> list[dict[str, dict[str, Any]]]:
    """The tasks of each DAG of a pipeline."""
    return [part["dag"]["tasks"] for part in (spec["root"], *spec["components"].values()) if "dag" in part]


def _share(spec: dict[str, Any], pods: dict[str, Any]) -> None:
    """Makes one component, `comp-step`, of those that run the same container in the same pod; where some differ,
    `comp-step-2` and so on."""
    components, executors, alike = spec["components"], spec["deploymentSpec"]["executors"], {}
    for name, component in components.items():
        if label := component.get("executorLabel"):
            takes = {key: value for key, value in component.items() if key != "executorLabel"}
            what = json.dumps([takes, executors[label], pods.get(label)], sort_keys=True)
            alike.setdefault(what, []).append(name)
    groups = sorted(sorted(names) for names in alike.values() if len(names) > 1)
    shared: dict[str, str] = {}
    for number, names in enumerate(groups, 1):
        suffix = "step" if number == 1 else f"step-{number}"
        shared |= dict.fromkeys(names, f"comp-{suffix}")
        labels = [components[name]["executorLabel"] for name in names]
        components[f"comp-{suffix}"] = {**components[names[0]], "executorLabel": f"exec-{suffix}"}
        for table in (executors, pods):
            if labels[0] in table:
                table[f"exec-{suffix}"] = table[labels[0]]
                for label in labels:
                    del table[label]
    for name in shared:
        del components[name]
    for tasks in _dags(spec):
        for task in tasks.values():
            task["componentRef"]["name"] = shared.get(task["componentRef"]["name"], task["componentRef"]["name"])


def _skip_where_idle(spec: dict[str, Any], name: str, output: str) -> None:
    tasks = spec["root"]["dag"]["tasks"]
    producer = next(key for key, task in tasks.items() if task["taskInfo"]["name"] == name)
    handler = next(task for task in tasks.values() if task["componentRef"]["name"] == _EXIT_HANDLER)
    channel = f"pipelinechannel--{producer}-{output}"
    source = {"taskOutputParameter": {"producerTask": producer, "outputParameterKey": output}}
    handler.setdefault("inputs", {}).setdefault("parameters", {})[channel] = source
    handler["triggerPolicy"] = {"condition": f"inputs.parameter_values['{channel}'] == 'false'"}
    definitions = spec["components"][_EXIT_HANDLER].setdefault("inputDefinitions", {})
    definitions.setdefault("parameters", {})[channel] = {"parameterType": "STRING"}
