"""What `clean` lets go and what it leaves, on roots that runs have filled."""

import dataclasses
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_metadata.proto import metadata_store_pb2 as pb
from tfx.types import standard_artifacts
from tfx.types.artifact_utils import deserialize_artifact

from components.common.errors import DataError, GateError, ServiceError
from components.common.settings import to_json
from components.example_gen.window import EarlierSpans
from components.gates.push import serving
from components.gates.push.parent import ServedParent
from components.gates.push.served import ServedModels
from pipeline.guards import locked
from pipeline.places import places_of
from pipeline.schedule import retention
from pipeline.schedule.kept import Lineage
from tests.pipeline.schedule.history import NODES, History
from tests.pipeline.schedule.history import settings as config_of


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "root"


def clean(config, root: Path, dry_run: bool = False) -> retention.Cleaned:
    return retention.clean(config, root, places_of(root, config.name), dry_run)


def history(root: Path, **policy) -> History:
    return History(root, config_of(root.parent / "data", **policy))


def uris(artifacts) -> list[str]:
    return [a.uri for a in artifacts]


def there(artifacts) -> list[bool]:
    return [Path(a.uri, "content").exists() for a in artifacts]


def test_it_removes_what_the_policy_lets_go_and_shows_it_before(root):
    past = history(root, runs=1, versions=2)
    for span, accuracy in ((1, 0.9), (2, 0.5), (3, 0.6), (4, 0.6)):
        past.run(span, accuracy=accuracy)
    before, known = past.files(), {a.id: a.state for a in past.store.get_artifacts()}
    dry = clean(past.config, root, dry_run=True)
    assert past.files() == before and {a.id: a.state for a in past.store.get_artifacts()} == known
    done = clean(past.config, root)
    assert (done.removed, done.kept_bytes) == (dry.removed, dry.kept_bytes)

    rows = {row["path"] for row in done.removed}
    gone = {path for path in before if rows & {path, *map(str, Path(path).parents)}}
    assert past.files() == {path: size for path, size in before.items() if path not in gone}
    logs = [str(root / "runs" / f"nightly-{n}" / "log.txt") for n in (1, 2, 3)]
    assert [row for row in done.removed if row["what"] == "log"] == [
        {"what": "log", "path": path, "bytes": 100} for path in logs
    ]
    assert done.bytes == sum(before[path] for path in gone) > 0
    assert there(past.artifacts("Model")) == [False, False, True, True]
    assert there(past.artifacts("Variant")) == [False, False, True, True]
    assert there(past.artifacts("Examples")) == [False, False, False, True]  # the newest run is whole
    assert there(past.artifacts("PushedModel")) == [True, False, True, True]  # the best push is still measured against
    assert all(there(past.artifacts(kind))[0] for kind in ("DataCheck", "PrivacyStatement"))
    found = past.store.get_artifacts()
    assert len(found) == len(known) and len(past.store.get_executions()) == 4 * len(NODES)
    assert {a.uri for a in found if a.state == pb.Artifact.DELETED} == {
        row["path"] for row in done.removed if row["what"] == "artifact"
    }
    assert clean(past.config, root).removed == []


def what_a_run_finds(past: History, span: int) -> dict[str, list[str]]:
    """Of what is not deleted, what the graph's resolvers take for a run on a span."""
    types = {t.id: t for t in past.store.get_artifact_types()}
    of = {
        kind: [deserialize_artifact(types[a.type_id], a) for a in past.artifacts(kind, live=True)]
        for kind in ("Examples", "DataCheck", "PushedModel", "Model")
    }
    own = standard_artifacts.Examples()
    own.set_int_custom_property("span", span)
    window = EarlierSpans(past.config.data.window, to_json(past.config.data)).resolve_artifacts(
        past.store, {"examples": [own], "earlier": of["Examples"], "checks": of["DataCheck"]}
    )
    base = ServedParent().resolve_artifacts(
        past.store, {"examples": [own], "pushed": of["PushedModel"], "base": of["Model"]}
    )
    served = ServedModels().resolve_artifacts(past.store, {"variants": [], "serving": of["PushedModel"], "best": []})
    found = {"earlier": window["earlier"], "base": base["base"], "serving": served["serving"], "best": served["best"]}
    return {key: [a.uri for a in artifacts] for key, artifacts in found.items()}


