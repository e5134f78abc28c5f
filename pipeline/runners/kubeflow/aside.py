"""What surrounds a command that works on a cluster's volume, bucket and MLMD beside the cluster's runs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ml_metadata import errors

from components.common.errors import ServiceError
from components.common.mlmd import connection
from pipeline.config import Config
from pipeline.places import Places
from pipeline.runners.kubeflow.alive import others
from pipeline.runners.kubeflow.shared import pipelines_of, signs_of_life
from pipeline.runs import records
from pipeline.schedule.firing import AT_WORK
from pipeline.schedule.state import Memory

_PATIENCE_SECONDS = 60.0
_APART_SECONDS = 300.0  # by which the clocks of two machines may differ
_UNREACHED = "connection to Metadata storage"  # what TFX says where MLMD's own client raised something


@contextmanager
def answered(places: Places) -> Iterator[None]:
    """Makes one line of what MLMD's clients raise when it is away.

    Raises:
        ServiceError: it is.
    """
    try:
        yield
    except (errors.StatusError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and _UNREACHED not in str(error):
            raise
        reason = " ".join(str(error).split())
        raise ServiceError(f"MLMD at {places.metadata} must answer. Received: {reason}") from None


@contextmanager
def undisturbed(config: Config, places: Places, everybody: bool) -> Iterator[None]:
    """Makes sure that no run is at work while the context is open: their steps hold no lock. A firing of the pipeline
    that comes meanwhile takes nothing, and says that another one is at work.

    Args:
        config, places: of the pipeline. everybody: runs of the other pipelines that share its MLMD count too.

    Raises:
        ServiceError: one is at work; or one began meanwhile, which is known only afterwards, and may have seen what was
            there before. MLMD is away.
    """
    root, database = Path(config.kubeflow.root), connection(places.metadata)
    since = time.time() - _APART_SECONDS

    def seen() -> set[str]:
        return set().union(*(signs_of_life(database, name, since) for name in pipelines()))

    def pipelines() -> set[str]:
        return {config.name} | (pipelines_of(database) if everybody else set())

    with answered(places), Memory(root, config.name).alone(_PATIENCE_SECONDS) as free:
        if not free:
            raise ServiceError(f"no firing may be under way: wait for its end. Received: {AT_WORK}")
        at_work = others(config, places, {record["run"] for record in records(root)}, pipelines())
        if at_work:
            must = "no run may be at work: wait for its end, or terminate it (lockgate kubeflow terminate)"
            raise ServiceError(f"{must}. Received: {', '.join(sorted(at_work))}")
        before = seen()
        yield
        begun = seen() - before
    if begun:
        must = "no run may begin meanwhile: it may have read what was there before. Do this again once it is over"
        raise ServiceError(f"{must}. Received: {', '.join(sorted(begun))}")
