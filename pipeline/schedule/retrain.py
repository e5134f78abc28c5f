"""One firing: a run for every span that is due, in order; what fails is tried again, then told once."""

import dataclasses
import datetime
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.common.errors import ConfigError, LockgateError, ModelError
from components.example_gen.arrivals import Arrival, arrivals
from pipeline.config import Config
from pipeline.run import Watcher, execute
from pipeline.runs import records
from pipeline.schedule.due import Due, decided, decides, due, is_damaged
from pipeline.schedule.retention import clean
from pipeline.schedule.state import Memory, State
from pipeline.schedule.tell import tell

_TRY_AGAIN = (1, 2)
_IN_VAIN = (ConfigError.cause, ModelError.cause)  # another try would find the same
_KEYS = ("run", "exit_code", "state", "error", "cause", "report")


@dataclass(kw_only=True)
class Firing:
    """What became of a firing.

    exit_code: of the last run, 0 where nothing was due. idle: why nothing was done. runs: their records, or what
    stands for one that did not begin. waiting, damaged: spans, with the reason. problems: whom it could not be told,
    and why nothing was cleaned up. removed_bytes: of what the retention policy let go.
    """

    exit_code: int = 0
    idle: str = ""
    runs: list[dict[str, Any]] = field(default_factory=list)
    waiting: list[dict[str, str]] = field(default_factory=list)
    damaged: list[dict[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    removed_bytes: int = 0

    def as_json(self) -> dict[str, Any]:
        """For `--json`: of each run its span, its outcome, and where to look further."""
        runs = [{"span": r["data"]["span"], "tries": r["tries"], **{k: r[k] for k in _KEYS}} for r in self.runs]
        return {**vars(self), "runs": runs}


def retrain(config: Config, root: Path, watcher: Watcher, pause: Callable[[float], None] = time.sleep) -> Firing:
    """Does what is due.

    Args:
        config: what to run. root: folder for everything that is written. watcher: who is told how each run goes.
        pause: waits so many seconds before another try.

    Raises:
        LockgateError: the data's folder is missing, or the root cannot be written.
    """
    memory = Memory(root, config.name)
    with memory.alone() as free:
        if not free:
            return Firing(idle="another retraining of this pipeline is at work")
        firing = Firing()
        for span in _spans(config, root, memory, firing):
            record = _tried(config, span, root, watcher, pause)
            firing.runs.append(record)
            firing.exit_code = record["exit_code"]
            if is_damaged(record):
                _set_aside(memory, span, record)
            elif not decides(record):
                break
        _tell(config, memory, firing)
        if firing.runs:
            _forget(config, root, firing)
        return firing


def standing(config: Config, root: Path, state: State) -> Due:
    """What is due, waits or is damaged."""
    done = decided(records(root), config.name)
    return due(arrivals(config.data, done), state.damaged, config.schedule.damaged)


def _spans(config: Config, root: Path, memory: Memory, firing: Firing) -> Iterator[Arrival]:
    """What is due, looked up anew after every run: more may have arrived."""
    while True:
        found = standing(config, root, memory.load())
        rows = found.rows()
        firing.waiting, firing.damaged = rows["waiting"], rows["damaged"]
        if not found.spans:
            firing.idle = "" if firing.runs else "nothing new has arrived"
            return
        yield found.spans[0]


def _tried(config: Config, span: Arrival, root: Path, watcher: Watcher, pause) -> dict[str, Any]:
    """The record of the last try on a span."""
    settings = dataclasses.replace(config, data=dataclasses.replace(config.data, span=span.span))
    for attempt in range(config.schedule.attempts):
        if attempt:
            pause(config.schedule.backoff_seconds * 2 ** (attempt - 1))
        try:
            record = execute(settings, root, watcher)
        except LockgateError as error:
            record = _not_begun(config, span, error)
        if record["exit_code"] not in _TRY_AGAIN or record["cause"] in _IN_VAIN or is_damaged(record):
            break
    return {**record, "tries": attempt + 1, "fingerprint": span.fingerprint}


def _not_begun(config: Config, span: Arrival, error: LockgateError) -> dict[str, Any]:
    """What stands for a run that did not begin: it has no folder of its own, and no report."""
    told = {"exit_code": error.exit_code, "state": "failed", "error": str(error), "cause": error.cause}
    return {"run": None, "config": config.name, "data": {"span": span.span}, "pushed": None, "report": None, **told}


def _set_aside(memory: Memory, span: Arrival, record: dict[str, Any]) -> None:
    """Remembers that these files of a span cannot be trained on, so that no later firing tries them again."""
    state = memory.load()
    memory.save(dataclasses.replace(state, damaged={**state.damaged, span.fingerprint: record["error"]}))


def _tell(config: Config, memory: Memory, firing: Firing) -> None:
    """Tells what needs a decision and was not told yet; what nobody took is told again at the next firing."""
    state = memory.load()
    told = [] if firing.runs else list(state.told)
    for key, message in _messages(config, firing):
        problems = [] if key in state.told else tell(config.schedule, {"pipeline": config.name, **message})
        firing.problems += problems
        told += [] if problems else [key]
    now = datetime.datetime.now(datetime.timezone.utc)
    memory.save(dataclasses.replace(state, fired=now, told=tuple(dict.fromkeys(told))))


def _forget(config: Config, root: Path, firing: Firing) -> None:
    """Removes what the retention policy lets go; that it could not is no reason to call the night a failure."""
    try:
        firing.removed_bytes = clean(config, root).bytes
    except LockgateError as error:
        firing.problems.append(str(error))


def _messages(config: Config, firing: Firing) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the configuration wants told of a firing, each with a key that is the same for the same thing. A span that a
    run found damaged is told as such while it is there, and as a run that failed where it went or is written anew."""
    named = {span["fingerprint"] for span in firing.damaged}
    for record in firing.runs:
        if record["state"] in config.schedule.tell and not (is_damaged(record) and record["fingerprint"] in named):
            message = {"outcome": record["state"], "span": record["data"]["span"], **{k: record[k] for k in _KEYS}}
            yield f"{record['state']} {message['span']} {record['error'] or record['run']}", message
    if "damaged" in config.schedule.tell:
        for span in firing.damaged:
            message = {"outcome": "damaged", "span": span["span"], "error": span["reason"]}
            yield f"damaged {span['span']} {span['fingerprint']}", message
