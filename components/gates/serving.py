"""The serving folder: numbered versions, and `current`, which always points at a whole one.

serving/
  current -> versions/3
  versions/3/model.tflite, manifest.json, statement.txt
"""

import os
import shutil
from pathlib import Path

_VERSIONS, _CURRENT = "versions", "current"


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
    for leftover in versions.glob(".writing-*"):
        shutil.rmtree(leftover)
    number = 1 + max((int(p.name) for p in versions.iterdir() if p.name.isdigit()), default=0)
    aside = versions / f".writing-{number}"
    aside.mkdir()
    for name, content in files.items():
        _write_durably(aside / name, content)
    _flush(aside)
    aside.rename(versions / str(number))
    _flush(versions)
    link = folder / f".{_CURRENT}"
    link.unlink(missing_ok=True)
    link.symlink_to(Path(_VERSIONS, str(number)))
    link.rename(folder / _CURRENT)
    _flush(folder)
    return number, versions / str(number) / "model.tflite"


def served(folder: Path) -> tuple[int, Path] | None:
    """The version that is served and the path of its `model.tflite`; None before the first push."""
    link = folder / _CURRENT
    if not link.is_symlink():
        return None
    number = int(Path(os.readlink(link)).name)
    model = folder / _VERSIONS / str(number) / "model.tflite"
    return (number, model) if model.is_file() else None


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
