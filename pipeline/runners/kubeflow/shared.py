"""A run as the MLMD that its steps share knows it: which graph it runs, whether it was refused, what a step left."""

import os
import socket
from dataclasses import dataclass
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration.portable import launcher
from tfx.orchestration.portable.mlmd import context_lib
from tfx.proto.orchestration import pipeline_pb2

from components.common.errors import ConfigError, LockgateError, ServiceError
from components.common.events import CAUSE, ROLLBACK, is_idle
from components.common.mlmd import node_ids
from pipeline.runners.nodes import state_name

_REFUSED, _GRAPH, _POD = "lockgate_refused", "lockgate_graph", "kfp_pod_name"
_FAILED, _WHY = "lockgate_error", "lockgate_error_cause"
_TRIES = "lockgate_tries"
_PIPELINE, _RUN, _NODE = "pipeline", "pipeline_run", "node"
_States = metadata_store_pb2.Execution
_OPEN = (_States.NEW, _States.RUNNING)


@dataclass(frozen=True, kw_only=True)
class Told:
    """What MLMD says of a run.

    began, ended: seconds since the epoch. span: of its examples. refused: why; cause: as in `LockgateError`, or IDLE.
    failed: a node that did; error, error_cause: what it said, empty where it said nothing. finished: whether the last
    node ended well. nodes: a row each, as a run record has them.
    """

    began: float
    ended: float
    span: int | None
    refused: str
    cause: str
    failed: str
    error: str
    error_cause: str
    finished: bool
    nodes: list[dict[str, Any]]


class UnknownRun(ServiceError):
    """MLMD has never heard of a run."""


def told_of(database: metadata.ConnectionConfigType, run: str) -> Told:
    """Reads what MLMD says of a run.

    Raises:
        UnknownRun: it knows no such run: no step got that far.
    """
    with metadata.Metadata(database) as handle:
        context = handle.store.get_context_by_type_and_name(_RUN, run)
        if context is None:
            raise UnknownRun(f"a step of the run must have reached MLMD. It knows no run {run}: see the steps' logs")
        executions = sorted(handle.store.get_executions_by_context(context.id), key=lambda e: e.id)
        names = node_ids(handle.store)
        events = handle.store.get_events_by_execution_ids([e.id for e in executions]) if executions else []
        artifacts = handle.store.get_artifacts_by_id(sorted({e.artifact_id for e in events}))
    nodes = [_row(execution, names.get(execution.id, "")) for execution in executions]
    spans = [a.custom_properties["span"].int_value for a in artifacts if a.type == "Examples"]
    broken = [e for e in executions if state_name(e) == "failed"]
    broken.sort(key=lambda e: _FAILED not in e.custom_properties)
    times = [t for e in executions for t in (e.create_time_since_epoch, e.last_update_time_since_epoch)]
    return Told(
        began=min(times, default=context.create_time_since_epoch) / 1000,
        ended=max(times, default=context.create_time_since_epoch) / 1000,
        span=max(spans, default=None),
        refused=_said(context, _REFUSED),
        cause=_said(context, CAUSE),
        failed=names.get(broken[0].id, "") if broken else "",
        error=_said(broken[0], _FAILED) if broken else "",
        error_cause=_said(broken[0], _WHY) if broken else "",
        finished=any(row["id"] == "Pusher" and row["state"] != "failed" for row in nodes),
        nodes=nodes,
    )


def pipelines_of(database: metadata.ConnectionConfigType) -> set[str]:
    """The names of the pipelines that MLMD knows."""
    with metadata.Metadata(database) as handle:
        return {context.name for context in handle.store.get_contexts_by_type(_PIPELINE)}


def signs_of_life(database: metadata.ConnectionConfigType, pipeline: str, since: float) -> set[str]:
    """The runs of a pipeline of which a node began or ended since then, in seconds since the epoch. Those that found
    nothing to do, and rollbacks, which are kept as runs are, are not among them."""
    with metadata.Metadata(database) as handle:
        context = handle.store.get_context_by_type_and_name(_PIPELINE, pipeline)
        executions = handle.store.get_executions_by_context(context.id) if context else []
        recent = [e.id for e in executions if e.last_update_time_since_epoch >= 1000 * since]
        kinds = {t.id for t in handle.store.get_context_types() if t.name == _RUN}
        found = [c for id in recent for c in handle.store.get_contexts_by_execution(id)]
    runs = [c for c in found if c.type_id in kinds and not c.name.startswith(ROLLBACK)]
    return {context.name for context in runs if not is_idle(context)}


def _row(execution: metadata_store_pb2.Execution, name: str) -> dict[str, Any]:
    seconds = (execution.last_update_time_since_epoch - execution.create_time_since_epoch) / 1000
    return {"id": name, "state": state_name(execution), "seconds": seconds, "execution": execution.id}


