"""Which model a warm start goes on from: asked of a real MLMD, written as TFX writes it."""

import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as pb

from components.common.mlmd import connection
from components.common.tfx_nodes import standard_artifacts
from components.gates.push.parent import ServedParent


class Store:
    """MLMD in a file, and what a run would find in it."""

    def __init__(self, place: str):
        self._store = metadata_store.MetadataStore(connection(place))
        self._models, self._pushes = [], []

    def pushed(self, *spans: int, sha256: str = "", traced: bool = True, recipes: int = 2) -> int:
        """A model that was trained on these spans and pushed; gives its id. traced: whether MLMD knows its gates."""
        examples = [self._examples(span) for span in spans]
        model = self._put("Model")
        self._made("DPTrainer", [("examples", e) for e in examples], model)
        verdicts = [self._put("Verdict") for _ in range(recipes)]
        for verdict in verdicts if traced else ():
            self._made("CompressionGate", [("variant", self._put("Variant")), ("parent", model)], verdict)
        found = standard_artifacts.Model()
        found.id = model
        self._models.append(found)
        self._made("Pusher", [("verdicts", v) for v in verdicts], self.push(sha256 or f"of {model}"))
        return model

    def push(self, sha256: str, pushed: int = 1) -> int:
        """A push of that model; without more, nobody knows from where."""
        made = standard_artifacts.PushedModel()
        made.id = self._put("PushedModel")
        made.set_int_custom_property("pushed", pushed)
        made.set_string_custom_property("sha256", sha256)
        self._pushes.append(made)
        return made.id

    def withdraw(self, sha256: str) -> None:
        for push in self._pushes:
            if push.get_string_custom_property("sha256") == sha256:
                push.set_int_custom_property("withdrawn", 1)

    def base(self, of: int) -> list[int]:
        """What a run on this span finds."""
        own = standard_artifacts.Examples()
        own.set_int_custom_property("span", of)
        given = {"examples": [own], "pushed": self._pushes[::-1], "base": self._models[::-1]}
        found = ServedParent().resolve_artifacts(self._store, given)
        assert found["examples"] == [own] and set(found) == set(given)
        return [m.id for m in found["base"]]

    def _examples(self, span: int) -> int:
        made = pb.Artifact(type_id=self._store.put_artifact_type(pb.ArtifactType(name="Examples")))
        made.custom_properties["span"].int_value = span
        return self._store.put_artifacts([made])[0]

    def _put(self, kind: str) -> int:
        type_id = self._store.put_artifact_type(pb.ArtifactType(name=kind))
        return self._store.put_artifacts([pb.Artifact(type_id=type_id)])[0]

    def _made(self, kind: str, inputs: list[tuple[str, int]], output: int) -> None:
        type_id = self._store.put_execution_type(pb.ExecutionType(name=kind))
        (number,) = self._store.put_executions([pb.Execution(type_id=type_id)])
        events = [pb.Event(execution_id=number, artifact_id=output, type=pb.Event.OUTPUT)]
        for key, artifact in inputs:
            path = pb.Event.Path(steps=[pb.Event.Path.Step(key=key), pb.Event.Path.Step(index=0)])
            events.append(pb.Event(execution_id=number, artifact_id=artifact, type=pb.Event.INPUT, path=path))
        self._store.put_events(events)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "metadata.sqlite"))


def test_before_the_first_push_there_is_none(store):
    assert store.base(of=3) == []
    store.push("a", pushed=0)
    assert store.base(of=3) == []


def test_it_is_the_parent_of_what_serves(store):
    _, second = store.pushed(1), store.pushed(2)
    assert store.base(of=3) == [second]


def test_another_run_on_the_same_span_or_on_an_earlier_one_starts_from_the_same(store):
    first = store.pushed(1)
    before = store.base(of=2)
    store.pushed(2), store.pushed(3)
    assert store.base(of=2) == before == [first] and store.base(of=1) == []


def test_a_span_is_the_newest_of_those_that_were_trained_on(store):
    first = store.pushed(1)
    store.pushed(4, 1, 3)
    assert store.base(of=4) == [first] != store.base(of=5)


def test_what_was_rolled_back_is_not_gone_on_from(store):
    first = store.pushed(1, sha256="good")
    store.pushed(2, sha256="bad")
    store.withdraw("bad")
    assert store.base(of=3) == [first]
    store.push("good")  # as a rollback records it
    assert store.base(of=3) == [first]


def test_a_model_that_serves_again_is_the_newest(store):
    first = store.pushed(1, sha256="a")
    store.pushed(2, sha256="b")
    store.push("a")
    assert store.base(of=3) == [first]


def test_a_push_whose_parent_mlmd_does_not_know_is_passed_over(store):
    first = store.pushed(1)
    store.pushed(2, traced=False)
    assert store.base(of=3) == [first]
