"""Objects in S3, or in what speaks its API, such as MinIO: the one place that knows boto3, and what its errors mean.

Where the server is and who asks are boto3's own settings: AWS_ENDPOINT_URL_S3 (without it AWS), AWS_DEFAULT_REGION,
AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (without them the role that the machine has). boto3 has none for the style
of addresses; LOCKGATE_S3_ADDRESSING is ours.
"""

import errno
import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from components.common.errors import ServiceError

ACCESS_KEY, SECRET_KEY = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
ENDPOINT, REGION, ADDRESSING = "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION", "LOCKGATE_S3_ADDRESSING"
_MISSING = ("NoSuchKey", "404")
_REFUSED = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "AllAccessDisabled", "ExpiredToken", "403")
_TRIES, _CONNECT_SECONDS, _READ_SECONDS = 4, 10, 60


class Bucket:
    """A bucket. Every method raises ServiceError, in one line, if the server is away or refuses."""

    def __init__(self, name: str):
        self._name = name

    def put(self, key: str, content: bytes) -> None:
        """Writes an object; it is there whole, or as it was."""
        with self._told(key):
            _client().put_object(Bucket=self._name, Key=key, Body=content)

    def upload(self, key: str, file: Path) -> None:
        """Writes a file of any size as an object; it is there whole, or as it was."""
        with self._told(key), file.open("rb") as content:
            _client().upload_fileobj(content, self._name, key)

    def get(self, key: str) -> bytes:
        """The content of an object.

        Raises:
            FileNotFoundError: there is none.
        """
        with self._told(key):
            return _client().get_object(Bucket=self._name, Key=key)["Body"].read()

    def download(self, key: str, file: Path) -> None:
        """Writes an object of any size to a file.

        Raises:
            FileNotFoundError: there is none.
        """
        with self._told(key), file.open("wb") as content:
            _client().download_fileobj(self._name, key, content)

    def exists(self, key: str) -> bool:
        """Whether there is an object."""
        try:
            with self._told(key):
                _client().head_object(Bucket=self._name, Key=key)
        except FileNotFoundError:
            return False
        return True

    def keys(self, prefix: str) -> list[str]:
        """The keys that begin with `prefix`."""
        with self._told(prefix):
            pages = _client().get_paginator("list_objects_v2").paginate(Bucket=self._name, Prefix=prefix)
            return [found["Key"] for page in pages for found in page.get("Contents", ())]

    def delete(self, key: str) -> None:
        """Removes an object, if there is one."""
        with self._told(key):
            _client().delete_object(Bucket=self._name, Key=key)

    def keeps_versions(self) -> bool | None:
        """Whether the bucket keeps what an object was before it was written anew or removed; None where whoever asks
        may not know."""
        try:
            with self._told(""):
                return "Status" in _client().get_bucket_versioning(Bucket=self._name)  # Enabled, or Suspended
        except ServiceError:
            return None

    @contextmanager
    def _told(self, key: str) -> Iterator[None]:
        place = f"s3://{self._name} at {_client().meta.endpoint_url}"
        try:
            yield
        except (NoCredentialsError, PartialCredentialsError):
            must = f"credentials for {place} must be in {ACCESS_KEY} and {SECRET_KEY}, from a secret, or be a role's"
            raise ServiceError(f"{must}. Received: none") from None
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in _MISSING:
                raise FileNotFoundError(errno.ENOENT, "no such object", f"s3://{self._name}/{key}") from None
            if code in _REFUSED:
                must = f"the credentials must be ones that may list, read and write {place}"
                raise ServiceError(f"{must}. Received: {code}") from None
            raise ServiceError(f"the bucket {place} must be there and well. Received: {code}") from None
        except BotoCoreError as error:
            must = f"the server of {place} must answer; the step can be tried again"
            raise ServiceError(f"{must}. Received: {type(error).__name__}") from None


@functools.cache
def _client():
    """The client of this process; threads may share it. Checksums that S3's early imitators do not know are left out,
    because whoever reads compares sha256."""
    settings = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": _TRIES},
        s3={"addressing_style": os.environ.get(ADDRESSING) or "auto"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.session.Session().client("s3", config=settings)  # one of its own: the default one keeps credentials
