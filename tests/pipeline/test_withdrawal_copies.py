"""`withdraw` and the copies among the artifacts, in a folder and in buckets: gone from all of them, whenever it is
killed, and the models that had the records in are named all the same."""

import gzip
import itertools
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import tensorflow as tf
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as pb

from components.common import remote
from components.common.errors import ServiceError
from components.common.mlmd import connection
from components.example_gen.withdrawal import Withdrawn
from components.privacy.ledger import Ledger
from pipeline.config import load
from pipeline.places import places_of
from pipeline.withdrawal import withdraw
from tests.buckets import Killed, dying, dying_bucket, lying, place

SECRET = b"the picture of b"
PICTURES = {"a": b"the picture of a", "b": SECRET, "c": b"the picture of c"}
WANTED = Withdrawn(ids=frozenset({"b"}))
COPIES = {"Split-train/1.gz": "ab", "Split-train/2.gz": "c", "Split-train/3.gz": "b", "Split-public/1.gz": "bc"}
LEFT = {"Split-train/1.gz": "a", "Split-train/2.gz": "c", "Split-public/1.gz": "c"}


def write(file: Path, ids: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(file), "GZIP" if file.suffix == ".gz" else "") as writer:
        for id in ids:
            bytes_of = {key: tf.train.BytesList(value=[v]) for key, v in (("id", id.encode()), ("image", PICTURES[id]))}
            features = {key: tf.train.Feature(bytes_list=value) for key, value in bytes_of.items()}
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def ids_in(folder: Path) -> dict[str, str]:
    """The ids in each file under a folder."""
    found = {}
    for file in (path for path in folder.rglob("*") if path.is_file()):
        records = tf.data.TFRecordDataset(str(file), "GZIP" if file.suffix == ".gz" else "").as_numpy_iterator()
        features = [tf.train.Example.FromString(r).features.feature for r in records]
        found[str(file.relative_to(folder))] = "".join(f["id"].bytes_list.value[0].decode() for f in features)
    return found


class Bench:
    """A root, its data, and two copies of them among the artifacts, of which one went into a model, and half a copy
    that a step did not finish."""

    def __init__(self, folder: Path, kind: ModuleType | None):
        self.folder, self.kind, self.root = folder, kind, folder / "root"
        self.data = folder / "data" / "span-1" / "train"
        write(self.data / "images-00000-of-00001.tfrecord", "abc")
        self.config = load("tiny", [f"data.root={folder / 'data'}"])
        self.root.mkdir()
        there = places_of(self.root, self.config.name)
        artifacts = f"{place(kind)}/lockgate/artifacts" if kind else there.artifacts
        self.places = replace(there, artifacts=artifacts)
        self.examples = [f"{artifacts}/ImportExampleGen/examples/{n}" for n in (1, 2)]
        for uri, files in zip(self.examples, (COPIES, {"Split-public/1.gz": "c"}), strict=True):
            made = folder / "made" / uri[-1] if kind else Path(uri)
            for name, ids in files.items():
                write(made / name, ids)
            if kind:
                remote.upload(made, uri)
        if kind:
            kind.Bucket("pipelines").put("lockgate/artifacts/ImportExampleGen/examples/3/Split-train/1.gz", SECRET)
        self._tell_mlmd()

    def _tell_mlmd(self) -> None:
        store = metadata_store.MetadataStore(connection(self.places.metadata))
        kinds = {name: store.put_artifact_type(pb.ArtifactType(name=name)) for name in ("Examples", "Model")}
        (trainer,) = store.put_executions([pb.Execution(type_id=store.put_execution_type(pb.ExecutionType(name="T")))])
        examples = [pb.Artifact(type_id=kinds["Examples"], uri=uri) for uri in self.examples]
        model = pb.Artifact(type_id=kinds["Model"], uri=f"{self.places.artifacts}/DPTrainer/model/4")
        first, _, trained = store.put_artifacts([*examples, model])
        sides = ((first, pb.Event.INPUT), (trained, pb.Event.OUTPUT))
        store.put_events([pb.Event(execution_id=trainer, artifact_id=a, type=side) for a, side in sides])

    def withdraw(self) -> dict[str, Any]:
        return withdraw(self.config, self.root, self.places, WANTED)

    def copy(self, position: int, folder: Path) -> dict[str, str]:
        """The ids in each file of a copy, as a step that takes it reads them."""
        if not self.kind:
            return ids_in(Path(self.examples[position]))
        remote.download(self.examples[position], folder)
        return ids_in(folder)

    def pictures(self) -> bytes:
        """All that lies among the artifacts, and on the volume."""
        there = lying(self.kind, self.places.artifacts) if self.kind else []
        there += [path.read_bytes() for top in (self.root, self.data) for path in top.rglob("*") if path.is_file()]
        return b"".join(gzip.decompress(each) if each[:2] == b"\x1f\x8b" else each for each in there)


