"""What a root forgets, in a folder and in a bucket: asked of a real MLMD, written as TFX writes it."""

from dataclasses import replace
from pathlib import Path

import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as pb

from components.common import remote
from components.common.events import CAUSE, IDLE
from components.common.mlmd import connection
from pipeline.config import load
from pipeline.places import places_of
from pipeline.runners.kubeflow.shared import signs_of_life
from pipeline.schedule.retention import clean
from tests.s3_server import BUCKET

PIPELINE, SIZE = "nightly", 7


class Nights:
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

    def clean(self, dry_run: bool = False) -> list[tuple[str, int]]:
        config = load("tiny", [f"name={PIPELINE}", "retention.runs=2"])
        return [(r["path"], r["bytes"]) for r in clean(config, self.root, self.places, dry_run).removed]


def there(uri: str) -> bool:
    return remote.exists(uri) if remote.is_remote(uri) else Path(uri).exists()


@pytest.fixture(params=["folder", "bucket"])
def nights(request, tmp_path) -> Nights:
    if request.param == "folder":
        return Nights(tmp_path, str(tmp_path / "root" / "artifacts"))
    request.getfixturevalue("bucket")
    return Nights(tmp_path, f"s3://{BUCKET}/lockgate/artifacts")


def test_what_only_old_runs_made_goes_and_runs_that_found_nothing_to_do_do_not_count(nights):
    made = [nights.ran(f"run-{n}") for n in range(4)]
    nights.ran("idle-1", idle=True, makes=False), nights.ran("idle-2", idle=True, makes=False)
    assert nights.clean(dry_run=True) == [(uri, SIZE) for uri in made[:2]]
    assert [there(uri) for uri in made] == [True] * 4
    assert nights.clean() == [(uri, SIZE) for uri in made[:2]]
    assert [there(uri) for uri in made] == [False, False, True, True]
    assert [a.state for a in nights.store.get_artifacts()] == [pb.Artifact.DELETED] * 2 + [pb.Artifact.LIVE] * 2
    assert nights.clean() == []


def test_what_a_kill_left_of_a_removal_goes_at_the_next_one(nights):
    made = [nights.ran(f"run-{n}") for n in range(3)]
    marked = nights.store.get_artifacts()[0]
    marked.state = pb.Artifact.DELETED
    nights.store.put_artifacts([marked])
    if remote.is_remote(made[0]):
        opened, key = remote._opened(made[0])
        opened.delete(f"{key}/{remote.MANIFEST}")
        assert nights.clean() == [(made[0], 0)]
        assert not opened.keys(key) and opened.keys("lockgate/artifacts/Trainer/model/2/")
    else:
        assert nights.clean() == [(made[0], SIZE)]


def test_runs_that_give_a_sign_of_life_are_known_but_idle_ones_are_not(tmp_path):
    nights = Nights(tmp_path, str(tmp_path / "root" / "artifacts"))
    nights.ran("run-1"), nights.ran("idle-1", idle=True)
    (last,) = (e for e in nights.store.get_executions() if e.id == 1)
    moment, place = last.last_update_time_since_epoch / 1000, connection(nights.places.metadata)
    assert signs_of_life(place, PIPELINE, moment) == {"run-1"}
    assert signs_of_life(place, PIPELINE, moment + 60) == signs_of_life(place, "another", moment) == set()
