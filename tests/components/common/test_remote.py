"""Artifacts in a bucket, on a real S3 server: whole or not there, whatever happens on the way."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from components.common import remote, s3
from components.common.errors import ServiceError
from tests.s3_server import BUCKET, held

ROOT = f"s3://{BUCKET}/some/root"
URI = f"{ROOT}/Trainer/model/7"
KEY = "some/root/Trainer/model/7"
PROJECT = Path(__file__).parents[3]
_SECONDS = 60


@pytest.fixture
def folder(tmp_path) -> Path:
    """An artifact: files, one of them in several parts, in folders, of which one is empty."""
    made = tmp_path / "made"
    (made / "variables" / "deep").mkdir(parents=True)
    (made / "assets").mkdir()
    (made / "model").write_bytes(b"weights")
    (made / "nothing").write_bytes(b"")
    (made / "variables" / "deep" / "ü +?.bin").write_bytes(os.urandom(9 << 20))
    return made


def tree(folder: Path) -> dict[str, bytes | None]:
    """What is in a folder; None for a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def uploads_until(server, suffix: str, local: Path) -> None:
    """Uploads an artifact in a process of its own, which is killed when it sends an object of that name."""
    code = (
        f"from pathlib import Path\nfrom components.common.remote import upload\nupload(Path({str(local)!r}), {URI!r})"
    )
    with held(server, "PUT", suffix) as arrived:
        process = subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT)
        assert arrived.wait(_SECONDS)
        process.kill()
        process.wait()


def environ(monkeypatch, changed: dict[str, str]) -> None:
    """Changes this process's environment, which the client was made from."""
    for name, value in changed.items():
        monkeypatch.setenv(name, value)
    s3._client.cache_clear()


def test_a_folder_comes_back_as_it_was(bucket, folder, tmp_path):
    remote.upload(folder, URI)
    assert remote.exists(URI)
    remote.download(URI, tmp_path / "back")
    assert tree(tmp_path / "back") == tree(folder) and len(tree(folder)) == 6


def test_a_single_value_is_one_object(bucket, tmp_path):
    (tmp_path / "value").write_text("3")
    remote.upload(tmp_path / "value", f"{URI}/value")
    remote.download(f"{URI}/value", tmp_path / "deep" / "back")
    assert remote.exists(f"{URI}/value") and (tmp_path / "deep" / "back").read_text() == "3"
    assert bucket.objects(KEY) == {f"{KEY}/value": b"3"} and remote.read(f"{URI}/value") == b"3"


@pytest.mark.parametrize("at", ["model", remote.MANIFEST])
def test_what_a_killed_upload_left_is_no_artifact(bucket, folder, tmp_path, at):
    (folder / "of the first only").touch()
    remote.upload(folder, URI)  # what lay there before must not make it whole
    (folder / "of the first only").unlink()
    uploads_until(bucket, at, folder)
    assert not remote.exists(URI)
    with pytest.raises(ServiceError, match="must lie in the bucket as it was written. Missing: s3://"):
        remote.download(URI, tmp_path / "back")
    with pytest.raises(FileNotFoundError):
        remote.read(URI, "model")

    remote.upload(folder, URI)
    remote.download(URI, tmp_path / "again")
    assert tree(tmp_path / "again") == tree(folder)
    assert set(bucket.objects(KEY)) == {f"{KEY}/{name}" for name in (*named(folder), remote.MANIFEST)}


def named(folder: Path) -> list[str]:
    return [name for name, content in tree(folder).items() if content is not None]


def test_an_object_that_was_lost_is_noticed(bucket, folder, tmp_path):
    remote.upload(folder, URI)
    bucket.client().delete_object(Bucket=BUCKET, Key=f"{KEY}/model")
    with pytest.raises(ServiceError, match=f"Missing: {URI}/model"):
        remote.download(URI, tmp_path / "back")


