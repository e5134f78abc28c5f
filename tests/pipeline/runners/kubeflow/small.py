"""Small compiled pipelines, written by hand, whose steps are shell commands."""

from pathlib import Path
from typing import Any

import yaml

from tests.pipeline.runners.kubeflow.placeholders import marked

IMAGE = "registry.example/image:1"


def step(script: str, *arguments: str, **about: Any) -> dict:
    """A task that runs a shell script, which sees its arguments as $1, $2, …

    Args:
        inputs: name to (type, where from: a constant, or a task's input as Kubeflow writes it). outputs: name to type.
        artifacts: names. after, condition, retry: as in a task. exit: whether it is an exit task. optional: inputs that
        are. defaults: of inputs. kubernetes: its configuration. container: what else its container has.
    """
    return {"script": script, "arguments": list(arguments), **about}


def group(tasks: dict[str, dict], **about: Any) -> dict:
    """A task that is a DAG of tasks."""
    return {"tasks": tasks, **about}


def pipeline(file: Path, tasks: dict[str, dict], parameters: dict[str, dict] | None = None) -> Path:
    """Writes a pipeline of tasks by name; parameters: of its runs, as Kubeflow declares them."""
    components: dict[str, dict] = {}
    executors: dict[str, dict] = {}
    platform: dict[str, dict] = {}
    root: dict[str, Any] = {"dag": _dag(tasks, components, executors, platform)}
    if parameters:
        root["inputDefinitions"] = {"parameters": parameters}
    spec = {
        "components": components,
        "deploymentSpec": {"executors": executors},
        "pipelineInfo": {"name": "small"},
        "root": root,
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.5.0",
    }
    documents = [spec, {"platforms": {"kubernetes": {"deploymentSpec": {"executors": platform}}}}]
    file.write_text(yaml.safe_dump_all(documents if platform else documents[:1]))
    return file


def _dag(tasks: dict[str, dict], components: dict, executors: dict, platform: dict) -> dict:
    for name, about in tasks.items():
        component = _definitions(about)
        if "tasks" in about:
            component["dag"] = _dag(about["tasks"], components, executors, platform)
            component["dag"] |= {"outputs": about["dag_outputs"]} if "dag_outputs" in about else {}
        else:
            component["executorLabel"] = f"exec-{name}"
            command = about.get("command", ["sh", "-c", about["script"], name])
            executors[f"exec-{name}"] = {
                "container": {
                    "image": IMAGE,
                    "command": command,
                    "args": about["arguments"],
                    **about.get("container", {}),
                }
            }
            if "kubernetes" in about:
                platform[f"exec-{name}"] = about["kubernetes"]
        components[f"comp-{name}"] = component
    return {"tasks": {name: _task(name, about) for name, about in tasks.items()}}


def _definitions(about: dict) -> dict:
    component: dict[str, Any] = {}
    if about.get("inputs"):
        declared = {name: {"parameterType": kind} for name, (kind, _) in about["inputs"].items()}
        for name in about.get("optional", ()):
            declared[name]["isOptional"] = True
        for name, value in about.get("defaults", {}).items():
            declared[name]["defaultValue"] = value
        component["inputDefinitions"] = {"parameters": declared}
    outputs: dict[str, Any] = {}
    if about.get("outputs"):
        outputs["parameters"] = {name: {"parameterType": kind} for name, kind in about["outputs"].items()}
    if about.get("artifacts"):
        kind = {"schemaTitle": "system.Artifact", "schemaVersion": "0.0.1"}
        outputs["artifacts"] = {name: {"artifactType": kind} for name in about["artifacts"]}
    return {**component, **({"outputDefinitions": outputs} if outputs else {})}


def _task(name: str, about: dict) -> dict:
    task: dict[str, Any] = {"componentRef": {"name": f"comp-{name}"}, "taskInfo": {"name": about.get("shown", name)}}
    given = {
        key: source if isinstance(source, dict) else {"runtimeValue": {"constant": source}}
        for key, (_, source) in about.get("inputs", {}).items()
        if source is not None
    }
    if given:
        task["inputs"] = {"parameters": given}
    if about.get("after"):
        task["dependentTasks"] = list(about["after"])
    trigger = {"condition": about["condition"]} if "condition" in about else {}
    if about.get("exit"):
        trigger["strategy"] = "ALL_UPSTREAM_TASKS_COMPLETED"
    if trigger:
        task["triggerPolicy"] = trigger
    if "retry" in about:
        task["retryPolicy"] = about["retry"]
    if about.get("cached"):
        task["cachingOptions"] = {"enableCache": True}
    return task


def output_of(task: str, name: str) -> dict:
    """An input that is another task's output."""
    return {"taskOutputParameter": {"producerTask": task, "outputParameterKey": name}}


def input_of(name: str) -> dict:
    """An input that is one of the DAG around the task."""
    return {"componentInputParameter": name}


def value(name: str) -> str:
    """The placeholder of an input parameter."""
    return marked("inputs.parameters", name)


def output(name: str) -> str:
    """The placeholder of an output parameter's file."""
    return marked("outputs.parameters", name, ".output_file")
