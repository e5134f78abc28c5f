"""One node of the compiled graph through TFX's portable launcher: what every runner does alike."""

import shutil
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import compiler, constants
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration import data_types_utils, metadata
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.local import runner_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import data_types, launcher, runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2

from components.common.errors import ConfigError

UNCACHED = ("PrivacyAuditor", "Pusher")  # idempotent; a cached one would not notice a ledger or folder that was lost
TYPES = {
    pipeline_pb2.RuntimeParameter.STRING: str,
    pipeline_pb2.RuntimeParameter.INT: int,
    pipeline_pb2.RuntimeParameter.DOUBLE: float,
}
KINDS = (
    "CompressionGate",
    "CompressionSearch",
    "Clusterer",
    "DPTrainer",
    "DataChecker",
    "DriftDetector",
    "Evaluator",
    "ExampleValidator",
    "HoldoutScorer",
    "ImportExampleGen",
    "ImportSchemaGen",
    "NoisedStatistics",
    "PrivacyAuditor",
    "Prober",
    "Pruner",
    "Pusher",
    "Quantizer",
    "Resolver",
    "Selector",
    "StatisticsGen",
)  # of nodes that a graph may have
_States = metadata_store_pb2.Execution


def compiled(pipeline: Pipeline) -> pipeline_pb2.Pipeline:
    """TFX's intermediate representation of a pipeline, its nodes in topological order; the run's id is still open."""
    ir = compiler.Compiler().compile(pipeline)
    _keep_defaults(ir, pipeline)
    for wrapped in ir.nodes:
        if wrapped.pipeline_node.node_info.id in UNCACHED:
            wrapped.pipeline_node.execution_options.caching_options.enable_cache = False
    return ir


def _keep_defaults(ir: pipeline_pb2.Pipeline, pipeline: Pipeline) -> None:
    """Writes the runtime parameters' defaults; TFX's compiler forgets those that are 0 or empty."""
    nodes = {wrapped.pipeline_node.node_info.id: wrapped.pipeline_node for wrapped in ir.nodes}
    for component in pipeline.components:
        for name, asked in component.exec_properties.items():
            if isinstance(asked, RuntimeParameter) and asked.default is not None:
                parameter = nodes[component.id].parameters.parameters[name].runtime_parameter
                data_types_utils.set_metadata_value(parameter.default_value, asked.ptype(asked.default))


def bind(ir: pipeline_pb2.Pipeline, run_id: str, /, **parameters: str) -> None:
    """Fills in the run's id, and the runtime parameters that are given as text, in place.

    Raises:
        ConfigError: one is not of its type, or nobody asked for it.
    """
    known = runtime_parameters(ir)
    values: dict[str, str | int | float] = {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id}
    for name, text in parameters.items():
        try:
            values[name] = TYPES[known[name].type](text)
        except (KeyError, ValueError):
            must = f"be one of {sorted(known)}, of its type"
            raise ConfigError(f"a runtime parameter must {must}. Received: {name}={text!r}") from None
    runtime_parameter_utils.substitute_runtime_parameter(ir, values)


def runtime_parameters(ir: pipeline_pb2.Pipeline) -> dict[str, pipeline_pb2.RuntimeParameter]:
    """The parameters that a run may set, by name; those that TFX itself fills in are not among them."""
    found: dict[str, pipeline_pb2.RuntimeParameter] = {}
    for wrapped in ir.nodes:
        for value in wrapped.pipeline_node.parameters.parameters.values():
            if value.WhichOneof("value") == "runtime_parameter":
                found[value.runtime_parameter.name] = value.runtime_parameter
    own = (constants.PIPELINE_RUN_ID_PARAMETER_NAME, constants.PIPELINE_ROOT_PARAMETER_NAME)
    return {name: parameter for name, parameter in sorted(found.items()) if name not in own}


def says(node: pipeline_pb2.PipelineNode, text: str) -> bool:
    """Whether one of a node's own parameters holds a text."""
    values = (value.field_value.string_value for value in node.parameters.parameters.values())
    return any(text in value for value in values)


def opens_nothing(node: pipeline_pb2.PipelineNode) -> bool:
    """Whether a node finds artifacts in MLMD and opens none: a resolver, unless a condition looks into one for it."""
    is_resolver = node.node_info.type.name == Resolver.__module__ + "." + Resolver.__qualname__
    return is_resolver and not node.inputs.conditionals


def launch(
    ir: pipeline_pb2.Pipeline,
    node: pipeline_pb2.PipelineNode,
    database: metadata.ConnectionConfigType,
    launched_by: type[launcher.Launcher] = launcher.Launcher,
) -> data_types.ExecutionInfo | None:
    """Runs one node: resolves its inputs in MLMD, looks for a cached result, executes, publishes.

    Args:
        ir: the pipeline, or a part of it that holds the node. node: of it. database: MLMD.
        launched_by: TFX's launcher, or one derived from it.

    Returns:
        What was executed, None if its inputs were not found or a condition skips it.

    Raises:
        Exception: whatever the node raised.
    """
    id, deployment = node.node_info.id, runner_utils.extract_local_deployment_config(ir)
    return launched_by(
        pipeline_node=node,
        mlmd_connection=metadata.Metadata(database),
        pipeline_info=ir.pipeline_info,
        pipeline_runtime_spec=ir.runtime_spec,
        executor_spec=runner_utils.extract_executor_spec(deployment, id),
        custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, id),
    ).launch()


def state_of(database: metadata.ConnectionConfigType, execution: int | None) -> str:
    """How an execution ended: ran, cached or failed."""
    if execution is None:
        return "failed"
    with metadata.Metadata(database) as handle:
        return state_name(handle.store.get_executions_by_id([execution])[0])


def state_name(execution: metadata_store_pb2.Execution) -> str:
    """An execution's state as a run record has it: ran, cached or failed."""
    return {_States.COMPLETE: "ran", _States.CACHED: "cached"}.get(execution.last_known_state, "failed")


def remove_outputs(artifacts: Path, execution: int) -> None:
    """Removes what an execution has half written. Nothing refers to it: TFX publishes an artifact only when its
    execution is complete."""
    for folder in (f"*/*/{execution}", f"*/.system/*/{execution}"):
        for leftover in artifacts.glob(folder):
            shutil.rmtree(leftover)
