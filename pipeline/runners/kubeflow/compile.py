"""The graph as Kubeflow Pipelines' IR: one container step a node, in the order of their dependencies."""

import base64
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from kfp import compiler, dsl, kubernetes
from kfp.dsl.pipeline_task import PipelineTask
from tfx.proto.orchestration import pipeline_pb2

from components.common.mlmd import PASSWORD as METADATA_PASSWORD
from components.common.mlmd import USER as METADATA_USER
from components.privacy.database import PASSWORD as LEDGER_PASSWORD
from pipeline.config import PRESETS, Config, embedded
from pipeline.places import places_of
from pipeline.runners.kubeflow.config import KubeflowConfig, StepConfig
from pipeline.runners.kubeflow.slices import code_fingerprint, encode, graph_fingerprint, sliced
from pipeline.runners.nodes import compiled

_PUSHER, _REPORT = "Pusher", "Report"


def compile_config(config: Config, file: Path) -> None:
    """Writes a configuration's graph.

    Args:
        config: paths in it that lie in this checkout are taken to lie in the image's.
        file: to write, `.yaml`.
    """
    from pipeline.graph import build

    cluster = config.kubeflow
    config = _in_image(config)
    places = replace(places_of(Path(cluster.root), config.name), metadata=cluster.metadata)
    if cluster.ledger:
        places = replace(places, ledger=cluster.ledger)
    settings = base64.urlsafe_b64encode(zlib.compress(json.dumps(config.as_dict()).encode(), 9)).decode()
    compile_graph(compiled(build(config, places, span=None)), cluster, file, settings)


def compile_graph(ir: pipeline_pb2.Pipeline, cluster: KubeflowConfig, file: Path, settings: str = "") -> None:
    """Writes a compiled TFX pipeline, whatever its nodes are.

    Args:
        ir: the pipeline. cluster: where to. file: to write, `.yaml`.
        settings: for the report, which closes the run; without them there is none.
    """
    name = ir.pipeline_info.id
    graph = graph_fingerprint(ir)
    common = ["--graph", graph, "--code", code_fingerprint(), "--run", dsl.PIPELINE_JOB_ID_PLACEHOLDER]
    common += ["--metadata", cluster.metadata]

    def steps(span: str) -> None:
        tasks: dict[str, PipelineTask] = {}
        for wrapped in ir.nodes:
            node = wrapped.pipeline_node
            id, kind = node.node_info.id, node.node_info.type.name.rsplit(".", 1)[-1]
            own = cluster.step(kind)
            said = ["--slice", encode(sliced(ir, id)), *common, "--timeout", str(own.timeout_seconds)]
            make = _pushing if id == _PUSHER else _plain
            task = make(id, cluster, said)(span=span)
            _allow(task, cluster, own)
            task.set_display_name(id)
            tasks[id] = task.after(*(tasks[u] for u in node.upstream_nodes if u in tasks))
        if _PUSHER in tasks:
            with dsl.If(tasks[_PUSHER].outputs["pushed"] == "true", name="if-pushed"):
                _marker(cluster)().set_caching_options(False)

    @dsl.pipeline(name=f"lockgate-{name}".replace("_", "-").replace(".", "-").replace("+", "-"))
    def pipeline(span: str = ""):
        if not settings:
            steps(span)
            return
        report = _report(cluster, [*common, "--settings", settings])()
        _allow(report, cluster, cluster.step(_REPORT))
        with dsl.ExitHandler(report, name="run"):
            steps(span)

    compiler.Compiler().compile(pipeline, str(file))


def _plain(id: str, cluster: KubeflowConfig, said: list[str]) -> Callable[..., PipelineTask]:
    def step(span: str):
        return _container(cluster, "run_node.py", [*said, "--span", span])

    return _component(step, id)


def _pushing(id: str, cluster: KubeflowConfig, said: list[str]) -> Callable[..., PipelineTask]:
    def step(span: str, pushed: dsl.OutputPath(str)):
        return _container(cluster, "run_node.py", [*said, "--span", span, "--pushed", pushed])

    return _component(step, id)


def _report(cluster: KubeflowConfig, said: list[str]) -> Callable[..., PipelineTask]:
    def step(page: dsl.Output[dsl.HTML], variants: dsl.Output[dsl.Markdown], metrics: dsl.Output[dsl.Metrics]):
        out = ["--page", page.path, "--variants", variants.path, "--executor-input", "{{$}}"]
        return _container(cluster, "report.py", [*said, *out])

    return _component(step, _REPORT)


def _marker(cluster: KubeflowConfig) -> Callable[..., PipelineTask]:
    """A step that does nothing: that it ran says, to whoever waits for the run, that it pushed."""

    def step():
        return dsl.ContainerSpec(image=cluster.image, command=["python", "-c", "print('lockgate: pushed')"])

    return _component(step, "pushed")


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
    if cluster.metadata.startswith("mysql://"):
        keys = {"username": METADATA_USER, "password": METADATA_PASSWORD}
        kubernetes.use_secret_as_env(task, cluster.metadata_secret, keys)
    if cluster.ledger_secret:
        kubernetes.use_secret_as_env(task, cluster.ledger_secret, {"password": LEDGER_PASSWORD})
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


def _in_image(config: Config) -> Config:
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
