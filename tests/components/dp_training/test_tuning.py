"""What a stage may read: real Pruner, Clusterer and Quantizer nodes with `none`, `public` and `private`."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from components.clustering.component import Clusterer
from components.clustering.config import ClusterConfig
from components.common.artifacts import Variant
from components.common.compressed import Compressed, load_compressed
from components.common.errors import BudgetError, DataError, GateError, Interrupted, ModelError
from components.common.kernels import kernels
from components.common.legacy_keras import keras
from components.common.models import load_model
from components.common.progress import watching
from components.common.settings import to_json
from components.common.tflite import TFLiteModel
from components.common.tfx_nodes import standard_artifacts
from components.common.tuning import PrivateTuning, PublicTuning
from components.privacy.account import Account
from components.privacy.accounting import Mechanism, epsilon_of
from components.privacy.config import PrivacyConfig
from components.privacy.ledger import Ledger
from components.privacy.statement import Statement, load_statement
from components.pruning.component import Pruner
from components.pruning.config import PruneConfig
from components.quantization.component import Quantizer
from components.quantization.config import QuantizeConfig
from tests.components.settings import DATA

L = keras.layers
SPAN, DELTA = "d/span-6", 1e-3
POLICY = PrivacyConfig(epsilon=2.0, delta=DELTA, budget_epsilon=9.0)
TRAINED = Mechanism(noise_multiplier=2.0, sampling_probability=0.1, steps=10)
PUBLIC = PublicTuning(epochs=1)
PRIVATE = PrivateTuning(epsilon=1.0, steps=5, expected_batch_size=30, l2_norm_clip=0.5, learning_rate=0.5)
STAGES = {
    "prune": (Pruner, "pruned", PruneConfig(sparsity=0.5)),
    "cluster": (Clusterer, "clustered", ClusterConfig(clusters=5)),
    "quantize": (Quantizer, "variant", QuantizeConfig(mode="int8", calibration_examples=20)),
}


@pytest.fixture
def account(tmp_path) -> Account:
    ledger, journals = str(tmp_path / "ledger.sqlite"), str(tmp_path / "journals")
    return Account(policy=POLICY, ledger=ledger, journals=journals, population=90)


@pytest.fixture
def ledger(account) -> Ledger:
    """With the charge of the parent's training."""
    made = Ledger(account.ledger)
    charge = made.reserve([SPAN], "parent", TRAINED, POLICY)
    made.settle(charge.id, TRAINED.steps)
    return made


@pytest.fixture
def write(public, encode, example, write_split):
    """Writes a split; brightness: what its images are multiplied by."""

    def written(examples, role: str, brightness: float = 1.0) -> None:
        images = (public.images * brightness).astype(np.uint8)
        records = [example(encode(i), int(y)) for i, y in zip(images, public.labels, strict=True)]
        write_split(examples.uri, role, records)

    return written


@pytest.fixture
def examples(artifact, write):
    made = artifact(standard_artifacts.Examples, "examples")
    made.set_int_custom_property("span", 6)
    write(made, "train")
    write(made, "public", 0.5)
    return made


@pytest.fixture
def only_public(artifact, write):
    """Examples of which every other split would be a DataError."""
    made = artifact(standard_artifacts.Examples, "only-public")
    made.set_int_custom_property("span", 6)
    write(made, "public", 0.5)
    return made


def statement(**changes) -> Statement:
    alone = epsilon_of([TRAINED], DELTA)
    figures = {"epsilon": alone, "run_epsilon": alone, "delta": DELTA, "mechanism": TRAINED, **changes}
    declared = {"l2_norm_clip": 1.0, "population": 90, "public_source": "somewhere", "pretrained": False}
    return Statement(**{"spans": (SPAN,), "charge": 1, **declared, **figures})


@pytest.fixture
def parent(artifact, ledger, make_model):
    """Saves a model with its statement as an artifact."""

    def saved(model=None, name="parent", said=None):
        made = artifact(standard_artifacts.Model, name)
        Compressed(model=model or make_model()).save(made.uri)
        (said or statement()).save(made.uri)
        return made

    return saved


@pytest.fixture
def run(artifact, execute, account):
    """Runs one stage's node with other settings; gives its output."""

    def executed(stage: str, model, examples, name="made", charged_to=account, earlier=(), **settings):
        node, key, config = STAGES[stage]
        output = artifact(Variant if stage == "quantize" else standard_artifacts.Model, name)
        said = {"config": to_json(dataclasses.replace(config, **settings)), "data": to_json(DATA)}
        said["account"] = to_json(charged_to) if "private" in settings else ""
        said |= {"recipe": "r"} if stage == "quantize" else {}
        inputs = {"model": model, "examples": examples, **({"earlier": list(earlier)} if earlier else {})}
        execute(node, inputs, {key: output}, **said)
        return output

    return executed


