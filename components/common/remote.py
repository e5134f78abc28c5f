"""Artifacts in object storage, S3's or Google's: a folder is whole or not there.

A folder's objects come first and its manifest last, and whoever reads goes by the manifest alone. What an upload that
was killed has left is therefore nothing, and an object that was lost or changed is noticed.
"""

import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from components.common.errors import ServiceError

SCHEMES = ("s3://", "gs://")
MANIFEST = ".manifest.json"
_PROBE = ".writable"
_WHOLE = "an artifact that MLMD knows of must lie in the bucket as it was written"
_AT_ONCE, _PIECE = 8, 1 << 20


def is_remote(uri: str) -> bool:
    """Whether it lies in object storage; else it is a path."""
    return uri.startswith(SCHEMES)


def upload(local: Path, uri: str) -> None:
    """Copies an artifact into object storage, in place of what lies there.

    Args:
        local: a folder, or the file of an artifact that is a single value.

    Raises:
        ServiceError: the bucket is away or refuses; what was copied until then is no artifact.
    """
    remove(uri)
    bucket, key = _opened(uri)
    if local.is_file():
        bucket.upload(key, local)
        return
    found = {str(path.relative_to(local)): path for path in sorted(local.rglob("*"))}
    files = {name: path for name, path in found.items() if path.is_file()}
    _all(bucket.upload, [(f"{key}/{name}", path) for name, path in files.items()])
    said = {
        "files": {name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for name, path in files.items()},
        "folders": [name for name in found if name not in files],
    }
    bucket.put(f"{key}/{MANIFEST}", json.dumps(said, indent=2).encode())


def download(uri: str, local: Path) -> None:
    """Copies an artifact out of object storage.

    Args:
        local: where to; its parents are made.

    Raises:
        ServiceError: it is not whole, is not what was uploaded, or the bucket is away or refuses.
    """
    bucket, key = _opened(uri)
    try:
        said = _manifest(uri)
        if said is None:
            local.parent.mkdir(parents=True, exist_ok=True)
            bucket.download(key, local)
            return
        local.mkdir(parents=True)
        for name in (*said["folders"], *(str(Path(name).parent) for name in said["files"])):
            (local / name).mkdir(parents=True, exist_ok=True)
        _all(bucket.download, [(f"{key}/{name}", local / name) for name in said["files"]])
    except FileNotFoundError as missing:
        raise ServiceError(f"{_WHOLE}. Missing: {missing.filename}") from None
    for name, about in said["files"].items():
        if _sha256(local / name) != about["sha256"]:
            raise ServiceError(f"{_WHOLE}. Another object lies at {uri}/{name}")


def exists(uri: str) -> bool:
    """Whether there is a whole artifact."""
    bucket, key = _opened(uri)
    return bucket.exists(f"{key}/{MANIFEST}") or bucket.exists(key)


def below(root: str) -> set[str]:
    """The uris of all that lies under a root: objects, and folders that hold some."""
    bucket, key = _opened(root)
    scheme, found = root.rstrip("/").removesuffix(key), set()
    for name in bucket.keys(f"{key}/"):
        while len(name) > len(key) and f"{scheme}{name}" not in found:
            found.add(f"{scheme}{name}")
            name = name.rpartition("/")[0]
    return found


def size(uri: str) -> int:
    """Bytes of a whole artifact, its manifest aside; 0 where it is not whole, or is a single value."""
    return sum(about["bytes"] for about in (_manifest(uri) or {"files": {}})["files"].values())


def remove(uri: str) -> None:
    """Removes an artifact, or what is left of one; its manifest goes first."""
    bucket, key = _opened(uri)
    bucket.delete(f"{key}/{MANIFEST}")
    bucket.delete(key)
    _all(bucket.delete, [(found,) for found in bucket.keys(f"{key}/")])


def read(uri: str, name: str = "") -> bytes:
    """The content of one file of an artifact, wherever the artifact lies; without `name` the artifact is the file.

    Raises:
        OSError: there is no such file in it, or it cannot be read. ServiceError: as `download`.
    """
    if not is_remote(uri):
        return Path(uri, name).read_bytes()
    bucket, key = _opened(uri)
    if not name:
        return bucket.get(key)
    known = (_manifest(uri) or {"files": {}})["files"]
    if name not in known:
        raise FileNotFoundError(2, "no such file in the artifact", f"{uri}/{name}")
    content = bucket.get(f"{key}/{name}")
    if hashlib.sha256(content).hexdigest() != known[name]["sha256"]:
        raise ServiceError(f"{_WHOLE}. Another object lies at {uri}/{name}")
    return content


def probe(root: str) -> None:
    """Makes sure that a root can be listed and written, before anything is computed that would lie there.

    Raises:
        ServiceError: it cannot.
    """
    bucket, key = _opened(root)
    own = f"{key}/{_PROBE}".lstrip("/")
    bucket.keys(own)
    bucket.put(own, b"")


def _opened(uri: str) -> tuple[Any, str]:
    """The bucket, and the key in it. What talks to its server is imported by those alone who need it."""
    scheme, _, place = uri.partition("://")
    name, _, key = place.partition("/")
    if scheme == "s3":
        from components.common import s3 as server
    else:
        from components.common import gcs as server
    return server.Bucket(name), key.rstrip("/")


def _manifest(uri: str) -> dict[str, Any] | None:
    bucket, key = _opened(uri)
    try:
        return json.loads(bucket.get(f"{key}/{MANIFEST}"))
    except FileNotFoundError:
        return None


def _all(do, arguments: Iterable[tuple]) -> None:
    """Calls with each of the arguments, some at a time; raises what the first that failed raises."""
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        for done in [pool.submit(do, *each) for each in arguments]:
            done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while piece := content.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
