"""What every kind of bucket keeps to, each on a server of its own kind."""

import os
from types import ModuleType

import pytest

from components.common import gcs, s3
from components.common.errors import ServiceError
from tests.gcs_server import ENDPOINT, gcs_server
from tests.s3_server import BUCKET

KINDS = {"s3": s3, "gs": gcs}
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(params=sorted(KINDS))
def kind(request) -> ModuleType:
    """A module whose bucket is reached."""
    module = KINDS[request.param]
    if module is s3:
        request.getfixturevalue("bucket")
        yield module
        return
    module._client.cache_clear()
    with gcs_server(BUCKET):
        yield module
    module._client.cache_clear()


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
