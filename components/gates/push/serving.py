"""The serving folder: numbered versions, and `current`, which always points at a whole one.

serving/
  current -> versions/3
  versions/3/model.tflite, manifest.json, statement.txt
  versions/3.withdrawn, once it was rolled back
"""

import datetime
import json
import os
import shutil
from pathlib import Path
from typing import Any

from components.common.errors import GateError

ASIDE = ".writing-"  # with which the name of a version begins that is not whole
_VERSIONS, _CURRENT, _WITHDRAWN = "versions", "current", ".withdrawn"


def push(folder: Path, files: dict[str, bytes]) -> tuple[int, Path]:
    """Puts a new version in place: written aside, flushed to disk, then renamed, so that a reader sees the old version
    or the new one, whole. If the current version has the same files, nothing changes.

    Args:
        folder: the serving folder; made if it is missing.
        files: name to content; `model.tflite` is one of them.

    Returns:
        The number of the version that is served now, and the path of its `model.tflite`.
    """
    versions = folder / _VERSIONS
    versions.mkdir(parents=True, exist_ok=True)
    current = served(folder)
    if current and all(_holds(current[1].with_name(name), content) for name, content in files.items()):
        return current
    for leftover in versions.glob(f"{ASIDE}*"):
        shutil.rmtree(leftover)
    number = 1 + max(_numbers(folder), default=0)
    aside = versions / f"{ASIDE}{number}"
    aside.mkdir()
    for name, content in files.items():
        _write_durably(aside / name, content)
    _flush(aside)
    aside.rename(versions / str(number))
    _flush(versions)
    _serve(folder, number)
    return number, versions / str(number) / "model.tflite"


def roll_back(folder: Path) -> tuple[int, int]:
    """Serves `previous`, and marks the current version as withdrawn; a reader sees one of them, whole.

    Returns:
        The numbers of the version that serves now and of the one that is withdrawn.

    Raises:
        GateError: there is no such version; nothing changed.
    """
    number, _ = previous(folder)
    current, _ = served(folder)
    _write_durably(folder / _VERSIONS / f"{current}{_WITHDRAWN}", b"")
    _flush(folder / _VERSIONS)
    _serve(folder, number)
    return number, current


def previous(folder: Path) -> tuple[int, Path]:
    """The newest version before the current one that holds another model, which was not withdrawn.

    Raises:
        GateError: there is none.
    """
    current = served(folder)
    bad = {current[1].read_bytes(), *withdrawn(folder).values()} if current else set()
    models = {n: _model(folder, n) for n in _numbers(folder) if current and n < current[0]}
    earlier = [n for n, model in models.items() if model.is_file() and model.read_bytes() not in bad]
    if not earlier:
        raise GateError(f"a rollback must have an earlier version to go back to. There is none in {folder}")
    return max(earlier), models[max(earlier)]


def withdrawn(folder: Path) -> dict[int, bytes]:
    """The models that were rolled back, by their version."""
    marks = [p for p in (folder / _VERSIONS).glob(f"*{_WITHDRAWN}") if p.stem.isdigit()]
    return {int(p.stem): model.read_bytes() for p in marks if (model := _model(folder, int(p.stem))).is_file()}


def superseded(folder: Path, versions: int) -> list[Path]:
    """The folders of versions before the newest so many models that serve, or did and were not rolled back; the version
    that was rolled back is none of them, because the next push asks for it."""
    current, bad = served(folder), withdrawn(folder)
    earlier = sorted((n for n in _numbers(folder) if current and n <= current[0] and n not in bad), reverse=True)
    models = {n: model.read_bytes() for n in earlier if (model := _model(folder, n)).is_file()}
    kept = list(dict.fromkeys(m for m in models.values() if m not in bad.values()))[:versions]
    return [folder / _VERSIONS / str(n) for n in sorted(models) if models[n] not in kept]


def served(folder: Path) -> tuple[int, Path] | None:
    """The version that is served and the path of its `model.tflite`; None before the first push."""
    link = folder / _CURRENT
    if not link.is_symlink():
        return None
    number = int(Path(os.readlink(link)).name)
    model = _model(folder, number)
    return (number, model) if model.is_file() else None


def manifest_of(model: Path) -> dict[str, Any]:
    """What was pushed together with a version's `model.tflite`: recipe, sha256, accuracy, epsilon, spans and more."""
    return json.loads(model.with_name("manifest.json").read_text())


def since(folder: Path) -> datetime.datetime:
    """When what is served now began to be, by a push or by a rollback."""
    return datetime.datetime.fromtimestamp(os.lstat(folder / _CURRENT).st_mtime, datetime.timezone.utc)


def _serve(folder: Path, number: int) -> None:
    """Points `current` at a version, in one step."""
    link = folder / f".{_CURRENT}"
    link.unlink(missing_ok=True)
    link.symlink_to(Path(_VERSIONS, str(number)))
    link.rename(folder / _CURRENT)
    _flush(folder)


def _numbers(folder: Path) -> list[int]:
    return [int(p.name) for p in (folder / _VERSIONS).glob("*") if p.name.isdigit()]


def _model(folder: Path, number: int) -> Path:
    return folder / _VERSIONS / str(number) / "model.tflite"


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
