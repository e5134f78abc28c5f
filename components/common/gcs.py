"""Objects in Google Cloud Storage: the one place that knows its client, and what its errors mean.

Who asks is Google's own setting: the service account of the pod (Workload Identity), or GOOGLE_APPLICATION_CREDENTIALS.
"""

import errno
import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from requests.exceptions import RequestException

from components.common.errors import ServiceError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # a page about Python's version
    from google.api_core.exceptions import Forbidden, GoogleAPIError, NotFound, Unauthorized
    from google.auth.exceptions import GoogleAuthError
    from google.cloud import storage
    from google.cloud.storage.retry import DEFAULT_RETRY

_PATIENCE_SECONDS, _ANSWER_SECONDS = 30.0, 60.0


class Bucket:
    """A bucket, as `s3.Bucket` is one."""

    def __init__(self, name: str):
        self._name = name

    def put(self, key: str, content: bytes) -> None:
        """Writes an object; it is there whole, or as it was."""
        with self._told():
            self._object(key).upload_from_string(content, **_patience())

    def upload(self, key: str, file: Path) -> None:
        """Writes a file of any size as an object; it is there whole, or as it was."""
        with self._told():
            self._object(key).upload_from_filename(str(file), **_patience())

    def get(self, key: str) -> bytes:
        """The content of an object.

        Raises:
            FileNotFoundError: there is none.
        """
        with self._told(key):
            return self._object(key).download_as_bytes(**_patience())

    def download(self, key: str, file: Path) -> None:
        """Writes an object of any size to a file.

        Raises:
            FileNotFoundError: there is none.
        """
        with self._told(key):
            self._object(key).download_to_filename(str(file), **_patience())

    def exists(self, key: str) -> bool:
        """Whether there is an object."""
        with self._told():
            return self._object(key).exists(**_patience())

    def keys(self, prefix: str) -> list[str]:
        """The keys that begin with `prefix`."""
        with self._told():
            return [found.name for found in _client().list_blobs(self._name, prefix=prefix, **_patience())]

    def delete(self, key: str) -> None:
        """Removes an object, if there is one."""
        try:
            with self._told(key):
                self._object(key).delete(**_patience())
        except FileNotFoundError:
            pass

    def keeps_versions(self) -> bool | None:
        """As `s3.Bucket.keeps_versions`: by versions, or by Google's soft deletion, which a new bucket has."""
        try:
            with self._told():
                bucket = _client().get_bucket(self._name, **_patience())
                return bool(bucket.versioning_enabled or bucket.soft_delete_policy.retention_duration_seconds)
        except ServiceError:
            return None

    def _object(self, key: str) -> storage.Blob:
        return _client().bucket(self._name).blob(key)

    @contextmanager
    def _told(self, key: str | None = None) -> Iterator[None]:
        """Makes one line of what the client raises. key: of an object that need not be there."""
        place = f"gs://{self._name}"
        try:
            yield
        except (Forbidden, Unauthorized) as error:
            must = f"the credentials must be ones that may list, read and write {place}"
            raise ServiceError(f"{must}. Received: {error.code}") from None
        except GoogleAuthError as error:
            must = f"credentials for {place} must be those of the pod's service account"
            raise ServiceError(f"{must}. Received: {type(error).__name__}") from None
        except NotFound:
            if key is not None:
                raise FileNotFoundError(errno.ENOENT, "no such object", f"{place}/{key}") from None
            raise ServiceError(f"the bucket {place} must be there and well. Received: 404") from None
        except (GoogleAPIError, RequestException) as error:
            must = f"the server of {place} must answer; the step can be tried again"
            raise ServiceError(f"{must}. Received: {type(error).__name__}") from None


def _patience() -> dict:
    """For how long a request is tried again, and an answer waited for. Every request here may be made twice."""
    return {"retry": DEFAULT_RETRY.with_timeout(_PATIENCE_SECONDS), "timeout": _ANSWER_SECONDS}


@functools.cache
def _client() -> storage.Client:
    """The client of this process; threads may share it."""
    return storage.Client(project=None)
