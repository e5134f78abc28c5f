"""Which artifacts of a pipeline must stay, as MLMD knows them."""

import itertools
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as pb

from components.common.events import INPUTS, MADE, ROLLBACK, is_idle
from components.common.settings import to_json
from pipeline.config import Config

_FINDINGS = ("DataCheck", "Drift", "PrivacyStatement")  # a few lines each, which later runs and the audit ask for
_EARLIER = ("base", "baseline_model", "serving", "best", "earlier", "withdrawn")  # inputs that are of runs before
_COPIES = ("Examples", "ExampleStatistics")  # of the images: what a version was made from need not be kept to serve it
_NEWEST = 2**62  # a span, or an artifact, after all that are there


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run as MLMD has it. pipeline: whether it is of the pipeline that was asked for; begun: of its first execution,
    in seconds since the epoch; executions: their ids."""

    name: str
    own: bool
    begun: float
    executions: frozenset[int]


class Lineage:
    """What MLMD knows of a pipeline, and of when others ran.

    Args:
        store: MLMD. pipeline: its name.
    """

    def __init__(self, store: metadata_store.MetadataStore, pipeline: str):
        self._store = store
        context = store.get_context_by_type_and_name("pipeline", pipeline)
        executions = {e.id for e in store.get_executions_by_context(context.id)} if context else set()
        found = store.get_artifacts_by_context(context.id) if context else []
        self._types = {t.id: t for t in store.get_artifact_types()}
        self._events = store.get_events_by_execution_ids(sorted(executions)) if executions else []
        self.artifacts = {a.id: a for a in found}
        self.runs = self._newest_first(executions)

    def retained(self, runs: int, decided: Collection[str]) -> list[Run]:
        """The newest `runs` of the pipeline's runs that decided, and all that came after the oldest of them: what one
        that failed had finished is taken up by the next."""
        own = [run for run in self.runs if run.own]
        places = [place for place, run in enumerate(own, start=1) if run.name in decided]
        return own[: places[runs - 1]] if len(places) >= runs else own

    def kept(self, config: Config, retained: Iterable[Run], coming: Collection[int], served: str | None) -> set[int]:
        """The ids of the artifacts that stay.

        Args:
            config: whose windows and policy. retained: runs that stay whole. coming: spans that are there, or half
                there, and that no run has decided on. served: sha256 of the model that serves.
        """
        executions = frozenset().union(*(run.executions for run in retained))
        of_runs = {e.artifact_id for e in self._events if e.execution_id in executions}
        findings = {id for id in self.artifacts if self._kind(id) in _FINDINGS}
        versions = self._behind_versions(config.retention.versions, served)
        last = max((self._span(id) for id in self.artifacts), default=0)
        spans = {span if span <= last else _NEWEST for span in coming} | {_NEWEST}
        needed = [self._taken_by_a_run_on(span, config) for span in sorted(spans)]
        return of_runs | findings | versions | self._compared_with(config.retention.versions) | set().union(*needed)

    def mark_deleted(self, uris: Collection[str]) -> None:
        """Says in MLMD of what is there that it is no more."""
        gone = [a for a in self._live() if a.uri in uris]
        for artifact in gone:
            artifact.state = pb.Artifact.DELETED
        if gone:
            self._store.put_artifacts(gone)

    def run_at(self, moment: float) -> Run | None:
        """The run of any pipeline that was the last one to have begun then, in seconds since the epoch: a root has one
        at a time."""
        return max((run for run in self.runs if run.begun <= moment), key=lambda run: run.begun, default=None)

    def _newest_first(self, own: set[int]) -> list[Run]:
        contexts = self._store.get_contexts_by_type("pipeline_run")
        runs = []
        for context in (c for c in contexts if not c.name.startswith(ROLLBACK) and not is_idle(c)):
            executions = self._store.get_executions_by_context(context.id)
            ids = frozenset(e.id for e in executions)
            begun = min((e.create_time_since_epoch for e in executions), default=0) / 1000
            if ids:
                runs.append(Run(name=context.name, own=bool(ids & own), begun=begun, executions=ids))
        return sorted(runs, key=lambda run: max(run.executions), reverse=True)

    def _behind_versions(self, versions: int, served: str | None) -> set[int]:
        """What the newest models that were pushed and not withdrawn were made from, and what serves, copies of images
        aside."""
        from components.gates.push.served import standing

        pushes = self._wrapped("PushedModel")
        hashes = {_hash(push) for push in standing(pushes)[:versions]} | {served}
        ours = {push.id for push in pushes if _hash(push) in hashes}
        return {id for id in self._ancestors(ours) if self._kind(id) not in _COPIES}

    def _ancestors(self, artifacts: Collection[int]) -> set[int]:
        """What these were made from in their own runs, themselves included."""
        seen: set[int] = set()
        open_ = set(artifacts)
        while open_:
            seen |= open_
            makers = {e.execution_id for e in self._events if e.artifact_id in open_ and e.type in MADE}
            taken = [e for e in self._events if e.execution_id in makers and e.type in INPUTS]
            open_ = {e.artifact_id for e in taken if e.path.steps[0].key not in _EARLIER} - seen
        return seen

    def _compared_with(self, versions: int) -> set[int]:
        """The best push that the next one is measured against; also once so many of the newest are withdrawn."""
        from components.gates.push.served import ServedModels

        found: set[int] = set()
        pushes = self._wrapped("PushedModel")
        for _ in range(versions):
            resolved = ServedModels().resolve_artifacts(self._store, {"variants": [], "serving": pushes, "best": []})
            found |= {a.id for a in itertools.chain(resolved["serving"], resolved["best"])}
            newest = {_hash(a) for a in resolved["serving"]}
            pushes = [p for p in pushes if _hash(p) not in newest]
        return found

    def _taken_by_a_run_on(self, span: int, config: Config) -> set[int]:
        """What the pipeline's own resolvers would find for a run on a span."""
        from tfx.types import standard_artifacts

        from components.example_gen.window import EarlierSpans
        from components.gates.baseline import EarlierBlessedModel
        from components.gates.push.parent import ServedParent

        examples, candidate = standard_artifacts.Examples(), standard_artifacts.Model()
        examples.set_int_custom_property("span", span)
        candidate.id = _NEWEST
        of = {kind: self._wrapped(kind) for kind in ("Examples", "DataCheck", "PushedModel", "Model", "ModelBlessing")}
        asked = [
            (ServedParent(), {"examples": [examples], "pushed": of["PushedModel"], "base": of["Model"]}),
            (
                EarlierBlessedModel(),
                {"candidate": [candidate], "model": of["Model"], "model_blessing": of["ModelBlessing"]},
            ),
        ]
        if config.data.window != 1:
            window = EarlierSpans(config.data.window, to_json(config.data))
            lists = {"examples": [examples], "earlier": of["Examples"], "checks": of["DataCheck"]}
            asked.append((window, lists))
        found = [resolver.resolve_artifacts(self._store, lists) for resolver, lists in asked]
        return {a.id for lists in found for artifacts in lists.values() for a in artifacts} & set(self.artifacts)

    def _wrapped(self, kind: str) -> list[Any]:
        """All artifacts of a kind that are not deleted, as TFX gives them to a resolver."""
        from tfx.types import standard_artifacts  # noqa: F401  # TFX finds a type's class among those imported
        from tfx.types.artifact_utils import deserialize_artifact

        from components.common import artifacts  # noqa: F401

        return [deserialize_artifact(self._types[a.type_id], a) for a in self._live() if self._kind(a.id) == kind]

    def _live(self) -> list[pb.Artifact]:
        return [a for a in self.artifacts.values() if a.state == pb.Artifact.LIVE]

    def _kind(self, artifact: int) -> str:
        return self._types[self.artifacts[artifact].type_id].name if artifact in self.artifacts else ""

    def _span(self, artifact: int) -> int:
        said = self.artifacts[artifact].custom_properties
        return said["span"].int_value if "span" in said else 0


def _hash(push: Any) -> str:
    return push.get_string_custom_property("sha256")
