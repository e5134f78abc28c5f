"""The graph as Kubeflow Pipelines' IR: one container step a node, in the order of their dependencies."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kfp import compiler, dsl, kubernetes
from kfp.dsl.pipeline_task import PipelineTask
from tfx.proto.orchestration import pipeline_pb2

from components.common.errors import ConfigError
from components.common.mlmd import PASSWORD as METADATA_PASSWORD
from components.common.mlmd import USER as METADATA_USER
from components.common.remote import is_remote
from components.privacy.database import PASSWORD as LEDGER_PASSWORD
from pipeline.config import PRESETS, Config, embedded
from pipeline.places import places_in_cluster
from pipeline.runners.kubeflow.config import KubeflowConfig, S3Config, StepConfig
from pipeline.runners.kubeflow.package import IDLE, PUSHED
from pipeline.runners.kubeflow.settings import read, written
from pipeline.runners.kubeflow.slices import code_fingerprint, encode, graph_fingerprint, sliced
from pipeline.runners.nodes import TYPES, compiled, runtime_parameters
from pipeline.spans import SPAN

_PUSHER, _REPORT = "Pusher", "Report"
_BESIDE = "--runner=FnApiRunner"


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """What was written: the number of steps, and the graph's fingerprint."""

    steps: int
    graph: str


def compile_config(config: Config, file: Path) -> Compiled:
    """Writes a configuration's graph.

    Args:
        config: paths in it that lie in this checkout are taken to lie in the image's.
        file: to write, `.yaml`; it is there whole, or as it was.

    Raises:
        ConfigError: it cannot be written, or sends Beam to workers that would not see what a step has staged.
    """
    from pipeline.graph import build

    cluster = config.kubeflow
    _keep_beam_beside_what_is_staged(config)
    config = in_image(config)
    settings = written(config)
    return compile_graph(compiled(build(config, places_in_cluster(config), span=None)), cluster, file, settings)


def compile_graph(ir: pipeline_pb2.Pipeline, cluster: KubeflowConfig, file: Path, settings: str = "") -> Compiled:
    """Writes a compiled TFX pipeline, whatever its nodes are.

    Args:
        ir: the pipeline. cluster: where to. file: to write, `.yaml`.
        settings: for the report, which closes the run, and for the node that may be asked for the span that is due;
            without them there is neither.
    """
    graph = graph_fingerprint(ir)
    common = ["--graph", graph, "--code", code_fingerprint(), "--run", dsl.PIPELINE_JOB_ID_PLACEHOLDER]
    common += ["--metadata", cluster.metadata]

    def steps(given: dict[str, Any]) -> None:
        tasks: dict[str, PipelineTask] = {}
        answers: dict[str, PipelineTask] = {}
        for wrapped in ir.nodes:
            node = wrapped.pipeline_node
            id, kind = node.node_info.id, node.node_info.type.name.rsplit(".", 1)[-1]
            own, part = cluster.step(kind), sliced(ir, id)
            said = ["--slice", encode(part), *common, "--timeout", str(own.timeout_seconds)]
            asked = runtime_parameters(part)
            answer = PUSHED if id == _PUSHER else IDLE if settings and SPAN in asked else ""
            said += ["--settings", settings] if answer == IDLE else []
            task = _step(id, cluster, said, asked, answer)(**{name: given[name] for name in asked})
            _allow(task, cluster, own)
            task.set_display_name(id)
            tasks[id] = task.after(*(tasks[u] for u in node.upstream_nodes if u in tasks))
            answers |= {answer: task} if answer else {}
        for answer, task in answers.items():
            with dsl.If(task.outputs[answer] == "true", name=f"if-{answer}"):
                _marker(cluster, answer)().set_caching_options(False)

    parameters = runtime_parameters(ir)

    def whole(*values: Any) -> None:
        given = dict(zip(parameters, values, strict=True))
        if not settings:
            steps(given)
            return
        report = _report(cluster, [*common, "--settings", settings])()
        _allow(report, cluster, cluster.step(_REPORT))
        _tell_webhook(report, cluster, settings)
        with dsl.ExitHandler(report, name="run"):
            steps(given)

    whole.__name__ = "lockgate-" + re.sub("[^a-z0-9]+", "-", ir.pipeline_info.id)
    takes = [_taken(parameter, optional=True) for parameter in parameters.values()]
    whole.__signature__ = inspect.Signature(takes)
    pipeline = dsl.pipeline(whole, name=whole.__name__)
    aside = file.with_name(f".{file.name}.writing.yaml")
    try:
        compiler.Compiler().compile(pipeline, str(aside))
        aside.replace(file)
    except OSError as error:
        raise ConfigError(
            f"`--output` must be a file that can be written. Received: {file} ({error.strerror})"
        ) from None
    finally:
        aside.unlink(missing_ok=True)
    return Compiled(steps=len(ir.nodes), graph=graph)


def _step(
    id: str, cluster: KubeflowConfig, said: list[str], asked: dict[str, Any], answer: str
) -> Callable[..., PipelineTask]:
    """The component of a node; the Pusher's says whether it pushed, that of the span whether there was one."""

    def step(*values: Any) -> dsl.ContainerSpec:
        out = [f"--{answer}", values[-1]] if answer else []
        parameters = [part for name, value in zip(asked, values) for part in ("--parameter", f"{name}={value}")]  # noqa: B905
        return _container(cluster, "run_node.py", [*said, *parameters, *out])

    takes = [_taken(parameter) for parameter in asked.values()]
    if answer:
        takes.append(inspect.Parameter(answer, inspect.Parameter.KEYWORD_ONLY, annotation=dsl.OutputPath(str)))
    step.__signature__ = inspect.Signature(takes)
    return _component(step, id)


