"""What is read of a compiled pipeline before it is sent, and while its run is watched."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import yaml

from components.common.errors import ConfigError

PUSHED = "pushed"  # a task that runs only if something was pushed
_TYPES = {
    "STRING": (str,),
    "NUMBER_INTEGER": (int,),
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "STRUCT": (dict,),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Package:
    """A compiled pipeline.

    Attributes:
        path: the YAML file, of the pipeline's document and, where it asks for more than containers, the platform's.
        name: the pipeline's.
        parameters: of each, `parameterType`, and `defaultValue` or `isOptional` where it has them.
        settings: the configuration that it was compiled from, as it travels with its steps; empty: none does.
    """

    path: Path
    name: str
    parameters: dict[str, dict[str, Any]]
    settings: str = ""

    def timetable(self) -> tuple[str, str]:
        """When the configuration wants it to run: its cron, and the zone of that.

        Raises:
            ConfigError: no configuration travels with it.
        """
        from pipeline.runners.kubeflow.settings import read as configuration

        if not self.settings:
            raise ConfigError(f"`--cron` must be given where a pipeline carries no [schedule]. Received: {self.path}")
        wanted = configuration(self.settings).schedule
        return wanted.cron, wanted.time_zone

    def service_account(self) -> str | None:
        """Who its steps are on Kubernetes; None: whom Kubeflow takes."""
        from pipeline.runners.kubeflow.settings import read as configuration

        return (configuration(self.settings).kubeflow.service_account or None) if self.settings else None

    def arguments(self, given: list[str]) -> dict[str, Any]:
        """Values of parameters, each of the type that the pipeline declares.

        Args:
            given: "name=value" each; a value that is not a string is JSON.

        Raises:
            ConfigError: a parameter is unknown, of another type, or missing.
        """
        found = dict(self._argument(text) for text in given)
        needed = {n for n, p in self.parameters.items() if "defaultValue" not in p and not p.get("isOptional")}
        if missing := sorted(needed - set(found)):
            raise ConfigError(f"every parameter without a default needs a `--param`. Missing: {', '.join(missing)}")
        return found

    def _argument(self, text: str) -> tuple[str, Any]:
        name, equals, value = text.partition("=")
        if not equals or name not in self.parameters:
            names = ", ".join(sorted(self.parameters)) or "none"
            raise ConfigError(f"`--param` must be name=value, with a name of {names}. Received: {name}")
        kind = self.parameters[name]["parameterType"]
        try:
            parsed = value if kind == "STRING" else json.loads(value)
        except ValueError:
            parsed = None
        if name == "span":
            self._check_span(parsed)
        if not isinstance(parsed, _TYPES[kind]) or (isinstance(parsed, bool) and kind != "BOOLEAN"):
            raise ConfigError(f"`--param {name}` must be a {kind} in JSON. Received: {value!r}")
        return name, parsed

    @staticmethod
    def _check_span(text: Any) -> None:
        from pipeline.spans import DUE, as_range

        if isinstance(text, str) and text != DUE:
            as_range(text)


def read(path: Path) -> Package:
    """Reads a compiled pipeline.

    Raises:
        ConfigError: the file cannot be read, or is no compiled pipeline.
    """
    wanted = "a pipeline must be a .yaml file that `lockgate kubeflow compile` wrote"
    try:
        spec = next(iter(yaml.safe_load_all(path.read_text()))) if path.suffix == ".yaml" else {}
        inputs = spec["root"].get("inputDefinitions", {})
        name, parameters = spec["pipelineInfo"]["name"], inputs.get("parameters", {})
        return Package(path=path, name=name, parameters=parameters, settings=_settings(spec))
    except OSError as error:
        raise ConfigError(f"{wanted}. Received: {path} ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError, StopIteration, KeyError, TypeError, AttributeError):
        raise ConfigError(f"{wanted}. Received: {path}") from None


def _settings(spec: dict[str, Any]) -> str:
    """The configuration among what the first step brings for all."""
    from pipeline.runners.kubeflow.carried import among

    executors = spec.get("deploymentSpec", {}).get("executors", {}).values()
    carried = (among(executor.get("container", {}).get("args", [])) for executor in executors)
    return next((each.settings for each in carried if each), "")


def steps(spec: dict[str, Any] | None) -> list[str]:
    """Names of the tasks that run a container, in the pipeline of a run as the API gives it back."""
    spec = _pipeline(spec)
    components = spec.get("components", {})
    dags = [part["dag"] for part in (spec.get("root", {}), *components.values()) if "dag" in part]
    tasks = {name: task["componentRef"]["name"] for dag in dags for name, task in dag.get("tasks", {}).items()}
    return [name for name, component in tasks.items() if "executorLabel" in components.get(component, {})]


def rest(spec: dict[str, Any] | None) -> str:
    """Name of the task that holds all but the first step, and is skipped where nothing is due; empty: none is."""
    tasks = _pipeline(spec).get("root", {}).get("dag", {}).get("tasks", {})
    return next((name for name, task in tasks.items() if "condition" in task.get("triggerPolicy", {})), "")


def _pipeline(spec: dict[str, Any] | None) -> dict[str, Any]:
    return (spec or {}).get("pipeline_spec", spec) or {}
