"""What serves, what comes next, and why the last runs did or did not push: as data, and as a page."""

import datetime
import json
from pathlib import Path
from typing import Any

from components.common.errors import DataError
from pipeline.config import Config
from pipeline.guards import unwritable
from pipeline.places import places_of
from pipeline.report.html import outcome, page, warning
from pipeline.run import write_whole
from pipeline.runs import records
from pipeline.schedule.cron import Timetable
from pipeline.schedule.firing import standing
from pipeline.schedule.state import Memory, State

_SHOWN, _PAGE = 14, "status.html"


def status(config: Config, root: Path, now: datetime.datetime) -> dict[str, Any]:
    """Everything about a pipeline that an operator asks for.

    Args:
        config: of the pipeline. root: folder for everything that is written. now: with its zone.

    Returns:
        pipeline; at: now; serving: version, recipe, since, spans, epsilon, delta, accuracy, path, run, or None; next:
        time of the next firing, and the spans that are due; waiting, damaged: spans with the reason; runs: the last
        ones, newest first: run, span, started, state, epsilon, pushed, and why.
    """
    own = [r for r in records(root) if r["config"] == config.name]
    state = Memory(root, config.name).load()
    return {
        "pipeline": config.name,
        "at": now.isoformat(timespec="seconds"),
        "root": str(root),
        "serving": _serving(places_of(root, config.name).serving, own),
        "last_firing": state.fired and state.fired.isoformat(timespec="seconds"),
        "next": Timetable(config.schedule.cron, config.schedule.time_zone).after(now).isoformat(timespec="seconds"),
        **_arrived(config, root, state),
        "runs": [_row(record) for record in reversed(own[-_SHOWN:])],
    }


def write_status(config: Config, root: Path, now: datetime.datetime) -> None:
    """Brings the page under the root up to date.

    Raises:
        ServiceError: it cannot be written.
    """
    file = root / _PAGE
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(file, page("status.html.j2", s=status(config, root, now)))
    except OSError as error:
        raise unwritable(file, error) from None


def _arrived(config: Config, root: Path, state: State) -> dict[str, Any]:
    try:
        found = standing(config, root, state)
    except DataError as error:
        return {"due": [], "waiting": [], "damaged": [], "problem": str(error)}
    named = {k: [{"span": a.name, "reason": a.reason} for a in getattr(found, k)] for k in ("waiting", "damaged")}
    return {"due": [a.name for a in found.spans], **named, "problem": None}


def _serving(folder: Path, own: list[dict[str, Any]]) -> dict[str, Any] | None:
    from components.gates.push.serving import served

    current = served(folder)
    if current is None:
        return None
    version, model = current
    manifest = json.loads(model.with_name("manifest.json").read_text())
    by = next((r for r in own if r["pushed"] and r["pushed"]["sha256"] == manifest["sha256"]), None)
    facts = {key: manifest[key] for key in ("recipe", "accuracy", "epsilon", "delta", "gzip_bytes")}
    since = by and {"since": by["started"], "run": by["run"], "spans": [by["data"]["span"]]}
    return {"version": version, **facts, "path": str(model), **(since or {"since": None, "run": None, "spans": []})}


def _row(record: dict[str, Any]) -> dict[str, Any]:
    privacy = record["privacy"] or {}
    return {
        "run": record["run"],
        "span": record["data"]["span"],
        "started": record["started"],
        "seconds": record["seconds"],
        "state": record["state"],
        "exit_code": record["exit_code"],
        "epsilon": privacy.get("epsilon"),
        "pushed": record["pushed"] and record["pushed"]["recipe"],
        "why": _why(record),
        "report": record["report"],
    }


def _why(record: dict[str, Any]) -> str:
    """One sentence: what was pushed, or what stood against it."""
    against = [f"{v['recipe']}: {v['reasons'][0]}" for v in record["variants"] if v["reasons"]]
    more = [warning(record)] if warning(record) and record["state"] != "refused" else []
    return " ".join([outcome(record), *more, *(against if record["pushed"] is None else [])])
