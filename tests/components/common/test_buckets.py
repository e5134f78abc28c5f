"""What every kind of bucket keeps to, each on a server of its own kind."""

import itertools
import os
from pathlib import Path
from types import ModuleType

import pytest

from components.common import gcs, remote, s3
from components.common.errors import ServiceError
from tests.buckets import KINDS, Killed, dying_bucket, lying, place
from tests.gcs_server import ENDPOINT
from tests.s3_server import BUCKET

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def kind(bucket_kind) -> ModuleType:
    """A module whose bucket is reached."""
    return bucket_kind


def test_objects_are_written_read_listed_and_removed(kind, tmp_path):
    bucket, key, large = kind.Bucket(BUCKET), "a/ü +?#.bin", os.urandom((9 << 20) + 1)  # more than one part
    (tmp_path / "large").write_bytes(large)
    bucket.put("a/empty", b"")
    bucket.put("a/small", b"before")
    bucket.put("a/small", b"now")
    bucket.upload(key, tmp_path / "large")
    bucket.put("ab", b"not under a/")
    assert sorted(bucket.keys("a/")) == ["a/empty", "a/small", key]
    assert (bucket.get("a/empty"), bucket.get("a/small"), bucket.get(key)) == (b"", b"now", large)
    bucket.download(key, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == large
    bucket.delete("a/small")
    bucket.delete("a/small")
    assert [bucket.exists(name) for name in ("a/empty", "a/small", "a")] == [True, False, False]


def test_an_object_that_is_not_there_is_no_file(kind, tmp_path):
    bucket = kind.Bucket(BUCKET)
    for ask in (lambda: bucket.get("none"), lambda: bucket.download("none", tmp_path / "x")):
        with pytest.raises(FileNotFoundError) as missing:
            ask()
        assert missing.value.filename.endswith(f"://{BUCKET}/none")


def test_a_bucket_that_is_not_there_is_one_line(kind):
    bucket = kind.Bucket("elsewhere")
    for ask in (lambda: bucket.keys("a"), lambda: bucket.put("a", b"")):
        with pytest.raises(ServiceError, match="the bucket .*://elsewhere.* must be there and well. Received: "):
            ask()


def test_a_server_that_is_away_is_one_line(kind, tmp_path, monkeypatch):
    for name in (ENDPOINT, s3.ENDPOINT):
        monkeypatch.setenv(name, NOBODY)
    monkeypatch.setattr(gcs, "_PATIENCE_SECONDS", 0.1)
    kind._client.cache_clear()
    bucket = kind.Bucket(BUCKET)
    (tmp_path / "file").write_bytes(b"x")
    uses = {
        "put": lambda: bucket.put("a", b""),
        "upload": lambda: bucket.upload("a", tmp_path / "file"),
        "get": lambda: bucket.get("a"),
        "download": lambda: bucket.download("a", tmp_path / "x"),
        "exists": lambda: bucket.exists("a"),
        "keys": lambda: bucket.keys("a"),
        "delete": lambda: bucket.delete("a"),
    }
    for use in uses.values():
        with pytest.raises(ServiceError, match="the server of .* must answer; the step can be tried again") as away:
            use()
        assert "\n" not in str(away.value)


def test_google_without_credentials_is_one_line(monkeypatch, tmp_path):
    gcs._client.cache_clear()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(ServiceError, match="credentials for gs://pipelines must be .* Received: DefaultCredentials"):
        gcs.Bucket(BUCKET).keys("a")
    gcs._client.cache_clear()


def test_every_kind_of_bucket_is_held_to_this():
    from components.common.remote import SCHEMES

    assert {f"{scheme}://" for scheme in KINDS} == set(SCHEMES)


def whole(uri: str, folder: Path) -> dict[str, bytes]:
    """The files of an artifact, as a reader gets them."""
    remote.download(uri, folder)
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_files_are_replaced_in_one_step_whenever_it_is_killed(kind, tmp_path, monkeypatch):
    uri, made = f"{place(kind)}/a/b/7", tmp_path / "made"
    before = {"Split-x/1.gz": b"one", "Split-x/2.gz": b"two", "Split-y/1.gz": b"of y"}
    after = {"Split-x/1.gz": b"ONE", "Split-y/1.gz": b"of y"}
    for name, content in before.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(content)
    (tmp_path / "new").write_bytes(b"ONE")
    found = []
    for number in itertools.count():
        remote.upload(made, uri)
        with monkeypatch.context() as patch:
            patch.setattr(kind, "Bucket", dying_bucket(kind, number))
            try:
                remote.replace(uri, {"Split-x/1.gz": tmp_path / "new", "Split-x/2.gz": None})
                break
            except Killed:
                found.append(whole(uri, tmp_path / f"back-{number}"))
        remote.sweep(uri)
        assert lying(kind, uri) == sorted(found[-1].values())
    assert found == [before] * 2 + [after] * 2  # the new file, the manifest; then one object after the other goes
    assert whole(uri, tmp_path / "back") == after and lying(kind, uri) == sorted(after.values())
    assert remote.files(uri) == sorted(after) and remote.read(uri, "Split-x/1.gz") == b"ONE" and remote.size(uri) == 7
    remote.download_file(uri, "Split-x/1.gz", tmp_path / "one")
    assert (tmp_path / "one").read_bytes() == b"ONE"
    assert remote.children(f"{uri.rpartition('/')[0]}") == [uri]
    remote.replace(uri, {"Split-x/1.gz": made / "Split-x/1.gz"})
    assert whole(uri, tmp_path / "again") == {**after, "Split-x/1.gz": b"one"}
    remote.remove(uri)
    assert lying(kind, uri) == [] and remote.children(f"{uri.rpartition('/')[0]}") == []


def test_half_an_artifact_is_swept_away_and_takes_no_replacement(kind, tmp_path):
    uri = f"{place(kind)}/a/b/7"
    kind.Bucket(BUCKET).put("a/b/7/Split-x/1.gz", b"half")
    kind.Bucket(BUCKET).put("a/b/77/of another", b"kept")
    (tmp_path / "new").write_bytes(b"ONE")
    with pytest.raises(ServiceError, match="must lie in the bucket as it was written. Missing"):
        remote.replace(uri, {"Split-x/1.gz": tmp_path / "new"})
    with pytest.raises(ServiceError, match="must lie in the bucket as it was written. Missing"):
        remote.download_file(uri, "Split-x/1.gz", tmp_path / "back")
    assert remote.files(uri) == []
    remote.sweep(uri)
    assert kind.Bucket(BUCKET).keys("a/") == ["a/b/77/of another"]


def test_whether_a_bucket_keeps_what_it_was_is_known_where_it_may_be_asked(kind):
    uri = place(kind)
    if kind is s3:
        assert remote.keeps_versions(uri) is False
        kept = {"Bucket": BUCKET, "VersioningConfiguration": {"Status": "Enabled"}}
        s3._client().put_bucket_versioning(**kept)
        assert remote.keeps_versions(uri) is True
    else:
        assert remote.keeps_versions(uri) is True  # a new bucket keeps for a week what is removed
        made = gcs._client().get_bucket(BUCKET)
        made.soft_delete_policy.retention_duration_seconds = 0
        made.patch()
        assert remote.keeps_versions(uri) is False
    assert remote.keeps_versions(uri.replace(BUCKET, "elsewhere")) is None