class SharedRun:
    """One node's view of its run.

    Args:
        database: MLMD. node: with its contexts bound to the run. run: its id.
    """

    def __init__(self, database: metadata.ConnectionConfigType, node: pipeline_pb2.PipelineNode, run: str):
        self.database, self._node, self._run = database, node, run
        self.idle = ""  # why the run has nothing to do, once this has joined it

    def join(self, graph: str) -> str:
        """Registers the run, or finds it.

        Args:
            graph: fingerprint of the graph that this step belongs to.

        Returns:
            Why the steps after it do nothing, as a clause; empty if they are to run.

        Raises:
            ConfigError: other steps of the run belong to another graph.
        """
        with metadata.Metadata(self.database) as handle:
            context_lib.prepare_contexts(handle, self._node.contexts)
            context = handle.store.get_context_by_type_and_name(_RUN, self._run)
            known = _said(context, _GRAPH)
            if known and known != graph:
                raise ConfigError(
                    f"all steps of a run must be of one graph. Received: {graph[:12]} in a run of {known[:12]}"
                )
            if not known:
                context.custom_properties[_GRAPH].string_value = graph
                handle.store.put_contexts([context])
        why = _said(context, _REFUSED)
        self.idle = why if is_idle(context) else ""
        return self.idle or why and f"the run was refused: {why}"

    def begin(self) -> int:
        """Counts the tries of the step that runs first, this one among them."""
        with metadata.Metadata(self.database) as handle:
            context = handle.store.get_context_by_type_and_name(_RUN, self._run)
            tries = 1 + (context.custom_properties[_TRIES].int_value if _TRIES in context.custom_properties else 0)
            context.custom_properties[_TRIES].int_value = tries
            handle.store.put_contexts([context])
        return tries

    def refuse(self, why: str, cause: str) -> None:
        """Marks the run, so that the steps after this one do nothing."""
        with metadata.Metadata(self.database) as handle:
            context = handle.store.get_context_by_type_and_name(_RUN, self._run)
            context.custom_properties[_REFUSED].string_value = why
            context.custom_properties[CAUSE].string_value = cause
            handle.store.put_contexts([context])
            self.idle = why if is_idle(context) else ""

    def failed(self, told: LockgateError) -> None:
        """Says on this step's execution why it did not end well, for the run's record."""
        with metadata.Metadata(self.database) as handle:
            broken = [e for e in self._executions(handle.store) if state_name(e) == "failed"]
            for execution in broken:
                execution.custom_properties[_FAILED].string_value = f"{self._id}: {told}"
                execution.custom_properties[_WHY].string_value = told.cause
            if broken:
                handle.store.put_executions(broken)

    def has_pushed(self) -> bool:
        """Whether this node pushed a model in this run, or found it pushed."""
        with metadata.Metadata(self.database) as handle:
            done = [e.id for e in self._executions(handle.store) if e.last_known_state not in _OPEN]
            ids = {event.artifact_id for event in handle.store.get_events_by_execution_ids(done)} if done else set()
            found = handle.store.get_artifacts_by_id(sorted(ids)) if ids else []
        return any(artifact.custom_properties["pushed"].int_value == 1 for artifact in found)

    def unfinished(self) -> list[int]:
        """The executions that tries of this step began which were killed or failed; TFX goes on under the same, in the
        same folders."""
        with metadata.Metadata(self.database) as handle:
            ended = (_States.COMPLETE, _States.CACHED)
            return [e.id for e in self._executions(handle.store) if e.last_known_state not in ended]

    def cancel(self) -> None:
        """Says that this step's execution does not run any more."""
        with metadata.Metadata(self.database) as handle:
            left = [e for e in self._executions(handle.store) if e.last_known_state in _OPEN]
            for execution in left:
                execution.last_known_state = _States.CANCELED
            if left:
                handle.store.put_executions(left)

    def stamp(self) -> None:
        """Says on this step's executions which pod ran them; TFX's own kinds of node are registered without it."""
        with metadata.Metadata(self.database) as handle:
            new = [e for e in self._executions(handle.store) if _POD not in e.custom_properties]
            if new:
                handle.store.put_executions([_stamped(execution) for execution in new])

    @property
    def _id(self) -> str:
        return self._node.node_info.id

    def _executions(self, store) -> list[metadata_store_pb2.Execution]:
        """The executions of this node in this run."""
        found = []
        for kind, name in ((_RUN, self._run), (_NODE, f"{self._pipeline}.{self._id}")):
            context = store.get_context_by_type_and_name(kind, name)
            found.append({e.id: e for e in store.get_executions_by_context(context.id)} if context else {})
        return [execution for id, execution in found[0].items() if id in found[1]]

    @property
    def _pipeline(self) -> str:
        specs = self._node.contexts.contexts
        return next(s.name.field_value.string_value for s in specs if s.type.name == _PIPELINE)


def _said(of: metadata_store_pb2.Context | metadata_store_pb2.Execution, key: str) -> str:
    """A custom property, empty if it is not there: to ask a protobuf map for a key makes it, and MLMD dies of that."""
    return of.custom_properties[key].string_value if key in of.custom_properties else ""


class StampingLauncher(launcher.Launcher):
    """TFX's launcher, whose executions say from the start which pod runs them."""

    def _register_or_reuse_execution(self, metadata_handle, **arguments):
        execution = super()._register_or_reuse_execution(metadata_handle=metadata_handle, **arguments)
        metadata_handle.store.put_executions([_stamped(execution)])
        return execution


def _stamped(execution: metadata_store_pb2.Execution) -> metadata_store_pb2.Execution:
    execution.custom_properties[_POD].string_value = os.environ.get("KFP_POD_NAME") or socket.gethostname()
    return execution
