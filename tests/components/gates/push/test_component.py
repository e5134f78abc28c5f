"""Pusher: nothing leaves without a passing verdict on the very file, nor with another ε than the ledger's of today."""

import dataclasses
import json
import math
from pathlib import Path

import pytest

from components.common.artifacts import PrivacyAudit, Selection, Variant, Verdict
from components.common.content import sha256, sizes
from components.common.errors import GateError
from components.common.legacy_keras import keras
from components.common.settings import to_json
from components.common.tfx_nodes import standard_artifacts
from components.gates.push.component import Pusher
from components.gates.push.serving import push, roll_back, served
from components.privacy.account import Account
from components.privacy.accounting import Mechanism, epsilon_of
from components.privacy.config import PrivacyConfig
from components.privacy.ledger import Ledger
from components.privacy.statement import Base, load_statement
from components.quantization.core import convert
from components.shipped.unpack import unpack
from tests.components import settings

keras.utils.set_random_seed(0)
CONTENT = convert(keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)]), "float32")
FIGURES = {"accuracy": 0.84, "drop": 0.001, "checks": [], "served": {}}
VERDICT = {"recipe": "int8", "verdict": "pass", **sizes(CONTENT), **FIGURES}
POLICY = PrivacyConfig(epsilon=2.5, delta=1e-5, budget_epsilon=8.0)
MECHANISM = Mechanism(noise_multiplier=1.0, sampling_probability=0.01, steps=3)
SPENT = epsilon_of([MECHANISM], POLICY.delta)
STATEMENT = dataclasses.replace(
    settings.STATEMENT, epsilon=SPENT, run_epsilon=SPENT, delta=POLICY.delta, mechanism=MECHANISM
)


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    """A ledger that holds the charge of the model's own training."""
    made = Ledger(tmp_path / "ledger.sqlite")
    made.reserve(["d/span-1"], "its own", MECHANISM, POLICY)
    return made


@pytest.fixture
def run(artifact, execute, tmp_path, ledger):
    """Runs Pusher; returns its output. What is given as None is not there."""

    def pushed(
        selected="int8",
        content=CONTENT,
        verdict=VERDICT,
        statement=STATEMENT,
        budget=8.0,
        blessing=VERDICT,
        ids=(7, 8),
        whole=True,
        audited=0.0,
        spans=("d/span-1",),
        compared=(),
    ):
        selection, made, judged = (
            artifact(k, n) for k, n in ((Selection, "selection"), (Variant, "v"), (Verdict, "j"))
        )
        Path(selection.uri, "selection.json").write_text(json.dumps({"selected": selected, "candidates": []}))
        made.id, judged.id = ids
        made.set_string_custom_property("sha256", sha256(CONTENT))
        if blessing is not None:
            for key in ("recipe", "sha256", "verdict"):
                judged.set_string_custom_property(key, blessing[key])
            judged.set_string_custom_property("digest", sha256(json.dumps(blessing).encode()))
        if content is not None:
            Path(selection.uri, "model.tflite").write_bytes(content)
        if verdict is not None:
            Path(selection.uri, "verdict.json").write_text(json.dumps(verdict))
        if statement is not None:
            statement.save(selection.uri)
        output = artifact(standard_artifacts.PushedModel, "pushed")
        policy, book = dataclasses.replace(POLICY, budget_epsilon=budget), str(tmp_path / "ledger.sqlite")
        account = to_json(Account(policy=policy, ledger=book, journals="", population=100))
        parameters = {"account": account, "serving": str(tmp_path / "serving")}
        audit = artifact(PrivacyAudit, "audit")
        Path(audit.uri, "audit.json").write_text(
            json.dumps({"epsilon": audited, "spans": [*compared, *spans], "made_from": spans})
        )
        inputs = {"selection": [selection] if whole else [], "variants": [made], "verdicts": [judged], "audit": audit}
        execute(Pusher, inputs, {"pushed": output}, **parameters)
        return output

    return pushed


def test_what_passed_is_served_with_its_manifest_and_statement(run, tmp_path):
    output = run()
    version, path = served(tmp_path / "serving")
    assert path.read_bytes() == CONTENT
    assert unpack(path.with_name("model.lockgate").read_bytes()) == CONTENT
    assert "def unpack(" in path.with_name("unpack.py").read_text()
    manifest = json.loads(path.with_name("manifest.json").read_text())
    assert manifest["sha256"] == sizes(CONTENT)["sha256"] and manifest["recipe"] == "int8"
    assert manifest["download"]["unpacked"]["sha256"] == manifest["sha256"]
    assert manifest["download"]["decode"] == "python unpack.py model.lockgate model.tflite"
    assert (manifest["epsilon"], manifest["delta"], manifest["accuracy"]) == (SPENT, 1e-5, 0.84)
    assert f"ε = {SPENT:.3f}" in path.with_name("statement.txt").read_text()
    assert output.get_int_custom_property("pushed") == 1
    assert output.get_int_custom_property("version") == version
    assert output.get_string_custom_property("path") == str(path)
    assert output.get_string_custom_property("sha256") == manifest["sha256"]
    assert output.get_float_custom_property("accuracy") == 0.84
    assert Path(output.uri, "model.tflite").read_bytes() == CONTENT


