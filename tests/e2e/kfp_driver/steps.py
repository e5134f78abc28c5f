"""Steps of a shell for tests of the driver itself, and what compiles and runs them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler, dsl

from tests.e2e.kfp_driver.controller import Kubeflow, Workflow
from tests.e2e.kfp_driver.pod import Namespace

IMAGE = {"PATH": "/usr/bin:/bin"}


@dsl.container_component
def say(text: str):
    return dsl.ContainerSpec(image="i", command=["sh", "-c", 'echo "said: $0"'], args=[text])


@dsl.container_component
def placeholder_in_an_argument():
    return dsl.ContainerSpec(image="i", command=["sh", "-c", 'echo "said: $0"'], args=[dsl.PIPELINE_JOB_ID_PLACEHOLDER])


@dsl.container_component
def answer(text: str, out: dsl.OutputPath(str)):
    return dsl.ContainerSpec(image="i", command=["sh", "-c", 'printf %s "$0" > "$1"'], args=[text, out])


@dsl.container_component
def count(text: str, out: dsl.OutputPath(int)):
    return dsl.ContainerSpec(image="i", command=["sh", "-c", '[ -z "$0" ] || echo "$0" > "$1"'], args=[text, out])


@dsl.container_component
def double(number: int):
    return dsl.ContainerSpec(image="i", command=["sh", "-c", 'echo "said: $(($0 * 2))"'], args=[number])


@dsl.container_component
def fail():
    return dsl.ContainerSpec(image="i", command=["sh", "-c", "exit 3"])


@dsl.container_component
def surroundings():
    return dsl.ContainerSpec(image="i", command=["sh", "-c", "env; echo here: $(ls -A)"])


@dsl.container_component
def sleep():
    return dsl.ContainerSpec(image="i", command=["sh", "-c", "echo try $KFP_RETRY_INDEX; sleep 60"])


def quiet(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """A step without KFP's cache, which this driver does not have."""
    return task.set_caching_options(False)


def alone(component, **given):
    """A pipeline of one step."""

    def steps():
        quiet(component(**given))

    return steps


def nothing(*documents: dict[str, Any]) -> None:
    """Leaves a package as it was compiled."""


def run_steps(
    folder: Path,
    steps: Callable[..., None],
    *,
    changed: Callable[..., None] = nothing,
    secrets: Mapping[str, Mapping[str, str]] | None = None,
    claims: Mapping[str, Path] | None = None,
    given: dict[str, Any] | None = None,
    **cluster: Any,
) -> Workflow:
    """Compiles a pipeline and runs it. changed: changes the package's documents. given: the run's parameters."""
    steps.__name__ = "p"
    file = folder / "package.yaml"
    compiler.Compiler().compile(dsl.pipeline(steps, name="p"), str(file))
    documents = list(yaml.safe_load_all(file.read_text()))
    changed(*documents)
    file.write_text(yaml.safe_dump_all(documents))
    namespace = Namespace(image=IMAGE, secrets=secrets or {}, claims=claims or {})
    return Kubeflow(folder=folder / "pods", namespace=namespace, **cluster).run(file, given)


def said(run: Workflow, name: str) -> str:
    """What a step of `say` or `double` was given."""
    (line,) = [line for line in run.log(name).splitlines() if line.startswith("said: ")]
    return line.removeprefix("said: ")
