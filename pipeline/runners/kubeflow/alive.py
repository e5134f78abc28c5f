"""Which runs of a pipeline may still be at work: as Kubernetes says, and where it does not say, by the time since MLMD
had a sign of them."""

import datetime
import functools
import sys
from collections.abc import Collection

from components.common.mlmd import connection
from pipeline.config import Config
from pipeline.places import Places
from pipeline.runners.kubeflow import pods
from pipeline.runners.kubeflow.config import DEFAULT
from pipeline.runners.kubeflow.shared import signs_of_life
from pipeline.schedule.state import Claim

_BETWEEN_SECONDS = 1800  # ten minutes for the end of a try, five for the longest pause, and a wait as long


def longest(config: Config) -> float:
    """Seconds after which a run that gave no sign of life has ended: a try may take its time, and before the next sign
    the pause comes, and the wait for a node and an image."""
    return _BETWEEN_SECONDS + max(config.kubeflow.step(k).timeout_seconds for k in (DEFAULT, *config.kubeflow.steps))


def holds(config: Config, metadata: str, claim: Claim) -> bool:
    """Whether the run that has taken a span, and has no record, may still be at work.

    Args:
        config: of its pipeline. metadata: place of MLMD. claim: what it has taken.

    Raises:
        ServiceError: MLMD is away.
    """
    try:
        return pods.at_work(claim.run)
    except pods.Unknown as unknown:
        _say_once(str(unknown))
    since = _since(config)
    return claim.since.timestamp() > since or claim.run in signs_of_life(connection(metadata), config.name, since)


def others(config: Config, places: Places, recorded: set[str], pipelines: Collection[str], own: str = "") -> set[str]:
    """The runs that may still be at work.

    Args:
        config, places: of the pipeline that asks. recorded: ids of runs that have a record: they have ended, unless
            Kubernetes says that somebody began them anew. pipelines: names of those whose runs count. own: id of the
            run that asks, if one does.

    Raises:
        ServiceError: MLMD is away.
    """
    database, since = connection(places.metadata), _since(config)
    seen = set().union(*(signs_of_life(database, name, since) for name in pipelines)) - {own}
    try:
        return {run for run in seen if pods.at_work(run)}
    except pods.Unknown as unknown:
        _say_once(str(unknown))
        return seen - recorded


def _since(config: Config) -> float:
    return datetime.datetime.now(datetime.timezone.utc).timestamp() - longest(config)


@functools.cache
def _say_once(reason: str) -> None:
    print(f"lockgate: whether a run has ended is told by time alone. {reason}", file=sys.stderr, flush=True)
