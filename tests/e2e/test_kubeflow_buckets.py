"""What a person does beside a cluster's runs, whose artifacts are in a bucket: `withdraw`, `rollback` and `clean`.

Each is a process that reaches MLMD, the volume and the bucket. One story, told in order: each part is what the one
before left.
"""

import gzip
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import tensorflow as tf

from components.common.mlmd import PASSWORD, USER
from components.gates.push.serving import served
from components.privacy.entries import WITHDRAW
from components.privacy.ledger import Ledger
from pipeline.config import load
from pipeline.runners.kubeflow.compile import compile_config
from tests.e2e.conftest import PROJECT, SAMPLE, TINY_FILES, command, environment
from tests.e2e.metadata_servers import SECRET, Stores
from tests.e2e.test_kubeflow import ARTIFACTS, bucket, place, secrets, server  # noqa: F401 - fixtures
from tests.pipeline.runners.kubeflow.cluster import SUCCEEDED, Cluster
from tests.s3_server import BUCKET, REGION, S3Server

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(2400)]
ONE_RECIPE = 'recipes={"int8" = [{stage = "quantize", mode = "int8"}]}'


@dataclass(kw_only=True)
class Story:
    """A pipeline on a cluster, and a person beside it."""

    folder: Path
    settings: list[str]
    bucket: S3Server
    secrets: dict
    server: Stores

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.server.ledger("lockgate"))

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def run(self) -> dict:
        """Runs the pipeline on the cluster; gives its record."""
        file = self.folder / "tiny.yaml"
        compile_config(load("tiny", self.settings), file)
        run = Cluster(folder=self.folder / "steps", secrets=self.secrets).run(file)
        assert run.state == SUCCEEDED, run.log()
        return json.loads((self.root / "runs" / run.id / "run.json").read_text())

    def command(self, *arguments: str) -> dict:
        """What `lockgate` prints; it ends well."""
        done = self.process(*arguments)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return json.loads(done.stdout)

    def process(self, *arguments: str) -> subprocess.CompletedProcess:
        """Runs `lockgate` as in a pod, with the secrets in its environment."""
        keys = {USER: SECRET["username"], PASSWORD: SECRET["password"]}
        keys |= {"AWS_ACCESS_KEY_ID": self.bucket.access_key, "AWS_SECRET_ACCESS_KEY": self.bucket.secret_key}
        given = [part for setting in self.settings for part in ("--set", setting)]
        elsewhere = self.folder / "not-the-root"
        done = subprocess.run(
            command(*arguments, "--config", "tiny", *given, "--cluster", "--json", root=elsewhere),
            env={**environment(), **keys, "TMPDIR": str(self.folder / "tmp")},
            capture_output=True,
            text=True,
            timeout=500,
            cwd="/",
        )
        assert not elsewhere.exists() and list((self.folder / "tmp").iterdir()) == []
        return done

    def pictures(self, keys: str = "") -> bytes:
        """The bytes of all objects, and of all files on the volume and in the data, unpacked."""
        there = list(self.bucket.objects(keys).values())
        there += [p.read_bytes() for top in (self.root, self.data) for p in top.rglob("*") if p.is_file()]
        return b"".join(gzip.decompress(each) if each[:2] == b"\x1f\x8b" else each for each in there)


def a_picture(folder: Path) -> tuple[str, bytes]:
    """The id of a record of `train` and its picture, which no other record has."""
    files = [str(file) for file in sorted(folder.glob("span-1/*/*"))]
    features = [
        tf.train.Example.FromString(r).features.feature for r in tf.data.TFRecordDataset(files).as_numpy_iterator()
    ]
    pictures = [f["image"].bytes_list.value[0] for f in features]
    train = [str(file) for file in sorted(folder.glob("span-1/train/*"))]
    for record in tf.data.TFRecordDataset(train).as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        picture = feature["image"].bytes_list.value[0]
        if pictures.count(picture) == 1:
            return feature["id"].bytes_list.value[0].decode(), picture
    raise AssertionError("every picture is there twice")


