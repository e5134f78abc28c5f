"""Runs of a pipeline, as MLMD has them, without having run."""

from dataclasses import replace
from pathlib import Path

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as pb

from components.common import remote
from components.common.events import CAUSE, IDLE
from components.common.mlmd import connection
from pipeline.places import places_of

PIPELINE, SIZE = "nightly", 7


class MlmdRuns:
    """Runs of a pipeline that made one artifact each. artifacts: where they lie."""

    def __init__(self, folder: Path, artifacts: str):
        self.root = folder / "root"
        self.root.mkdir()
        self.places = replace(places_of(self.root, PIPELINE), artifacts=artifacts)
        self.store = metadata_store.MetadataStore(connection(self.places.metadata))
        kinds = {name: self.store.put_context_type(pb.ContextType(name=name)) for name in ("pipeline", "pipeline_run")}
        self._run = kinds["pipeline_run"]
        (self._pipeline,) = self.store.put_contexts([pb.Context(type_id=kinds["pipeline"], name=PIPELINE)])
        self._node = self.store.put_execution_type(pb.ExecutionType(name="a.Trainer"))
        self._kind = self.store.put_artifact_type(pb.ArtifactType(name="Model"))

    def ran(self, name: str, idle: bool = False, makes: bool = True) -> str:
        """A run; gives the uri of what it made."""
        run = pb.Context(type_id=self._run, name=name)
        if idle:
            run.custom_properties[CAUSE].string_value = IDLE
        (context,) = self.store.put_contexts([run])
        execution = pb.Execution(type_id=self._node, last_known_state=pb.Execution.COMPLETE)
        (number,) = self.store.put_executions([execution])
        both = [pb.Association(context_id=c, execution_id=number) for c in (context, self._pipeline)]
        self.store.put_attributions_and_associations([], both)
        return self._made(number) if makes else ""

    def _made(self, execution: int) -> str:
        uri = f"{self.places.artifacts}/Trainer/model/{execution}"
        made = self.root / "made" if remote.is_remote(uri) else Path(uri)
        made.mkdir(parents=True, exist_ok=True)
        (made / "weights").write_bytes(SIZE * b"w")
        if remote.is_remote(uri):
            remote.upload(made, uri)
        (artifact,) = self.store.put_artifacts([pb.Artifact(type_id=self._kind, uri=uri, state=pb.Artifact.LIVE)])
        self.store.put_events([pb.Event(execution_id=execution, artifact_id=artifact, type=pb.Event.OUTPUT)])
        belongs = pb.Attribution(context_id=self._pipeline, artifact_id=artifact)
        self.store.put_attributions_and_associations([belongs], [])
        return uri
