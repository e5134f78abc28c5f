"""The way back: the version before serves again, and MLMD says so."""

import datetime
from dataclasses import dataclass
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration.portable import execution_publish_utils
from tfx.orchestration.portable.mlmd import context_lib
from tfx.types import standard_artifacts

from components.common.content import sha256
from components.common.errors import GateError
from components.common.events import ROLLBACK
from components.gates.push.serving import previous, roll_back, served, withdrawn
from components.gates.push.writing import writing

_TYPE = "lockgate.Rollback"


@dataclass(frozen=True, kw_only=True)
class RolledBack:
    """What serves now, and what was withdrawn, by version; recorded: the MLMD execution."""

    version: int
    path: str
    withdrawn: int
    recorded: int


def rollback(folder: Path, database: metadata_store_pb2.ConnectionConfig, pipeline: str) -> RolledBack:
    """Brings the version before the current one back.

    The folder changes first. Where a rollback was killed before MLMD had it, this one only records it.

    Args:
        folder: the serving folder. database: MLMD. pipeline: its name there.

    Raises:
        GateError: there is no earlier version, MLMD does not know one of the two, or what it was made from was removed.
    """
    with writing(folder), metadata.Metadata(database) as handle:
        pushes = _pushes(handle.store)
        now, gone = _unrecorded(folder, pushes) or _rolled_back(folder, pushes)
        path = served(folder)[1]
        bad = pushes[sha256(withdrawn(folder)[gone])]
        for artifact in bad:
            artifact.custom_properties["withdrawn"].int_value = 1
        handle.store.put_artifacts(bad)
        execution = _record(handle, pipeline, bad[-1], pushes.kept(path))
    return RolledBack(version=now, path=str(path), withdrawn=gone, recorded=execution)


def _unrecorded(folder: Path, pushes: "_Known") -> tuple[int, int] | None:
    """The versions of a rollback that was carried out, and that MLMD has not; None if there is none."""
    marked = [n for n, m in withdrawn(folder).items() if any(not _withdrawn(p) for p in pushes[sha256(m)])]
    now = served(folder)[0] if served(folder) else None
    return (now, max(marked)) if marked and now not in (None, max(marked)) else None


def _rolled_back(folder: Path, pushes: "_Known") -> tuple[int, int]:
    pushes.kept(previous(folder)[1])  # both asked before anything changes
    pushes[sha256(served(folder)[1].read_bytes())]
    return roll_back(folder)


class _Known(dict):
    def __missing__(self, hashed: str):
        raise GateError(f"a rollback must be of versions that MLMD knows. It has no push of sha256 {hashed}")

    def kept(self, model: Path) -> metadata_store_pb2.Artifact:
        """The newest push of a model whose artifact is still there: later runs are measured against it."""
        there = [p for p in self[sha256(model.read_bytes())] if p.state != metadata_store_pb2.Artifact.DELETED]
        if not there:
            must = "be to a version that `retention.versions` keeps"
            raise GateError(f"a rollback must {must}. The artifacts behind {model.parent} were removed")
        return there[-1]


def _pushes(store) -> dict[str, list[metadata_store_pb2.Artifact]]:
    found = _Known()
    for artifact in sorted(store.get_artifacts_by_type("PushedModel"), key=lambda a: a.id):
        if artifact.custom_properties["pushed"].int_value == 1:
            found.setdefault(artifact.custom_properties["sha256"].string_value, []).append(artifact)
    return found


def _withdrawn(artifact: metadata_store_pb2.Artifact) -> bool:
    return artifact.custom_properties["withdrawn"].int_value == 1


def _record(handle: metadata.Metadata, pipeline: str, bad, good) -> int:
    """One execution, from the withdrawn push to a new one of the model that serves again."""
    run = f"{ROLLBACK}{datetime.datetime.now(datetime.timezone.utc):%Y%m%d-%H%M%S-%f}"
    contexts = [
        context_lib.register_context_if_not_exists(handle, kind, name)
        for kind, name in (("pipeline", pipeline), ("pipeline_run", run), ("node", f"{pipeline}.Rollback"))
    ]
    kind = metadata_store_pb2.ExecutionType(name=_TYPE)
    before, again = standard_artifacts.PushedModel(), standard_artifacts.PushedModel()
    before.set_mlmd_artifact(bad)
    inputs = {"withdrawn": [before]}
    execution = execution_publish_utils.register_execution(handle, kind, contexts, input_artifacts=inputs)
    again.uri = good.uri
    for key, value in good.custom_properties.items():
        again.mlmd_artifact.custom_properties[key].CopyFrom(value)
    execution_publish_utils.publish_succeeded_execution(
        handle, execution.id, contexts, output_artifacts={"pushed": [again]}
    )
    return execution.id
