"""The graph as Kubeflow Pipelines' IR: one container step a node, in the order of their dependencies.

The step that reads the data comes first and alone. It brings what all steps share (see `carried`), and says whether
there is anything to do: where nothing is due, the rest of the run is skipped, and with it the report, which closes it
however it ends.
"""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kfp import compiler, dsl
from kfp.dsl.pipeline_task import PipelineTask
from tfx.proto.orchestration import pipeline_pb2

from components.common.errors import ConfigError
from components.common.remote import is_remote
from pipeline.config import PRESETS, Config, embedded
from pipeline.places import places_in_cluster
from pipeline.runners.kubeflow import finish, limits
from pipeline.runners.kubeflow.accelerator import image_for
from pipeline.runners.kubeflow.carried import Carried, arguments, fingerprint, packed
from pipeline.runners.kubeflow.config import KubeflowConfig, StepConfig
from pipeline.runners.kubeflow.limits import TooLarge
from pipeline.runners.kubeflow.package import PUSHED
from pipeline.runners.kubeflow.resources import allow, connect, give_webhook
from pipeline.runners.kubeflow.settings import written
from pipeline.runners.kubeflow.slices import code_fingerprint, sliced
from pipeline.runners.nodes import KINDS, TYPES, compiled, opens_nothing, runtime_parameters, says
from pipeline.spans import SPAN

_PUSHER, _REPORT, _MARKER = "Pusher", "Report", "Pushed"
_IDLE, _RUN, _NODE = "idle", "run", "node"
_BESIDE = "--runner=FnApiRunner"


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """What was written: the number of steps, the fingerprint of what they share, and how large a run of it becomes, as
    a share of what a cluster takes."""

    steps: int
    graph: str
    fullness: float


def compile_config(config: Config, file: Path) -> Compiled:
    """Writes a configuration's graph.

    Args:
        config: paths in it that lie in this checkout are taken to lie in the image's.
        file: to write, `.yaml`; it is there whole, or as it was.

    Raises:
        ConfigError: it cannot be written, or sends Beam to workers that would not see what a step has staged, or has a
            table of a kind of node that there is not, or more recipes than a cluster can keep a run of.
    """
    config.kubeflow.check_kinds({*KINDS, _REPORT, _MARKER})
    if "://" in config.data.root:
        must = "be a folder on the volume or in the image"
        raise ConfigError(f"`data.root` must {must}. Received: {config.data.root.partition('://')[0]}://…")
    _keep_beam_beside_what_is_staged(config)
    try:
        return _compile(in_image(config), file)
    except TooLarge as error:
        fit = _that_fit(in_image(config), error.fullness, file)
        raise ConfigError(f"{error}. Of {len(config.recipes)} recipes the first {fit} fit") from None


def _compile(config: Config, file: Path) -> Compiled:
    from pipeline.graph import build

    ir = compiled(build(config, places_in_cluster(config), span=None))
    return compile_graph(ir, config.kubeflow, file, written(config))


def _that_fit(config: Config, fullness: float, file: Path) -> int:
    """How many of a configuration's recipes, from the first on, a cluster can keep a run of."""
    count, aside = len(config.recipes), file.with_name(f".{file.name}.fewer.yaml")
    while count > 1:
        count = max(1, min(count - 1, int(count / fullness)))
        try:
            _compile(replace(config, recipes=config.recipes[:count]), aside)
            aside.unlink()
            return count
        except TooLarge as error:
            fullness = error.fullness
    return 0