def test_an_object_that_was_changed_is_noticed(bucket, folder, tmp_path):
    remote.upload(folder, URI)
    bucket.client().put_object(Bucket=BUCKET, Key=f"{KEY}/model", Body=b"Weights")
    with pytest.raises(ServiceError, match=f"Another object lies at {URI}/model"):
        remote.download(URI, tmp_path / "back")
    with pytest.raises(ServiceError, match=f"Another object lies at {URI}/model"):
        remote.read(URI, "model")


def test_one_file_of_an_artifact_is_read_wherever_it_lies(bucket, folder):
    remote.upload(folder, URI)
    for place in (str(folder), URI):
        assert remote.read(place, "model") == b"weights"
        with pytest.raises(FileNotFoundError):
            remote.read(place, "statement.json")


def test_removing_takes_the_artifact_and_not_its_neighbour(bucket, folder):
    for uri in (URI, f"{URI}1"):
        remote.upload(folder, uri)
    remote.remove(URI)
    assert not remote.exists(URI) and remote.exists(f"{URI}1") and bucket.objects(f"{KEY}/") == {}


def test_more_objects_than_a_listing_shows_at_once_are_all_seen(bucket, folder, monkeypatch):
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "2")
    remote.upload(folder, URI)
    first = bucket.client().list_objects_v2(Bucket=BUCKET, Prefix=KEY)
    assert first["IsTruncated"] and len(first["Contents"]) == 2 < len(bucket.objects(KEY))
    remote.remove(URI)
    assert bucket.objects(KEY) == {}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "Wrong-secret"}, "may list, read and write .*: (SignatureDoesNotMatch|403)"),
        ({"AWS_ACCESS_KEY_ID": "AKIAWRONGSECRET"}, "may list, read and write .*: (InvalidAccessKeyId|403)"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "AWS_SECRET_ACCESS_KEY, from a secret, .*: none"),
        ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}, "http://127.0.0.1:9 must answer.* EndpointConnectionError"),
    ],
)
def test_who_is_not_let_in_is_told_in_one_line_without_the_secret(bucket, tmp_path, monkeypatch, changed, says):
    environ(monkeypatch, changed)
    uses = (
        lambda: remote.probe(ROOT),
        lambda: remote.upload(tmp_path, URI),
        lambda: remote.download(URI, tmp_path / "x"),
        lambda: remote.exists(URI),
        lambda: remote.read(URI, "model"),
    )
    for use in uses:
        with pytest.raises(ServiceError, match=says) as raised:
            use()
        told = str(raised.value)
        assert "\n" not in told and "secret" not in told.lower().replace("a secret", "").replace("secret_access", "")


def test_a_bucket_that_is_not_there_is_told(bucket):
    with pytest.raises(ServiceError, match="the bucket s3://elsewhere at .* must be there.* Received: NoSuchBucket"):
        remote.probe("s3://elsewhere/root")


def test_a_bucket_that_may_only_be_read_is_told_before_anything_runs(bucket):
    bucket.allow("s3:List*", "s3:Get*")
    with pytest.raises(ServiceError, match="may list, read and write .* Received: AccessDenied"):
        remote.probe(ROOT)


@pytest.mark.parametrize(
    ("style", "address"),
    [("", "http://minio:9000/bkt/k"), ("path", "http://minio:9000/bkt/k"), ("virtual", "http://bkt.minio:9000/k")],
)
def test_the_style_of_addresses_is_as_it_was_asked_for(bucket, monkeypatch, style, address):
    environ(monkeypatch, {s3.ADDRESSING: style, s3.ENDPOINT: "http://minio:9000"})
    signed = s3._client().generate_presigned_url("get_object", Params={"Bucket": "bkt", "Key": "k"})
    assert signed.split("?")[0] == address


def test_who_keeps_artifacts_in_folders_imports_no_boto3():
    code = "import sys, components.common.remote as r; r.read('.', 'README.md'); print('boto3' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_threads_share_the_client(bucket, folder):
    """Two uploads of one process, as of two outputs, do not disturb each other."""
    uris = [f"{ROOT}/N/o/{n}" for n in range(4)]
    threads = [threading.Thread(target=remote.upload, args=(folder, uri)) for uri in uris]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(remote.exists(uri) for uri in uris)
