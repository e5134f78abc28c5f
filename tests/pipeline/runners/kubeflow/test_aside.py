"""Commands on what a cluster keeps, beside the cluster's runs."""

import json
from dataclasses import replace

import filelock
import pytest
from ml_metadata import metadata_store

from components.common.errors import ServiceError
from components.common.mlmd import connection
from pipeline.config import Config, load
from pipeline.runners.kubeflow import aside
from pipeline.runners.kubeflow.aside import answered, undisturbed
from pipeline.schedule.claim import take
from pipeline.schedule.firing import AT_WORK
from tests.pipeline.schedule.mlmd_runs import PIPELINE, MlmdRuns


@pytest.fixture
def nights(tmp_path) -> MlmdRuns:
    return MlmdRuns(tmp_path, str(tmp_path / "root" / "artifacts"))


@pytest.fixture
def config(nights) -> Config:
    return load("tiny", [f"name={PIPELINE}", f"kubeflow.root={nights.root}"])


def record(nights: MlmdRuns, run: str) -> None:
    folder = nights.root / "runs" / run
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"run": run}))


def test_a_run_that_has_ended_with_a_record_or_is_gone_does_not_disturb(nights, config, kubernetes):
    nights.ran("ended"), nights.ran("terminated"), nights.ran("idle", idle=True)
    record(nights, "ended")
    kubernetes.has("workflows", "terminated", "Failed")
    with undisturbed(config, nights.places, everybody=True):
        pass


def test_a_run_with_a_record_that_somebody_began_anew_disturbs(nights, config, kubernetes):
    nights.ran("retried")
    record(nights, "retried")
    kubernetes.has("workflows", "retried", "Running")
    assert refused(config, nights).endswith("Received: retried")


def refused(config: Config, nights: MlmdRuns, everybody: bool = False, **changed: str) -> str:
    """The line with which a command is refused before it begins."""
    with pytest.raises(ServiceError) as refusal:  # noqa: SIM117 - what must not be reached is inside of both
        with undisturbed(config, replace(nights.places, **changed), everybody=everybody):
            raise AssertionError("the command must not begin")
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_a_run_at_work_refuses_and_is_named(nights, config, kubernetes):
    nights.ran("between-two-steps")
    kubernetes.has("workflows", "between-two-steps", "Running")
    said = refused(config, nights)
    assert "wait for its end, or terminate it" in said and said.endswith("Received: between-two-steps")


def test_where_kubernetes_does_not_say_a_run_without_a_record_counts(nights, config):
    nights.ran("run-1")
    assert refused(config, nights).endswith("Received: run-1")


def test_another_pipelines_run_counts_where_everybodys_do(nights, config, kubernetes):
    nights.ran("of-another")
    kubernetes.has("workflows", "of-another", "Running")
    other = replace(config, name="another")
    with undisturbed(other, nights.places, everybody=False):
        pass
    assert refused(other, nights, everybody=True).endswith("Received: of-another")


def test_a_run_that_begins_meanwhile_is_told_afterwards(nights, config, kubernetes):
    done = []
    with pytest.raises(ServiceError, match="Do this again once it is over. Received: late"):  # noqa: SIM117
        with undisturbed(config, nights.places, everybody=True):
            nights.ran("late")
            kubernetes.has("workflows", "late", "Running")
            done.append(1)
    assert done


def test_a_firing_that_comes_meanwhile_takes_nothing_and_one_under_way_refuses(nights, config, monkeypatch):
    with undisturbed(config, nights.places, everybody=True):
        now = None
        assert take(config, nights.root, "run-1", now, lambda claim: True, lambda claim: None).idle == AT_WORK
    monkeypatch.setattr(aside, "_PATIENCE_SECONDS", 0.1)
    with filelock.FileLock(nights.root / "schedule" / f"{PIPELINE}.lock"):
        assert "no firing may be under way" in refused(config, nights)


def test_before_its_first_run_an_empty_mlmd_is_no_obstacle(tmp_path, nights, config):
    places = replace(nights.places, metadata=str(tmp_path / "empty.sqlite"))
    metadata_store.MetadataStore(connection(places.metadata))
    with undisturbed(config, places, everybody=True):
        pass


def test_an_mlmd_that_is_away_is_one_line(nights, config, monkeypatch):
    monkeypatch.setenv("LOCKGATE_METADATA_USER", "pipeline")
    for place in ("mysql://127.0.0.1:9/mlmd", "grpc://127.0.0.1:9"):
        assert f"MLMD at {place} must answer" in refused(config, nights, metadata=place)


def test_what_is_no_fault_of_mlmd_passes_through(nights):
    with pytest.raises(RuntimeError, match="of another kind"), answered(nights.places):
        raise RuntimeError("of another kind")
