"""One run: hold the root, run the graph, write the record and the report, whatever happens."""

import dataclasses
import datetime
import json
import logging
import os
import secrets
import time
from pathlib import Path
from typing import Any

from components.common.errors import ConfigError, GateError, Interrupted, ServiceError
from components.example_gen.arrivals import print_of, require_unchanged
from components.example_gen.core import check_framing, find_span, known_labels
from pipeline.config import Config
from pipeline.failures import explain
from pipeline.guards import Signals, locked, logged, unwritable
from pipeline.places import Places, places_of
from pipeline.report.html import render
from pipeline.runs import blank, filled

READER = "ImportExampleGen"  # the node that reads the span's files


class Watcher:
    """Who is told how a run goes; this one tells nobody."""

    def node_started(self, node: str, position: int, total: int) -> None:
        """A node begins: the one at this position, from 1, of so many."""

    def node_ended(self, node: str, state: str, seconds: float) -> None:
        """A node ended: state is ran, cached or failed."""

    def progress(self, message: str) -> None:
        """A running node says one line."""


def execute(config: Config, root: Path, watcher: Watcher) -> dict[str, Any]:
    """Runs the pipeline once.

    Args:
        config: what to run.
        root: folder for everything that is written.
        watcher: who is told.

    Returns:
        The run record, which is also at `runs/<run>/run.json` under the root, beside `report.html` and `log.txt`.

    Raises:
        LockgateError: before anything was started (the data is missing, or the root is in use or cannot be written),
            or the record cannot be written.
    """
    known_labels(Path(config.data.schema), len(config.data.classes))
    span, files = find_span(config.data)
    given = print_of(config.data, span)
    for path in (path for role in files.values() for path in role):
        check_framing(path)
    with locked(root), Signals().held() as signals:
        record = _new_record(config, root, span)
        begun = time.monotonic()
        with logged(Path(record["log"])):
            _run(config, root, span, given, record, watcher, signals)
            record["seconds"] = round(time.monotonic() - begun, 1)
            save(record)
    return record


def roll_back(config: Config, root: Path, places: Places) -> dict[str, Any]:
    """Brings back what a configuration's pipeline served before, while no run holds the root.

    Args:
        config: of the pipeline. root: folder for everything that is written. places: of the pipeline.

    Raises:
        GateError: there is nothing to go back to; nothing changed.
    """
    from components.common.mlmd import connection, exists
    from components.gates.push.rollback import rollback

    if not exists(places.metadata):
        raise GateError(f"a rollback must be of something that was pushed. There is no run under {root}")
    with locked(root):
        return dataclasses.asdict(rollback(places.serving, connection(places.metadata), config.name))


def save(record: dict[str, Any]) -> None:
    """Writes the record, then its report page, each in one step.

    Raises:
        ServiceError: the disk is full, or the folder cannot be written.
    """
    page = Path(record["report"])
    try:
        write_whole(page.with_name("run.json"), json.dumps(record, indent=1))
        write_whole(page, render(record))
    except OSError as error:
        said = record["error"] or f"The run itself: {record['state']}"
        raise ServiceError(
            f"the run record must be writable. Received: {page.parent} ({error.strerror}). {said}"
        ) from None


def write_whole(path: Path, text: str) -> None:
    """Writes a file so that nobody ever sees a part of it.

    Raises:
        OSError: it cannot be written; what stood there before still does.
    """
    aside = path.with_name(f".{path.name}.writing")
    try:
        aside.write_text(text)
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def write_page(file: Path, page: str) -> None:
    """Writes a page where `--html` says.

    Raises:
        ConfigError: it cannot be written there.
    """
    try:
        write_whole(file, page)
    except OSError as error:
        reason = f"Received: {file} ({error.strerror})"
        raise ConfigError(f"`--html` must be a file that can be written. {reason}") from None


def _run(config: Config, root: Path, span: int, given: str, record: dict, watcher: Watcher, signals: Signals) -> None:
    """Runs the graph and fills the record; every ending becomes a state, an exit code and at most one line."""
    try:
        with signals.interrupting():
            _run_graph(config, root, span, given, record, watcher, signals)
        record.update(state="pushed", exit_code=0, cause=None)
    except Interrupted as interrupted:
        error = f"{interrupted}: nothing half-made was left. Run again to go on with what had finished"
        record.update(state="interrupted", exit_code=interrupted.exit_code, error=error, cause=None)
    except Exception as error:
        _fail(record, error)
    try:
        filled(record, places_of(root, config.name))
    except Exception as error:  # a database on a full disk: what the run itself said comes first
        if record["error"] is None:
            _fail(record, error)


def _run_graph(
    config: Config, root: Path, span: int, given: str, record: dict, watcher: Watcher, signals: Signals
) -> None:
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    from components.common import progress
    from components.common.mlmd import connection
    from pipeline.graph import build
    from pipeline.runners import local

    def started(node: str, position: int, total: int) -> None:
        signals.check()
        watcher.node_started(node, position, total)

    def told(message: str) -> None:
        signals.check()
        watcher.progress(message)

    def ended(result: local.NodeResult) -> None:
        record["nodes"].append(vars(result))
        watcher.node_ended(result.id, result.state, result.seconds)
        if result.id == READER and result.state != "cached":
            require_unchanged(config.data, span, given)

    places = places_of(root, config.name)
    with progress.watching(told):
        graph = build(config, places, span)
        local.run(graph, connection(places.metadata), record["run"], started, ended)


def _fail(record: dict[str, Any], error: Exception) -> None:
    logging.exception("the run failed")
    known = explain(error)
    state = "refused" if known.exit_code == 3 else "failed"
    record.update(state=state, exit_code=known.exit_code, error=str(known), cause=known.cause)


def _new_record(config: Config, root: Path, span: int) -> dict[str, Any]:
    now = datetime.datetime.now(datetime.timezone.utc)
    run = f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    folder = root / "runs" / run
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise unwritable(folder, error) from None
    return blank(config, root, run, span, now)