def _taken(parameter: pipeline_pb2.RuntimeParameter, optional: bool = False) -> inspect.Parameter:
    """A runtime parameter as Kubeflow's; what a run does not set is TFX's default."""
    kind = TYPES[parameter.type]
    default = inspect.Parameter.empty
    if optional and parameter.HasField("default_value"):
        default = kind(getattr(parameter.default_value, parameter.default_value.WhichOneof("value")))
    return inspect.Parameter(parameter.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _report(cluster: KubeflowConfig, said: list[str]) -> Callable[..., PipelineTask]:
    def step(page: dsl.Output[dsl.HTML], variants: dsl.Output[dsl.Markdown], metrics: dsl.Output[dsl.Metrics]):
        out = ["--page", page.path, "--variants", variants.path, "--executor-input", "{{$}}"]
        return _container(cluster, "report.py", [*said, *out])

    return _component(step, _REPORT)


def _marker(cluster: KubeflowConfig, answer: str) -> Callable[..., PipelineTask]:
    """A step that does nothing: that it ran says, to whoever waits for the run, that it pushed, or was idle."""

    def step():
        return dsl.ContainerSpec(image=cluster.image, command=["python", "-c", f"print('lockgate: {answer}')"])

    return _component(step, answer)


def _container(cluster: KubeflowConfig, script: str, arguments: list[str]) -> dsl.ContainerSpec:
    return dsl.ContainerSpec(
        image=cluster.image, command=["python", f"{cluster.source}/kubeflow/{script}"], args=arguments
    )


def _component(step: Callable, name: str) -> Callable[..., PipelineTask]:
    step.__name__ = name
    return dsl.container_component(step)


def _allow(task: PipelineTask, cluster: KubeflowConfig, own: StepConfig) -> None:
    """Gives a step its volume, its secrets and what it may use; Kubeflow's cache stays off, because TFX has its own."""
    task.set_caching_options(False)
    task.set_retry(own.retries, "10s", 2.0)
    kubernetes.mount_pvc(task, cluster.claim, cluster.root)
    if cluster.metadata.startswith(("postgresql://", "mysql://")):
        keys = {"username": METADATA_USER, "password": METADATA_PASSWORD}
        kubernetes.use_secret_as_env(task, cluster.metadata_secret, keys)
    if cluster.ledger_secret:
        kubernetes.use_secret_as_env(task, cluster.ledger_secret, {"password": LEDGER_PASSWORD})
    if cluster.artifacts.startswith("s3://"):
        _tell_s3(task, cluster.s3)
    for set_, value in (
        (task.set_cpu_request, own.cpu_request),
        (task.set_cpu_limit, own.cpu_limit),
        (task.set_memory_request, own.memory_request),
        (task.set_memory_limit, own.memory_limit),
    ):
        if value:
            set_(value)
    if own.gpu:
        task.set_accelerator_type(own.gpu_type)
        task.set_accelerator_limit(own.gpu)
    for label, value in own.node_selector.items():
        kubernetes.add_node_selector(task, label, value)


def _keep_beam_beside_what_is_staged(config: Config) -> None:
    """A step's copies of artifacts in a bucket are folders of its own, which workers elsewhere do not have."""
    for kind, flags in config.beam_pipeline_args.items() if is_remote(config.kubeflow.artifacts) else ():
        (runner, *_) = [flag for flag in reversed(flags) if flag.startswith("--runner=")] or [_BESIDE]
        if runner != _BESIDE:
            must = "run Beam in the step's own container, because `kubeflow.artifacts` are in a bucket"
            raise ConfigError(f"`beam_pipeline_args.{kind}` must {must}. Received: {runner}")


def _tell_s3(task: PipelineTask, server: S3Config) -> None:
    """Tells a step where artifacts are, and who it is there."""
    from components.common import s3

    for name, value in ((s3.ENDPOINT, server.endpoint), (s3.REGION, server.region), (s3.ADDRESSING, server.addressing)):
        if value:
            task.set_env_variable(name, value)
    if server.secret:
        keys = {"accesskey": s3.ACCESS_KEY, "secretkey": s3.SECRET_KEY}
        kubernetes.use_secret_as_env(task, server.secret, keys)


def _tell_webhook(task: PipelineTask, cluster: KubeflowConfig, settings: str) -> None:
    """Gives the step that tells what became of a firing what the webhook's address must not hold itself."""
    names = re.findall(r"\$\{?(\w+)", read(settings).schedule.webhook)
    if cluster.webhook_secret and names:
        kubernetes.use_secret_as_env(task, cluster.webhook_secret, {name: name for name in names})


def in_image(config: Config) -> Config:
    """The configuration with paths of this checkout's data and presets as they are in the image."""
    source = Path(config.kubeflow.source)
    moved = {embedded(): source / "data", PRESETS: source / "pipeline" / "configs"}

    def inside(path: str) -> str:
        for here, there in moved.items():
            if Path(path).is_relative_to(here):
                return str(there / Path(path).relative_to(here))
        return path

    data = replace(config.data, root=inside(config.data.root), schema=inside(config.data.schema))
    return replace(config, data=data)
