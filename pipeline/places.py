"""Where a root keeps what pipelines share and leave."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.config import Config


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where a pipeline keeps things: artifacts (a folder, or in a cluster `s3://…` or `gs://…`), MLMD (see
    `mlmd.connection`), the ledger, the journals of private training, the count of what `holdout` decided, and the
    serving folder."""

    artifacts: str
    metadata: str
    ledger: str
    journals: Path
    decisions: Path
    serving: Path


def places_of(root: Path, pipeline: str) -> Places:
    """The places of the pipeline of that name; all but its serving folder are its root's."""
    return Places(
        artifacts=str(root / "artifacts"),
        metadata=metadata_of(root),
        ledger=ledger_of(root),
        journals=root / "journals",
        decisions=root / "holdout.sqlite",
        serving=root / "serving" / pipeline,
    )


def places_in_cluster(config: Config) -> Places:
    """The places of a configuration's pipeline on Kubeflow: the volume is its root, and servers keep the rest. What is
    on the machine that compiles has no part in it."""
    cluster = config.kubeflow
    root = Path(cluster.root)
    there = places_of(root, config.name)
    return replace(
        there,
        artifacts=cluster.artifacts or there.artifacts,
        metadata=cluster.metadata,
        ledger=cluster.ledger or _ledger_file(root),
    )


def metadata_of(root: Path) -> str:
    """A root's MLMD: a file, which is not there before the first run."""
    return str(root / "metadata.sqlite")


def ledger_of(root: Path) -> str:
    """Where a root's ledger is: a server, if LOCKGATE_LEDGER names one."""
    return os.environ.get("LOCKGATE_LEDGER") or _ledger_file(root)


def _ledger_file(root: Path) -> str:
    return str(root / "ledger.sqlite")
