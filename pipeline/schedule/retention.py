"""What a root may forget: artifacts that no retained version, no recent run and no next training needs.

MLMD's records stay: what was removed is marked as deleted there, and neither the cache nor a resolver takes it again.
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as pb

from components.common import remote
from components.common.events import INPUTS, MADE, ROLLBACK, is_idle
from components.common.mlmd import connection, exists
from pipeline.config import Config
from pipeline.guards import locked, unwritable
from pipeline.places import Places

_LIVE, _DELETED = pb.Artifact.LIVE, pb.Artifact.DELETED
_FINDINGS = ("DataCheck", "Drift", "PrivacyStatement")  # a few lines each, which later runs and the audit ask for
_EARLIER = ("base", "baseline_model", "serving", "best", "earlier")  # inputs that are of runs before
_COPIES = ("Examples", "ExampleStatistics")  # of the images: what a version was made from need not be kept to serve it


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """What was removed, or would be. removed: a row a folder or file: what it is, its path (in a bucket: its uri), its
    bytes. kept_bytes: of all that stays in the folder of the root."""

    removed: list[dict[str, Any]]
    kept_bytes: int

    @property
    def bytes(self) -> int:
        return sum(row["bytes"] for row in self.removed)


def clean(config: Config, root: Path, places: Places, dry_run: bool = False) -> Cleaned:
    """Removes what the configuration's retention policy lets go, of its own pipeline alone.

    It is marked in MLMD before it goes from the disk, so that a kill in between leaves nothing that is taken for whole;
    the next cleaning removes the rest.

    Args:
        config: whose pipeline and policy. root: folder for everything that is written. places: of the pipeline.
        dry_run: removes nothing.

    Raises:
        ServiceError: a run uses the root, or a file cannot be removed.
    """
    if not exists(places.metadata):
        return Cleaned(removed=[], kept_bytes=_size(root))
    with locked(root):
        store = metadata_store.MetadataStore(connection(places.metadata))
        records = _Records(store, config.name)
        kept = records.kept(config.retention.runs, config.retention.versions, config.data.window)
        rows = list(_leavings(records, kept, places, root, config.retention.runs))
        if not dry_run:
            records.mark_deleted(kept)
            for row in rows:
                _remove(row["path"])
    gone = sum(row["bytes"] for row in rows)
    return Cleaned(removed=rows, kept_bytes=_size(root) - (gone if dry_run else 0))


class _Records:
    """What MLMD knows of a pipeline."""

    def __init__(self, store: metadata_store.MetadataStore, pipeline: str):
        self._store = store
        context = store.get_context_by_type_and_name("pipeline", pipeline)
        self._executions = {e.id: e for e in store.get_executions_by_context(context.id)} if context else {}
        found = store.get_artifacts_by_context(context.id) if context else []
        self._kinds = {t.id: t.name for t in store.get_artifact_types()}
        self.artifacts = {a.id: a for a in found}
        self._events = store.get_events_by_execution_ids(sorted(self._executions)) if self._executions else []
        self.runs = self._newest_first()

    def kept(self, runs: int, versions: int, window: int) -> set[int]:
        """The artifacts that stay: of the newest runs, behind the versions that may still serve, of the spans that the
        next run is trained on, and findings that later runs ask for."""
        findings = {id for id in self.artifacts if self._kind(id) in _FINDINGS}
        return self._of_runs(runs) | self._behind_versions(versions) | self._of_window(window) | findings

    def begun(self, runs: int) -> float:
        """When the oldest of the newest runs began, in seconds since the epoch."""
        ids = self._executions_of(runs)
        return min((e.create_time_since_epoch for id, e in self._executions.items() if id in ids), default=0) / 1000

    def names(self, runs: int) -> set[str]:
        """The ids of the newest runs."""
        return {name for name, _ in self.runs[:runs]}

    def mark_deleted(self, kept: set[int]) -> None:
        """Says in MLMD of all others that they are no more."""
        gone = [a for a in self.artifacts.values() if a.id not in kept and a.state == _LIVE]
        for artifact in gone:
            artifact.state = _DELETED
        if gone:
            self._store.put_artifacts(gone)

    def _newest_first(self) -> list[tuple[str, set[int]]]:
        contexts = self._store.get_contexts_by_type("pipeline_run")
        real = [c for c in contexts if not c.name.startswith(ROLLBACK) and not is_idle(c)]
        runs = [(c.name, {e.id for e in self._store.get_executions_by_context(c.id)}) for c in real]
        own = [(name, ids & set(self._executions)) for name, ids in runs if ids & set(self._executions)]
        return sorted(own, key=lambda run: max(run[1]), reverse=True)

    def _executions_of(self, runs: int) -> set[int]:
        return set().union(*(ids for _, ids in self.runs[:runs]))

    def _of_runs(self, runs: int) -> set[int]:
        executions = self._executions_of(runs)
        return {e.artifact_id for e in self._events if e.execution_id in executions}

    def _behind_versions(self, versions: int) -> set[int]:
        """What the newest models that were pushed and not withdrawn were made from, copies of images aside."""
        pushed: dict[str, list[int]] = {}
        for artifact in sorted(self.artifacts.values(), key=lambda a: -a.id):
            said = artifact.custom_properties
            if "pushed" in said and said["pushed"].int_value == 1 and not _is_set(said, "withdrawn"):
                pushed.setdefault(said["sha256"].string_value, []).append(artifact.id)
        newest = [id for ids in list(pushed.values())[:versions] for id in ids]
        return {id for id in self._ancestors(newest) if self._kind(id) not in _COPIES}

    def _ancestors(self, artifacts: Iterable[int]) -> set[int]:
        """What these were made from in their own runs."""
        seen: set[int] = set()
        open_ = set(artifacts)
        while open_:
            seen |= open_
            makers = {e.execution_id for e in self._events if e.artifact_id in open_ and e.type in MADE}
            taken = [e for e in self._events if e.execution_id in makers and e.type in INPUTS]
            open_ = {e.artifact_id for e in taken if e.path.steps[0].key not in _EARLIER} - seen
        return seen

    def _of_window(self, window: int) -> set[int]:
        """The newest examples of each of the newest spans, one fewer than a run is trained on; of all where it is 0."""
        newest: dict[int, int] = {}
        for artifact in self.artifacts.values():
            if self._kind(artifact.id) == "Examples" and artifact.state == _LIVE:
                span = artifact.custom_properties["span"].int_value if "span" in artifact.custom_properties else 0
                newest[span] = max(newest.get(span, 0), artifact.id)
        spans = sorted(newest, reverse=True)
        return {newest[span] for span in (spans[: window - 1] if window else spans)}

    def _kind(self, artifact: int) -> str:
        return self._kinds[self.artifacts[artifact].type_id] if artifact in self.artifacts else ""


def _is_set(properties: Any, key: str) -> bool:
    return key in properties and properties[key].int_value == 1


def _leavings(records: _Records, kept: set[int], places: Places, root: Path, runs: int) -> Iterator[dict[str, Any]]:
    """A row for everything that goes: artifacts, and of older runs the logs and what they could go on from."""
    staying = {artifact.uri for id, artifact in records.artifacts.items() if id in kept}
    going = {a.uri for a in records.artifacts.values()} - staying
    if remote.is_remote(places.artifacts):
        for uri in sorted(going & remote.below(places.artifacts)):
            yield {"what": "artifact", "path": uri, "bytes": remote.size(uri)}
    else:
        for uri in sorted(going):
            yield from _row("artifact", Path(uri), within=Path(places.artifacts))
    known, recent = {name for name, _ in records.runs}, records.names(runs)
    for run in sorted(known - recent):
        yield from _row("log", root / "runs" / run / "log.txt", within=root)
    for state in sorted(places.journals.glob("*/state.npz")) + sorted(places.journals.glob("search-*")):
        if state.stat().st_mtime < records.begun(runs):
            yield from _row("journal", state if state.is_dir() else state.parent, within=places.journals)


def _row(what: str, path: Path, within: Path) -> Iterator[dict[str, Any]]:
    if path.exists() and within in path.parents:
        yield {"what": what, "path": str(path), "bytes": _size(path)}


def _size(path: Path) -> int:
    """Bytes of a file, or of all files under a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(os.lstat(os.path.join(at, name)).st_size for at, _, names in os.walk(path) for name in names)


def _remove(place: str) -> None:
    if remote.is_remote(place):
        remote.remove(place)
        return
    path = Path(place)
    try:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise unwritable(path, error) from None
