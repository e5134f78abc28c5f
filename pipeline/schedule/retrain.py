"""One firing: a run for every span that is due, in order; what fails is tried again, then told once."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from components.common.errors import ConfigError, LockgateError, ModelError
from components.example_gen.arrivals import Arrival
from pipeline.config import Config
from pipeline.places import places_of
from pipeline.run import Watcher, execute
from pipeline.schedule.due import decides, is_damaged
from pipeline.schedule.firing import AT_WORK, NOTHING_NEW, Firing, forget, set_aside, standing, tell_of
from pipeline.schedule.state import Memory

_TRY_AGAIN = (1, 2)
_IN_VAIN = (ConfigError.cause, ModelError.cause)  # another try would find the same


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
            return Firing(idle=AT_WORK)
        firing = Firing()
        for span in _spans(config, root, memory, firing):
            record = _tried(config, span, root, watcher, pause)
            firing.runs.append(record)
            firing.exit_code = record["exit_code"]
            if is_damaged(record):
                set_aside(memory, span.fingerprint, record)
            elif not decides(record):
                break
        tell_of(config, memory, firing)
        if firing.runs:
            forget(config, root, places_of(root, config.name), firing)
        return firing


def _spans(config: Config, root: Path, memory: Memory, firing: Firing) -> Iterator[Arrival]:
    """What is due, looked up anew after every run: more may have arrived."""
    while True:
        found = standing(config, root, memory.load())
        firing.saw(found)
        if not found.spans:
            firing.idle = "" if firing.runs else NOTHING_NEW
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
