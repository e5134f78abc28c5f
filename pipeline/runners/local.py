"""The graph on this machine: every node through TFX's portable launcher, one after the other, MLMD in sqlite.

TFX's LocalDagRunner does the same, but tells nobody which node runs, whether it came from the cache, or that a node
whose inputs could not be resolved failed.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import compiler, constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import launcher, runtime_parameter_utils

from components.common.errors import LockgateError

_States = metadata_store_pb2.Execution


@dataclass(frozen=True, kw_only=True)
class NodeResult:
    """How one node ended. state: ran, cached or failed; seconds: wall time; execution: MLMD id, or None."""

    id: str
    state: str
    seconds: float
    execution: int | None


def run(pipeline: Pipeline, run_id: str, started: Callable[[str], None], ended: Callable[[NodeResult], None]) -> None:
    """Runs all nodes in topological order; stops at the first that fails.

    Args:
        pipeline: the graph.
        run_id: under which MLMD knows this run.
        started: called with a node's id before it runs.
        ended: called with its result, also when it failed.

    Raises:
        Exception: whatever the failing node raised.
    """
    ir = compiler.Compiler().compile(pipeline)
    runtime_parameter_utils.substitute_runtime_parameter(ir, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id})
    deployment = runner_utils.extract_local_deployment_config(ir)
    config = pipeline.metadata_connection_config
    cancel_abandoned(config)
    for wrapped in ir.nodes:
        node = wrapped.pipeline_node
        id, begun = node.node_info.id, time.monotonic()
        if id == "Pusher":  # it is idempotent, and a cached push would not notice a serving folder that was lost
            node.execution_options.caching_options.enable_cache = False
        started(id)
        try:
            info = launcher.Launcher(
                pipeline_node=node,
                mlmd_connection=metadata.Metadata(config),
                pipeline_info=ir.pipeline_info,
                pipeline_runtime_spec=ir.runtime_spec,
                executor_spec=runner_utils.extract_executor_spec(deployment, id),
                custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, id),
            ).launch()
            execution = info.execution_id if info else None
            state = _state(config, execution)
        except BaseException:
            ended(NodeResult(id=id, state="failed", seconds=time.monotonic() - begun, execution=None))
            raise
        ended(NodeResult(id=id, state=state, seconds=time.monotonic() - begun, execution=execution))
        if state == "failed":
            raise LockgateError(f"node {id} must find its inputs. The log says which are missing")


def cancel_abandoned(config: metadata_store_pb2.ConnectionConfig) -> None:
    """Marks executions that a killed run left as running. The caller holds the root's lock, so nobody runs them."""
    with metadata.Metadata(config) as handle:
        abandoned = [
            e for e in handle.store.get_executions() if e.last_known_state in (_States.NEW, _States.RUNNING)
        ]
        for execution in abandoned:
            execution.last_known_state = _States.CANCELED
        if abandoned:
            handle.store.put_executions(abandoned)


def _state(config: metadata_store_pb2.ConnectionConfig, execution: int | None) -> str:
    if execution is None:
        return "failed"
    with metadata.Metadata(config) as handle:
        state = handle.store.get_executions_by_id([execution])[0].last_known_state
    return {_States.COMPLETE: "ran", _States.CACHED: "cached"}.get(state, "failed")
