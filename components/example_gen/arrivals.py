"""Spans as they arrive on disk: which are ready to be trained on, which are still to come, and which are damaged."""

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from components.common.errors import DataError
from components.example_gen.config import DataConfig
from components.example_gen.core import (
    check_framing,
    existing,
    missing_marker,
    raise_if_shared,
    role_files,
    spans_in,
)
from components.example_gen.placeholders import folder_of, for_span, name_of

READY, WAITING, BAD = "ready", "waiting", "bad"


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A span that is there, or a part of it.

    span: its number. name: span-7, or 2026-11-27. folder: where it lies; `data.root` where only files' names tell
    spans apart. state: `ready`; `waiting`, which may still become ready; or `bad`, which will not unless somebody
    replaces it. reason: one sentence that names the file; empty where it is ready. fingerprint: of its files' names,
    sizes and times of change, as hexadecimal SHA-256: another one says that a bad span was replaced.
    """

    span: int
    name: str
    folder: Path
    state: str
    reason: str
    fingerprint: str


def arrivals(data: DataConfig, but: Collection[int] = ()) -> list[Arrival]:
    """All spans under `data.root` but some, in order, whatever their state.

    Only the frames of files are read, never a record: what a record holds is checked by the run that is trained on it.
    Files may come and go meanwhile.

    Raises:
        DataError: `data.root` is no folder.
    """
    root, patterns = existing(data.root), data.roles.patterns()
    spanned = {folder_of(pattern) or pattern for pattern in patterns.values()}
    spans = {span for pattern in spanned for span in spans_in(root, pattern)}
    return [_arrival(data, root, patterns, span) for span in sorted(spans - set(but))]


def print_of(data: DataConfig, span: int) -> str:
    """The fingerprint of a span's files as they are now, see `Arrival`."""
    root, patterns = Path(data.root), data.roles.patterns()
    return _fingerprint(root, [path for pattern in patterns.values() for path in role_files(root, pattern, span)])


def require_unchanged(data: DataConfig, span: int, before: str) -> None:
    """Raises DataError if a span's files are not those that were there before: what was read of them is a part of one
    span, or of two.

    Args:
        before: `print_of` the span then.
    """
    if print_of(data, span) != before:
        named = name_of(data.roles.train, span)
        raise DataError(f"{named} must stay as it is while it is read. Its files under {data.root} changed or went")


def _arrival(data: DataConfig, root: Path, patterns: Mapping[str, str], span: int) -> Arrival:
    named = folder_of(data.roles.train)
    folder = root / for_span(named, span) if named else root
    files = {role: role_files(root, pattern, span) for role, pattern in patterns.items()}
    fingerprint = _fingerprint(root, [path for found in files.values() for path in found])  # before they are read
    try:
        state, reason = _judged(data, root, patterns, span, files)
    except OSError as error:
        gone = isinstance(error, FileNotFoundError)
        how = "vanished while it was looked at" if gone else f"cannot be read ({error.strerror})"
        state, reason = WAITING, f"{error.filename or folder} {how}"
    return Arrival(
        span=span,
        name=name_of(data.roles.train, span),
        folder=folder,
        state=state,
        reason=reason,
        fingerprint=fingerprint,
    )


def _judged(
    data: DataConfig, root: Path, patterns: Mapping[str, str], span: int, files: Mapping[str, list[Path]]
) -> tuple[str, str]:
    """A span's state, and the reason.

    Raises:
        OSError: a file of it vanished, or cannot be read.
    """
    missing = missing_marker(root, patterns, data.marker, span)
    if missing:
        return WAITING, f"{missing} is not there yet"
    for role, found in files.items():
        if not found:
            return WAITING, f"role `{role}` has no files yet: nothing matches {root / for_span(patterns[role], span)}"
    try:
        raise_if_shared(files, data.marker)
        for path in (path for found in files.values() for path in found):
            check_framing(path)
    except DataError as error:
        return BAD, str(error)
    return READY, ""


def _fingerprint(root: Path, paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        try:
            seen = path.stat()
        except OSError:  # it went since it was listed, so the next look finds another fingerprint
            continue
        digest.update(os.fsencode(f"{os.path.relpath(path, root)}\0{seen.st_size}\0{seen.st_mtime_ns}\n"))
    return digest.hexdigest()
