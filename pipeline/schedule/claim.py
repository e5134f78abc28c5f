"""One span a run, where a run's steps are processes of their own: the oldest that is due, for this run alone."""

import dataclasses
import datetime
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Config
from pipeline.runs import records
from pipeline.schedule.due import Due
from pipeline.schedule.firing import AT_WORK, NOTHING_NEW, standing
from pipeline.schedule.state import Claim, Memory, State


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a run has taken. span: its number; None where there was none to take, and idle says why. found: what had
    arrived; None where another firing is at work."""

    span: int | None
    idle: str = ""
    found: Due | None = None


def take(
    config: Config,
    root: Path,
    run: str,
    now: datetime.datetime,
    under_way: Callable[[Claim], bool],
    close: Callable[[Claim], None],
) -> Taken:
    """Takes the oldest span that is due; asked again, the same run gets the same.

    Args:
        config: of the pipeline. root: folder for everything that is written. run: id of the run that asks. now: with
            its zone. under_way: whether a run that has taken a span and left no record may still be at work. close:
            gives such a run that is not its record, before its span can be taken.

    Raises:
        DataError: the data's folder is missing. ServiceError: the root cannot be read or written.
    """
    memory = Memory(root, config.name)
    with memory.alone() as free:
        if not free:
            return Taken(span=None, idle=AT_WORK)
        state = memory.load()
        if own := claimed_by(state, run):
            return Taken(span=own.span, found=standing(config, root, state))
        claim = state.claim
        if claim and claim.run not in {record["run"] for record in records(root)}:
            if under_way(claim):
                return Taken(span=None, idle=AT_WORK)
            close(claim)
            state = memory.load()
        found = standing(config, root, state)
        if not found.spans:
            return Taken(span=None, idle=NOTHING_NEW, found=found)
        oldest = found.spans[0]
        claim = Claim(run=run, span=oldest.span, fingerprint=oldest.fingerprint, since=now)
        memory.save(dataclasses.replace(state, claim=claim))
        return Taken(span=oldest.span, found=found)


def give_back(memory: Memory, run: str) -> None:
    """Lets other runs take spans, now that this one has its record."""
    state = memory.load()
    if claimed_by(state, run):
        memory.save(dataclasses.replace(state, claim=None))


def claimed_by(state: State, run: str) -> Claim | None:
    """What a run has taken."""
    return state.claim if state.claim and state.claim.run == run else None
