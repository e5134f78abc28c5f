"""What serves, what comes next, and why the last runs did or did not push: as data, and as a page."""

import datetime
import zoneinfo
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from components.common.errors import DataError
from components.common.locks import alone
from components.example_gen.config import DataConfig
from components.example_gen.placeholders import name_of
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
_Told = Callable[[datetime.datetime | None], str | None]  # a time as ISO 8601, in the schedule's zone


def status(config: Config, root: Path, now: datetime.datetime) -> dict[str, Any]:
    """Everything about a pipeline that an operator asks for.

    Args:
        config: of the pipeline. root: folder for everything that is written. now: with its zone.

    Returns:
        pipeline; at: now; serving: version, recipe, since, spans (the ledger's names of all behind it, also in words),
        epsilon, delta, accuracy, path, run, or None; next: time of the next firing, and the spans that are due;
        waiting, damaged: spans with the reason; runs: the last ones, newest first: run, span, started, state, epsilon,
        pushed, and why. Times are in the schedule's zone.
    """
    zone = zoneinfo.ZoneInfo(config.schedule.time_zone)

    def told(moment: datetime.datetime | None) -> str | None:
        return moment and moment.astimezone(zone).isoformat(timespec="seconds")

    own = [r for r in records(root) if r["config"] == config.name]
    state = Memory(root, config.name).load()
    return {
        "pipeline": config.name,
        "at": told(now),
        "time_zone": config.schedule.time_zone,
        "root": str(root),
        "serving": _serving(config, places_of(root, config.name).serving, own, told),
        "last_firing": told(state.fired),
        "next": told(Timetable(config.schedule.cron, config.schedule.time_zone).after(now)),
        **_arrived(config, root, state),
        "runs": [_row(record, told) for record in reversed(own[-_SHOWN:])],
    }


def write_status(config: Config, root: Path, now: datetime.datetime) -> None:
    """Brings the page under the root up to date; one process at a time, or one would publish what another has begun.

    Raises:
        ServiceError: it cannot be written.
    """
    file = root / _PAGE
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with alone(root / "schedule" / "page.lock", "the status page"):
            write_whole(file, page("status.html.j2", s=status(config, root, now), folder=root))
    except OSError as error:
        raise unwritable(file, error) from None


def _arrived(config: Config, root: Path, state: State) -> dict[str, Any]:
    try:
        found = standing(config, root, state)
    except DataError as error:
        return {"due": [], "waiting": [], "damaged": [], "problem": str(error)}
    return {"due": [a.name for a in found.spans], **found.rows(), "problem": None}


def _serving(config: Config, folder: Path, own: list[dict[str, Any]], told: _Told) -> dict[str, Any] | None:
    from components.gates.push.serving import manifest_of, served, since

    current = served(folder)
    if current is None:
        return None
    version, model = current
    manifest = manifest_of(model)
    by = next((r["run"] for r in own if r["pushed"] and r["pushed"]["sha256"] == manifest["sha256"]), None)
    facts = {key: manifest[key] for key in ("recipe", "accuracy", "epsilon", "delta", "gzip_bytes")}
    behind = {"spans": manifest["spans"], "spans_in_words": spans_in_words(config.data, manifest["spans"])}
    return {"version": version, **facts, "path": str(model), "since": told(since(folder)), "run": by, **behind}


def spans_in_words(data: DataConfig, names: Iterable[str]) -> str:
    """The ledger's names of spans as a person says them, those that follow one another together: span-1 to span-4,
    span-6; those of other data in the ledger's words."""
    prefix, groups = f"{data.name}/span-", []
    names = list(names)
    for number in sorted(int(name.removeprefix(prefix)) for name in names if name.startswith(prefix)):
        if groups and number == groups[-1][1] + 1:
            groups[-1][1] = number
        else:
            groups.append([number, number])
    said = [" to ".join(dict.fromkeys(name_of(data.roles.train, number) for number in group)) for group in groups]
    return ", ".join([*said, *(name for name in names if not name.startswith(prefix))])


def _row(record: dict[str, Any], told: _Told) -> dict[str, Any]:
    privacy = record["privacy"] or {}
    return {
        "run": record["run"],
        "span": record["data"]["span"],
        "span_name": record["data"]["span_name"],
        "started": told(datetime.datetime.fromisoformat(record["started"])),
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
