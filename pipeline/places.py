"""Where a root keeps what pipelines share and leave."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from components.common.server_urls import LEDGER, server_url
from pipeline.config import Config


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where a pipeline keeps things: artifacts (a folder, or in a cluster `s3://…` or `gs://…`), MLMD (see
    `mlmd.connection`), the ledger, the journals of private training, the count of what `holdout` decided (beside the
    ledger where that is on a server, else a file), the file that it was counted in before, if there is another, and the
    serving folder."""

    artifacts: str
    metadata: str
    ledger: str
    journals: Path
    decisions: str
    counted: str
    serving: Path


def places_of(root: Path, pipeline: str) -> Places:
    """The places of the pipeline of that name; all but its serving folder are its root's."""
    ledger = ledger_of(root)
    return Places(
        artifacts=str(root / "artifacts"),
        metadata=metadata_of(root),
        ledger=ledger,
        journals=root / "journals",
        **_count_beside(ledger, root),
        serving=root / "serving" / pipeline,
    )


def places_in_cluster(config: Config) -> Places:
    """The places of a configuration's pipeline on Kubeflow: the volume is its root, and servers keep the rest. What is
    on the machine that compiles has no part in it."""
    cluster = config.kubeflow
    root = Path(cluster.root)
    there = places_of(root, config.name)
    ledger = cluster.ledger or _ledger_file(root)
    return replace(
        there,
        artifacts=cluster.artifacts or there.artifacts,
        metadata=cluster.metadata,
        ledger=ledger,
        **_count_beside(ledger, root),
    )


def metadata_of(root: Path) -> str:
    """A root's MLMD: a file, which is not there before the first run."""
    return str(root / "metadata.sqlite")


def ledger_of(root: Path) -> str:
    """Where a root's ledger is: a server, if LOCKGATE_LEDGER names one.

    Raises:
        ConfigError: it names one as it must not.
    """
    named = os.environ.get("LOCKGATE_LEDGER") or _ledger_file(root)
    if "://" in named:
        server_url(named, LEDGER)
    return named


def _count_beside(ledger: str, root: Path) -> dict[str, str]:
    """Where decisions are counted, and where they were counted before."""
    file = str(root / "holdout.sqlite")
    return {"decisions": ledger, "counted": file} if "://" in ledger else {"decisions": file, "counted": ""}


def _ledger_file(root: Path) -> str:
    return str(root / "ledger.sqlite")
