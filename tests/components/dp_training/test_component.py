"""DPTrainer's order of things: reserve, read, train, settle, and what is left when one of them fails."""

import dataclasses
import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest

from components.common.artifacts import DataCheck, PrivacyStatement
from components.common.errors import BudgetError, DataError, GateError, Interrupted, ModelError
from components.common.models import load_model
from components.common.progress import watching
from components.common.settings import to_json
from components.common.tfx_nodes import standard_artifacts
from components.dp_training.charged import ChargedTraining
from components.dp_training.component import DPTrainer
from components.dp_training.config import TrainerConfig
from components.dp_training.randomness import PoissonSampler
from components.privacy.account import Account
from components.privacy.accounting import Mechanism, epsilon_of
from components.privacy.config import PrivacyConfig
from components.privacy.ledger import Ledger
from components.privacy.release import load_release
from components.privacy.statement import Base, load_statement
from components.statistics.component import NoisedStatistics
from tests.components import settings

DATA = dataclasses.replace(settings.DATA, image_shape=(24, 24, 1))
TRAINER = TrainerConfig(population=90, expected_batch_size=9, steps=4, l2_norm_clip=0.5, learning_rate=0.1)
SPAN, DELTA = "d/span-6", 1e-3


@pytest.fixture
def of_span(artifact, public, encode, example, write_split):
    """Makes the Examples of a span."""

    def made(span: int, *roles: str):
        found = artifact(standard_artifacts.Examples, f"examples-{span}")
        found.set_int_custom_property("span", span)
        images = [encode(np.kron(image, np.ones((2, 2, 1), np.uint8))) for image in public.images]
        for role in roles:
            records = [example(i, int(label)) for i, label in zip(images, public.labels, strict=True)]
            write_split(found.uri, role, records)
        return found

    return made


@pytest.fixture
def examples(of_span):
    return of_span(6, "train")


@pytest.fixture
def train(tmp_path, artifact, execute):
    """Runs the node; gives the folders of the model and the statement. `made` holds the models by their names."""

    def run(examples, trainer=TRAINER, budget=9.0, name="model", earlier=(), base=None, **privacy) -> tuple[str, str]:
        outputs = {
            "model": artifact(standard_artifacts.Model, name),
            "statement": artifact(PrivacyStatement, f"{name}-statement"),
        }
        inputs = {"examples": examples, "check": artifact(DataCheck, "check")}
        inputs |= {"earlier": list(earlier)} if earlier else {}
        inputs |= {"base": run.made[base]} if base else {}
        run.made[name] = outputs["model"]
        execute(
            DPTrainer,
            inputs,
            outputs,
            config=to_json(trainer),
            data=to_json(DATA),
            account=to_json(
                Account(
                    policy=PrivacyConfig(epsilon=2.0, delta=DELTA, budget_epsilon=budget, **privacy),
                    ledger=str(tmp_path / "ledger.sqlite"),
                    journals=str(tmp_path / "journals"),
                    population=trainer.population,
                )
            ),
        )
        return outputs["model"].uri, outputs["statement"].uri

    run.made = {}
    return run


@pytest.fixture
def charges(tmp_path):
    return lambda span=SPAN: [(c.settled, c.mechanism.steps) for c in Ledger(tmp_path / "ledger.sqlite").charges(span)]


