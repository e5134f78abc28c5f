"""The graph on this machine: every node through TFX's portable launcher, one after the other, MLMD in sqlite.

TFX's LocalDagRunner does the same, but tells nobody which node runs, whether it came from the cache, or that a node
whose inputs could not be resolved failed.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration.pipeline import Pipeline

from components.common.errors import Interrupted, LockgateError
from pipeline.runners.nodes import bind, compiled, launch, remove_outputs, state_of

_States = metadata_store_pb2.Execution


@dataclass(frozen=True, kw_only=True)
class NodeResult:
    """How one node ended. state: ran, cached or failed; seconds: wall time; execution: MLMD id, or None."""

    id: str
    state: str
    seconds: float
    execution: int | None


def run(
    pipeline: Pipeline,
    config: metadata_store_pb2.ConnectionConfig,
    run_id: str,
    started: Callable[[str, int, int], None],
    ended: Callable[[NodeResult], None],
) -> None:
    """Runs all nodes in topological order; stops at the first that fails.

    Args:
        pipeline: the graph. config: connection to MLMD.
        run_id: under which MLMD knows this run.
        started: called with a node's id, its position from 1 and the number of nodes, before it runs.
        ended: called with its result, also when it failed.

    Raises:
        Exception: whatever the failing node raised.
    """
    ir = compiled(pipeline)
    bind(ir, run_id)
    artifacts = Path(pipeline.pipeline_info.pipeline_root)
    drop_abandoned(config, artifacts)
    try:
        for position, wrapped in enumerate(ir.nodes, start=1):
            started(wrapped.pipeline_node.node_info.id, position, len(ir.nodes))
            _run_node(ir, wrapped.pipeline_node, config, ended)
    except Interrupted:
        drop_abandoned(config, artifacts)
        raise


def _run_node(ir, node, config, ended: Callable[[NodeResult], None]) -> None:
    id, begun = node.node_info.id, time.monotonic()
    state, execution = "failed", None
    try:
        launched = launch(ir, node, config)
        execution = launched.execution_id if launched else None
        state = state_of(config, execution)
    finally:
        ended(NodeResult(id=id, state=state, seconds=time.monotonic() - begun, execution=execution))
    if state == "failed":
        raise LockgateError(f"node {id} must find its inputs. The log says which are missing")


def drop_abandoned(config: metadata_store_pb2.ConnectionConfig, artifacts: Path) -> None:
    """Cancels executions that a killed or interrupted run left as running, and removes what they had half written.

    The caller holds the root's lock, so nobody runs them. Nothing refers to their outputs: TFX publishes an artifact
    only when its execution is complete.
    """
    with metadata.Metadata(config) as handle:
        running = (_States.NEW, _States.RUNNING)
        abandoned = [e for e in handle.store.get_executions() if e.last_known_state in running]
        for execution in abandoned:
            remove_outputs(artifacts, execution.id)
            execution.last_known_state = _States.CANCELED
        if abandoned:
            handle.store.put_executions(abandoned)