def charged(ledger: Ledger) -> list[tuple[bool, int]]:
    return [(c.settled, c.mechanism.steps) for c in ledger.charges(SPAN)]


def weights(output) -> np.ndarray:
    """All that a stage left, of the model or of the file that ships, flat."""
    if Path(output.uri, "model.tflite").exists():
        return np.frombuffer(Path(output.uri, "model.tflite").read_bytes(), np.uint8)
    return np.concatenate([w.ravel() for w in load_model(output.uri).get_weights()])


@pytest.mark.parametrize("stage", STAGES)
def test_a_private_stage_is_charged_settled_and_stated_and_its_weights_move(run, parent, examples, ledger, stage):
    model = parent()
    made = run(stage, model, examples, private=PRIVATE)
    (own, charge) = ledger.charges(SPAN)
    assert charge.settled and charge.mechanism.steps == 5 and charge.mechanism.sampling_probability == 30 / 90
    assert 0.97 < epsilon_of([charge.mechanism], DELTA) <= 1.0
    said = load_statement(made.uri)
    (tuned,) = said.tuned
    assert (tuned.charge, tuned.mechanism, tuned.l2_norm_clip) == (charge.id, charge.mechanism, 0.5)
    together = epsilon_of([TRAINED, charge.mechanism], DELTA)
    assert said.run_epsilon == together < said.epsilon == ledger.epsilon(SPAN, DELTA)
    assert together > load_statement(model.uri).epsilon
    assert "5 steps with probability 0.333333, clipped to 0.5" in Path(made.uri, "statement.txt").read_text()
    assert "costs nothing" not in said.in_words()
    untuned = run(stage, model, examples, name="untuned")
    assert not np.array_equal(weights(untuned), weights(made))


def test_promises_hold_after_each_private_stage_of_a_recipe(run, parent, examples, ledger):
    pruned = run("prune", parent(), examples, name="pruned", private=PRIVATE)
    zeros = {name: k.variable.numpy() == 0 for name, k in kernels(load_model(pruned.uri)).items()}
    assert all(np.mean(zero) >= 0.49 for zero in zeros.values()) and len(zeros) == 3
    clustered = run("cluster", pruned, examples, name="clustered", private=PRIVATE)
    for name, kernel in kernels(load_model(clustered.uri)).items():
        values = kernel.variable.numpy()
        assert np.all(values[zeros[name]] == 0) and 2 <= len(np.unique(values)) <= 5
    made = run("quantize", clustered, examples, name="variant", private=PRIVATE, per_channel=False)
    said = json.loads(Path(made.uri, "variant.json").read_text())
    assert said["int8_weights"] == said["integer_operators"] == 1
    assert all(layer["sparsity"] >= 0.49 and layer["clusters"] <= 5 for layer in said["layers"])
    mechanisms = [charge.mechanism for charge in ledger.charges(SPAN)]
    said = load_statement(made.uri)
    assert [t.charge for t in said.tuned] == [charge.id for charge in ledger.charges(SPAN)[1:]]
    assert said.run_epsilon == epsilon_of(mechanisms, DELTA) < said.epsilon == ledger.epsilon(SPAN, DELTA)


@pytest.mark.parametrize("tuning", [{}, {"public": PUBLIC}])
@pytest.mark.parametrize("stage", STAGES)
def test_other_stages_never_read_private_examples_and_keep_the_epsilon(run, parent, only_public, ledger, stage, tuning):
    before = ledger.charges(SPAN)
    made = run(stage, parent(), only_public, **tuning)
    assert ledger.charges(SPAN) == before
    assert load_statement(made.uri) == statement()
    assert "post-processing" in Path(made.uri, "statement.txt").read_text()


@pytest.mark.parametrize("stage", ["prune", "cluster"])
def test_compensation_reads_public_images_or_none_at_all_and_keeps_the_epsilon(
    run, parent, only_public, artifact, ledger, stage
):
    before, nothing = ledger.charges(SPAN), artifact(standard_artifacts.Examples, "nothing")
    plain = run(stage, parent(), nothing, name="plain")
    drawn = run(stage, parent(), nothing, name="drawn", compensate="random")
    shown = run(stage, parent(), only_public, name="shown", compensate="public")
    for one, other in ((plain, drawn), (plain, shown), (drawn, shown)):
        assert not np.array_equal(weights(one), weights(other))
    assert ledger.charges(SPAN) == before and load_statement(shown.uri) == statement()
    with pytest.raises(DataError, match="split `public` must have files"):
        run(stage, parent(), nothing, name="none", compensate="public")


