"""What a firing does beside its runs, wherever they run: it looks at what has arrived, sets aside what is damaged,
tells, and cleans up."""

import dataclasses
import datetime
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.common.errors import LockgateError
from components.example_gen.arrivals import arrivals
from pipeline.config import Config
from pipeline.places import Places
from pipeline.runs import records
from pipeline.schedule.due import Due, damaged_in_words, decided, due, is_damaged, waiting_in_words
from pipeline.schedule.retention import clean
from pipeline.schedule.state import Memory, State
from pipeline.schedule.tell import tell

AT_WORK, NOTHING_NEW = "another retraining of this pipeline is at work", "nothing new has arrived"
_KEYS = ("run", "exit_code", "state", "error", "cause", "report")


@dataclass(kw_only=True)
class Firing:
    """What became of a firing.

    exit_code: of the last run, 0 where nothing was due. idle: why nothing was done. runs: their records, or what
    stands for one that did not begin, with the fingerprint of the span's files. waiting, damaged: spans, with the
    reason. problems: whom it could not be told, and why nothing was cleaned up. removed_bytes: of what the retention
    policy let go.
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

    def saw(self, found: Due) -> None:
        """Names what waits and what is damaged."""
        rows = found.rows()
        self.waiting, self.damaged = rows["waiting"], rows["damaged"]

    def spans(self) -> list[str]:
        """A sentence for each span that is left out."""
        return [damaged_in_words(row) for row in self.damaged] + [waiting_in_words(row) for row in self.waiting]


def standing(config: Config, root: Path, state: State) -> Due:
    """What is due, waits or is damaged.

    Raises:
        DataError: the data's folder is missing. ServiceError: a run record is not whole.
    """
    done = decided(records(root), config.name)
    return due(arrivals(config.data, done), state.damaged, config.schedule.damaged)


def set_aside(memory: Memory, fingerprint: str, record: dict[str, Any]) -> None:
    """Remembers that the files of this fingerprint cannot be trained on, so that no later firing tries them again."""
    state = memory.load()
    memory.save(dataclasses.replace(state, damaged={**state.damaged, fingerprint: record["error"]}))


def tell_of(config: Config, memory: Memory, firing: Firing) -> None:
    """Tells what needs a decision and was not told yet; what nobody took is told again at the next firing."""
    state = memory.load()
    told = [] if firing.runs else list(state.told)
    for key, message in _messages(config, firing):
        problems = [] if key in state.told else tell(config.schedule, {"pipeline": config.name, **message})
        firing.problems += problems
        told += [] if problems else [key]
    now = datetime.datetime.now(datetime.timezone.utc)
    memory.save(dataclasses.replace(state, fired=now, told=tuple(dict.fromkeys(told))))


def forget(config: Config, root: Path, places: Places, firing: Firing) -> None:
    """Removes what the retention policy lets go; that it could not is no reason to call the night a failure."""
    try:
        firing.removed_bytes = clean(config, root, places).bytes
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
