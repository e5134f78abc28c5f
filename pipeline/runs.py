"""The run record's shape, and how it is filled from MLMD and the artifacts, by whatever runner."""

import datetime
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.places import Places


def blank(config: Config, root: Path, run: str, span: int | None, started: datetime.datetime) -> dict[str, Any]:
    """The record of a run of which nothing is known yet: it has failed until something better is known."""
    folder, settings = root / "runs" / run, config.as_dict()
    roles = {role: {"pattern": pattern, "examples": None} for role, pattern in settings["data"]["roles"].items()}
    return {
        "run": run,
        "config": config.name,
        "state": "failed",
        "exit_code": 1,
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
            "name": config.data.name,
            "span": span,
            "classes": list(config.data.classes),
            "public_source": config.data.public_source,
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
        "pushed": None,
        "nodes": [],
        "lineage": [],
        "settings": settings,
    }


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
        record.update(state="refused", exit_code=3)
    record["ledger"] = spent_over_time(places.ledger, record)
