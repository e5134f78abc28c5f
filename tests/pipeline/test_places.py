"""Where things are kept, here and in a cluster."""

from pathlib import Path

import pytest

from components.common.errors import ConfigError
from pipeline.config import load
from pipeline.places import ledger_of, places_in_cluster, places_of

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


def test_decisions_are_counted_beside_a_ledger_on_a_server_which_takes_over_the_roots_file():
    here = places_of(Path("/here"), "tiny")
    assert (here.decisions, here.counted) == (SERVER, "/here/holdout.sqlite")
    there = places_in_cluster(load("tiny", ["kubeflow.root=/mnt/there"]))
    assert (there.decisions, there.counted) == ("/mnt/there/holdout.sqlite", "")
    there = places_in_cluster(load("tiny", ["kubeflow.root=/mnt/there", f"kubeflow.ledger={SERVER}"]))
    assert (there.decisions, there.counted) == (SERVER, "/mnt/there/holdout.sqlite")


@pytest.mark.parametrize(
    "place", ["postgresql://me:hunter2@h/d", "postgresql://me@h/d?password=hunter2", "oracle://h/d"]
)
def test_a_ledger_that_the_environment_names_as_it_must_not_is_refused_before_anything_runs(place, monkeypatch):
    monkeypatch.setenv("LOCKGATE_LEDGER", place)
    with pytest.raises(ConfigError, match="^a ledger must ") as refused:
        places_of(Path("/here"), "tiny")
    assert "hunter2" not in str(refused.value)


def test_a_bucket_holds_artifacts_and_the_volume_the_rest():
    on_volume = places_in_cluster(load("tiny"))
    in_bucket = places_in_cluster(load("tiny", ["kubeflow.artifacts=s3://bucket/some/prefix"]))
    assert on_volume.artifacts == "/mnt/lockgate/artifacts" and in_bucket.artifacts == "s3://bucket/some/prefix"
    for kept in ("journals", "decisions", "serving", "ledger"):
        assert getattr(in_bucket, kept) == getattr(on_volume, kept)
        assert Path(getattr(in_bucket, kept)).is_relative_to("/mnt/lockgate")
