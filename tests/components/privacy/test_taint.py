"""The walk through a real MLMD: every private read behind a candidate has its charge, or the model is not pushed."""

import json
from pathlib import Path

import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as pb

from components.common.mlmd import connection
from components.privacy.accounting import Mechanism, epsilon_of
from components.privacy.ledger import Ledger
from components.privacy.lineage import ancestry
from components.privacy.release import Release
from components.privacy.statement import Statement, Tuned
from components.privacy.taint import Taint, taint_of
from tests.components.privacy.conftest import DELTA, RUN, policy

SPLITS = json.dumps(["train", "public", "validation", "holdout"])
PRIVATE, PUBLIC = json.dumps({"private": {"steps": 5}}), json.dumps({"private": None})
TUNING = Mechanism(noise_multiplier=3.0, sampling_probability=0.1, steps=5)


class Store:
    """MLMD in a file, written as TFX writes it."""

    def __init__(self, folder: Path):
        self.folder, self.place = folder, str(folder / "metadata.sqlite")
        self._store = metadata_store.MetadataStore(connection(self.place))
        self.ledger = Ledger(folder / "ledger.sqlite")
        self._checks: dict[int, int] = {}  # by the Examples that they are of

    def artifact(self, kind: str, span: int | None = None, statement: Statement | None = None) -> int:
        properties = {"split_names": pb.STRING} if kind == "Examples" else {}
        type_id = self._store.put_artifact_type(pb.ArtifactType(name=kind, properties=properties))
        made = pb.Artifact(type_id=type_id)
        (number,) = self._store.put_artifacts([made])
        made.id, made.uri = number, str(self.folder / f"artifact-{number}")
        Path(made.uri).mkdir()
        if span is not None:
            made.properties["split_names"].string_value = SPLITS
            made.custom_properties["span"].int_value = span
        if statement:
            statement.save(made.uri)
        self._store.put_artifacts([made])
        return number

    def execution(self, kind: str, inputs: list[int], outputs: list[int], cached: bool = False, **parameters) -> int:
        made = pb.Execution(type_id=self._store.put_execution_type(pb.ExecutionType(name=f"some.module.{kind}")))
        made.last_known_state = pb.Execution.CACHED if cached else pb.Execution.COMPLETE
        for key, value in parameters.items():
            made.custom_properties[key].string_value = value
        (number,) = self._store.put_executions([made])
        inputs = [*inputs, *(self._checks[a] for a in inputs if a in self._checks)]
        events = [pb.Event(execution_id=number, artifact_id=a, type=pb.Event.INPUT) for a in inputs]
        events += [pb.Event(execution_id=number, artifact_id=a, type=pb.Event.OUTPUT) for a in outputs]
        self._store.put_events(events)
        return number

    def examples(self, span: int = 1, checked: bool = True) -> int:
        """Examples, whose check goes wherever they go."""
        made = self.artifact("Examples", span)
        self.execution("ImportExampleGen", [], [made])
        if checked:
            check = self.artifact("DataCheck")
            self.execution("DataChecker", [made], [check])
            self._checks[made] = check
        return made

    def trained(self, examples: int, span: int = 1, inputs=(), mechanism: Mechanism = RUN, others=()) -> int:
        """A model of DPTrainer with its charge, on other spans too."""
        charged = [f"a/span-{each}" for each in (span, *others)]
        charge = self.ledger.reserve(charged, f"run on {examples}", mechanism, policy(10.0))
        model = self.artifact("Model", statement=stated(charge.id, span, mechanism))
        self.execution("DPTrainer", [examples, *inputs], [model])
        return model

    def taint(self, *artifacts: int) -> Taint:
        behind = ancestry(self.place, artifacts)
        return taint_of(behind.executions, behind.orphans, self.ledger.book())


def stated(charge: int, span: int = 1, mechanism: Mechanism = RUN, tuned: tuple[Tuned, ...] = ()) -> Statement:
    return Statement(
        spans=(f"a/span-{span}",), charge=charge, epsilon=9.0, run_epsilon=epsilon_of([RUN], DELTA), delta=DELTA,
        mechanism=mechanism, l2_norm_clip=1.0, population=100, public_source="x", pretrained=False, tuned=tuned,
    )  # fmt: skip


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path)


def test_a_training_that_was_charged_is_covered_by_its_charge(store):
    taint = store.taint(store.trained(store.examples()))
    assert taint.unaccounted == [] and list(taint.charges.values()) == [[1]]
    assert list(taint.exempt) == ["ImportExampleGen (execution 1)", "DataChecker (execution 2)"]