def test_a_run_is_reserved_under_its_span_settled_in_full_and_stated(tmp_path, train, examples, charges):
    model, folder = train(examples)
    assert charges() == [(True, 4)]
    (charge,) = Ledger(tmp_path / "ledger.sqlite").charges(SPAN)
    statement = load_statement(folder)
    assert (statement.spans, statement.charge, statement.mechanism) == ((SPAN,), charge.id, charge.mechanism)
    assert 1.98 < statement.run_epsilon <= 2.0
    assert statement.epsilon == statement.run_epsilon == epsilon_of([charge.mechanism], DELTA)
    assert Path(model, "model.tflite").stat().st_size > 10_000
    again, _ = train(examples, name="again", budget=8.0)  # the same run: nothing is executed or charged twice
    assert charges() == [(True, 4)]
    for mine, other in zip(load_model(model).get_weights(), load_model(again).get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_noisy_counts_that_follow_are_charged_with_it_and_in_its_epsilon(
    tmp_path, train, examples, charges, artifact, execute
):
    """Under a budget far above what both cost, which on its own would state more."""
    _, folder = train(examples, budget=9.0, statistics="noised")
    assert charges() == [(True, 4), (False, 1)]
    reserved = [c.reserved for c in Ledger(tmp_path / "ledger.sqlite").charges(SPAN)]
    statement = load_statement(folder)
    assert statement.epsilon == epsilon_of(reserved, DELTA) <= 2.0
    assert statement.run_epsilon == epsilon_of(reserved[:1], DELTA) < statement.epsilon
    policy = PrivacyConfig(epsilon=2.0, delta=DELTA, budget_epsilon=9.0, statistics="noised")
    account = Account(
        policy=policy, ledger=str(tmp_path / "ledger.sqlite"), journals=str(tmp_path / "journals"), population=90
    )
    counts = artifact(standard_artifacts.ExampleStatistics, "statistics")
    inputs = {"examples": examples, "statement": artifact(PrivacyStatement, "model-statement")}
    execute(NoisedStatistics, inputs, {"statistics": counts}, data=to_json(DATA), account=to_json(account))
    assert charges() == [(True, 4), (True, 1)] and load_release(counts.uri).charge == 2
    assert Ledger(tmp_path / "ledger.sqlite").epsilon(SPAN, DELTA) == statement.epsilon


def test_nothing_is_told_or_logged_but_the_steps_that_were_reserved(train, examples, caplog, capfd, monkeypatch):
    """Which examples a step took, and how many, are as secret as the noise."""
    realised, told, draw = [], [], PoissonSampler.draw
    watched = dataclasses.replace(TRAINER, expected_batch_size=45, steps=8)

    def drawn(self, population):
        realised.append(draw(self, population))
        return realised[-1]

    monkeypatch.setattr(PoissonSampler, "draw", drawn)
    with caplog.at_level(logging.DEBUG), watching(told.append):
        _, folder = train(examples, watched)
    assert len({len(sample) for sample in realised}) > 1
    assert [re.sub(r"ε [\d.]+ of 2", "", line) for line in told] == [f"step {n} of 8, " for n in range(1, 9)]
    ours = [record.getMessage() for record in caplog.records if record.name in ("root", "tensorflow")]
    printed = [re.sub(r"(?m)^\S.*?\.cc:\d+\] ", "", text) for text in capfd.readouterr()]  # no time of day, no thread
    numbers = {int(n) for text in [*ours, *printed] for n in re.findall(r"(?<![\w.])\d+(?![\w.])", text)}
    sizes = {len(sample) for sample in realised if len(sample) > 8}
    assert not sizes & numbers, ours
    assert not sizes & {int(n) for n in re.findall(r"\b\d+\b", Path(folder, "statement.json").read_text())}


def test_an_interrupted_run_keeps_its_charge_and_goes_on_under_it(train, examples, charges):
    seen = []

    def interrupt(line: str) -> None:
        seen.append(line)
        if line.startswith("step 3 of 4"):
            raise Interrupted(15)

    with pytest.raises(Interrupted), watching(interrupt):
        train(examples)
    assert charges() == [(False, 4)]
    seen.clear()
    with watching(seen.append):
        train(examples, name="again")
    assert [line.split(",")[0] for line in seen] == ["step 4 of 4"]
    assert charges() == [(True, 4)]


def test_another_run_does_not_go_on_with_what_is_not_its_own(train, examples, charges):
    train(examples)
    _, folder = train(examples, dataclasses.replace(TRAINER, learning_rate=0.2), name="other")
    assert charges() == [(True, 4), (True, 4)]
    statement = load_statement(folder)
    assert statement.epsilon > statement.run_epsilon + 0.1
    assert "the rest was spent by other runs" in statement.in_words()


def test_other_images_in_any_span_make_another_run(train, examples, of_span, charges):
    earlier = of_span(5, "train")
    for changed, fingerprint in ((examples, "one"), (examples, "other"), (earlier, "third"), (earlier, "third")):
        changed.set_string_custom_property("input_fingerprint", fingerprint)
        train(examples, name=f"{fingerprint}-{len(charges())}", earlier=[earlier])
    assert charges() == charges("d/span-5") == [(True, 4)] * 3


def test_weights_that_break_are_charged_what_was_executed_and_the_next_try_starts_anew(train, examples, charges):
    wild = dataclasses.replace(TRAINER, learning_rate=1e38, steps=50)
    for _ in range(2):
        with pytest.raises(ModelError, match="Lower its learning_rate"):
            train(examples, wild)
    (first, second) = charges()
    assert first[0] and second[0] and 0 < first[1] < 50 and 0 < second[1] < 50


def test_over_budget_nothing_private_is_read(train, artifact, charges):
    nothing = artifact(standard_artifacts.Examples, "nothing")  # reading it would be a DataError
    with pytest.raises(BudgetError, match="Nothing private was read"):
        train(nothing, budget=1.0)
    assert charges("d/span-0") == []


def test_data_that_cannot_be_read_costs_nothing(train, artifact, charges):
    with pytest.raises(DataError):
        train(artifact(standard_artifacts.Examples, "nothing"))
    assert charges("d/span-0") == [(True, 0)]


def test_a_fixed_seed_makes_epsilon_infinite(train, examples):
    _, folder = train(examples, dataclasses.replace(TRAINER, insecure_fixed_seed=7))
    statement = load_statement(folder)
    assert statement.epsilon == float("inf")
    assert statement.in_words().startswith("Nothing is promised")
    assert json.loads(Path(folder, "statement.json").read_text())["insecure"] is True


def test_a_training_on_several_spans_is_one_charge_on_each_and_counts_are_of_its_own(
    tmp_path, train, of_span, artifact
):
    two = dataclasses.replace(TRAINER, population=180)
    earlier = [of_span(5, "train"), of_span(2, "train")]
    _, folder = train(of_span(6, "train"), two, earlier=earlier, statistics="noised")
    book = Ledger(tmp_path / "ledger.sqlite").book()
    spans = ("d/span-2", "d/span-5", SPAN)
    assert [(c.spans, c.executed) for c in book.charges.values()] == [(spans, 4), ((SPAN,), None)]
    statement = load_statement(folder)
    assert (statement.spans, statement.base) == (spans, None)
    assert statement.epsilon == book.spans[SPAN].epsilon(DELTA) > book.spans["d/span-2"].epsilon(DELTA)


def test_it_reads_the_private_and_the_public_examples_of_all_spans(train, of_span, charges):
    pretrained = dataclasses.replace(TRAINER, pretrain_epochs=1)
    with pytest.raises(DataError, match="split `public` must have files. Nothing is under .*examples-5"):
        train(of_span(6, "train", "public"), pretrained, earlier=[of_span(5, "train")])
    with pytest.raises(DataError, match="split `train` must have files. Nothing is under .*examples-4"):
        train(of_span(6), earlier=[of_span(4)], name="other")
    assert charges("d/span-5") == [(False, 4)] and charges("d/span-4") == [(True, 0)]


def test_a_dry_span_of_the_window_refuses_before_anything_is_read_and_is_named(tmp_path, train, of_span, charges):
    nothing = [of_span(5), of_span(4)]  # reading them would be a DataError
    ledger = Ledger(tmp_path / "ledger.sqlite")
    poor = PrivacyConfig(epsilon=2.0, delta=DELTA, budget_epsilon=2.0)
    ledger.reserve(["d/span-5"], "earlier", Mechanism(noise_multiplier=1.2, sampling_probability=0.1, steps=9), poor)
    with pytest.raises(
        BudgetError, match="^the budget of span d/span-5 must hold the run: .* Nothing private was read$"
    ):
        train(of_span(6), earlier=nothing, budget=2.1)
    assert charges() == charges("d/span-4") == [] and len(charges("d/span-5")) == 1


def test_a_warm_start_goes_on_from_the_weights_of_its_base_without_pretraining(tmp_path, train, of_span, monkeypatch):
    pretrained = dataclasses.replace(TRAINER, pretrain_epochs=1)
    first, _ = train(of_span(5, "train", "public"), pretrained, name="first")
    begun, told, privately = [], [], ChargedTraining.train

    def watched(self, model, *rest):
        begun.append([v.numpy() for v in model.trainable_variables])
        privately(self, model, *rest)

    monkeypatch.setattr(ChargedTraining, "train", watched)
    with watching(told.append):
        warm, folder = train(of_span(6, "train"), pretrained, name="warm", base="first")
    assert not any("pretraining" in line for line in told)
    for mine, other in zip(begun[0], load_model(first).get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert not np.array_equal(load_model(warm).get_weights()[0], load_model(first).get_weights()[0])
    statement, book = load_statement(folder), Ledger(tmp_path / "ledger.sqlite").book()
    assert statement.base == Base(spans=("d/span-5",), charges=(1,)) and statement.pretrained
    assert (statement.spans, statement.behind) == ((SPAN,), ("d/span-5", SPAN))
    assert [c.spans for c in book.charges.values()] == [("d/span-5",), (SPAN,)]
    again, _ = train(of_span(7, "train"), pretrained, name="again", base="warm")
    assert load_statement(again).base == Base(spans=("d/span-5", SPAN), charges=(1, 3))


def test_another_base_makes_another_training_and_what_its_spans_cost_now_is_stated(tmp_path, train, of_span, charges):
    train(of_span(5, "train"), name="first")
    train(of_span(5, "train"), dataclasses.replace(TRAINER, learning_rate=0.2), name="second")
    ledger, policy = Ledger(tmp_path / "ledger.sqlite"), PrivacyConfig(epsilon=2.0, delta=DELTA, budget_epsilon=9.0)
    ledger.reserve(["d/span-5"], "another", ledger.charges("d/span-5")[0].reserved, policy)
    examples = of_span(6, "train")
    for base in ("first", "second", "first"):
        _, folder = train(examples, name=f"from-{base}", base=base)
    assert charges() == [(True, 4), (True, 4)]
    spans = ledger.book().spans
    assert load_statement(folder).epsilon == spans["d/span-5"].epsilon(DELTA) > spans[SPAN].epsilon(DELTA) + 0.1


def test_a_base_whose_statement_was_forged_lower_is_refused_before_anything_is_charged(train, of_span, charges):
    first, _ = train(of_span(5, "train"), name="first")
    dataclasses.replace(load_statement(first), epsilon=0.1, run_epsilon=0.1).save(first)
    with pytest.raises(GateError, match="^a warm start must be from the statement.json that a training left"):
        train(of_span(6), name="warm", base="first")
    assert charges() == []
