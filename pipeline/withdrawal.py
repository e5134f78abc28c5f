"""`lockgate withdraw`: records out of the data and its copies; which models had them in, and what to retrain."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from components.common.mlmd import exists
from components.example_gen.placeholders import for_all
from components.example_gen.withdrawal import Withdrawn, take_out
from components.privacy.entries import WITHDRAW
from components.privacy.lineage import Descendant, descendants
from components.privacy.witness import witnessed
from pipeline.config import Config
from pipeline.guards import locked
from pipeline.places import ledger_of, metadata_of


def withdraw(config: Config, root: Path, withdrawn: Withdrawn) -> dict[str, Any]:
    """Takes records out of all spans of the configured data, and out of the copies under the root.

    What models remember of them is bounded by their ε and stays spent; the ledger gets an entry that says how many
    records of which spans went, and names none.

    Returns:
        removed: a row a file of the data; copies: a row a file under the root; models: what had the records in its
        training, with its ε; retrain: what to run so that they are in no model any more.

    Raises:
        LedgerError: the ledger is not what it was; nothing was taken out.
        LockgateError: a run uses the root, or a file is damaged or cannot be written; what was taken out until then is.
    """
    with locked(root):
        database = metadata_of(root)
        ledger = witnessed(ledger_of(root), database)
        ledger.book()
        removed = list(_removed(_data_files(config), withdrawn))
        examples = sorted(root.glob("artifacts/ImportExampleGen/examples/*"))
        copies, touched = [], []
        for artifact in examples:
            rows = list(_removed(((file, {}) for file in sorted(artifact.glob("Split-*/*"))), withdrawn))
            copies += rows
            touched += [str(artifact)] if any("Split-train" in row["file"] for row in rows) else []
        models = descendants(database, touched) if exists(database) else []
        if removed:
            records = sum(row["records"] for row in removed)
            ledger.note(WITHDRAW, {"data": config.data.name, "records": records})
    return {
        "removed": removed,
        "copies": copies,
        "models": [vars(model) for model in models],
        "retrain": retraining(config, models),
    }


def _data_files(config: Config) -> Iterable[tuple[Path, dict[str, Any]]]:
    root = Path(config.data.root)
    for role, pattern in config.data.roles.patterns().items():
        for file in sorted(root.glob(for_all(pattern))):
            yield file, {"role": role}


def _removed(files: Iterable[tuple[Path, dict[str, Any]]], withdrawn: Withdrawn) -> Iterable[dict[str, Any]]:
    for file, facts in files:
        gone = take_out(file, withdrawn) if file.is_file() else 0
        if gone:
            yield {**facts, "file": str(file), "records": gone}


def retraining(config: Config, models: list[Descendant]) -> list[str]:
    """What to run so that the records are in no model any more; nothing where they were in none."""
    if not models:
        return []
    lines = [
        f"lockgate run with the configuration {config.name}: the span's files changed, so it trains and is charged anew"
    ]
    if config.data.window != 1:
        lines.append("one run with data.span on each span that lost records, then on the newest, whose window finds it")
    if config.trainer.warm_start:
        lines.append("with trainer.warm_start=false, because the weights of what serves had the records in")
    return lines
