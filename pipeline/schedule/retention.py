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

from components.common.mlmd import connection, exists
from components.example_gen.arrivals import arrivals
from components.gates.push.serving import manifest_of, served
from pipeline.config import Config
from pipeline.guards import locked, quiet_imports, unwritable
from pipeline.places import Places, places_of
from pipeline.runs import records
from pipeline.schedule.due import decided, decides
from pipeline.schedule.kept import Lineage, Run

_GOING = ".going-"  # with which the name of a journal begins that is being removed


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """What was removed, or would be. removed: a row a folder or file: what it is, its path, its bytes. kept_bytes: of
    all that stays under the root."""

    removed: list[dict[str, Any]]
    kept_bytes: int

    @property
    def bytes(self) -> int:
        return sum(row["bytes"] for row in self.removed)


def clean(config: Config, root: Path, dry_run: bool = False) -> Cleaned:
    """Removes what the configuration's retention policy lets go, of its own pipeline alone, and nothing that a symbolic
    link leads to.

    It is marked in MLMD before it goes from the disk, so that a kill in between leaves nothing that is taken for whole;
    the next cleaning removes the rest.

    Args:
        config: whose pipeline and policy. root: folder for everything that is written. dry_run: removes nothing.

    Raises:
        DataError: the data's folder is missing, so that nobody knows what the next runs need.
        ServiceError: a run uses the root, or a file cannot be removed.
    """
    places = places_of(root, config.name)
    if not exists(places.metadata):
        return Cleaned(removed=[], kept_bytes=_size(root))
    quiet_imports()
    with locked(root):
        told = records(root)
        lineage = Lineage(metadata_store.MetadataStore(connection(places.metadata)), config.name)
        retained = lineage.retained(config.retention.runs, {r["run"] for r in told if decides(r)})
        coming = {arrival.span for arrival in arrivals(config.data, decided(told, config.name))}
        kept = lineage.kept(config, retained, coming, _served_hash(places.serving))
        rows = list(_leavings(lineage, kept, retained, places, root))
        if not dry_run:
            lineage.mark_deleted(_gone(lineage, kept, rows))
            for row in rows:
                _remove(row["what"], Path(row["path"]))
    gone = sum(row["bytes"] for row in rows)
    return Cleaned(removed=rows, kept_bytes=_size(root) - (gone if dry_run else 0))


def _served_hash(folder: Path) -> str | None:
    """Of the model that serves, whatever MLMD says: a rollback that was killed may not have said it yet."""
    current = served(folder)
    return current and manifest_of(current[1])["sha256"]


def _gone(lineage: Lineage, kept: Collection[int], rows: Collection[dict[str, Any]]) -> set[str]:
    """Where there will be no artifact any more; what lies behind a link stays, and so does what MLMD says of it."""
    leaving = {row["path"] for row in rows}
    uris = {artifact.uri for id, artifact in lineage.artifacts.items() if id not in kept}
    return {uri for uri in uris if str(Path(uri)) in leaving or not Path(uri).exists()}


def _leavings(
    lineage: Lineage, kept: Collection[int], retained: Collection[Run], places: Places, root: Path
) -> Iterator[dict[str, Any]]:
    """A row for everything that goes: artifacts, and of older runs the logs and what they could go on from."""
    staying = {artifact.uri for id, artifact in lineage.artifacts.items() if id in kept}
    for uri in sorted({a.uri for a in lineage.artifacts.values()} - staying):
        yield from _row("artifact", Path(uri), Path(places.artifacts))
    older = [run for run in lineage.runs if run.own and run not in retained]
    for name in sorted(run.name for run in older):
        yield from _row("log", root / "runs" / name / "log.txt", root / "runs")
    for path in sorted(_journals(places.journals)):
        if path.name.startswith(_GOING) or lineage.run_at(_changed(path)) in older:
            yield from _row("journal", path, places.journals)


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


def _remove(what: str, path: Path) -> None:
    """Removes a file or folder; a journal in one step, because a part of it would count fewer steps than were."""
    try:
        if what == "journal" and not path.name.startswith(_GOING):
            path = path.rename(path.with_name(_GOING + path.name))
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise unwritable(path, error) from None
