"""What is done when a run that was to take what is due has its record, against a sqlite MLMD."""

import datetime
import json
from pathlib import Path

import filelock
import pytest
import tensorflow as tf

from components.common.mlmd import connection
from pipeline.config import load
from pipeline.runners.kubeflow import alive
from pipeline.runners.kubeflow.alive import longest
from pipeline.runners.kubeflow.config import BUILT_IN
from pipeline.runners.kubeflow.due import ENDED, claim_of, close, mark_damaged, take_due
from pipeline.runners.kubeflow.settings import written
from pipeline.runners.kubeflow.shared import signs_of_life
from pipeline.runs import blank
from pipeline.schedule.firing import AT_WORK, NOTHING_NEW
from pipeline.schedule.state import Claim, Memory, State
from pipeline.schedule.status import status
from pipeline.spans import NEWEST
from tests.pipeline.schedule.mlmd_runs import PIPELINE, MlmdRuns

NOW = datetime.datetime(2026, 11, 27, 4, tzinfo=datetime.timezone.utc)


@pytest.fixture
def nights(tmp_path):
    (tmp_path / "data").mkdir()
    return MlmdRuns(tmp_path, str(tmp_path / "root" / "artifacts"))


@pytest.fixture
def config(nights, tmp_path):
    told = [f"schedule.command=tee -a {tmp_path / 'told'}", "retention.runs=1"]
    own = [f"name={PIPELINE}", f"data.root={tmp_path / 'data'}", f"kubeflow.root={nights.root}"]
    roles = [f"data.roles.{role}=span-{{SPAN}}/{role}/*" for role in ("train", "public", "validation", "holdout")]
    return load("tiny", [*own, *roles, *told])


@pytest.fixture
def memory(nights):
    memory = Memory(nights.root, PIPELINE)
    memory.save(State(claim=Claim(run="run-3", span=7, fingerprint="f", since=NOW)))
    return memory


def arrive(tmp_path, span: int) -> None:
    """A whole span."""
    for role in ("train", "public", "validation", "holdout"):
        file = tmp_path / "data" / f"span-{span}" / role / "a"
        file.parent.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(file)) as writer:
            writer.write(b"an example")


def told_of(tmp_path) -> list[tuple]:
    """What `schedule.command` was given."""
    file = tmp_path / "told"
    texts = file.read_text().replace("}{", "}\n{").splitlines() if file.exists() else []
    return [(m["outcome"], m["span"], m["error"]) for m in map(json.loads, texts)]


def record_of(config, run: str, **changed) -> dict:
    """A run's record, on the volume."""
    record = {**blank(config, Path(config.kubeflow.root), run, 7, NOW), **changed}
    folder = Path(record["report"]).parent
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(record))
    return record


def test_it_tells_cleans_up_and_gives_the_span_back(nights, config, memory, tmp_path):
    made = [Path(nights.ran(f"run-{n}")) for n in range(1, 4)]
    for n in (1, 2):
        record_of(config, f"run-{n}", exit_code=0)
    record = record_of(config, "run-3", error="the disk is full")
    firing = close(config, nights.places, "run-3", record, "")
    assert firing.problems == [] and firing.removed_bytes == 7 and [p.exists() for p in made] == [False, True, True]
    told = json.loads((tmp_path / "told").read_text())
    assert (told["outcome"], told["span"], told["error"]) == ("failed", 7, "the disk is full")
    assert memory.load().claim is None and memory.load().fired > NOW
    assert "the disk is full" in (nights.root / "status.html").read_text()


def test_it_does_not_clean_up_while_another_run_is_under_way(nights, config, memory):
    made = [Path(nights.ran(f"run-{n}")) for n in range(1, 4)]
    nights.ran("idle", idle=True, makes=False)
    record_of(config, "run-1", exit_code=0)
    firing = close(config, nights.places, "run-3", record_of(config, "run-3", exit_code=0), "")
    assert firing.removed_bytes == 0 and all(p.exists() for p in made) and memory.load().claim is None
    record_of(config, "run-2", exit_code=0)
    close(config, nights.places, "run-3", json.loads((nights.root / "runs/run-3/run.json").read_text()), "")
    assert [p.exists() for p in made] == [False, False, True]


def test_where_nothing_was_due_nothing_is_cleaned_up_and_where_another_is_at_work_nothing_is_told(
    nights, config, memory, tmp_path
):
    made = [Path(nights.ran(f"run-{n}")) for n in (1, 2)]
    role = tmp_path / "data" / "span-9" / "train"
    role.mkdir(parents=True)
    (role / "a").write_bytes(b"cut off")
    with filelock.FileLock(nights.root / "schedule" / f"{PIPELINE}.lock"):
        assert close(config, nights.places, "run-5", None, AT_WORK).problems == []
    assert close(config, nights.places, "run-5", None, AT_WORK).idle == AT_WORK
    assert memory.load().fired is None and memory.load().claim.run == "run-3"
    firing = close(config, nights.places, "run-5", None, NOTHING_NEW)
    assert [w["span"] for w in firing.waiting] == ["span-9"] and all(p.exists() for p in made)
    assert memory.load().fired > NOW and memory.load().claim.run == "run-3"


def test_only_what_its_data_stopped_sets_the_claimed_files_aside(config, memory):
    claim = claim_of(config, "run-3")
    assert (claim.span, claim_of(config, "run-4")) == (7, None)
    mark_damaged(config, claim, {"cause": "service", "error": "away"})
    assert memory.load().damaged == {}
    mark_damaged(config, claim, {"cause": "data", "error": "an image is cut off"})
    assert memory.load().damaged == {"f": "an image is cut off"}