def compile_graph(ir: pipeline_pb2.Pipeline, cluster: KubeflowConfig, file: Path, settings: str = "") -> Compiled:
    """Writes a compiled TFX pipeline, whatever its nodes are.

    Args:
        ir: the pipeline. cluster: where to. file: to write, `.yaml`.
        settings: for the report, which closes the run, and for the node that may be asked for the span that is due;
            without them there is neither.

    Raises:
        ConfigError: it cannot be written. TooLarge: a cluster could not keep a run of it; nothing was written.
    """
    text = packed(Carried(graph=ir, settings=settings, code=code_fingerprint(), metadata=cluster.metadata))
    writer = _Writer(ir, cluster, settings, text)
    parameters = runtime_parameters(ir)

    def whole(*values: Any) -> None:
        writer.write(dict(zip(parameters, values, strict=True)))

    whole.__name__ = "lockgate-" + re.sub("[^a-z0-9]+", "-", ir.pipeline_info.id)
    takes = [_taken(parameter, optional=True) for parameter in parameters.values()]
    whole.__signature__ = inspect.Signature(takes)
    pipeline = dsl.pipeline(whole, name=whole.__name__)
    aside = file.with_name(f".{file.name}.writing.yaml")
    try:
        compiler.Compiler().compile(pipeline, str(aside))
        idle = (writer.first, _IDLE) if settings else None
        fullness = limits.checked(*finish.written(aside, writer.allowed, cluster.run_seconds, idle))
        aside.replace(file)
    except OSError as error:
        raise ConfigError(
            f"`--output` must be a file that can be written. Received: {file} ({error.strerror})"
        ) from None
    finally:
        aside.unlink(missing_ok=True)
    return Compiled(steps=len(ir.nodes), graph=fingerprint(text), fullness=fullness)


class _Writer:
    """Writes the tasks of a pipeline. allowed: by a task's display name what it may use."""

    def __init__(self, ir: pipeline_pb2.Pipeline, cluster: KubeflowConfig, settings: str, text: str):
        self._ir, self._cluster, self._settings, self._text = ir, cluster, settings, text
        self.first = _first(ir)
        self.allowed: dict[str, StepConfig] = {}

    def write(self, given: dict[str, Any]) -> None:
        """Writes all tasks, the pipeline's parameters at hand."""
        nodes = {wrapped.pipeline_node.node_info.id: wrapped.pipeline_node for wrapped in self._ir.nodes}
        tasks = {self.first: self._task(nodes.pop(self.first), given)}
        if not self._settings:
            self._rest(nodes, tasks, given)
            return
        report = _report(self._cluster, self._shared())(run=dsl.PIPELINE_JOB_ID_PLACEHOLDER)
        self._allow(report, "report", _REPORT)
        connect(report, self._cluster, ledger=True, bucket=True)
        for task in (report, tasks[self.first]):  # the latter closes the run where nothing is due
            give_webhook(task, self._cluster, self._settings)
        with dsl.ExitHandler(report, name=_RUN):
            self._rest(nodes, tasks, given)

    def _rest(
        self, nodes: dict[str, pipeline_pb2.PipelineNode], tasks: dict[str, PipelineTask], given: dict[str, Any]
    ) -> None:
        before: dict[str, set[str]] = {self.first: set()}
        for id, node in nodes.items():
            behind = {u for u in node.upstream_nodes if u in tasks} or {self.first}
            before[id] = behind.union(*(before[u] for u in behind))
            nearest = behind - set().union(*(before[u] for u in behind))  # the others are before these
            tasks[id] = self._task(node, given).after(*(tasks[u] for u in sorted(nearest)))
        if _PUSHER in tasks:
            with dsl.If(tasks[_PUSHER].outputs[PUSHED] == "true", name=f"if-{PUSHED}"):
                self._allow(_marker(self._cluster)(), PUSHED, _MARKER)

    def _task(self, node: pipeline_pb2.PipelineNode, given: dict[str, Any]) -> PipelineTask:
        """The step of a node."""
        id, kind = node.node_info.id, _kind(node)
        is_first, own = id == self.first, self._cluster.step(kind)
        arguments_ = [*self._shared(), "--timeout", str(own.timeout_seconds)]
        if is_first:
            arguments_ += arguments(self._text)
            arguments_ += ["--retries", str(own.retries)]
        if own.gpu:
            arguments_ += ["--gpu", str(own.gpu), "--gpu-type", own.gpu_type]
        asked = runtime_parameters(sliced(self._ir, id))
        answer = PUSHED if id == _PUSHER else _IDLE if is_first and self._settings else ""
        image = image_for(kind, own.gpu, self._cluster.image, self._cluster.gpu_image)
        step = _step(id, replace(self._cluster, image=image), arguments_, asked, answer)
        task = step(run=dsl.PIPELINE_JOB_ID_PLACEHOLDER, node=id, **{name: given[name] for name in asked})
        self._allow(task, id, kind)
        ledger = self._cluster.ledger and (says(node, self._cluster.ledger) or is_first)
        connect(task, self._cluster, ledger=bool(ledger), bucket=is_first or not opens_nothing(node))
        return task.set_display_name(id)

    def _allow(self, task: PipelineTask, name: str, kind: str) -> None:
        self.allowed[name] = self._cluster.step(kind)
        allow(task, self._cluster, self.allowed[name])

    def _shared(self) -> list[str]:
        """The arguments of every step but the run's id."""
        return ["--root", self._cluster.root, "--graph", fingerprint(self._text)]