@pytest.mark.parametrize("kind", ["Trainer", "Transform", "Tuner", "SomethingOfTheirs"])
def test_an_execution_that_no_rule_knows_is_taken_to_have_read_what_it_was_given(store, kind):
    model = store.artifact("Model")
    execution = store.execution(kind, [store.examples()], [model])
    (found,) = store.taint(model).unaccounted
    assert found == f"{kind} (execution {execution}) read train and names no charge"


def test_a_charge_that_the_ledger_does_not_have_covers_nothing(store):
    model = store.artifact("Model", statement=stated(77))
    store.execution("DPTrainer", [store.examples()], [model])
    assert "names charge 77, which the ledger does not have" in store.taint(model).unaccounted[0]


def test_a_charge_for_another_mechanism_covers_nothing(store):
    charge = store.ledger.reserve(["a/span-1"], "r", TUNING, policy(10.0))
    model = store.artifact("Model", statement=stated(charge.id))
    store.execution("DPTrainer", [store.examples()], [model])
    assert "executed another mechanism" in store.taint(model).unaccounted[0]


def test_a_charge_on_another_span_covers_nothing(store):
    model = store.trained(store.examples(span=2), span=1)
    assert "read span 2, and its charge 1 is on a/span-1" in store.taint(model).unaccounted[0]


@pytest.mark.parametrize(
    ("kind", "parameters", "reads"),
    [
        ("StatisticsGen", {"exclude_splits": '["train", "validation"]'}, False),
        ("StatisticsGen", {"exclude_splits": "[]"}, True),
        ("StatisticsGen", {"exclude_splits": "no JSON"}, True),
        ("StatisticsGen", {}, True),
        ("Evaluator", {"example_splits": '["holdout"]'}, False),
        ("Evaluator", {"example_splits": '["holdout", "train"]'}, True),
        ("Pruner", {"config": PUBLIC}, False),
        ("Clusterer", {"config": PRIVATE}, True),
        ("Quantizer", {"config": "[]"}, True),
        ("HoldoutScorer", {}, False),
        ("DataChecker", {}, False),
    ],
)
def test_what_an_execution_read_is_told_by_its_settings_and_in_doubt_it_is_private(store, kind, parameters, reads):
    examples = store.examples()
    model = store.trained(examples)
    made = store.artifact("Other", statement=stated(1))
    store.execution(kind, [examples, model], [made], **parameters)
    assert bool(store.taint(made).unaccounted) == reads


def test_statistics_that_are_declared_are_exempt_and_said_so(store):
    model, made = store.trained(store.examples()), store.artifact("Model", statement=stated(1))
    store.execution("StatisticsGen", [store.examples(), model], [made], exclude_splits="[]")
    behind = ancestry(store.place, [made])
    taint = taint_of(behind.executions, behind.orphans, store.ledger.book(), "declared")
    assert taint.unaccounted == [] and any(name.startswith("StatisticsGen") for name in taint.exempt)


def test_noisy_statistics_need_a_charge_of_their_own(store):
    examples = store.examples()
    statement = store.trained(examples)
    charge = store.ledger.reserve(["a/span-1"], "statistics", TUNING, policy(10.0))
    for number, covered in ((charge.id, True), (1, False), (77, False)):
        made = store.artifact("ExampleStatistics")
        release = Release(span="a/span-1", charge=number, mechanism=TUNING, epsilon=0.1, delta=DELTA)
        release.save(str(store.folder / f"artifact-{made}"))
        store.execution("NoisedStatistics", [examples, statement], [made])
        assert (store.taint(made).unaccounted == []) == covered
    without = store.artifact("ExampleStatistics")
    store.execution("NoisedStatistics", [examples, statement], [without])
    assert "names no charge" in store.taint(without).unaccounted[0]


def test_a_private_stage_needs_a_charge_that_its_parent_does_not_have(store):
    examples = store.examples()
    model = store.trained(examples)
    charge = store.ledger.reserve(["a/span-1"], "tuning", TUNING, policy(10.0))
    tuned = (Tuned(charge=charge.id, mechanism=TUNING, l2_norm_clip=1.0),)
    good = store.artifact("Variant", statement=stated(1, tuned=tuned))
    store.execution("Quantizer", [examples, model], [good], config=PRIVATE)
    taint = store.taint(good)
    assert taint.unaccounted == [] and sorted(taint.charges.values()) == [[1], [2]]
    bad = store.artifact("Variant", statement=stated(1))
    store.execution("Quantizer", [examples, model], [bad], config=PRIVATE)
    assert "names no charge" in store.taint(bad).unaccounted[0]


