"""Buckets of each kind, on servers of this machine, and processes that are killed while they write to one."""

from types import ModuleType

from components.common import gcs, remote, s3
from tests.s3_server import BUCKET

KINDS = {"s3": s3, "gs": gcs}


def place(kind: ModuleType) -> str:
    """The uri of the bucket."""
    return f"{'s3' if kind is s3 else 'gs'}://{BUCKET}"


def lying(kind: ModuleType, uri: str) -> list[bytes]:
    """The objects under a uri, manifests aside."""
    bucket, (_, _, key) = kind.Bucket(BUCKET), uri.split("://")[1].partition("/")
    return sorted(bucket.get(found) for found in bucket.keys(f"{key}/") if not found.endswith(remote.MANIFEST))


class Killed(BaseException):
    """The process is gone."""


def dying(owner: type, after: int, *writes: str) -> dict[str, object]:
    """These methods of a class as a process has them that is killed before its write of that number, from 0."""
    left = iter(range(after))

    def until_then(write):
        def writes(*arguments, **named):
            if next(left, None) is None:
                raise Killed
            return write(*arguments, **named)

        return writes

    return {name: until_then(getattr(owner, name)) for name in writes}


def dying_bucket(kind: ModuleType, after: int) -> type:
    """A kind of bucket in a process that is killed."""
    return type("Dying", (kind.Bucket,), dying(kind.Bucket, after, "put", "upload", "delete"))
