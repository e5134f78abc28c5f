"""Where things are kept, here and in a cluster."""

from pathlib import Path

import pytest

from pipeline.config import load
from pipeline.places import ledger_of, places_in_cluster

SERVER = "postgresql://lockgate@of.this.machine/lockgate"


@pytest.fixture(autouse=True)
def ledger_of_this_machine(monkeypatch):
    monkeypatch.setenv("LOCKGATE_LEDGER", SERVER)


def test_a_clusters_ledger_is_its_own_whatever_the_compiling_machine_uses():
    assert ledger_of(Path("/here")) == SERVER
    places = places_in_cluster(load("tiny", ["kubeflow.root=/mnt/there"]))
    assert places.ledger == "/mnt/there/ledger.sqlite"
    configured = "kubeflow.ledger=mysql://lockgate@ledger/lockgate"
    assert places_in_cluster(load("tiny", [configured])).ledger == "mysql://lockgate@ledger/lockgate"


def test_a_bucket_holds_artifacts_and_the_volume_the_rest():
    on_volume = places_in_cluster(load("tiny"))
    in_bucket = places_in_cluster(load("tiny", ["kubeflow.artifacts=s3://bucket/some/prefix"]))
    assert on_volume.artifacts == "/mnt/lockgate/artifacts" and in_bucket.artifacts == "s3://bucket/some/prefix"
    for kept in ("journals", "decisions", "serving", "ledger"):
        assert getattr(in_bucket, kept) == getattr(on_volume, kept)
        assert Path(getattr(in_bucket, kept)).is_relative_to("/mnt/lockgate")