def test_a_run_gives_a_sign_as_often_as_its_longest_step_may_take_and_another_try_may_begin():
    one_hour, two_hours = "kubeflow.steps.default.timeout_seconds=3600", "kubeflow.steps.DPTrainer.timeout_seconds=7200"
    assert longest(load("tiny")) == BUILT_IN.timeout_seconds + 1800
    assert longest(load("tiny", [one_hour])) == 3600 + 1800
    assert longest(load("tiny", [one_hour, two_hours])) == 7200 + 1800


def test_a_run_that_was_terminated_frees_its_span_at_once_and_gets_its_record(nights, config, kubernetes, tmp_path):
    arrive(tmp_path, 7)
    settings, place = written(config), nights.places.metadata
    kubernetes.has("workflows", "run-3", "Running")
    assert take_due(settings, "run-3", place) == ("7", "")
    nights.ran("run-3")
    assert take_due(settings, "run-4", place) == (NEWEST, AT_WORK)  # between two steps
    kubernetes.objects["workflows"].clear()
    kubernetes.has("pods", "run-3", "Running", deleted=True)
    assert take_due(settings, "run-4", place) == (NEWEST, AT_WORK)
    kubernetes.objects["pods"].clear()
    assert take_due(settings, "run-4", place) == ("7", "")

    record = json.loads((nights.root / "runs" / "run-3" / "run.json").read_text())
    assert (record["state"], record["error"], record["exit_code"], record["data"]["span"]) == ("failed", ENDED, 1, 7)
    assert len(record["nodes"]) == 1 and Path(record["report"]).read_text().startswith("<!doctype html>")
    assert told_of(tmp_path) == [("failed", 7, ENDED)]
    found = status(config, nights.root, datetime.datetime.now(datetime.timezone.utc))
    assert [(row["run"], row["state"], ENDED in row["why"]) for row in found["runs"]] == [("run-3", "failed", True)]
    assert Memory(nights.root, PIPELINE).load().claim.run == "run-4"


def test_a_run_that_ended_before_mlmd_heard_of_it_gets_a_record_too(nights, config, kubernetes, tmp_path):
    arrive(tmp_path, 7)
    assert take_due(written(config), "run-3", nights.places.metadata) == ("7", "")
    assert take_due(written(config), "run-4", nights.places.metadata) == ("7", "")
    record = json.loads((nights.root / "runs" / "run-3" / "run.json").read_text())
    assert (record["error"], record["nodes"], record["data"]["span"]) == (ENDED, [], 7)


def test_what_is_damaged_is_not_told_again_when_a_run_is_given_its_record(nights, config, kubernetes, tmp_path):
    arrive(tmp_path, 7), arrive(tmp_path, 9)
    (tmp_path / "data" / "span-9" / "train" / "a").write_bytes(b"cut off")
    assert take_due(written(config), "run-3", nights.places.metadata) == ("7", "")
    close(config, nights.places, "run-0", None, NOTHING_NEW)
    assert [outcome for outcome, _, _ in told_of(tmp_path)] == ["damaged"]
    assert take_due(written(config), "run-4", nights.places.metadata) == ("7", "")
    close(config, nights.places, "run-0", None, NOTHING_NEW)
    assert [outcome for outcome, _, _ in told_of(tmp_path)] == ["damaged", "failed"]


@pytest.mark.parametrize("forbidden", ["workflows", "pods"])
def test_where_kubernetes_does_not_say_a_span_is_held_as_long_as_a_step_may_take_and_one_line_says_so(
    nights, config, kubernetes, tmp_path, capsys, monkeypatch, forbidden
):
    arrive(tmp_path, 7)
    kubernetes.allowed.discard(forbidden)
    settings, place = written(config), nights.places.metadata
    assert take_due(settings, "run-3", place) == ("7", "")
    for _ in range(2):
        assert take_due(settings, "run-4", place) == (NEWEST, AT_WORK)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "told by time alone" in line]
    assert line.startswith("lockgate: ") and f"{forbidden}. Received: 403" in line
    monkeypatch.setattr(alive, "longest", lambda config: 0.0)
    assert take_due(settings, "run-4", place) == ("7", "")


def test_a_rollback_is_no_run_that_may_be_at_work(nights):
    nights.ran("run-1"), nights.ran("rollback-20261128-1", makes=False), nights.ran("run-2", idle=True, makes=False)
    assert signs_of_life(connection(nights.places.metadata), PIPELINE, 0.0) == {"run-1"}


def test_another_run_that_was_terminated_does_not_keep_it_from_cleaning_up(nights, config, memory, kubernetes):
    made = [Path(nights.ran(f"run-{n}")) for n in range(1, 4)]
    for n in (1, 3):
        record_of(config, f"run-{n}", exit_code=0)
    record = json.loads((nights.root / "runs/run-3/run.json").read_text())
    kubernetes.has("workflows", "run-2", "Running")
    assert close(config, nights.places, "run-3", record, "").removed_bytes == 0 and all(p.exists() for p in made)
    kubernetes.objects["workflows"].clear()
    kubernetes.has("workflows", "run-2", "Failed")
    kubernetes.has("workflows", "run-3", "Running")  # this step is a part of it
    assert close(config, nights.places, "run-3", record, "").removed_bytes == 14
