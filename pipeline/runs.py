"""The run record's shape, and how it is filled from MLMD and the artifacts, by whatever runner."""

import datetime
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from components.common.errors import GateError, LockgateError, ServiceError
from components.example_gen.config import ROLES, DataConfig
from components.example_gen.placeholders import name_of
from pipeline.config import Config
from pipeline.places import Places


def blank(config: Config, root: Path, run: str, span: int | None, started: datetime.datetime) -> dict[str, Any]:
    """The record of a run of which nothing is known yet: it has failed until something better is known."""
    folder, data = root / "runs" / run, config.data
    roles = {role: {"pattern": files, "examples": None} for role, files in _files_in_words(data).items()}
    return {
        "run": run,
        "config": config.name,
        "state": "failed",
        "exit_code": 1,
        "cause": LockgateError.cause,
        "started": started.isoformat(timespec="seconds"),
        "seconds": None,
        "root": str(root),
        "log": str(folder / "log.txt"),
        "report": str(folder / "report.html"),
        "error": None,
        "versions": {
            "lockgate": version("lockgate"),
            "tfx": version("tfx"),
            "tensorflow": version("tensorflow"),
            "python": platform.python_version(),
        },
        "data": {
            "name": data.name,
            "span": span,
            "span_name": None if span is None else name_of(data.roles.train, span),
            "classes": list(data.classes),
            "public_source": data.public_source,
            "population": config.trainer.population,
            "roles": roles,
        },
        "max_drop": config.gates.max_drop,
        "privacy": None,
        "ledger": None,
        "parent": None,
        "variants": [],
        "searches": [],
        "statistics": None,
        "drift": None,
        "pushed": None,
        "nodes": [],
        "lineage": [],
        "settings": config.as_dict(),
    }


def _files_in_words(data: DataConfig) -> dict[str, str]:
    """Where each role's examples come from."""
    own, shares = data.roles.patterns(), data.shares.taken()
    return {role: own.get(role) or f"{shares[role]:g} of {own['train']}, by hash" for role in ROLES}


def filled(record: dict[str, Any], places: Places) -> None:
    """Adds what MLMD, the artifacts and the ledger know of the run; one that pushed nothing was refused."""
    from components.common.mlmd import exists
    from pipeline.record import outcome, spent_over_time

    if not exists(places.metadata):
        return
    found = outcome(places.metadata, record["run"])
    for role, count in found.pop("counts").items():
        record["data"]["roles"][role]["examples"] = count
    record.update(found)
    if record["state"] == "pushed" and record["pushed"] is None:
        record.update(state="refused", exit_code=3, cause=GateError.cause)
    record["ledger"] = spent_over_time(places.ledger, record)


def records(root: Path) -> list[dict[str, Any]]:
    """All run records under a root, oldest first.

    Raises:
        ServiceError: one is not whole.
    """
    return [record_at(path) for path in sorted(root.glob("runs/*/run.json"))]


def record_at(path: Path) -> dict[str, Any]:
    """A run record.

    Raises:
        ServiceError: it is not whole.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ServiceError(f"a run record must be whole: restore or remove {path.parent}. Received: {reason}") from None
