"""What a root forgets, in a folder and in a bucket: asked of a real MLMD, written as TFX writes it."""

import json
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb

from components.common import remote
from components.common.mlmd import connection
from pipeline.config import load
from pipeline.runners.kubeflow.shared import signs_of_life
from pipeline.schedule.retention import clean
from tests.pipeline.schedule.mlmd_runs import PIPELINE, SIZE, MlmdRuns
from tests.s3_server import BUCKET


def cleaned(nights: MlmdRuns, dry_run: bool = False) -> list[tuple[str, int]]:
    config = load("tiny", [f"name={PIPELINE}", "retention.runs=2"])
    return [(r["path"], r["bytes"]) for r in clean(config, nights.root, nights.places, dry_run).removed]


def ran(nights: MlmdRuns, count: int) -> list[str]:
    """So many runs that decided; gives what they made."""
    for n in range(count):
        folder = nights.root / "runs" / f"run-{n}"
        folder.mkdir(parents=True)
        told = {"run": folder.name, "config": PIPELINE, "exit_code": 0, "cause": None, "data": {"span": n}}
        (folder / "run.json").write_text(json.dumps(told))
    return [nights.ran(f"run-{n}") for n in range(count)]


def there(uri: str) -> bool:
    return remote.exists(uri) if remote.is_remote(uri) else Path(uri).exists()


@pytest.fixture(params=["folder", "bucket"])
def nights(request, tmp_path) -> MlmdRuns:
    if request.param == "folder":
        return MlmdRuns(tmp_path, str(tmp_path / "root" / "artifacts"))
    request.getfixturevalue("bucket")
    return MlmdRuns(tmp_path, f"s3://{BUCKET}/lockgate/artifacts")


def test_what_only_old_runs_made_goes_and_runs_that_found_nothing_to_do_do_not_count(nights):
    made = ran(nights, 4)
    nights.ran("idle-1", idle=True, makes=False), nights.ran("idle-2", idle=True, makes=False)
    assert cleaned(nights, dry_run=True) == [(uri, SIZE) for uri in made[:2]]
    assert [there(uri) for uri in made] == [True] * 4
    assert cleaned(nights) == [(uri, SIZE) for uri in made[:2]]
    assert [there(uri) for uri in made] == [False, False, True, True]
    assert [a.state for a in nights.store.get_artifacts()] == [pb.Artifact.DELETED] * 2 + [pb.Artifact.LIVE] * 2
    assert cleaned(nights) == []


def test_what_a_kill_left_of_a_removal_goes_at_the_next_one(nights):
    made = ran(nights, 3)
    marked = nights.store.get_artifacts()[0]
    marked.state = pb.Artifact.DELETED
    nights.store.put_artifacts([marked])
    if remote.is_remote(made[0]):
        opened, key = remote._opened(made[0])
        opened.delete(f"{key}/{remote.MANIFEST}")
        assert cleaned(nights) == [(made[0], 0)]
        assert not opened.keys(key) and opened.keys("lockgate/artifacts/Trainer/model/2/")
    else:
        assert cleaned(nights) == [(made[0], SIZE)]


def test_runs_that_give_a_sign_of_life_are_known_but_idle_ones_are_not(tmp_path):
    nights = MlmdRuns(tmp_path, str(tmp_path / "root" / "artifacts"))
    nights.ran("run-1"), nights.ran("idle-1", idle=True)
    (last,) = (e for e in nights.store.get_executions() if e.id == 1)
    moment, place = last.last_update_time_since_epoch / 1000, connection(nights.places.metadata)
    assert signs_of_life(place, PIPELINE, moment) == {"run-1"}
    assert signs_of_life(place, PIPELINE, moment + 60) == signs_of_life(place, "another", moment) == set()