def test_a_cached_execution_is_as_good_as_the_one_that_ran(store):
    examples = store.examples()
    model = store.trained(examples)
    store.execution("DPTrainer", [examples], [model], cached=True)
    assert store.taint(model).unaccounted == []
    other = store.artifact("Model")
    store.execution("Trainer", [examples], [other])
    cached = store.execution("Trainer", [examples], [other], cached=True)
    found = store.taint(other).unaccounted
    assert len(found) == 2 and any(f"(execution {cached})" in line for line in found)


def test_a_warm_start_carries_what_the_earlier_run_read(store):
    first = store.trained(store.examples(span=1), span=1)
    warm = store.trained(store.examples(span=2), span=2, inputs=[first])
    taint = store.taint(warm)
    assert taint.unaccounted == [] and sorted(taint.charges.values()) == [[1], [2]]
    uncharged = store.artifact("Model")
    store.execution("Trainer", [store.examples(span=3)], [uncharged])
    tainted = store.trained(store.examples(span=4), span=4, inputs=[uncharged])
    assert "read train and names no charge" in store.taint(tainted).unaccounted[0]


def test_a_model_from_outside_has_nobody_who_accounts_for_it(store):
    orphan, imported = store.artifact("Model"), store.artifact("Model")
    execution = store.execution("Importer", [], [imported])
    for model, by in ((orphan, "nobody"), (imported, f"Importer (execution {execution})")):
        warm = store.trained(store.examples(), inputs=[model])
        (found,) = store.taint(warm).unaccounted
        assert f"artifact {model} (Model" in found and found.endswith(f"brought in from outside by {by}")


def test_the_same_model_twice_on_the_way_is_looked_at_once(store):
    examples = store.examples()
    model = store.trained(examples)
    left, right, both = (store.artifact("Variant", statement=stated(1)) for _ in range(3))
    for made in (left, right):
        store.execution("Quantizer", [examples, model], [made], config=PUBLIC)
    store.execution("Selector", [left, right], [both])
    assert list(store.taint(both).charges.values()) == [[1]]


def test_a_training_on_several_spans_is_covered_by_one_charge_on_them_all(store):
    own, other = store.examples(span=2), store.examples(span=1)
    taint = store.taint(store.trained(own, span=2, inputs=[other], others=(1,)))
    assert taint.unaccounted == [] and list(taint.charges.values()) == [[1]]


def test_a_span_in_the_training_but_not_in_its_charge_makes_epsilon_infinite(store):
    own, other = store.examples(span=2), store.examples(span=1)
    store.trained(other, span=1)  # that another training was charged for it covers nothing
    (found,) = store.taint(store.trained(own, span=2, inputs=[other])).unaccounted
    assert found.endswith("read span 1, and its charge 2 is on a/span-2")


def test_charges_of_which_each_is_on_one_of_the_spans_cover_no_training_on_both(store):
    first, second = store.examples(span=1), store.examples(span=2)
    charges = [store.ledger.reserve([f"a/span-{n}"], f"{n}", RUN, policy(10.0)) for n in (1, 2)]
    tuned = (Tuned(charge=charges[1].id, mechanism=RUN, l2_norm_clip=1.0),)
    model = store.artifact("Model", statement=stated(charges[0].id, tuned=tuned))
    store.execution("DPTrainer", [first, second], [model])
    assert "read span 2, and its charge 1 is on a/span-1" in store.taint(model).unaccounted[0]


def test_examples_that_no_check_was_given_make_epsilon_infinite(store):
    own, other = store.examples(span=2), store.examples(span=1, checked=False)
    (found,) = store.taint(store.trained(own, span=2, inputs=[other], others=(1,))).unaccounted
    assert found.endswith(f"read artifact {other} of span 1, which no DataChecker was given")


def test_a_warm_start_under_the_charge_of_its_base_names_none(store):
    base = store.trained(store.examples(span=1), span=1)
    model = store.artifact("Model", statement=stated(1))
    store.execution("DPTrainer", [store.examples(span=1), base], [model])
    assert "names no charge" in store.taint(model).unaccounted[0]
