"""What must hold of a model before a training goes on from it."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from components.common.errors import ConfigError, GateError
from components.common.tfx_nodes import standard_artifacts
from components.dp_training import models
from components.dp_training.models import build
from components.dp_training.warm_start import leave_start, seal_statement, start_from
from components.privacy.accounting import Mechanism, epsilon_of
from components.privacy.config import PrivacyConfig
from components.privacy.ledger import Ledger
from components.privacy.statement import Base
from tests.components.settings import STATEMENT

RUN = Mechanism(noise_multiplier=1.5, sampling_probability=0.1, steps=30)
POLICY = PrivacyConfig(epsilon=2.0, delta=1e-5, budget_epsilon=50.0)
COST = epsilon_of([RUN], 1e-5)
SHAPE = (24, 24, 1)


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    """With a training on span 1, and one on spans 2 and 3 that went on from it."""
    made = Ledger(tmp_path / "ledger.sqlite")
    made.reserve(["d/span-1"], "first", RUN, POLICY)
    made.reserve(["d/span-2", "d/span-3"], "second", RUN, POLICY)
    return made


WARM = dataclasses.replace(
    STATEMENT,
    spans=("d/span-2", "d/span-3"),
    charge=2,
    base=Base(spans=("d/span-1",), charges=(1,)),
    mechanism=RUN,
    epsilon=COST,
    run_epsilon=COST,
)


@pytest.fixture
def model(artifact):
    """A Model artifact as a training leaves it."""

    def left(statement=WARM, network=None):
        made = artifact(standard_artifacts.Model, "base")
        leave_start(network or build("tanh_cnn", SHAPE, 3), made)
        statement.save(made.uri)
        seal_statement(made)
        return made

    return left


def refused(model, ledger: Ledger, says: str, policy: PrivacyConfig = POLICY) -> None:
    with pytest.raises(GateError, match=says) as caught:
        start_from(model, ledger.book(), policy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["tanh_cnn", "gabor_cnn", "scattering_linear"])
def test_the_weights_are_those_that_were_trained_and_the_ledger_says_from_which_spans(model, ledger, name, monkeypatch):
    monkeypatch.setattr(models, "_RANDOM_IMAGES", 60)  # what scattering is whitened with: as few as will do
    monkeypatch.setattr(models, "_DIRECTIONS", 20)
    network, fresh = build(name, SHAPE, 3), build(name, SHAPE, 3)
    random = np.random.default_rng(0)
    for variable in network.trainable_variables:
        variable.assign(random.normal(size=variable.shape))
    start = start_from(model(network=network), ledger.book(), POLICY)
    start.put_into(fresh)
    for mine, other in zip(fresh.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert start.base == Base(spans=("d/span-1", "d/span-2", "d/span-3"), charges=(1, 2))


def test_other_weights_make_another_start(model, ledger):
    first, second = build("tanh_cnn", SHAPE, 3), build("tanh_cnn", SHAPE, 3)
    second.set_weights(first.get_weights())
    same = [start_from(model(network=each), ledger.book(), POLICY).fingerprint for each in (first, second)]
    second.layers[-1].bias.assign_add([1e-7, 0.0, 0.0])
    other = start_from(model(network=second), ledger.book(), POLICY).fingerprint
    assert same[0] == same[1] != other


@pytest.mark.parametrize(
    ("name", "shape", "classes"), [("gabor_cnn", SHAPE, 3), ("tanh_cnn", (28, 28, 1), 3), ("tanh_cnn", SHAPE, 4)]
)
def test_another_architecture_or_shape_is_refused_in_one_line(model, ledger, name, shape, classes):
    start = start_from(model(), ledger.book(), POLICY)
    with pytest.raises(
        ConfigError, match=f"^`trainer.warm_start` must go on from .*, {name} .* Received: tanh_cnn [^\n]*$"
    ):
        start.put_into(build(name, shape, classes))


@pytest.mark.parametrize(
    "forged",
    [
        {"epsilon": 0.9, "run_epsilon": 0.9},
        {"base": None},
        {"spans": ("d/span-3",)},
        {"pretrained": True},
    ],
)
def test_a_statement_that_was_forged_after_the_training_is_refused(model, ledger, forged):
    made = model()
    dataclasses.replace(WARM, **forged).save(made.uri)
    refused(
        made, ledger, "^a warm start must be from the statement.json that a training left. Received: another one in "
    )


def test_weights_that_were_swapped_after_the_training_are_refused(model, ledger, artifact):
    made, other = model(), artifact(standard_artifacts.Model, "other")
    leave_start(build("tanh_cnn", SHAPE, 3), other)
    shutil.copyfile(Path(other.uri, "trained.npz"), Path(made.uri, "trained.npz"))
    refused(made, ledger, "^a warm start must be from the trained.npz that a training left. Received: another one in ")


@pytest.mark.parametrize("name", ["trained.npz", "statement.json"])
def test_a_model_from_outside_or_without_a_statement_is_refused(model, ledger, artifact, name):
    made = model()
    Path(made.uri, name).unlink()
    refused(made, ledger, f"^a warm start must be from the {name} that a training left. Received: none in ")
    refused(artifact(standard_artifacts.Model, "imported"), ledger, "^a warm start must be from the trained.npz that")


def test_a_model_of_a_fixed_seed_is_refused(model, ledger):
    insecure = dataclasses.replace(WARM, insecure=True, epsilon=math.inf)
    refused(model(insecure), ledger, "^a warm start must be from a model with a promise")


@pytest.mark.parametrize("charges", [(9,), (1, 9)])
def test_a_model_whose_charge_the_ledger_does_not_have_is_refused(model, ledger, charges):
    says = "^a warm start must be from a model that was charged. The ledger has no charge 9$"
    refused(model(dataclasses.replace(WARM, base=Base(spans=("d/span-1",), charges=charges))), ledger, says)


@pytest.mark.parametrize(
    "said",
    [
        {"spans": ("d/span-3",)},
        {"base": None, "spans": ("d/span-1", "d/span-2", "d/span-3")},
        {"spans": ("d/span-1", "d/span-2", "d/span-3")},
        {"base": Base(spans=("d/span-0",), charges=(1,))},
        {"mechanism": dataclasses.replace(RUN, steps=29)},
        {"charge": 1},
    ],
)
def test_a_statement_of_other_spans_than_were_charged_is_refused(model, ledger, said):
    """Whoever wrote it, and MLMD with it."""
    refused(model(dataclasses.replace(WARM, **said)), ledger, "^the statement of a model must be as it was charged")


def test_a_base_whose_spans_cost_more_than_may_be_pushed_is_refused(model, ledger):
    made, poor = model(), dataclasses.replace(POLICY, budget_epsilon=COST + 0.1)
    assert start_from(made, ledger.book(), poor)
    ledger.reserve(["d/span-1"], "later", RUN, POLICY)
    refused(made, ledger, "Received: .* for d/span-1, d/span-2, d/span-3$", poor)


def test_a_base_of_a_closed_span_is_refused(model, ledger):
    book = ledger.book()
    book.spans["d/span-1"].closed = True
    with pytest.raises(GateError, match="Received: inf for d/span-1, d/span-2, d/span-3$"):
        start_from(model(), book, POLICY)


def test_what_mlmd_remembers_is_of_the_very_files(model):
    made = model()
    said = {key: made.get_string_custom_property(key) for key in ("trained.npz", "statement.json")}
    assert all(len(value) == 64 for value in said.values()) and len(set(said.values())) == 2
    assert json.loads(Path(made.uri, "statement.json").read_text())["charge"] == 2