def _first(ir: pipeline_pb2.Pipeline) -> str:
    """The node that reads the data, or where none is asked which, the first one."""
    ids = [wrapped.pipeline_node.node_info.id for wrapped in ir.nodes]
    asked = [id for id in ids if SPAN in runtime_parameters(sliced(ir, id))]
    return (asked or ids)[0]


def _kind(node: pipeline_pb2.PipelineNode) -> str:
    return node.node_info.type.name.rsplit(".", 1)[-1]


def _step(
    id: str, cluster: KubeflowConfig, arguments_: list[str], asked: dict[str, Any], answer: str
) -> Callable[..., PipelineTask]:
    """The component of a node; the Pusher's says whether it pushed, that of the span whether there was none."""

    def step(run: Any, node: Any, *values: Any) -> dsl.ContainerSpec:
        out = [f"--{answer}", values[-1]] if answer else []
        parameters = [part for name, value in zip(asked, values) for part in ("--parameter", f"{name}={value}")]  # noqa: B905
        which = [f"--{_RUN}", run, f"--{_NODE}", node]
        return _container(cluster, "run_node.py", [*arguments_, *which, *parameters, *out])

    takes = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=str) for name in (_RUN, _NODE)]
    takes += [_taken(parameter) for parameter in asked.values()]
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


def _report(cluster: KubeflowConfig, shared: list[str]) -> Callable[..., PipelineTask]:
    def step(
        run: str, page: dsl.Output[dsl.HTML], variants: dsl.Output[dsl.Markdown], metrics: dsl.Output[dsl.Metrics]
    ):
        out = ["--page", page.path, "--variants", variants.path, "--executor-input", "{{$}}"]
        return _container(cluster, "report.py", [*shared, f"--{_RUN}", run, *out])

    return _component(step, _REPORT)


def _marker(cluster: KubeflowConfig) -> Callable[..., PipelineTask]:
    """A step that does nothing: that it ran says, to whoever waits for the run, that it pushed."""

    def step():
        return dsl.ContainerSpec(image=cluster.image, command=["python", "-c", f"print('lockgate: {PUSHED}')"])

    return _component(step, PUSHED)


def _container(cluster: KubeflowConfig, script: str, arguments_: list[str]) -> dsl.ContainerSpec:
    return dsl.ContainerSpec(
        image=cluster.image, command=["python", f"{cluster.source}/kubeflow/{script}"], args=arguments_
    )


def _component(step: Callable, name: str) -> Callable[..., PipelineTask]:
    step.__name__ = name
    return dsl.container_component(step)


def _keep_beam_beside_what_is_staged(config: Config) -> None:
    """A step's copies of artifacts in a bucket are folders of its own, which workers elsewhere do not have."""
    for kind, flags in config.beam_pipeline_args.items() if is_remote(config.kubeflow.artifacts) else ():
        (runner, *_) = [flag for flag in reversed(flags) if flag.startswith("--runner=")] or [_BESIDE]
        if runner != _BESIDE:
            must = "run Beam in the step's own container, because `kubeflow.artifacts` are in a bucket"
            raise ConfigError(f"`beam_pipeline_args.{kind}` must {must}. Received: {runner}")


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
