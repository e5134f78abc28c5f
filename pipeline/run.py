"""One run: lock the root, run the graph, write the record and the report, whatever happens."""

import contextlib
import datetime
import json
import os
import platform
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import filelock

from components.common.errors import DataError, Interrupted, LockgateError, ServiceError
from components.example_gen.core import check_framing, find_span
from pipeline.config import Config
from pipeline.report.html import render


class Watcher:
    """Who is told how a run goes; this one tells nobody."""

    def node_started(self, node: str) -> None:
        """A node begins."""

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
        LockgateError: before anything was started: the data is missing, or the root is in use or cannot be written.
    """
    span, files = find_span(config.data)
    for path in (path for role in files.values() for path in role):
        check_framing(path)
    with _locked(root):
        record = _new_record(config, root, span)
        begun = time.monotonic()
        with _logged(Path(record["log"])):
            _run(config, root, span, record, watcher)
        record["seconds"] = round(time.monotonic() - begun, 1)
        save(record)
    return record


def save(record: dict[str, Any]) -> None:
    """Writes the record and its report page, each in one step."""
    try:
        for path, text in (
            (Path(record["report"]).with_name("run.json"), json.dumps(record, indent=2)),
            (Path(record["report"]), render(record)),
        ):
            aside = path.with_suffix(".writing")
            aside.write_text(text)
            aside.replace(path)
    except OSError as error:
        raise ServiceError(f"the run record must be writable. Received: {record['report']}: {error.strerror}") from None


def _run(config: Config, root: Path, span: int, record: dict[str, Any], watcher: Watcher) -> None:
    """Runs the graph and fills the record; every ending becomes a state, an exit code and at most one line."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    try:
        with _interruptible():
            from components.common import progress
            from pipeline.graph import Places, build
            from pipeline.runners import local

            database = root / "metadata.sqlite"
            places = Places(
                artifacts=root / "artifacts",
                metadata=database,
                ledger=root / "ledger.sqlite",
                serving=root / "serving" / config.name,
            )

            def ended(result: local.NodeResult) -> None:
                record["nodes"].append(vars(result))
                watcher.node_ended(result.id, result.state, result.seconds)

            with progress.watching(watcher.progress):
                local.run(build(config, places, span), record["run"], watcher.node_started, ended)
        record.update(state="pushed", exit_code=0)
    except Interrupted as interrupted:
        record.update(state="interrupted", exit_code=interrupted.exit_code, error=f"{interrupted}; run again to go on")
    except Exception as error:
        _failed(record, error)
    _fill(record, root)


def _fill(record: dict[str, Any], root: Path) -> None:
    from pipeline.record import outcome

    database = root / "metadata.sqlite"
    if not database.exists():
        return
    found = outcome(database, record["run"])
    for role, count in found.pop("counts").items():
        record["data"]["roles"][role]["examples"] = count
    record.update(found)
    if record["state"] == "pushed" and record["pushed"] is None:
        record.update(state="refused", exit_code=3)


def _failed(record: dict[str, Any], error: Exception) -> None:
    import logging

    logging.exception("the run failed")
    known = explain(error)
    record.update(state="refused" if known.exit_code == 3 else "failed", exit_code=known.exit_code, error=str(known))


def explain(error: Exception) -> LockgateError:
    """The one line, with its exit code, for whatever a node raised."""
    chain, seen = error, []
    while chain is not None and chain not in seen:
        if isinstance(chain, LockgateError):
            return chain
        seen.append(chain)
        chain = chain.__cause__ or chain.__context__
    text = " ".join(str(e) for e in seen)
    if "No space left on device" in text or "database or disk is full" in text:
        return ServiceError("the disk must have room for the run. It is full; nothing was pushed. Free space and run again")
    if "corrupted record" in text or "DataLoss" in text:
        return DataError("every TFRecord file must be whole. One under data.root is damaged; the log names it")
    return LockgateError(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}")


def _new_record(config: Config, root: Path, span: int) -> dict[str, Any]:
    now = datetime.datetime.now(datetime.timezone.utc)
    run = f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    folder = root / "runs" / run
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise ServiceError(f"`--root` must be a folder that can be written. Received: {root} ({error.strerror})") from None
    settings = config.as_dict()
    roles = {role: {"pattern": pattern, "examples": None} for role, pattern in settings["data"]["roles"].items()}
    return {
        "run": run,
        "config": config.name,
        "state": "failed",
        "exit_code": 1,
        "started": now.isoformat(timespec="seconds"),
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
            "roles": roles,
        },
        "max_drop": config.gates.max_drop,
        "privacy": None,
        "parent": None,
        "variants": [],
        "pushed": None,
        "nodes": [],
        "lineage": [],
        "settings": settings,
    }


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Holds the root for this run alone. The lock goes with the process, however it ends."""
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with filelock.FileLock(root / "lock", timeout=0):
            yield
    except filelock.Timeout:
        raise ServiceError(f"one run at a time must use a root. Another is running on {root}: wait, or give --root") from None
    except OSError as error:
        raise ServiceError(f"`--root` must be a folder that can be written. Received: {root} ({error.strerror})") from None


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Sends everything that libraries print, from Python or from C, to the log file; files are made private."""
    import logging

    umask = os.umask(0o077)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    saved = [os.dup(1), os.dup(2)]
    os.dup2(file, 1)
    os.dup2(file, 2)
    handler = logging.StreamHandler(open(os.dup(file), "w"))  # noqa: SIM115 - closed with the handler below
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    try:
        yield
    finally:
        for descriptor, original in zip((1, 2), saved, strict=True):
            os.dup2(original, descriptor)
            os.close(original)
        os.close(file)
        logging.getLogger().removeHandler(handler)
        handler.stream.close()
        os.umask(umask)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM raise Interrupted in the main thread while the context is open."""

    def interrupt(number: int, frame: Any) -> None:
        raise Interrupted(number)

    signals = (signal.SIGINT, signal.SIGTERM)
    before: list[Callable] = [signal.signal(s, interrupt) for s in signals]
    try:
        yield
    finally:
        for s, handler in zip(signals, before, strict=True):
            signal.signal(s, handler)
