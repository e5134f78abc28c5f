"""Lineage as MLMD has it: from artifacts back to every execution that they were made by."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as pb

from components.common.errors import GateError
from components.common.events import INPUTS, OUTPUTS
from components.common.mlmd import opened
from components.privacy.statement import load_statement
from components.privacy.taint import Artifact, Execution

_MODELS = ("Model", "Variant", "PushedModel")


@dataclass(frozen=True, kw_only=True)
class Ancestry:
    """All that some artifacts were made by and from. orphans: artifacts that no execution put out."""

    executions: tuple[Execution, ...]
    orphans: tuple[Artifact, ...]


def ancestry(place: str, artifacts: Iterable[int]) -> Ancestry:
    """Walks MLMD from artifacts to their sources, through cached executions and those of earlier runs.

    Args:
        place: of MLMD, see `mlmd.connection`. artifacts: their ids.

    Raises:
        ServiceError: MLMD cannot be read.
    """
    with opened(place) as store:
        return _Walk(store).from_artifacts(set(artifacts))


@dataclass(frozen=True, kw_only=True)
class Descendant:
    """A model that was made from some examples. kind: of the artifact; epsilon: of its statement, None if it has none
    or nothing is promised; served: path of the file, where it was pushed."""

    artifact: int
    kind: str
    uri: str
    epsilon: float | None
    served: str | None


def descendants(place: str, uris: Iterable[str]) -> list[Descendant]:
    """All models and variants that examples at these uris went into, and where they were pushed to.

    Args:
        place: of MLMD, see `mlmd.connection`. uris: of Examples artifacts.
    """
    with opened(place) as store:
        kinds = {t.id: t.name for t in store.get_artifact_types()}
        open_ = {a.id for uri in uris for a in store.get_artifacts_by_uri(uri)}
        seen: set[int] = set()
        while open_:
            seen |= open_
            events = store.get_events_by_artifact_ids(sorted(open_))
            users = {e.execution_id for e in events if e.type in INPUTS}
            made = store.get_events_by_execution_ids(sorted(users)) if users else []
            open_ = {e.artifact_id for e in made if e.type in OUTPUTS} - seen
        found = sorted(store.get_artifacts_by_id(sorted(seen)), key=lambda a: a.id) if seen else []
    return [_descendant(a, kinds[a.type_id]) for a in found if kinds[a.type_id] in _MODELS]


def _descendant(artifact: pb.Artifact, kind: str) -> Descendant:
    try:
        epsilon: float | None = load_statement(artifact.uri).epsilon
    except GateError:
        epsilon = None
    served = artifact.custom_properties["path"].string_value if "path" in artifact.custom_properties else None
    bounded = epsilon if epsilon is not None and math.isfinite(epsilon) else None
    return Descendant(artifact=artifact.id, kind=kind, uri=artifact.uri, epsilon=bounded, served=served)


class _Walk:
    def __init__(self, store: metadata_store.MetadataStore):
        self._store = store
        self._kinds = {t.id: t.name for t in store.get_artifact_types()}
        self._types = {t.id: t.name for t in store.get_execution_types()}
        self._inputs, self._outputs = defaultdict(set), defaultdict(set)

    def from_artifacts(self, open_: set[int]) -> Ancestry:
        seen: set[int] = set()
        orphans: set[int] = set()
        while open_:
            seen |= open_
            events = [e for e in self._store.get_events_by_artifact_ids(sorted(open_)) if e.type in OUTPUTS]
            orphans |= open_ - {e.artifact_id for e in events}
            makers = {e.execution_id for e in events} - set(self._inputs)
            for maker in makers:
                self._inputs[maker] = set()
            for event in self._store.get_events_by_execution_ids(sorted(makers)) if makers else []:
                side = self._inputs if event.type in INPUTS else self._outputs if event.type in OUTPUTS else None
                if side is not None:
                    side[event.execution_id].add(event.artifact_id)
            open_ = {a for maker in makers for a in self._inputs[maker]} - seen
        return self._resolved(seen, orphans)

    def _resolved(self, seen: set[int], orphans: set[int]) -> Ancestry:
        ids = seen | {a for made in self._outputs.values() for a in made}
        known = {a.id: self._artifact(a) for a in self._store.get_artifacts_by_id(sorted(ids))} if ids else {}
        found = self._store.get_executions_by_id(sorted(self._inputs)) if self._inputs else []
        executions = [
            Execution(
                id=e.id,
                kind=self._types[e.type_id].rsplit(".", 1)[-1],
                inputs=tuple(known[a] for a in sorted(self._inputs[e.id])),
                outputs=tuple(known[a] for a in sorted(self._outputs[e.id])),
                parameters={key: _plain(value) for key, value in e.custom_properties.items()},
            )
            for e in found
        ]
        return Ancestry(executions=tuple(executions), orphans=tuple(known[a] for a in sorted(orphans)))

    def _artifact(self, artifact: pb.Artifact) -> Artifact:
        splits = artifact.properties["split_names"].string_value if "split_names" in artifact.properties else ""
        return Artifact(
            id=artifact.id,
            kind=self._kinds[artifact.type_id],
            uri=artifact.uri,
            splits=tuple(json.loads(splits)) if splits else (),
            span=artifact.custom_properties["span"].int_value if "span" in artifact.custom_properties else 0,
        )


def _plain(value: pb.Value) -> Any:
    return getattr(value, value.WhichOneof("value")) if value.WhichOneof("value") else None