@pytest.mark.parametrize("stage", STAGES)
def test_over_budget_nothing_private_is_read_and_nothing_comes_out(run, parent, only_public, account, ledger, stage):
    before = ledger.charges(SPAN)
    poor = dataclasses.replace(account, policy=dataclasses.replace(POLICY, budget_epsilon=1.0))
    with pytest.raises(BudgetError, match="Nothing private was read"):
        run(stage, parent(), only_public, charged_to=poor, private=PRIVATE)
    assert ledger.charges(SPAN) == before
    assert {path.suffix for path in Path(account.journals).iterdir()} == {".lock"}
    with pytest.raises(DataError, match="split `train` must have files"):  # so the line above can fail
        run(stage, parent(), only_public, private=PRIVATE)
    assert charged(ledger)[1:] == [(True, 0)]


def test_calibration_is_on_public_images_also_where_training_is_private(run, parent, examples):
    """Public images are half as bright, and the brightest of them sets the range of the input."""
    made = run("quantize", parent(), examples, private=PRIVATE)
    details = TFLiteModel(Path(made.uri, "model.tflite").read_bytes())._interpreter.get_input_details()[0]
    assert details["quantization"][0] == pytest.approx(104 / 255 / 255, rel=0.02)


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_one_goes_on_under_its_charge(run, parent, examples, ledger, stage):
    seen = []

    def interrupt(line: str) -> None:
        seen.append(line)
        if line.startswith("step 3 of 5"):
            raise Interrupted(15)

    model = parent()
    with pytest.raises(Interrupted), watching(interrupt):
        run(stage, model, examples, private=PRIVATE)
    assert charged(ledger)[1:] == [(False, 5)]
    assert not Path(model.uri, "../made/statement.json").exists()
    seen.clear()
    with watching(seen.append):
        made = run(stage, model, examples, private=PRIVATE)
    assert [line.split(",")[0] for line in seen] == ["step 4 of 5", "step 5 of 5"]
    assert charged(ledger)[1:] == [(True, 5)]
    assert load_statement(made.uri).tuned[0].charge == ledger.charges(SPAN)[1].id


@pytest.mark.parametrize("stage", STAGES)
def test_the_same_stage_on_the_same_model_shares_the_charge_and_the_weights(run, parent, examples, ledger, stage):
    model = parent()
    first = run(stage, model, examples, private=PRIVATE)
    elsewhere = parent(load_model(model.uri), "saved-again")
    second = run(stage, elsewhere, examples, name="again", private=PRIVATE)
    assert charged(ledger)[1:] == [(True, 5)]
    np.testing.assert_array_equal(weights(first), weights(second))
    assert load_statement(first.uri) == load_statement(second.uri)


def test_another_model_at_the_same_place_is_another_training(run, parent, examples, ledger, make_model):
    first = run("prune", parent(), examples, private=PRIVATE)
    shutil.rmtree(first.uri)
    second = run("prune", parent(make_model(8)), examples, private=PRIVATE)
    assert charged(ledger)[1:] == [(True, 5), (True, 5)]
    said = load_statement(second.uri)
    assert [t.charge for t in said.tuned] == [ledger.charges(SPAN)[-1].id]
    assert said.epsilon == ledger.epsilon(SPAN, DELTA) > said.run_epsilon


@pytest.mark.parametrize("change", ["stage", "population", "promises", "images"])
def test_whatever_else_the_outcome_depends_on_makes_another_training(run, parent, examples, account, ledger, change):
    model = parent()
    run("prune", model, examples, private=PRIVATE)
    settings, charged_to = {"private": PRIVATE}, account
    if change == "stage":
        settings["ramp"] = 0.5
    elif change == "population":
        charged_to = dataclasses.replace(account, population=100)
    elif change == "promises":
        told = {"promises": {"conv": {"sparsity": 0.1}}, "skipped": {}}
        Path(model.uri, "promises.json").write_text(json.dumps(told))
    else:
        examples.set_string_custom_property("input_fingerprint", "others")
    run("prune", model, examples, charged_to=charged_to, **settings)
    assert charged(ledger)[1:] == [(True, 5), (True, 5)]


def test_another_budget_is_no_other_training(run, parent, examples, account, ledger):
    model = parent()
    run("prune", model, examples, private=PRIVATE)
    richer = dataclasses.replace(account, policy=dataclasses.replace(POLICY, budget_epsilon=10.0))
    run("prune", model, examples, charged_to=richer, private=PRIVATE)
    assert charged(ledger)[1:] == [(True, 5)]


