"""Which earlier spans a run trains on: asked of a real MLMD, written as TFX writes it."""

import dataclasses

import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as pb

from components.common.artifacts import DataCheck
from components.common.mlmd import connection
from components.common.settings import to_json
from components.common.tfx_nodes import standard_artifacts
from components.example_gen.window import EarlierSpans
from tests.components.settings import DATA


class Store:
    """MLMD in a file, and what a run would find in it."""

    def __init__(self, place: str):
        self._store = metadata_store.MetadataStore(connection(place))
        self._examples, self._checks = [], []

    def examples(self, span: int, check="DataChecker", key="examples", data=DATA) -> int:
        """Examples of a span. check: the kind of node that made a DataCheck from them, as its input `key`, with these
        settings; None where none did."""
        made = standard_artifacts.Examples()
        made.set_int_custom_property("span", span)
        made.id = self._put("Examples")
        self._examples.append(made)
        if check:
            self._check(made.id, check, key, to_json(data))
        return made.id

    def earlier(self, window: int, of: int) -> list[int]:
        """What a run on the Examples of this id finds."""
        own = next(e for e in self._examples if e.id == of)
        given = {"examples": [own], "earlier": self._examples[::-1], "checks": self._checks}
        found = EarlierSpans(window=window, data=to_json(DATA)).resolve_artifacts(self._store, given)
        assert found["examples"] == [own] and set(found) == set(given)
        return [e.id for e in found["earlier"]]

    def _put(self, kind: str) -> int:
        type_id = self._store.put_artifact_type(pb.ArtifactType(name=kind))
        return self._store.put_artifacts([pb.Artifact(type_id=type_id)])[0]

    def _check(self, examples: int, kind: str, key: str, data: str) -> None:
        check = DataCheck()
        check.id = self._put("DataCheck")
        self._checks.append(check)
        made = pb.Execution(type_id=self._store.put_execution_type(pb.ExecutionType(name=f"a.module.{kind}")))
        made.custom_properties["config"].string_value = data
        (number,) = self._store.put_executions([made])
        path = pb.Event.Path(steps=[pb.Event.Path.Step(key=key), pb.Event.Path.Step(index=0)])
        taken = pb.Event(execution_id=number, artifact_id=examples, type=pb.Event.INPUT, path=path)
        self._store.put_events([taken, pb.Event(execution_id=number, artifact_id=check.id, type=pb.Event.OUTPUT)])


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "metadata.sqlite"))


@pytest.mark.parametrize(("window", "spans"), [(2, [5]), (3, [4, 5]), (4, [2, 4, 5]), (9, [2, 4, 5]), (0, [2, 4, 5])])
def test_it_is_the_newest_spans_before_its_own_oldest_first(store, window, spans):
    ids = {span: store.examples(span) for span in (5, 2, 7, 4, 6)}
    assert store.earlier(window, of=ids[6]) == [ids[span] for span in spans]


def test_of_a_span_that_came_twice_it_is_the_newest_that_was_checked(store):
    store.examples(1)
    second = store.examples(1)
    store.examples(1, check=None)
    assert store.earlier(2, of=store.examples(2)) == [second]


def test_before_the_first_check_there_is_none(store):
    assert store.earlier(0, of=store.examples(3, check=None)) == []


@pytest.mark.parametrize(
    "how",
    [
        {"check": None},
        {"check": "SomethingElse"},
        {"key": "earlier"},  # counted with another span, not checked itself
        {"data": dataclasses.replace(DATA, name="another")},
        {"data": dataclasses.replace(DATA, classes=("x", "y", "z"))},
        {"data": dataclasses.replace(DATA, roles=dataclasses.replace(DATA.roles, train="other"))},
    ],
)
def test_examples_that_no_check_let_through_as_this_data_sets_are_left_out(store, how):
    good, _ = store.examples(1), store.examples(2, **how)
    assert store.earlier(0, of=store.examples(3)) == [good]


def test_another_window_and_another_span_do_not_make_another_data_set(store):
    first = store.examples(1, data=dataclasses.replace(DATA, span=1, root="elsewhere"))
    assert store.earlier(0, of=store.examples(2)) == [first]
