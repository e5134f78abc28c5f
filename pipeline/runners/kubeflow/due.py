"""What is due, for a run whose steps are containers: which span it takes, and what is to be done once it has ended.

The span is taken, and given back, in the schedule's state on the volume. A run that ended without a record (its report
did not run) holds its span until MLMD has had no sign of it for as long as the longest step may take.
"""

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.common.errors import ConfigError, DataError, Interrupted, LockgateError
from components.common.mlmd import connection
from components.example_gen.arrivals import require_unchanged
from pipeline.config import Config
from pipeline.places import Places
from pipeline.runners.kubeflow.config import DEFAULT
from pipeline.runners.kubeflow.settings import read
from pipeline.runners.kubeflow.shared import signs_of_life
from pipeline.runs import records
from pipeline.schedule.claim import claimed_by, give_back, take
from pipeline.schedule.due import is_damaged
from pipeline.schedule.firing import AT_WORK, Firing, forget, set_aside, standing, tell_of
from pipeline.schedule.state import Claim, Memory
from pipeline.schedule.status import write_status
from pipeline.spans import NEWEST

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
        since = now.timestamp() - longest(config)
        return claim.since.timestamp() > since or claim.run in signs_of_life(connection(metadata), config.name, since)

    taken = take(config, Path(config.kubeflow.root), run, now, under_way)
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


def longest(config: Config) -> float:
    """Seconds after which a run that gave no sign of life has ended."""
    return max(config.kubeflow.step(kind).timeout_seconds for kind in (DEFAULT, *config.kubeflow.steps))


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
            _follow(config, places, memory, firing)
        give_back(memory, run)
    return firing


def _follow(config: Config, places: Places, memory: Memory, firing: Firing) -> None:
    """Names what is left out, tells, cleans up, and brings the status page up to date."""
    root = Path(config.kubeflow.root)
    try:
        firing.saw(standing(config, root, memory.load()))
    except DataError as error:
        firing.problems.append(str(error))
    tell_of(config, memory, firing)
    if firing.runs:
        _forget(config, places, firing)
    write_status(config, root, datetime.datetime.now(datetime.timezone.utc))


def _forget(config: Config, places: Places, firing: Firing) -> None:
    """Cleans up, unless a run of the pipeline without a record is under way: its steps hold no lock."""
    root = Path(config.kubeflow.root)
    since = datetime.datetime.now(datetime.timezone.utc).timestamp() - longest(config)
    try:
        others = signs_of_life(connection(places.metadata), config.name, since)
        others -= {record["run"] for record in records(root)}
    except LockgateError as error:
        firing.problems.append(str(error))
        return
    if not others:
        forget(config, root, places, firing)