def test_a_training_that_broke_is_charged_what_it_executed_and_the_next_try_anew(run, parent, examples, ledger):
    wild = dataclasses.replace(PRIVATE, learning_rate=1e38, l2_norm_clip=1e3)
    for _ in range(2):
        with pytest.raises(ModelError, match="finite weights. Lower its learning_rate"):
            run("prune", parent(), examples, private=wild)
    first, second = charged(ledger)[1:]
    assert first[0] and second[0] and 0 < first[1] < 5 and 0 < second[1] < 5


def test_a_parent_of_a_fixed_seed_stays_without_a_promise(run, parent, examples):
    model = parent(said=statement(epsilon=math.inf, insecure=True))
    said = load_statement(run("prune", model, examples, private=PRIVATE).uri)
    assert said.epsilon == math.inf and said.insecure and len(said.tuned) == 1
    assert said.in_words().startswith("Nothing is promised")


def test_a_model_of_another_span_is_refused(run, parent, only_public, ledger):
    only_public.set_int_custom_property("span", 7)
    with pytest.raises(GateError, match="the spans of its statement, d/span-6. Received: d/span-7$"):
        run("prune", parent(), only_public, private=PRIVATE)
    assert ledger.charges("d/span-7") == []


@pytest.mark.parametrize("stage", STAGES)
def test_a_private_stage_reads_all_spans_that_its_model_was_trained_on_under_one_charge(
    run, parent, examples, artifact, write, ledger, stage
):
    earlier = artifact(standard_artifacts.Examples, "earlier")
    earlier.set_int_custom_property("span", 5)
    spans = ("d/span-5", SPAN)
    charge = ledger.reserve(spans, "of both", TRAINED, POLICY)
    model = parent(said=statement(spans=spans, charge=charge.id))
    with pytest.raises(GateError, match="the spans of its statement, d/span-5, d/span-6. Received: d/span-6$"):
        run(stage, model, examples, private=PRIVATE)
    with pytest.raises(DataError, match=f"split `train` must have files. Nothing is under {earlier.uri}"):
        run(stage, model, examples, earlier=[earlier], private=PRIVATE)
    write(earlier, "train")
    made = run(stage, model, examples, earlier=[earlier], private=PRIVATE)
    assert [c.spans for c in ledger.charges(SPAN)[-2:]] == [spans, spans]
    said = load_statement(made.uri)
    assert said.tuned[0].charge == ledger.charges("d/span-5")[-1].id
    assert said.epsilon == ledger.epsilon(SPAN, DELTA) > ledger.epsilon("d/span-5", DELTA)


def test_a_ledger_that_does_not_know_the_parent_makes_no_statement_that_holds(run, parent, examples, account):
    model = parent()
    Path(account.ledger).unlink()
    made = run("prune", model, examples, private=PRIVATE)
    with pytest.raises(GateError, match="a model must come with a privacy statement"):
        load_statement(made.uri)


def network(*layers) -> keras.Model:
    return keras.Sequential([L.Input((12, 12, 1)), *layers, L.Flatten(), L.Dense(3)])


def test_a_model_that_mixes_examples_is_refused_in_one_line(run, parent, examples, ledger):
    mixing = network(L.Conv2D(4, 3, activation="relu"), L.BatchNormalization(name="norm"))
    with pytest.raises(ModelError, match="^layer norm must not mix examples: [^\n]*$"):
        run("prune", parent(mixing), examples, private=PRIVATE)
    assert charged(ledger)[1:] == [(True, 0)]


def test_a_model_whose_normalization_was_folded_is_trained_and_the_normalization_stays_as_it_is(run, parent, examples):
    folded = network(L.Conv2D(4, 3), L.BatchNormalization(name="norm"), L.ReLU())
    folded.get_layer("norm").moving_mean.assign([0.1, 0.2, 0.3, 0.4])
    model = parent(folded)
    made = load_compressed(run("prune", model, examples, private=PRIVATE).uri).model
    untuned = load_compressed(run("prune", model, examples, name="untuned").uri).model
    for now, then in zip(made.get_layer("norm").get_weights(), untuned.get_layer("norm").get_weights(), strict=True):
        np.testing.assert_array_equal(now, then)
    assert not np.array_equal(made.layers[0].kernel.numpy(), untuned.layers[0].kernel.numpy())


def test_only_the_steps_that_were_reserved_are_told(run, parent, examples):
    told = []
    with watching(told.append):
        run("quantize", parent(), examples, private=PRIVATE)
    assert [line.split(",")[0] for line in told] == [f"step {n} of 5" for n in range(1, 6)]
    assert all(line.endswith(" of 1") or " of 0.9" in line for line in told)
