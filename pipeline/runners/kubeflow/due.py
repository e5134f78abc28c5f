"""What is due, for a run whose steps are containers: which span it takes, and what is to be done once it has ended.

The span is taken, and given back, in the schedule's state on the volume. A run that ended without a record (it was
terminated, or its report did not run) holds its span until nothing of it is at work any more; the firing that then
takes the span writes that run's record.
"""

import datetime
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from components.common.errors import ConfigError, DataError, Interrupted, LockgateError
from components.common.mlmd import connection
from components.example_gen.arrivals import require_unchanged
from pipeline.config import Config
from pipeline.places import Places, places_in_cluster
from pipeline.runners.kubeflow.alive import holds, others
from pipeline.runners.kubeflow.record import begun_record
from pipeline.runners.kubeflow.settings import read
from pipeline.runners.kubeflow.shared import Told, UnknownRun, told_of
from pipeline.runs import records
from pipeline.schedule.claim import claimed_by, give_back, take
from pipeline.schedule.due import is_damaged
from pipeline.schedule.firing import AT_WORK, Firing, forget, set_aside, standing, tell_of
from pipeline.schedule.state import Claim, Memory
from pipeline.schedule.status import write_status
from pipeline.spans import NEWEST

ENDED = "the run was terminated, or its report did not run"
_PATIENCE_SECONDS = 60.0


def take_due(settings: str, run: str, metadata: str) -> tuple[str, str]:
    """Takes the oldest span that is due, and prints which are left out.

    Args:
        settings: the configuration, as compile.py wrote it. run: id of the run. metadata: place of MLMD.

    Returns:
        The span as a step is given it; and why there is nothing to do, empty where there is.

    Raises:
        ConfigError: there are no settings. DataError, ServiceError: see `claim.take`.
    """
    if not settings:
        raise ConfigError("`span=due` must be of a graph that a configuration was compiled to. Received: none")
    config = read(settings)
    now = datetime.datetime.now(datetime.timezone.utc)

    def under_way(claim: Claim) -> bool:
        return holds(config, metadata, claim)

    def closed(claim: Claim) -> None:
        _close_for(config, replace(places_in_cluster(config), metadata=metadata), claim)

    taken = take(config, Path(config.kubeflow.root), run, now, under_way, closed)
    if taken.found:
        firing = Firing()
        firing.saw(taken.found)
        for sentence in firing.spans():
            print(f"lockgate: {sentence}", flush=True)
    return NEWEST if taken.span is None else str(taken.span), taken.idle


@contextmanager
def unchanged(settings: str, run: str) -> Iterator[None]:
    """Holds the span that a run has taken to what it was then, while it is read; what went wrong because it changed is
    said so.

    Args:
        settings, run: see `take_due`.

    Raises:
        DataError: its files changed, or went.
    """
    config = read(settings)
    claim = claim_of(config, run)
    try:
        yield
    except Interrupted:
        raise
    except Exception:
        require_unchanged(config.data, claim.span, claim.fingerprint)
        raise
    require_unchanged(config.data, claim.span, claim.fingerprint)


def claim_of(config: Config, run: str) -> Claim | None:
    """What a run has taken of what was due; None for one that was told its span."""
    return claimed_by(Memory(Path(config.kubeflow.root), config.name).load(), run)


def mark_damaged(config: Config, claim: Claim, record: dict[str, Any]) -> None:
    """Sets the span aside that a run has found damaged, so that the next run takes another."""
    memory = Memory(Path(config.kubeflow.root), config.name)
    with memory.alone(_PATIENCE_SECONDS) as free:
        if free and is_damaged(record):
            set_aside(memory, claim.fingerprint, record)


def close(config: Config, places: Places, run: str, record: dict[str, Any] | None, idle: str) -> Firing:
    """What is left to do when a run that was to take what is due has its record: as `lockgate retrain` does it.

    Args:
        config: of the pipeline. places: of it. run: its id. record: of it; None where it had nothing to do, and idle
            says why.
    """
    root = Path(config.kubeflow.root)
    memory, claim = Memory(root, config.name), claim_of(config, run)
    runs = [{**record, "fingerprint": claim.fingerprint if claim else ""}] if record else []
    firing = Firing(idle=idle, runs=runs)
    with memory.alone(0 if idle == AT_WORK else _PATIENCE_SECONDS) as free:
        if not free:
            firing.problems += [] if idle == AT_WORK else [AT_WORK]
            return firing
        if idle != AT_WORK:
            _follow(config, places, memory, run, firing)
        give_back(memory, run)
    return firing


def _follow(config: Config, places: Places, memory: Memory, run: str, firing: Firing) -> None:
    """Names what is left out, tells, cleans up, and brings the status page up to date, for the run that has ended."""
    root = Path(config.kubeflow.root)
    try:
        firing.saw(standing(config, root, memory.load()))
    except DataError as error:
        firing.problems.append(str(error))
    tell_of(config, memory, firing)
    if firing.runs:
        _forget(config, places, run, firing)
    write_status(config, root, datetime.datetime.now(datetime.timezone.utc))


def _forget(config: Config, places: Places, run: str, firing: Firing) -> None:
    """Cleans up, unless another run of the pipeline is under way: its steps hold no lock."""
    root = Path(config.kubeflow.root)
    try:
        at_work = others(config, places, {record["run"] for record in records(root)}, [config.name], run)
    except LockgateError as error:
        firing.problems.append(str(error))
        return
    if not at_work:
        forget(config, root, places, firing)


def _close_for(config: Config, places: Places, claim: Claim) -> None:
    """Does for a run that is over what its report has not done: writes its record, and tells. The caller keeps other
    firings out."""
    from pipeline.run import save  # draws the page
    from pipeline.runs import filled

    root = Path(config.kubeflow.root)
    memory = Memory(root, config.name)
    record = begun_record(config, claim.run, _told(places, claim), claim, ENDED)
    try:
        filled(record, places)
    except Exception:  # of what it left, something is half there; that must not hold up the next run
        logging.exception("of run %s there is no more than this", claim.run)
    if is_damaged(record):
        set_aside(memory, claim.fingerprint, record)
    save(record)
    firing = Firing(runs=[{**record, "fingerprint": claim.fingerprint}])
    firing.saw(standing(config, root, memory.load()))
    tell_of(config, memory, firing)
    for sentence in (f"run {claim.run} is over and had no record: {record['state']}", *firing.problems):
        print(f"lockgate: {sentence}", flush=True)


def _told(places: Places, claim: Claim) -> Told:
    """What MLMD says of a run that has taken a span; nothing, where none of its steps reached MLMD."""
    try:
        return told_of(connection(places.metadata), claim.run)
    except UnknownRun:
        began = claim.since.timestamp()
        return Told(
            began=began,
            ended=began,
            span=claim.span,
            refused="",
            cause="",
            failed="",
            error="",
            error_cause="",
            finished=False,
            nodes=[],
        )