@pytest.fixture(scope="module")
def story(tmp_path_factory, server, place, bucket, secrets) -> Story:  # noqa: F811
    folder = tmp_path_factory.mktemp("buckets")
    for pattern in TINY_FILES:
        for file in SAMPLE.glob(f"span-1/{pattern}"):
            target = folder / "data" / file.relative_to(SAMPLE)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    for name in ("root", "tmp"):
        (folder / name).mkdir()
    mounts = [f"kubeflow.source={PROJECT}", f"kubeflow.root={folder / 'root'}", *place]
    objects = f'{{endpoint = "{bucket.url}", region = "{REGION}", secret = "s3-secret"}}'
    there = [f"kubeflow.artifacts={ARTIFACTS}", f"kubeflow.s3={objects}", f"data.root={folder / 'data'}"]
    settings = [*mounts, *there, ONE_RECIPE]
    return Story(folder=folder, settings=settings, bucket=bucket, secrets=secrets, server=server)


def test_a_picture_is_withdrawn_from_the_data_and_from_every_object(story):
    first = story.run()
    gone, picture = a_picture(story.data)
    assert first["state"] == "pushed" and picture in story.pictures()
    told = story.command("withdraw", gone)
    assert [(row["role"], row["records"]) for row in told["removed"]] == [("train", 1)]
    (copy,) = told["copies"]
    assert copy["file"].startswith(f"{ARTIFACTS}/ImportExampleGen/examples/") and "/Split-train/" in copy["file"]
    assert picture not in story.pictures() and gone.encode() not in story.pictures()
    assert first["pushed"]["path"] in [model["served"] for model in told["models"]] and told["left"] == []
    assert {round(model["epsilon"], 6) for model in told["models"]} == {round(first["privacy"]["epsilon"], 6)}
    last = story.ledger.export()[-1]
    assert (last.kind, last.says()["records"]) == (WITHDRAW, 1) and gone not in last.body
    assert story.command("withdraw", gone)["copies"] == []


def test_what_is_left_of_the_copy_is_read_and_the_next_run_trains_on_what_is_left(story):
    second = story.run()
    states = {row["id"]: row["state"] for row in second["nodes"]}
    assert second["state"] == "pushed" and states["ImportExampleGen"] == states["DPTrainer"] == "ran"
    assert second["pushed"]["version"] == 2
    charges = story.ledger.book().charges.values()
    assert [charge.spans for charge in charges] == [("fashion-mnist/span-1",)] * 2


def test_the_version_before_serves_again(story):
    told = story.command("rollback")
    assert (told["version"], told["withdrawn"]) == (1, 2)
    assert served(story.root / "serving" / "tiny") == (1, Path(told["path"]))


def test_what_the_policy_lets_go_is_in_no_object_any_more(story):
    least = ("--set", "retention.runs=1", "--set", "retention.versions=1")
    before = set(story.bucket.objects())
    dry = story.command("clean", *least, "--dry-run")
    places = {row["path"] for row in dry["removed"] if row["what"] == "artifact"}
    assert any("/ImportExampleGen/examples/" in uri for uri in places) and set(story.bucket.objects()) == before
    wet = story.command("clean", *least)
    assert wet["removed"] == dry["removed"] and wet["bytes"] > 0
    left = {f"s3://{BUCKET}/{key}" for key in story.bucket.objects()}
    assert not any(key.startswith(f"{uri}/") for uri in places for key in left) and left
    assert story.command("clean", *least)["removed"] == []


def test_while_a_run_is_under_way_nothing_is_withdrawn_or_cleaned_but_a_rollback_goes(story):
    """A run without a record, of which Kubernetes says nothing to a process outside of it."""
    (record,) = [p for p in story.root.glob("runs/*/run.json") if json.loads(p.read_text())["pushed"]["version"] == 2]
    aside = record.rename(story.folder / "run.json")
    try:
        for arguments in (("withdraw", "nobody"), ("clean",)):
            code, line = refused(story, *arguments)
            assert code == 2 and "no run may be at work" in line and line.endswith(f"Received: {record.parent.name}")
        code, line = refused(story, "rollback")
        assert code == 3 and "must have an earlier version to go back to" in line
    finally:
        aside.rename(record)
    assert story.command("withdraw", "nobody")["removed"] == []


def refused(story: Story, *arguments: str) -> tuple[int, str]:
    """The exit code, and the last line, of a command that did nothing."""
    done = story.process(*arguments)
    assert done.stdout == ""
    return done.returncode, done.stderr.strip().splitlines()[-1]
