"""DPTrainer's order of things: reserve, read, train, settle."""

import pytest

from components.common.errors import BudgetError, DataError
from components.common.progress import watching
from components.common.tfx_nodes import standard_artifacts
from components.dp_training.component import _charged_training
from components.dp_training.config import TrainerConfig
from components.example_gen.config import ROLES, DataConfig, RolesConfig
from components.privacy.accounting import epsilon_of
from components.privacy.config import PrivacyConfig
from components.privacy.ledger import Ledger

DATA = DataConfig(
    name="d",
    root="r",
    schema="s",
    roles=RolesConfig(**{role: role for role in ROLES}),
    image_shape=(12, 12, 1),
    classes=("a", "b", "c"),
    public_source="somewhere",
)
TRAINER = TrainerConfig(
    population=90, expected_batch_size=9, steps=4, l2_norm_clip=0.5, learning_rate=0.1, physical_batch_size=32
)
SPAN = "d/span-6"


def policy(budget: float) -> PrivacyConfig:
    return PrivacyConfig(epsilon=2.0, delta=1e-3, budget_epsilon=budget)


@pytest.fixture
def examples(artifact, public, encode, example, write_split):
    made = artifact(standard_artifacts.Examples, "examples")
    made.id = 33
    made.set_int_custom_property("span", 6)
    images = [encode(image) for image in public.images]
    write_split(made.uri, "train", [example(i, int(label)) for i, label in zip(images, public.labels, strict=True)])
    return made


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger.sqlite")


def test_a_run_is_reserved_under_its_span_settled_in_full_and_stated(make_model, examples, ledger):
    statement = _charged_training(make_model(), examples, TRAINER, DATA, policy(9.0), ledger)
    (charge,) = ledger.charges(SPAN)
    assert (charge.run, charge.settled, charge.mechanism.steps) == ("33", True, 4)
    assert (statement.span, statement.charge, statement.mechanism) == (SPAN, charge.id, charge.mechanism)
    assert 1.98 < statement.run_epsilon <= 2.0
    assert (
        statement.epsilon == statement.run_epsilon == epsilon_of([charge.mechanism], 1e-3) == ledger.epsilon(SPAN, 1e-3)
    )


def test_a_run_that_is_interrupted_is_charged_the_steps_that_had_begun(make_model, examples, ledger):
    def interrupt(line: str) -> None:
        if line.startswith("step 3 of 4"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), watching(interrupt):
        _charged_training(make_model(), examples, TRAINER, DATA, policy(9.0), ledger)
    assert [(c.settled, c.mechanism.steps) for c in ledger.charges(SPAN)] == [(True, 3)]


def test_over_budget_nothing_private_is_read(make_model, artifact, ledger):
    nothing = artifact(standard_artifacts.Examples, "nothing")  # reading it would be a DataError
    with pytest.raises(BudgetError, match="Nothing private was read"):
        _charged_training(make_model(), nothing, TRAINER, DATA, policy(1.0), ledger)
    assert ledger.charges("d/span-0") == []


def test_data_that_cannot_be_read_costs_nothing(make_model, artifact, ledger):
    with pytest.raises(DataError):
        _charged_training(
            make_model(), artifact(standard_artifacts.Examples, "nothing"), TRAINER, DATA, policy(9.0), ledger
        )
    assert ledger.epsilon("d/span-0", 1e-3) == 0.0