RUNS = st.lists(
    st.tuples(
        st.integers(1, 6),
        st.sampled_from(
            [("pushed", "Pusher"), ("refused", "Pusher"), ("refused", "ImportExampleGen"), ("failed", "DPTrainer")]
            + [("killed", "Evaluator"), ("pushed", "Pusher")]
        ),
        st.sampled_from([0.4, 0.5, 0.6]),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=25)
@given(
    runs=RUNS,
    policy=st.fixed_dictionaries(
        {"runs": st.integers(1, 3), "versions": st.integers(1, 3), "window": st.integers(0, 3)}
    ),
    waiting=st.sets(st.integers(1, 7), max_size=2),
    rolled_back=st.booleans(),
)
def test_the_next_run_finds_what_it_would_have_found(runs, policy, waiting, rolled_back):
    """Whatever ran before: for every span that is to come, the graph's resolvers take the same, and it is whole."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve() / "root"
        (root.parent / "data").mkdir()
        past = history(root, **policy)
        decided = set()
        for span, (ends, last), accuracy in runs:
            past.run(span, ends, last, accuracy)
            decided |= {span} if ends in ("pushed", "refused") else set()
        for span in waiting:
            (root.parent / "data" / f"span-{span}" / "t").mkdir(parents=True)
            (root.parent / "data" / f"span-{span}" / "t" / "images").touch()
        if rolled_back and sum(ends == "pushed" for _, (ends, _), _ in runs) > 1:
            past.roll_back()
        coming = {span for span in waiting if span not in decided} | {9}
        before = {span: what_a_run_finds(past, span) for span in coming}
        clean(past.config, root)
        for span in coming:
            assert what_a_run_finds(past, span) == before[span]
            assert all(Path(uri, "content").exists() for found in before[span].values() for uri in found)
        whole = [a for a in past.store.get_artifacts() if a.state == pb.Artifact.LIVE]
        assert all(there(whole))
        assert clean(past.config, root).removed == []


class Killed(BaseException):
    """The process is no more."""


def test_a_kill_at_any_point_leaves_nothing_that_is_taken_for_whole(root, monkeypatch):
    past = history(root, runs=1)
    for span in (1, 2):
        past.run(span)
        past.journal(f"of-{span}")
    expected = clean(past.config, root, dry_run=True)
    real, kills = shutil.rmtree, 0

    def dies_half_way(path):
        for file in sorted(Path(path).iterdir()):
            file.unlink()  # the count of a journal's steps before its state
            break
        else:
            return real(path)
        raise Killed

    monkeypatch.setattr(retention.shutil, "rmtree", dies_half_way)
    while True:
        try:
            clean(past.config, root)
            break
        except Killed:
            kills += 1
        assert all(there(a for a in past.store.get_artifacts() if a.state == pb.Artifact.LIVE))
        for journal in past.places.journals.glob("of-*"):
            assert {p.name for p in journal.iterdir()} == {"executed", "state.npz"}
    assert kills == sum(row["what"] != "log" for row in expected.removed) + 1  # a journal has two files
    monkeypatch.undo()
    assert not any(Path(row["path"]).exists() for row in expected.removed)
    assert [p.name for p in past.places.journals.iterdir()] == ["of-2"]


def test_what_a_killed_run_had_finished_stays_until_a_later_one_decides(root):
    past = history(root, runs=1)
    past.run(1)
    past.run(2, "killed", "Evaluator")
    journal = past.journal("of-2")
    for _ in range(3):
        past.run(2, "failed", "ImportExampleGen")
    assert clean(past.config, root).removed == []
    past.run(2)
    assert journal.exists() and str(journal) in {row["path"] for row in clean(past.config, root).removed}
    assert there(past.artifacts("Model")) == [True, False, True]  # the first is what the newest run went on from


def test_journals_of_another_pipeline_and_released_counts_stay(root):
    mine, theirs = history(root, runs=1), history(root, name="theirs", runs=1)
    mine.run(1)
    searched = mine.places.journals / "search-1"
    searched.mkdir(parents=True)
    past, released = mine.journal("mine"), mine.places.journals / "counts"
    released.mkdir()
    (released / "release.json").touch()
    theirs.run(1, "killed", "DPTrainer")
    other = mine.journal("theirs")
    mine.run(2)
    fresh = mine.journal("new")
    gone = {row["path"] for row in clean(mine.config, root).removed if row["what"] == "journal"}
    assert gone == {str(past), str(searched)} and other.exists() and released.exists() and fresh.exists()
    assert all(there(theirs.artifacts("Model"))) and (root / "runs" / "theirs-1" / "log.txt").exists()


def test_no_link_is_followed_and_nothing_outside_goes(root, tmp_path):
    past = history(root, runs=1)
    for span in (1, 2, 3):
        past.run(span)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "state.npz").write_text("theirs")
    linked, by_node = past.artifacts("Variant")[0], past.artifacts("Selection")[:2]
    shutil.rmtree(linked.uri)
    os.symlink(outside, linked.uri)
    elsewhere = tmp_path / "elsewhere"
    Path(past.places.artifacts, "Selector").rename(elsewhere)
    os.symlink(elsewhere, Path(past.places.artifacts, "Selector"))
    past.places.journals.mkdir()
    os.symlink(outside, past.places.journals / "linked")
    os.utime(outside / "state.npz", (1, 1))
    run = root / "runs" / "nightly-1"
    run.rename(tmp_path / "moved")
    os.symlink(tmp_path / "moved", run)
    climbing, foreign = past.artifacts("Verdict")[0], past.artifacts("Verdict")[1]
    climbing.uri, foreign.uri = f"{past.places.artifacts}/../../outside", str(outside)
    past.store.put_artifacts([climbing, foreign])

    removed = clean(past.config, root).removed
    assert removed and all(Path(row["path"]).parts[: len(root.parts)] == root.parts for row in removed)
    assert (outside / "state.npz").read_text() == "theirs" and (tmp_path / "moved" / "log.txt").exists()
    assert all((elsewhere / "selection" / Path(a.uri).name / "content").exists() for a in by_node)
    states = {a.uri: a.state for a in past.store.get_artifacts()}
    assert {states[uri] for uri in (linked.uri, climbing.uri, foreign.uri, *uris(by_node))} == {pb.Artifact.LIVE}


def test_while_a_run_holds_the_root_or_the_data_are_away_nothing_goes(root):
    past = history(root, runs=1)
    past.run(1)
    past.run(2)
    before = past.files()
    with locked(root), pytest.raises(ServiceError, match="one run at a time"):
        clean(past.config, root)
    shutil.rmtree(root.parent / "data")
    with pytest.raises(DataError, match="`data.root` must be a folder that exists"):
        clean(past.config, root)
    assert past.files() == before


def test_what_serves_stays_after_a_rollback_that_mlmd_has_not_heard_of(root):
    past = history(root, runs=1)
    for span in (1, 2, 3):
        past.run(span)
    serving.roll_back(past.places.serving)
    past.run(4, "refused")
    clean(past.config, root)
    assert there(past.artifacts("Model")) == [False, True, True, True]
    past.roll_back()
    past.run(5, "refused")
    clean(past.config, root)
    assert there(past.artifacts("Model")) == [False, True, False, False, True]


def test_what_a_span_that_waits_will_go_on_from_stays(root):
    past = history(root, window=2)
    for span in (1, 3, 4, 5):
        past.run(span)
    files = root.parent / "data" / "span-2" / "t"
    files.mkdir(parents=True)
    (files / "images").touch()
    clean(past.config, root)
    assert there(past.artifacts("Model")) == [True, False, True, True]  # the third is what the newest run went on from
    assert there(past.artifacts("Examples")) == [True, False, False, True]


def test_the_best_push_stays_for_when_the_newest_is_withdrawn(root):
    past = history(root, runs=1, versions=2)
    for span, accuracy in ((1, 0.7), (2, 0.5), (3, 0.6), (4, 0.9)):
        past.run(span, accuracy=accuracy)
    shutil.rmtree(past.artifacts("Variant")[0].uri)  # by somebody's hand
    clean(past.config, root)
    assert there(past.artifacts("PushedModel")) == [True, False, True, True]
    assert past.artifacts("Variant")[0].state == pb.Artifact.DELETED
    past.roll_back()
    assert what_a_run_finds(past, 9)["best"] == [past.artifacts("PushedModel")[0].uri]


def test_nothing_goes_back_to_a_version_that_was_let_go(root):
    past = history(root, runs=1, versions=2)
    for span, accuracy in ((1, 0.5), (2, 0.6), (3, 0.6)):
        past.run(span, accuracy=accuracy)
    first, aside = past.places.serving / "versions" / "1", root / "first"
    shutil.copytree(first, aside)
    clean(past.config, root)
    assert not first.exists()
    past.roll_back()
    with pytest.raises(GateError, match="a rollback must have an earlier version to go back to"):
        past.roll_back()
    aside.rename(first)
    with pytest.raises(GateError, match=r"that `retention.versions` keeps. The artifacts behind .*/versions/1 were"):
        past.roll_back()
    assert serving.served(past.places.serving)[0] == 2 and list(serving.withdrawn(past.places.serving)) == [3]


def test_a_pipeline_without_runs_and_an_empty_root(root):
    past = history(root)
    lineage = Lineage(past.store, "nobody")
    assert (lineage.artifacts, lineage.runs, lineage.run_at(0)) == ({}, [], None)
    assert clean(past.config, root).removed == []
    assert clean(dataclasses.replace(past.config, name="another"), root.parent / "nothing").removed == []
