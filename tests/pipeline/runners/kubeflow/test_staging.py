"""Steps whose pipeline's root is a bucket: against a real S3 server and a sqlite MLMD."""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.experimental.conditionals.conditional import Cond
from tfx.dsl.input_resolution.strategies.latest_artifact_strategy import LatestArtifactStrategy
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.pipeline import Pipeline
from tfx.proto.orchestration import pipeline_pb2
from tfx.types import standard_artifacts
from tfx.types.channel import Channel

from components.common import gcs, remote, s3
from components.common.mlmd import connection
from pipeline.runners.kubeflow.node import main
from pipeline.runners.nodes import compiled
from tests.e2e import kubeflow_nodes as nodes
from tests.gcs_server import gcs_server
from tests.pipeline.runners.kubeflow.steps import arguments
from tests.s3_server import BUCKET, S3Server, held

PROJECT = Path(__file__).parents[4]
ROOT = f"s3://{BUCKET}/small/artifacts"
_States = metadata_store_pb2.Execution
_SECONDS = 120


@dataclass(kw_only=True)
class Bench:
    """Runs the steps of a test's pipeline. folder: of the test; staging: where temporary files go."""

    folder: Path
    staging: Path
    bucket: S3Server
    root: str = ROOT
    compiled: dict[tuple[BaseNode, ...], pipeline_pb2.Pipeline] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """Where nodes say that they ran."""
        return str(self.folder / "trace")

    @property
    def traced(self) -> list[list]:
        return nodes.traced(Path(self.file))

    def arguments(self, step: str, *parts: BaseNode, run: str = "run-1", **parameters: str) -> list[str]:
        if parts not in self.compiled:
            settings = {"pipeline_name": "small", "pipeline_root": self.root, "enable_cache": True}
            self.compiled[parts] = compiled(Pipeline(components=list(parts), **settings))
        ir = self.compiled[parts]
        given = [part for name, value in parameters.items() for part in ("--parameter", f"{name}={value}")]
        return [*arguments(ir, step, self.folder, str(self.folder / "metadata.sqlite"), run), *given]

    def run(self, step: str, *parts: BaseNode, **given: str) -> int:
        """Runs a step in this process."""
        return main(self.arguments(step, *parts, **given))

    @property
    def store(self) -> metadata_store.MetadataStore:
        return metadata_store.MetadataStore(connection(str(self.folder / "metadata.sqlite")))

    @property
    def states(self) -> list[int]:
        return [e.last_known_state for e in self.store.get_executions()]

    @property
    def objects(self) -> dict[str, bytes]:
        """What is under the root, without the prefix."""
        found = self.bucket.objects("small/artifacts/")
        return {key.removeprefix("small/artifacts/"): content for key, content in found.items()}


@pytest.fixture
def bench(tmp_path, bucket, monkeypatch) -> Bench:
    (tmp_path / "staging").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "staging"))
    umask = os.umask(0o077)  # a step sets its process's
    yield Bench(folder=tmp_path, staging=tmp_path / "staging", bucket=bucket)
    os.umask(umask)


def trainers(bench: Bench) -> list[BaseNode]:
    """A node that makes a model, and one that goes on from it."""
    first = nodes.trainer(file=bench.file).with_id("first")
    second = nodes.trainer(file=bench.file, before=first.outputs["model"]).with_id("second")
    return [first, second]


def line(capsys) -> str:
    """The one line with which a step failed."""
    (said,) = capsys.readouterr().err.strip().splitlines()
    return said


def test_inputs_come_from_the_bucket_and_outputs_go_there(bench):
    parts = trainers(bench)
    assert [bench.run("first", *parts), bench.run("second", *parts)] == [0, 0]
    assert bench.traced == [["trainer", 1], ["trainer", 2]]
    found = sorted(bench.store.get_artifacts(), key=lambda a: a.id)
    assert [a.uri for a in found] == [f"{ROOT}/first/model/1", f"{ROOT}/second/model/2"]
    values = {key: content for key, content in bench.objects.items() if key.endswith("/value")}
    assert values == {"first/model/1/value": b"1", "second/model/2/value": b"2"}
    assert list(bench.staging.iterdir()) == []


