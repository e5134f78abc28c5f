"""A private training's way from its reservation to its settlement, wherever it is killed."""

import dataclasses
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from components.common.errors import BudgetError, Interrupted, ModelError
from components.common.examples import Split
from components.common.legacy_keras import keras
from components.common.progress import watching
from components.dp_training.charged import ChargedTraining, run_key
from components.dp_training.config import TrainerConfig
from components.privacy.account import Account
from components.privacy.accounting import Mechanism
from components.privacy.config import PrivacyConfig
from components.privacy.ledger import Ledger

L = keras.layers
CONFIG = TrainerConfig(population=40, expected_batch_size=10, steps=4, l2_norm_clip=0.5, learning_rate=0.1)
HOLDER = """
import sys, time
from pathlib import Path
from components.common.locks import hold
lock = hold(Path(sys.argv[1]), "the journal")
print("held", flush=True)
time.sleep(300)
"""
MECHANISM = Mechanism(noise_multiplier=2.0, sampling_probability=0.25, steps=4)


@pytest.fixture
def account(tmp_path) -> Account:
    policy = PrivacyConfig(epsilon=2.0, delta=1e-3, budget_epsilon=20.0)
    return Account(policy=policy, ledger=str(tmp_path / "l.sqlite"), journals=str(tmp_path / "journals"), population=40)


@pytest.fixture
def start(account):
    """A process's look at the training `run`; each call stands for a process of its own."""
    return lambda mechanism=MECHANISM, policy=account.policy: ChargedTraining(
        dataclasses.replace(account, policy=policy), ["span"], "run", mechanism, 30.0
    )


def private():
    random = np.random.default_rng(0)
    yield Split(images=random.integers(0, 256, (40, 4, 4, 1), np.uint8), labels=random.integers(0, 3, 40))


def network() -> keras.Model:
    return keras.Sequential([L.Input((4, 4, 1)), L.Flatten(), L.Dense(3, kernel_initializer="ones")])


def charges(account) -> list[tuple[bool, int]]:
    return [(c.settled, c.mechanism.steps) for c in Ledger(account.ledger).charges("span")]


def interrupted_at(step: int, training: ChargedTraining, folder: Path, model: keras.Model | None = None) -> None:
    def interrupt(line: str) -> None:
        if line.startswith(f"step {step} of"):
            raise Interrupted(15)

    with pytest.raises(Interrupted), watching(interrupt):
        training.train(model or network(), private(), CONFIG, str(folder))


def journals(account) -> list[Path]:
    """The journals, without the locks beside them."""
    return [path for path in Path(account.journals).iterdir() if path.is_dir()]


def test_who_trains_the_same_at_the_same_time_waits_and_then_finds_it_trained(tmp_path, start, account):
    """The other one is a process that holds the journal's lock until it is killed."""
    started = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(Path(account.journals, "run.lock"))],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout.readline() == "held\n"
    told = []
    threading.Timer(1.0, started.kill).start()
    with watching(told.append):
        start().train(network(), private(), CONFIG, str(tmp_path))
    assert told[0] == "another run holds the journal of this training: waiting for it" and started.wait() == -9
    assert charges(account) == [(True, 4)]


def test_the_charge_stands_before_the_first_example_is_read(tmp_path, start, account):
    def watched():
        seen.append(charges(account))
        yield from private()

    seen = []
    start().train(network(), watched(), CONFIG, str(tmp_path))
    assert seen == [[(False, 4)]] and charges(account) == [(True, 4)]


def test_over_budget_nothing_is_reserved_and_no_journal_made(start, account):
    poor = dataclasses.replace(account.policy, budget_epsilon=0.1)
    with pytest.raises(BudgetError):
        start(policy=poor)
    assert charges(account) == [] and journals(account) == []


def test_a_killed_one_is_found_again_whatever_became_of_the_budget(tmp_path, start, account):
    interrupted_at(2, start(), tmp_path)
    again = start(policy=dataclasses.replace(account.policy, budget_epsilon=0.1))
    assert again.has_begun
    again.train(network(), private(), CONFIG, str(tmp_path))
    assert charges(account) == [(True, 4)]


def test_a_charge_whose_journal_was_lost_stays_spent_in_full(tmp_path, start, account):
    first = start()
    interrupted_at(2, first, tmp_path)
    first._discard()
    assert not start().has_begun
    assert charges(account) == [(False, 4), (False, 4)]


def test_a_journal_whose_charge_was_lost_is_not_gone_on_with(tmp_path, start, account):
    interrupted_at(3, start(), tmp_path)
    Path(account.ledger).unlink()
    again = start()
    assert not again.has_begun and charges(account) == [(False, 4)]
    again.train(network(), private(), CONFIG, str(tmp_path))
    assert charges(account) == [(True, 4)]


def test_a_charge_that_was_settled_short_covers_no_further_step(tmp_path, start, account):
    """Were it gone on with, steps would be executed that nothing was charged for."""
    first = start()
    interrupted_at(3, first, tmp_path)
    Ledger(account.ledger).settle(first.charge, 3)
    again = start()
    assert not again.has_begun and charges(account) == [(True, 3), (False, 4)]


def test_an_older_copy_of_the_journal_is_not_gone_on_with_once_all_was_settled(tmp_path, start, account):
    """Else the steps after it would be executed again under a charge that is used up."""
    interrupted_at(2, start(), tmp_path)
    (journal,) = journals(account)
    shutil.copytree(journal, tmp_path / "older")
    start().train(network(), private(), CONFIG, str(tmp_path))
    shutil.rmtree(journal)
    shutil.copytree(tmp_path / "older", journal)
    assert not start().has_begun
    assert charges(account) == [(True, 4), (False, 4)]


@pytest.mark.parametrize("change", [{"noise_multiplier": 1.9}, {"sampling_probability": 0.3}, {"steps": 5}])
def test_a_charge_covers_no_other_mechanism(tmp_path, start, account, change):
    interrupted_at(3, start(), tmp_path)
    assert not start(dataclasses.replace(MECHANISM, **change)).has_begun
    assert len(charges(account)) == 2


def test_one_that_broke_is_charged_what_it_executed_and_leaves_no_journal(tmp_path, start, account):
    wild = dataclasses.replace(CONFIG, learning_rate=1e38, l2_norm_clip=1e3)
    with pytest.raises(ModelError, match="finite weights"):
        start().train(network(), private(), wild, str(tmp_path))
    ((settled, steps),) = charges(account)
    assert settled and 1 <= steps < 4
    assert journals(account) == []


def test_a_key_tells_its_parts_apart():
    keys = {run_key("ab", "c"), run_key("a", "bc"), run_key("abc"), run_key("a", "b", "c")}
    assert len(keys) == 4 and run_key("a") == run_key("a") and {len(k) for k in keys} == {32}
