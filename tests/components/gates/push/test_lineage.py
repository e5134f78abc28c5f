"""MLMD must know every step behind what is pushed, and remembers a rollback."""

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb
from tfx.orchestration import metadata

from components.common.artifacts import Selection
from components.common.content import sha256
from components.common.errors import GateError
from components.gates.push.lineage import WholeLineage, require_whole
from components.gates.push.rollback import rollback
from components.gates.push.serving import push, served

STEPS = [  # node, inputs, outputs
    ("ExampleGen", (), ("Examples",)),
    ("DataChecker", ("Examples",), ("DataCheck",)),
    ("DPTrainer", ("Examples", "DataCheck"), ("Model", "PrivacyStatement")),
    ("Evaluator", ("Examples", "Model"), ("ModelBlessing",)),
    ("Quantizer", ("Model", "Examples"), ("Variant",)),
    ("Prober", ("Model", "Variant"), ("Probes",)),
    ("HoldoutScorer", ("Model", "Variant", "Probes", "Examples"), ("Scores",)),
    ("CompressionGate", ("Model", "Variant", "Probes", "Scores", "ModelBlessing"), ("Verdict",)),
    ("Selector", ("Variant", "Verdict"), ("Selection",)),
]


@pytest.fixture
def database(tmp_path):
    return metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))


def fill(store, without: str = "", cut: tuple[str, str] = ("", "")) -> int:
    """Writes the steps; gives the selection's id. without: a step that left no trace; cut: a step whose events of one
    direction are gone."""
    ids = {}
    for node, inputs, outputs in STEPS:
        kind = store.put_execution_type(pb.ExecutionType(name=node))
        execution = store.put_executions([pb.Execution(type_id=kind)])[0]
        for name in outputs:
            kind = store.put_artifact_type(pb.ArtifactType(name=name))
            ids[name] = store.put_artifacts([pb.Artifact(type_id=kind, uri=name)])[0]
        events = [(pb.Event.INPUT, i) for i in inputs] + [(pb.Event.OUTPUT, o) for o in outputs]
        kept = [(kind, a) for kind, a in events if node != without and (node, pb.Event.Type.Name(kind)) != cut]
        store.put_events([pb.Event(type=kind, execution_id=execution, artifact_id=ids[a]) for kind, a in kept])
    return ids["Selection"]


def test_a_whole_lineage_is_let_through(database):
    with metadata.Metadata(database) as handle:
        require_whole(handle.store, fill(handle.store))


def test_the_resolver_holds_back_what_it_cannot_trace(database):
    with metadata.Metadata(database) as handle:
        for given, left in (({}, 1), ({"without": "DPTrainer"}, 0)):
            selection = Selection()
            selection.id = fill(handle.store, **given)
            found = WholeLineage().resolve_artifacts(handle.store, {"selection": [selection]})
            assert len(found["selection"]) == left


@pytest.mark.parametrize("step", [node for node, _, _ in STEPS])
def test_a_step_that_is_gone_is_refused(database, step):
    with metadata.Metadata(database) as handle:
        selection = fill(handle.store, without=step)
        with pytest.raises(GateError, match="^MLMD must know what the selection was made from"):
            require_whole(handle.store, selection)


@pytest.mark.parametrize("step", [node for node, inputs, _ in STEPS if inputs])
@pytest.mark.parametrize("direction", ["INPUT", "OUTPUT"])
def test_a_step_that_lost_its_events_is_refused(database, step, direction):
    with metadata.Metadata(database) as handle:
        selection = fill(handle.store, cut=(step, direction))
        with pytest.raises(GateError, match="^MLMD must know what the selection was made from"):
            require_whole(handle.store, selection)


def pushed(store, folder, content: bytes) -> None:
    push(folder, {"model.tflite": content})
    kind = store.put_artifact_type(pb.ArtifactType(name="PushedModel"))
    artifact = pb.Artifact(type_id=kind, uri="u")
    artifact.custom_properties["pushed"].int_value = 1
    artifact.custom_properties["sha256"].string_value = sha256(content)
    store.put_artifacts([artifact])


def history(store) -> list[tuple[str, int]]:
    found = sorted(store.get_artifacts_by_type("PushedModel"), key=lambda a: a.id)
    return [(a.custom_properties["sha256"].string_value, a.custom_properties["withdrawn"].int_value) for a in found]


def test_a_rollback_is_recorded_as_a_step_from_what_was_withdrawn_to_what_serves(database, tmp_path):
    folder, old, new = tmp_path / "serving", sha256(b"old"), sha256(b"new")
    with metadata.Metadata(database) as handle:
        pushed(handle.store, folder, b"old"), pushed(handle.store, folder, b"new")
    done = rollback(folder, database, "tiny")
    assert (done.version, done.withdrawn) == (1, 2) and served(folder)[1].read_bytes() == b"old"
    with metadata.Metadata(database) as handle:
        assert history(handle.store) == [(old, 0), (new, 1), (old, 0)]
        (execution,) = handle.store.get_executions_by_id([done.recorded])
        assert handle.store.get_execution_types_by_id([execution.type_id])[0].name == "lockgate.Rollback"
        events = handle.store.get_events_by_execution_ids([execution.id])
        assert {(e.type, e.artifact_id) for e in events} == {(pb.Event.INPUT, 2), (pb.Event.OUTPUT, 3)}
        contexts = handle.store.get_contexts_by_execution(execution.id)
        assert "tiny" in {c.name for c in contexts}
    with pytest.raises(GateError, match="^a rollback must have an earlier version"):
        rollback(folder, database, "tiny")


def test_a_rollback_that_died_before_it_was_recorded_is_recorded_and_not_repeated(database, tmp_path):
    from components.gates.push.serving import roll_back

    folder = tmp_path / "serving"
    with metadata.Metadata(database) as handle:
        for content in (b"1", b"2", b"3"):
            pushed(handle.store, folder, content)
    roll_back(folder)  # and then it was killed
    assert rollback(folder, database, "tiny").version == 2
    assert rollback(folder, database, "tiny").version == 1
    with metadata.Metadata(database) as handle:
        assert [w for _, w in history(handle.store)] == [0, 1, 1, 1, 0]


def test_versions_that_mlmd_does_not_know_are_not_rolled_back(database, tmp_path):
    folder = tmp_path / "serving"
    with metadata.Metadata(database) as handle:
        pushed(handle.store, folder, b"old")
    push(folder, {"model.tflite": b"from elsewhere"})
    with pytest.raises(GateError, match="^a rollback must be of versions that MLMD knows"):
        rollback(folder, database, "tiny")
    assert served(folder)[1].read_bytes() == b"from elsewhere"
