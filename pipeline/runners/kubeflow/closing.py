"""Closes a run: its record and page on the volume, and what a firing leaves to do.

The report does it however the run ended. Where nothing is due, or the first step has failed for good, there is no
report, and that step does it.
"""

from dataclasses import dataclass
from typing import Any

from components.common.errors import Interrupted, LockgateError
from components.common.mlmd import connection
from pipeline.config import Config
from pipeline.places import places_in_cluster
from pipeline.run import save
from pipeline.runners.kubeflow import due
from pipeline.runners.kubeflow.record import begun_record
from pipeline.runners.kubeflow.shared import Told, told_of
from pipeline.runs import filled
from pipeline.schedule.firing import Firing
from pipeline.schedule.state import Claim


@dataclass(frozen=True, kw_only=True)
class Closed:
    """A run that has its record. spans: a sentence for each span that was left out."""

    record: dict[str, Any]
    spans: list[str]


def close_idle(config: Config, run: str, why: str) -> None:
    """Does what is left to do where a run had nothing to do, and prints what went wrong."""
    _problems_printed(due.close(config, places_in_cluster(config), run, None, why))


def close(config: Config, run: str, metadata: str, failure: LockgateError | Interrupted | None = None) -> Closed:
    """Writes a run's record, and does what a firing leaves to do.

    Args:
        config: of the pipeline. run: its id. metadata: place of MLMD. failure: with which the first step failed, of
            which MLMD need not know.

    Raises:
        ServiceError: MLMD knows no such run, or a place cannot be read or written.
    """
    claim = due.claim_of(config, run)
    record = _recorded(config, run, told_of(connection(metadata), run), claim, failure)
    if not claim:
        return Closed(record=record, spans=[])
    firing = due.close(config, places_in_cluster(config), run, record, "")
    for sentence in firing.spans():
        print(f"lockgate: {sentence}", flush=True)
    return Closed(record=record, spans=_problems_printed(firing).spans())


def _problems_printed(firing: Firing) -> Firing:
    for sentence in firing.problems:
        print(f"lockgate: {sentence}", flush=True)
    return firing


def _recorded(
    config: Config, run: str, told: Told, claim: Claim | None, failure: LockgateError | Interrupted | None
) -> dict[str, Any]:
    """The run's record, written on the volume."""
    otherwise = f"every step must end well. {told.failed or 'One'} did not; its log says why"
    record = begun_record(config, run, told, claim, otherwise)
    if isinstance(failure, Interrupted):
        record.update(state="interrupted", error=str(failure), cause=None, exit_code=failure.exit_code)
    elif failure:
        record.update(error=str(failure), cause=failure.cause, exit_code=failure.exit_code)
    filled(record, places_in_cluster(config))
    if claim:
        due.mark_damaged(config, claim, record)
    save(record)
    return record
