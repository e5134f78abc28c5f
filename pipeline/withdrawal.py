"""`lockgate withdraw`: records out of the data and its copies; which models had them in, and what to retrain."""

import json
import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from components.common import remote
from components.common.mlmd import exists
from components.example_gen.placeholders import for_all
from components.example_gen.withdrawal import Withdrawn, take_out, take_out_of_copy, whole
from components.privacy.entries import WITHDRAW
from components.privacy.lineage import Descendant, descendants
from components.privacy.witness import witnessed
from pipeline.config import Config
from pipeline.guards import locked, unwritable
from pipeline.places import Places
from pipeline.run import READER, write_whole

_ASIDE = "withdrawing"  # a folder under the root, there for as long as a withdrawal is not done
_EXAMPLES, _TRAINED_ON = f"{READER}/examples", "/Split-train/"
_KEEPS = {
    True: "the bucket keeps earlier versions of objects, or what is removed, for a while: the records are in those",
    None: "whether the bucket keeps earlier versions of objects may not be asked: if it does, the records are in those",
}


def withdraw(config: Config, root: Path, places: Places, withdrawn: Withdrawn) -> dict[str, Any]:
    """Takes records out of all spans of the configured data, and out of the copies among the artifacts.

    What models remember of them is bounded by their ε and stays spent; the ledger gets an entry that says how many
    records of which spans went, and names none. One that was killed is finished by the next, which also names what the
    first one had taken out.

    Args:
        config: of the pipeline. root: folder for everything that is written. places: of the pipeline. withdrawn: what
            to take out.

    Returns:
        removed: a row a file of the data; copies: a row a file of the artifacts; models: what had the records in its
        training, with its ε; retrain: what to run so that they are in no model any more; left: where they still are, in
        words.

    Raises:
        LedgerError: the ledger is not what it was; nothing was taken out.
        LockgateError: a run uses the root, or a file is damaged or cannot be written; what was taken out until then is.
    """
    with locked(root):
        ledger = witnessed(places.ledger, places.metadata)
        ledger.book()
        taken = _Taken(root / _ASIDE)
        for file, role in _data_files(config):
            take_out(file, withdrawn, partial(taken.note, "removed", role=role))
        for examples in _copies(places.artifacts):
            take_out_of_copy(examples, withdrawn, taken.folder, partial(taken.note, "copies"))
        removed, copies = taken.rows("removed"), taken.rows("copies")
        touched = {row["file"].split(_TRAINED_ON)[0] for row in copies if _TRAINED_ON in row["file"]}
        models = descendants(places.metadata, sorted(touched)) if exists(places.metadata) else []
        if removed:
            records = sum(row["records"] for row in removed)
            ledger.note(WITHDRAW, {"data": config.data.name, "records": records})
        taken.done()
    kept = remote.keeps_versions(places.artifacts) if copies and remote.is_remote(places.artifacts) else False
    return {
        "removed": removed,
        "copies": copies,
        "models": [vars(model) for model in models],
        "retrain": retraining(config, models),
        "left": [_KEEPS[kept]] if kept in _KEEPS else [],
    }


class _Taken:
    """What a withdrawal takes out, written down before it goes.

    Args:
        folder: for that, and for copies of files; made, mode 0700. What a withdrawal that was killed had noted there
            counts; its copies go.
    """

    def __init__(self, folder: Path):
        self.folder, self._file = folder, folder / "taken.json"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            self._rows = json.loads(self._file.read_text()) if self._file.exists() else {}
            for copies in (path for path in folder.iterdir() if path.is_dir()):
                shutil.rmtree(copies)
        except OSError as error:
            raise unwritable(folder, error) from None

    def note(self, kind: str, place: str, count: int, **facts: str) -> None:
        """Writes down that so many records go out of a file."""
        self._rows[place] = {"kind": kind, **facts, "file": place, "records": count}
        try:
            write_whole(self._file, json.dumps(self._rows))
        except OSError as error:
            raise unwritable(self._file, error) from None

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """What went out of files of a kind."""
        return [{k: v for k, v in row.items() if k != "kind"} for row in self._rows.values() if row["kind"] == kind]

    def done(self) -> None:
        """All that was noted has gone and is named."""
        shutil.rmtree(self.folder)


def _data_files(config: Config) -> Iterable[tuple[Path, str]]:
    root = Path(config.data.root)
    for role, pattern in config.data.roles.patterns().items():
        for file in whole(sorted(root.glob(for_all(pattern)))):
            yield file, role


def _copies(artifacts: str) -> list[str]:
    """The Examples among the artifacts, of all pipelines, whether MLMD knows them or not."""
    if remote.is_remote(artifacts):
        return remote.children(f"{artifacts}/{_EXAMPLES}")
    return [str(path) for path in sorted(Path(artifacts, _EXAMPLES).glob("*"))]


def retraining(config: Config, models: list[Descendant]) -> list[str]:
    """What to run so that the records are in no model any more; nothing where they were in none."""
    if not models:
        return []
    lines = [
        f"a run of {config.name} on the span (lockgate run, or lockgate kubeflow run with --param span=…): its files "
        "changed, so it trains and is charged anew"
    ]
    if config.data.window != 1:
        lines.append("one run with data.span on each span that lost records, then on the newest, whose window finds it")
    if config.trainer.warm_start:
        lines.append("with trainer.warm_start=false, because the weights of what serves had the records in")
    return lines
