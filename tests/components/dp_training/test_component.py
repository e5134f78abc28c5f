"""DPTrainer's order of things: reserve, read, train, settle, and what is left when one of them fails."""

import dataclasses
import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest

from components.common.artifacts import DataCheck, PrivacyStatement
from components.common.errors import BudgetError, DataError, Interrupted, ModelError
from components.common.models import load_model
from components.common.progress import watching
from components.common.settings import to_json
from components.common.tfx_nodes import standard_artifacts
from components.dp_training.component import DPTrainer
from components.dp_training.config import TrainerConfig
from components.dp_training.randomness import PoissonSampler
from components.privacy.account import Account
from components.privacy.accounting import epsilon_of
from components.privacy.config import PrivacyConfig
from components.privacy.ledger import Ledger
from components.privacy.release import load_release
from components.privacy.statement import load_statement
from components.statistics.component import NoisedStatistics
from tests.components import settings

DATA = dataclasses.replace(settings.DATA, image_shape=(24, 24, 1))
TRAINER = TrainerConfig(population=90, expected_batch_size=9, steps=4, l2_norm_clip=0.5, learning_rate=0.1)
SPAN, DELTA = "d/span-6", 1e-3


@pytest.fixture
def examples(artifact, public, encode, example, write_split):
    made = artifact(standard_artifacts.Examples, "examples")
    made.set_int_custom_property("span", 6)
    images = [encode(np.kron(image, np.ones((2, 2, 1), np.uint8))) for image in public.images]
    write_split(made.uri, "train", [example(i, int(label)) for i, label in zip(images, public.labels, strict=True)])
    return made


@pytest.fixture
def train(tmp_path, artifact, execute):
    """Runs the node; gives the folders of the model and the statement."""

    def run(examples, trainer=TRAINER, budget=9.0, name="model", **privacy) -> tuple[str, str]:
        outputs = {
            "model": artifact(standard_artifacts.Model, name),
            "statement": artifact(PrivacyStatement, f"{name}-statement"),
        }
        execute(
            DPTrainer,
            {"examples": examples, "check": artifact(DataCheck, "check")},
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


def test_other_images_make_another_run(train, examples, charges):
    for fingerprint in ("one", "other", "one"):
        examples.set_string_custom_property("input_fingerprint", fingerprint)
        train(examples, name=f"{fingerprint}-{len(charges())}")
    assert charges() == [(True, 4), (True, 4)]


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