def test_googles_buckets_are_staged_alike(bench):
    bench.root = f"gs://{BUCKET}/small/artifacts"
    parts = trainers(bench)
    with gcs_server(BUCKET):
        assert [bench.run(step, *parts, run=run) for run in ("run-1", "run-2") for step in ("first", "second")] == [
            0
        ] * 4
        assert remote.read(f"{bench.root}/second/model/2", "value") == b"2"
    gcs._client.cache_clear()
    assert bench.traced == [["trainer", 1], ["trainer", 2]] and list(bench.staging.iterdir()) == []
    assert bench.states == [_States.COMPLETE] * 2 + [_States.CACHED] * 2 and bench.objects == {}


def test_what_ran_before_comes_from_the_cache_without_being_copied(bench):
    parts = trainers(bench)
    for run in ("run-1", "run-2"):
        bench.bucket.requests.clear()
        assert [bench.run(step, *parts, run=run) for step in ("first", "second")] == [0, 0]
    assert bench.states == [_States.COMPLETE] * 2 + [_States.CACHED] * 2 and len(bench.traced) == 2
    asked = {(method, path.rsplit("/", 1)[-1]) for method, path in bench.bucket.requests}
    assert asked == {("GET", BUCKET), ("PUT", ".writable"), ("HEAD", ".manifest.json")}


def test_what_was_cached_and_is_gone_is_made_again(bench):
    parts = trainers(bench)
    assert bench.run("first", *parts) == 0
    bench.bucket.client().delete_object(Bucket=BUCKET, Key="small/artifacts/first/model/1/.manifest.json")
    assert bench.run("first", *parts, run="run-2") == 0
    assert bench.states == [_States.COMPLETE] * 2 and "first/model/2/value" in bench.objects


def test_a_resolver_needs_no_keys_of_the_bucket(bench, monkeypatch, capsys):
    parts = trainers(bench)
    assert bench.run("first", *parts) == 0
    newest = Resolver(strategy_class=LatestArtifactStrategy, model=Channel(type=standard_artifacts.Model))
    monkeypatch.delenv(s3.ACCESS_KEY), monkeypatch.delenv(s3.SECRET_KEY)
    s3._client.cache_clear()
    assert bench.run("Newest", newest.with_id("Newest"), run="run-2") == 0
    assert bench.states == [_States.COMPLETE] * 2
    capsys.readouterr()
    assert bench.run("first", *parts, run="run-3") == 2 and "credentials for s3://" in line(capsys)


def test_a_condition_reads_its_value_in_the_bucket(bench):
    gate = nodes.gate(go=RuntimeParameter(name="go", ptype=int, default=0))
    with Cond(gate.outputs["open"].future()[0].value == 1):
        inside = nodes.maker(value=3, file=bench.file)
    for go, made in (("0", 0), ("1", 1)):
        assert bench.run("gate", gate, inside, run=f"run-{go}", go=go) == 0
        assert bench.run("maker", gate, inside, run=f"run-{go}") == 0 and len(bench.traced) == made


def test_what_an_executor_notes_of_its_folders_is_where_they_are_in_the_bucket(bench):
    first, _ = trainers(bench)
    noter = nodes.noter(model=first.outputs["model"])
    assert [bench.run("first", first, noter), bench.run("noter", first, noter)] == [0, 0]
    (tally,) = (a for a in bench.store.get_artifacts() if a.type == nodes.Tally.TYPE_NAME)
    assert tally.properties["label"].string_value == f"{ROOT}/first/model/1"
    assert tally.custom_properties["own"].string_value == f"made at {ROOT}/noter/tally/2"