@pytest.fixture
def folder_bench(tmp_path) -> Bench:
    return Bench(tmp_path, None)


@pytest.fixture
def bucket_bench(tmp_path, bucket_kind) -> Bench:
    return Bench(tmp_path, bucket_kind)


def check(bench: Bench, told: dict[str, Any]) -> None:
    """All that a withdrawal promises, whoever finished it."""
    assert [(row["role"], row["records"]) for row in told["removed"]] == [("train", 1)]
    named = {row["file"].removeprefix(f"{bench.examples[0]}/"): row["records"] for row in told["copies"]}
    assert named == {"Split-public/1.gz": 1, "Split-train/1.gz": 1, "Split-train/3.gz": 1}
    assert [(model["kind"], model["artifact"]) for model in told["models"]] == [("Model", 3)]
    assert ids_in(bench.data) == {"images-00000-of-00001.tfrecord": "ac"}
    assert SECRET not in bench.pictures() and PICTURES["a"] in bench.pictures()
    assert not (bench.root / "withdrawing").exists()


def test_a_record_is_in_no_object_of_a_bucket_any_more(bucket_bench, tmp_path):
    withdrawn_from(bucket_bench, tmp_path)


def test_a_record_is_in_no_file_of_a_volume_any_more(folder_bench, tmp_path):
    withdrawn_from(folder_bench, tmp_path)


def withdrawn_from(bench: Bench, folder: Path) -> None:
    assert SECRET in bench.pictures()
    check(bench, bench.withdraw())
    assert bench.copy(0, folder / "one") == LEFT
    assert bench.copy(1, folder / "two") == {"Split-public/1.gz": "c"}
    assert bench.withdraw() == {"removed": [], "copies": [], "models": [], "retrain": [], "left": []}
    assert [entry.kind for entry in Ledger(bench.places.ledger).export()] == ["withdraw"]


def test_in_a_bucket_one_that_is_killed_at_any_write_is_finished_by_the_next(bucket_bench, monkeypatch, tmp_path):
    bench = bucket_bench
    for number in itertools.count():
        own = Bench(tmp_path / str(number), bench.kind)
        with monkeypatch.context() as patch:
            patch.setattr(bench.kind, "Bucket", dying_bucket(bench.kind, number))
            try:
                own.withdraw()
                break
            except Killed:
                pass
        assert own.copy(0, tmp_path / f"back-{number}") in (COPIES, LEFT)
        check(own, own.withdraw())
    assert number == 7  # half a copy goes; two files and the manifest are written, three that were replaced go


def test_on_a_volume_one_that_is_killed_at_any_write_is_finished_by_the_next(folder_bench, monkeypatch, tmp_path):
    for number in itertools.count():
        own = Bench(tmp_path / str(number), None)
        with monkeypatch.context() as patch:
            for name, write_ in dying(Path, number, "replace", "unlink").items():
                patch.setattr(Path, name, write_)
            try:
                own.withdraw()
                break
            except Killed:
                pass
        check(own, own.withdraw())
    assert number > 12


def test_who_keeps_earlier_versions_is_named_with_what_is_left_to_do(bucket_bench):
    left = bucket_bench.withdraw()["left"]
    keeps = remote.keeps_versions(bucket_bench.places.artifacts)
    assert [line.startswith("the bucket keeps earlier versions") for line in left] == [True] * bool(keeps)


def test_an_object_that_was_changed_stops_it_and_nothing_that_was_copied_out_of_the_bucket_stays(bucket_bench):
    bench, left = bucket_bench, bucket_bench.root / "withdrawing" / "of one that was killed"
    left.mkdir(parents=True)
    (left / "0-1.gz").write_bytes(SECRET)
    key = "lockgate/artifacts/ImportExampleGen/examples/1/Split-train/2.gz"
    bench.kind.Bucket("pipelines").put(key, gzip.compress(b"something else"))
    with pytest.raises(ServiceError, match="Another object lies at .*/examples/1/Split-train/2.gz"):
        bench.withdraw()
    assert set(remote.files(bench.examples[0])) == set(COPIES)
    assert [path.name for path in (bench.root / "withdrawing").iterdir()] == ["taken.json"]
