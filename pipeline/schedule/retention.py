"""What a root may forget: artifacts that no retained version, no recent run and no next training needs.

MLMD's records stay: what was removed is marked as deleted there, and neither the cache nor a resolver takes it again.
"""

import os
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_metadata import metadata_store

from components.common import remote
from components.common.mlmd import connection, exists
from components.example_gen.arrivals import arrivals
from components.gates.push.serving import ASIDE, manifest_of, served, superseded
from pipeline.config import Config
from pipeline.guards import locked, quiet_imports, unwritable
from pipeline.places import Places
from pipeline.runs import records
from pipeline.schedule.due import decided, decides
from pipeline.schedule.kept import Lineage, Run

_GOING = ".going-"  # with which the name of a journal begins that is being removed
_ASIDE = {"journal": _GOING, "version": ASIDE}  # for what goes in one step


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """What was removed, or would be. removed: a row a folder or file: what it is, its path (in a bucket: its uri), its
    bytes. kept_bytes: of all that stays in the folder of the root."""

    removed: list[dict[str, Any]]
    kept_bytes: int

    @property
    def bytes(self) -> int:
        return sum(row["bytes"] for row in self.removed)


def clean(config: Config, root: Path, places: Places, dry_run: bool = False) -> Cleaned:
    """Removes what the configuration's retention policy lets go, of its own pipeline alone, and nothing that a symbolic
    link leads to.

    It is marked in MLMD before it goes from the disk, so that a kill in between leaves nothing that is taken for whole;
    the next cleaning removes the rest.

    Args:
        config: whose pipeline and policy. root: folder for everything that is written. places: of the pipeline.
        dry_run: removes nothing.

    Raises:
        DataError: the data's folder is missing, so that nobody knows what the next runs need.
        ServiceError: a run uses the root, or a file cannot be removed.
    """
    if not exists(places.metadata):
        return Cleaned(removed=[], kept_bytes=_size(root))
    quiet_imports()
    with locked(root):
        told = records(root)
        lineage = Lineage(metadata_store.MetadataStore(connection(places.metadata)), config.name)
        retained = lineage.retained(config.retention.runs, {r["run"] for r in told if decides(r)})
        coming = {arrival.span for arrival in arrivals(config.data, decided(told, config.name))}
        kept = lineage.kept(config, retained, coming, _served_hash(places.serving))
        rows, gone = _artifacts(lineage, kept, places.artifacts)
        rows += _leavings(lineage, retained, places, root, config.retention.versions)
        if not dry_run:
            lineage.mark_deleted(gone)
            for row in rows:
                _remove(row["what"], row["path"])
    left = sum(row["bytes"] for row in rows if dry_run and not remote.is_remote(row["path"]))
    return Cleaned(removed=rows, kept_bytes=_size(root) - left)


def _served_hash(folder: Path) -> str | None:
    """Of the model that serves, whatever MLMD says: a rollback that was killed may not have said it yet."""
    current = served(folder)
    return current and manifest_of(current[1])["sha256"]


def _artifacts(lineage: Lineage, kept: Collection[int], within: str) -> tuple[list[dict[str, Any]], set[str]]:
    """A row for every artifact that goes, and the uris at which there is none then; what lies behind a link stays, and
    so does what MLMD says of it."""
    staying = {artifact.uri for id, artifact in lineage.artifacts.items() if id in kept}
    going = {artifact.uri for artifact in lineage.artifacts.values()} - staying
    if remote.is_remote(within):
        there = going & remote.below(within)
        rows = [{"what": "artifact", "path": uri, "bytes": remote.size(uri)} for uri in sorted(there)]
        return rows, {uri for uri in going if uri.startswith(f"{within}/")}
    rows = [row for uri in sorted(going) for row in _row("artifact", Path(uri), Path(within))]
    leaving = {row["path"] for row in rows}
    return rows, {uri for uri in going if str(Path(uri)) in leaving or not Path(uri).exists()}


def _leavings(
    lineage: Lineage, retained: Collection[Run], places: Places, root: Path, versions: int
) -> Iterator[dict[str, Any]]:
    """A row for all else that goes: of older runs the logs and what they could go on from, and versions that served."""
    older = [run for run in lineage.runs if run.own and run not in retained]
    for name in sorted(run.name for run in older):
        yield from _row("log", root / "runs" / name / "log.txt", root / "runs")
    for path in sorted(_journals(places.journals)):
        if path.name.startswith(_GOING) or lineage.run_at(_changed(path)) in older:
            yield from _row("journal", path, places.journals)
    for path in superseded(places.serving, versions):
        yield from _row("version", path, places.serving)


def _journals(folder: Path) -> Iterator[Path]:
    """The folders of trainings and of searches; those of noised statistics stay: they hold what was released."""
    for path in folder.glob("*"):
        if path.name.startswith(("search-", _GOING)) or (path / "state.npz").exists():
            yield path


def _changed(journal: Path) -> float:
    state = journal / "state.npz"
    return (state if state.exists() else journal).stat().st_mtime


def _row(what: str, path: Path, within: Path) -> Iterator[dict[str, Any]]:
    """A row for what is there and really lies within a folder, not behind a link or a way out of it."""
    if path.exists() and within in path.parents and path.resolve() == path:
        yield {"what": what, "path": str(path), "bytes": _size(path)}


def _size(path: Path) -> int:
    """Bytes of a file, or of all files under a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(os.lstat(os.path.join(at, name)).st_size for at, _, names in os.walk(path) for name in names)


def _remove(what: str, place: str) -> None:
    """Removes a file or folder; half a journal would count fewer steps than were, so that and a version go in one
    step."""
    if remote.is_remote(place):
        remote.remove(place)
        return
    path = Path(place)
    try:
        if what in _ASIDE and not path.name.startswith(_ASIDE[what]):
            path = path.rename(path.with_name(_ASIDE[what] + path.name))
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise unwritable(path, error) from None