def test_when_nothing_was_selected_nothing_is_pushed_even_if_a_model_lies_there(run, tmp_path):
    output = run(selected=None)
    assert output.get_int_custom_property("pushed") == 0
    assert not (tmp_path / "serving").exists()


def refused(tmp_path, run, says: str, **changes) -> None:
    with pytest.raises(GateError, match=says) as caught:
        run(**changes)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "serving").exists()


@pytest.mark.parametrize("verdict", ["fail", "inconclusive", "", "not applicable", "PASS"])
def test_a_verdict_that_is_no_pass_is_refused(run, tmp_path, verdict):
    said = {**VERDICT, "verdict": verdict}
    refused(tmp_path, run, "^a push must have a pass. Received: ", verdict=said, blessing=said)


def test_a_verdict_that_was_made_a_pass_by_hand_is_refused(run, tmp_path):
    failed = {**VERDICT, "verdict": "fail"}
    refused(tmp_path, run, "^a push must have a pass. Received: fail$", blessing=failed)
    edited = {**VERDICT, "accuracy": 0.99}
    refused(tmp_path, run, "^a blessing must be what the gate wrote", verdict=edited)


@pytest.mark.parametrize("content", [b"the model.", b"", b"The model"])
def test_a_swapped_file_is_refused(run, tmp_path, content):
    refused(tmp_path, run, "^a push must have a variant of the very file", content=content)


def test_a_blessing_of_another_model_is_refused(run, tmp_path):
    other = {**VERDICT, "sha256": "0" * 64}
    refused(tmp_path, run, "^a push must have a blessing of the very file", blessing=other)
    refused(tmp_path, run, "^a push must have a blessing of the very file", verdict=other, blessing=other)


@pytest.mark.parametrize(
    ("missing", "must"),
    [("blessing", "a blessing of the very file"), ("verdict", "verdict.json"), ("content", "model.tflite")],
)
def test_a_blessing_that_is_missing_is_refused(run, tmp_path, missing, must):
    refused(tmp_path, run, f"^a push must have {must}", **{missing: None})


@pytest.mark.parametrize("ids", [(8, 7), (8, 8)])
def test_a_blessing_that_is_older_than_its_model_is_refused(run, tmp_path, ids):
    refused(tmp_path, run, "^a blessing must be younger than its model", ids=ids)


@pytest.mark.parametrize("key", ["accuracy", "drop", "bytes", "gzip_bytes", "checks", "served"])
def test_a_blessing_that_lost_a_figure_is_refused(run, tmp_path, key):
    part = {k: v for k, v in VERDICT.items() if k != key}
    refused(tmp_path, run, f"^a blessing must be whole. Missing: {key}$", verdict=part, blessing=part)


@pytest.mark.parametrize("key", ["accuracy", "drop"])
def test_a_blessing_whose_figures_are_no_numbers_is_refused(run, tmp_path, key):
    broken = {**VERDICT, key: math.nan}
    refused(tmp_path, run, "^a blessing must be whole", verdict=broken, blessing=broken)


def test_a_model_that_was_measured_against_another_one_than_serves_is_refused(run, tmp_path):
    push(tmp_path / "serving", {"model.tflite": b"somebody pushed this meanwhile"})
    with pytest.raises(GateError, match="^a variant must be measured against the model that serves. Version 1"):
        run()
    known = {**VERDICT, "served": {"serving": sha256(b"somebody pushed this meanwhile")}}
    assert run(verdict=known, blessing=known).get_int_custom_property("version") == 2


def test_a_model_that_was_rolled_back_does_not_come_again(run, tmp_path):
    push(tmp_path / "serving", {"model.tflite": b"before"})
    known = {**VERDICT, "served": {"serving": sha256(b"before")}}
    run(verdict=known, blessing=known)
    roll_back(tmp_path / "serving")
    with pytest.raises(GateError, match="^a model that was rolled back must not be pushed again"):
        run(verdict=known, blessing=known)
    assert served(tmp_path / "serving")[1].read_bytes() == b"before"


def test_a_selection_that_was_held_back_for_its_lineage_is_refused(run, tmp_path):
    refused(tmp_path, run, "^MLMD must know what the selection was made from", whole=False)


