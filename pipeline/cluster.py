"""`--cluster`: commands that work on what a cluster's runs keep, from a pod that reaches it."""

import enum
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.common.errors import ConfigError
from pipeline.config import Config
from pipeline.guards import quiet_imports
from pipeline.places import Places, places_in_cluster, places_of


class Runs(enum.Enum):
    """Which runs must not be at work meanwhile: none of them, the pipeline's own, or those of all pipelines that share
    its MLMD."""

    NONE, OWN, ALL = range(3)


@contextmanager
def placed(config: Config, root: Path, in_cluster: bool, without: Runs) -> Iterator[tuple[Path, Places]]:
    """Gives the root that a command works on, and the places of a configuration's pipeline there.

    On a machine they are those of `--root`, which the command locks. In a cluster they are those of the table
    `kubeflow`, whose runs hold no lock; this process learns how S3 is reached, unless its environment says so.

    Args:
        config: of the pipeline. root: of `--root`. in_cluster: whether it is the cluster's. without: which runs of the
            cluster must not be at work meanwhile.

    Raises:
        ConfigError: the cluster's volume is not mounted. ServiceError: such a run is at work, or MLMD is away.
    """
    quiet_imports()
    if not in_cluster:
        place = root.expanduser().resolve()
        yield place, places_of(place, config.name)
        return
    place, places = Path(config.kubeflow.root), places_in_cluster(config)
    if not place.is_dir():
        must = "be the folder at which the cluster's volume is mounted"
        raise ConfigError(f"with `--cluster`, `kubeflow.root` must {must}. Received: {place}, which is no folder")
    _tell_s3(config)
    from pipeline.runners.kubeflow.aside import answered, undisturbed

    with answered(places):
        if without is Runs.NONE:
            yield place, places
            return
        with undisturbed(config, places, everybody=without is Runs.ALL):
            yield place, places


def _tell_s3(config: Config) -> None:
    if not config.kubeflow.artifacts.startswith("s3://"):
        return
    from components.common import s3

    server = config.kubeflow.s3
    said = {s3.ENDPOINT: server.endpoint, s3.REGION: server.region, s3.ADDRESSING: server.addressing}
    for name in (name for name, value in said.items() if value):
        os.environ.setdefault(name, said[name])