def test_a_step_that_is_killed_while_it_uploads_starts_afresh(bench):
    parts = trainers(bench)
    arguments = bench.arguments("first", *parts)
    script = [sys.executable, str(PROJECT / "kubeflow" / "run_node.py")]
    with held(bench.bucket, "PUT", "/.manifest.json") as arrived:
        step = subprocess.Popen([*script, *arguments], env={**os.environ, "TMPDIR": str(bench.staging)})
        assert arrived.wait(_SECONDS)
        step.kill()
        step.wait()
    assert bench.states == [_States.RUNNING] and set(bench.objects) == {".writable", "first/model/1/value"}
    stray = "small/artifacts/first/model/1/of the killed one"
    bench.bucket.client().put_object(Bucket=BUCKET, Key=stray, Body=b"half")

    assert bench.run("first", *parts) == 0
    assert bench.states == [_States.COMPLETE] and bench.traced == [["trainer", 1]] * 2
    left = set(bench.objects) - {".writable"}
    assert left == {"first/model/1/value", "first/model/1/.manifest.json"}
    assert bench.run("second", *parts) == 0 and bench.traced[-1] == ["trainer", 2]


def test_what_a_failed_try_left_goes_before_the_next_one_runs(bench, capsys):
    first, second = trainers(bench)
    assert bench.run("first", first, second) == 0
    bench.bucket.client().put_object(Bucket=BUCKET, Key="small/artifacts/second/model/2/half", Body=b"half")
    bench.bucket.client().delete_object(Bucket=BUCKET, Key="small/artifacts/first/model/1/value")
    for _ in range(2):
        assert bench.run("second", first, second) == 2
        assert "must lie in the bucket as it was written. Missing: s3://" in line(capsys)
    assert bench.states == [_States.COMPLETE, _States.FAILED] and len(bench.traced) == 1
    assert not any(key.startswith("second/") for key in bench.objects) and list(bench.staging.iterdir()) == []


def test_an_executor_that_fails_uploads_nothing(bench, capsys):
    first, second = trainers(bench)
    assert bench.run("first", first, second) == 0
    Path(bench.file).unlink()
    Path(bench.file).mkdir()  # where the node says that it ran
    assert bench.run("second", first, second) == 1
    assert bench.states == [_States.COMPLETE, _States.FAILED]
    assert not any(key.startswith("second/") for key in bench.objects) and list(bench.staging.iterdir()) == []


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({s3.ENDPOINT: "http://127.0.0.1:9"}, "at http://127.0.0.1:9 must answer; the step can be tried again"),
        ({s3.SECRET_KEY: "Sesame-open"}, "the credentials must be ones that may list, read and write s3://pipelines"),
        ({s3.ACCESS_KEY: "", s3.SECRET_KEY: ""}, "credentials for s3://pipelines at http://127.0.0.1"),
    ],
)
def test_a_bucket_that_does_not_let_it_in_is_one_line_before_anything_runs(bench, capsys, monkeypatch, changed, says):
    for name, value in changed.items():
        monkeypatch.setenv(name, value)
    s3._client.cache_clear()
    assert bench.run("first", *trainers(bench)) == 2 and bench.traced == []
    said = line(capsys)
    assert said.startswith("lockgate: ") and says in said and "Sesame" not in said


def test_an_upload_that_is_refused_is_one_line_and_tried_again_goes_on(bench, capsys):
    parts, tries = trainers(bench), []

    def refuse(method: str, path: str) -> None:
        if method == "PUT" and path.endswith("/value"):
            tries.append(path)
            raise ConnectionResetError("the server went away")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.bucket, "before", refuse)
        assert bench.run("first", *parts) == 2
    assert "must answer; the step can be tried again" in line(capsys) and len(tries) > 1
    assert bench.states == [_States.FAILED]
    assert bench.run("first", *parts) == 0 and bench.states == [_States.COMPLETE]
    assert bench.run("second", *parts) == 0 and bench.traced[-1] == ["trainer", 2]
