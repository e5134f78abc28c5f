"""Artifacts in object storage, S3's or Google's: a folder is whole or not there.

A folder's objects come first and its manifest last, and whoever reads goes by the manifest alone. What an upload that
was killed has left is therefore nothing, and an object that was lost or changed is noticed. A file that was replaced
lies under another key than its name, which the manifest has as its `object`: so the one manifest that is written says
that all of an artifact's files are the old ones, or the new ones.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from components.common.errors import ServiceError

SCHEMES = ("s3://", "gs://")
MANIFEST = ".manifest.json"
_PROBE = ".writable"
_WHOLE = "an artifact that MLMD knows of must lie in the bucket as it was written"
_AT_ONCE, _PIECE = 8, 1 << 20
_MARK = 16  # hexadecimal digits of a sha256 that tell a file's new content from its old


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
        "files": {name: _about(path) for name, path in files.items()},
        "folders": [name for name in found if name not in files],
    }
    _declare(uri, said)


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
        _all(bucket.download, [(_key(uri, name, about), local / name) for name, about in said["files"].items()])
    except FileNotFoundError as missing:
        raise ServiceError(f"{_WHOLE}. Missing: {missing.filename}") from None
    for name, about in said["files"].items():
        _check(uri, name, about, _sha256(local / name))


def files(uri: str) -> list[str]:
    """The names of the files of a whole artifact; none where it is not whole."""
    return sorted((_manifest(uri) or {"files": {}})["files"])


def download_file(uri: str, name: str, local: Path) -> None:
    """Copies one file of a whole artifact out of object storage; raises as `download`."""
    about = (_manifest(uri) or {"files": {}})["files"].get(name)
    bucket, _ = _opened(uri)
    try:
        if about is None:
            raise FileNotFoundError(2, "no such file in the artifact", f"{uri}/{name}")
        bucket.download(_key(uri, name, about), local)
    except FileNotFoundError as missing:
        raise ServiceError(f"{_WHOLE}. Missing: {missing.filename}") from None
    _check(uri, name, about, _sha256(local))


def replace(uri: str, changed: Mapping[str, Path | None]) -> None:
    """Puts other contents in place of some files of a whole artifact, in one step: whoever is killed at whatever moment
    leaves the artifact as it was, or as it is to be. What it may leave beside it, `sweep` removes.

    Args:
        changed: for a file's name what it is to hold; None removes the file.

    Raises:
        ServiceError: the artifact is not whole, or the bucket is away or refuses.
    """
    said = _manifest(uri)
    if said is None or set(changed) - set(said["files"]):
        raise ServiceError(f"{_WHOLE}. Missing: {uri}")
    bucket, _ = _opened(uri)
    new = {name: _about(path) for name, path in changed.items() if path is not None}
    for name, about in new.items():
        about["object"] = f"{name}.{about['sha256'][:_MARK]}"
    _all(bucket.upload, [(_key(uri, name, about), changed[name]) for name, about in new.items()])
    kept = {name: about for name, about in said["files"].items() if name not in changed}
    _declare(uri, {**said, "files": {**kept, **new}})
    sweep(uri)


def sweep(uri: str) -> None:
    """Removes what lies under a uri and belongs to no whole artifact there: what somebody who was killed has left."""
    bucket, key = _opened(uri)
    said = _manifest(uri)
    own = {_key(uri, name, about) for name, about in said["files"].items()} | {f"{key}/{MANIFEST}"} if said else set()
    _all(bucket.delete, [(there,) for there in bucket.keys(f"{key}/") if there not in own])


def children(uri: str) -> list[str]:
    """The uris of what lies right under a uri."""
    bucket, key = _opened(uri)
    return sorted({f"{uri}/{there[len(key) + 1 :].split('/')[0]}" for there in bucket.keys(f"{key}/")})


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
    content = bucket.get(_key(uri, name, known[name]))
    _check(uri, name, known[name], hashlib.sha256(content).hexdigest())
    return content


def keeps_versions(uri: str) -> bool | None:
    """Whether the bucket goes on keeping what is replaced or removed; None where whoever asks may not know."""
    bucket, _ = _opened(uri)
    return bucket.keeps_versions()


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


def _declare(uri: str, said: dict[str, Any]) -> None:
    """Writes an artifact's manifest: from then on it is this."""
    bucket, key = _opened(uri)
    bucket.put(f"{key}/{MANIFEST}", json.dumps(said, indent=2).encode())


def _about(file: Path) -> dict[str, Any]:
    """What a manifest says of a file."""
    return {"bytes": file.stat().st_size, "sha256": _sha256(file)}


def _key(uri: str, name: str, about: dict[str, Any]) -> str:
    """Where a file of an artifact lies."""
    _, key = _opened(uri)
    return f"{key}/{about.get('object', name)}"


def _check(uri: str, name: str, about: dict[str, Any], digest: str) -> None:
    if digest != about["sha256"]:
        raise ServiceError(f"{_WHOLE}. Another object lies at {uri}/{name}")


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