def test_a_second_push_of_the_same_model_stays_at_its_version(run, tmp_path):
    assert [run().get_int_custom_property("version") for _ in range(2)] == [1, 1]
    assert len(list((tmp_path / "serving/versions").iterdir())) == 1


def test_what_others_spent_on_the_span_until_the_push_counts_and_what_they_spent_elsewhere_does_not(run, ledger):
    """A variant that lost the selection was trained on the same images, and the choice tells something of it."""
    for span in ("d/span-1", "d/span-2"):
        ledger.reserve([span], "another variant's", MECHANISM, POLICY)
    output = run()
    both = ledger.epsilon("d/span-1", POLICY.delta)
    said = load_statement(output.uri)
    assert (said.epsilon, said.run_epsilon) == (both, SPENT) and both > epsilon_of([MECHANISM, MECHANISM], POLICY.delta)
    path = Path(output.get_string_custom_property("path"))
    assert json.loads(path.with_name("manifest.json").read_text())["epsilon"] == both
    assert f"ε = {both:.3f}" in path.with_name("statement.txt").read_text()


def test_the_same_model_with_another_epsilon_is_served_with_it(run, ledger, tmp_path):
    run()
    ledger.reserve(["d/span-1"], "later", MECHANISM, POLICY)
    assert run().get_int_custom_property("version") == 2
    manifest = served(tmp_path / "serving")[1].with_name("manifest.json")
    assert json.loads(manifest.read_text())["epsilon"] == ledger.epsilon("d/span-1", POLICY.delta)


def test_the_epsilon_is_that_of_all_spans_behind_the_model_as_the_ledger_has_them_now(run, ledger):
    warm = dataclasses.replace(STATEMENT, base=Base(spans=("d/span-0",), charges=(7,)))
    with pytest.raises(GateError, match="Received: inf for d/span-0, d/span-1$"):
        run(statement=warm)  # the ledger does not know span 0
    for run_name in ("its base", "later"):
        ledger.reserve(["d/span-0"], run_name, MECHANISM, POLICY)
    said = load_statement(run(statement=warm, spans=("d/span-0", "d/span-1")).uri)
    assert said.epsilon == ledger.epsilon("d/span-0", POLICY.delta) > ledger.epsilon("d/span-1", POLICY.delta)


def test_a_statement_that_leaves_out_a_span_behind_its_model_is_refused(run, tmp_path):
    says = "^a statement must name all spans behind its model. Missing: d/span-0$"
    refused(tmp_path, run, says, spans=("d/span-0", "d/span-1"))


def test_the_spans_of_models_that_it_was_compared_with_are_named_and_count(run, ledger, tmp_path):
    with pytest.raises(GateError, match="Received: inf for d/span-1, d/span-9$"):
        run(compared=("d/span-9",))  # the ledger does not know span 9
    for run_name in ("its own", "another"):
        ledger.reserve(["d/span-9"], run_name, MECHANISM, POLICY)
    said = load_statement(run(compared=("d/span-9",)).uri)
    assert (said.behind, said.compared) == (("d/span-1",), ("d/span-9",))
    assert said.epsilon == ledger.epsilon("d/span-9", POLICY.delta) > ledger.epsilon("d/span-1", POLICY.delta)
    assert "compares with models of d/span-9, for whose examples the same holds" in said.in_words()
    version, path = served(tmp_path / "serving")
    manifest = json.loads(path.with_name("manifest.json").read_text())
    assert (manifest["spans"], manifest["compared"]) == (["d/span-1"], ["d/span-9"])


def test_a_ledger_that_lost_charges_makes_no_epsilon_smaller(run):
    stated = dataclasses.replace(STATEMENT, epsilon=5.0)
    assert load_statement(run(statement=stated).uri).epsilon == 5.0


@pytest.mark.parametrize(("audited", "allowed"), [(3.5, True), (math.inf, False)])
def test_what_the_audit_found_behind_the_model_counts(run, audited, allowed):
    if not allowed:
        with pytest.raises(GateError, match="Received: inf"):
            run(audited=audited)
        return
    assert load_statement(run(audited=audited).uri).epsilon == audited


@pytest.mark.parametrize("epsilon", [SPENT, 3.0, math.inf])
def test_an_epsilon_above_the_budget_is_refused(run, tmp_path, epsilon):
    with pytest.raises(GateError, match="^a pushed model's ε must be at most 0.1. Received: .* for d/span-1$"):
        run(statement=dataclasses.replace(STATEMENT, epsilon=epsilon), budget=0.1)
    assert not (tmp_path / "serving").exists()


def test_a_model_without_a_statement_never_pushes(run, tmp_path):
    with pytest.raises(GateError, match="^a model must come with a privacy statement"):
        run(statement=None)
    assert not (tmp_path / "serving").exists()
