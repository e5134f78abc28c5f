"""Nights on one root: each trains on its span and the one before, and goes on from what serves, under true charges."""

import dataclasses
import getpass
import json
import shutil
from pathlib import Path

import dp_accounting
import numpy as np
import pytest

from components.privacy.accounting import ORDERS
from components.privacy.ledger import Ledger
from components.privacy.policy import Budget, Policy
from components.privacy.statement import Base
from pipeline.config import Config, load
from pipeline.run import Watcher, execute
from tests.e2e.conftest import SAMPLE, kept

DELTA = 1e-5
ONE, TWO, THREE = (f"fashion-mnist/span-{n}" for n in (1, 2, 3))
OTHERS = ("public/images-00000-*", "validation/images-00000-*", "holdout/images-0000[01]-*")


def settings(data: Path) -> Config:
    """The tiny preset with one recipe, over two spans of 1,000 private images each."""
    more = ("data.window=2", "trainer.warm_start=true", "trainer.population=2000", "trainer.steps=6")
    config = load("tiny", [f"data.root={data}", *more])
    return dataclasses.replace(config, recipes=tuple(r for r in config.recipes if r.name == "int8"))


def arrive(data: Path, span: int) -> None:
    """A span comes in: private images of its own, and for the other roles the sample's."""
    for pattern in (f"train/images-0000{span}-*", *OTHERS):
        for file in (SAMPLE / "span-1").glob(pattern):
            target = data / f"span-{span}" / file.parent.name / f"images-00000-{file.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


class Listening(Watcher):
    """Keeps what was told, and the states of nodes; before DPTrainer it does something."""

    def __init__(self, before_training=lambda: None):
        self.told, self.states, self._before = [], {}, before_training

    def node_started(self, node: str, position: int, total: int) -> None:
        if node == "DPTrainer":
            self._before()

    def node_ended(self, node: str, state: str, seconds: float) -> None:
        self.states[node] = state

    def progress(self, message: str) -> None:
        self.told.append(message)


@pytest.fixture(scope="module")
def nights(tmp_path_factory) -> tuple[Path, Path, list[tuple[dict, Listening]]]:
    """The root, the data, and two nights: the record of each, and what was heard."""
    root, data = tmp_path_factory.mktemp("nights"), tmp_path_factory.mktemp("spans")
    heard = []
    for span in (1, 2):
        arrive(data, span)
        listening = Listening()
        heard.append((execute(settings(data), root, listening), listening))
        assert heard[-1][0]["pushed"], heard[-1][0]["error"]
    return root, data, heard


def test_the_ledger_has_one_charge_a_night_on_all_that_it_read(nights):
    root, _, _ = nights
    book = Ledger(root / "ledger.sqlite").book()
    assert [(c.spans, c.executed) for c in book.charges.values()] == [((ONE,), 6), ((ONE, TWO), 6)]
    mechanisms = {c.reserved for c in book.charges.values()}
    assert len(mechanisms) == 1
    for name, nights_read in ((ONE, 2), (TWO, 1)):
        accountant = dp_accounting.rdp.RdpAccountant(ORDERS)
        accountant.compose(mechanisms.copy().pop().event(), nights_read)
        np.testing.assert_allclose(book.spans[name].curve, accountant.rdp, rtol=1e-9)
        assert book.spans[name].epsilon(DELTA) >= accountant.get_epsilon(DELTA) - 1e-9
    assert book.epsilon((ONE, TWO), DELTA) == book.spans[ONE].epsilon(DELTA) > book.spans[TWO].epsilon(DELTA)


def test_the_statement_says_where_the_weights_come_from(nights):
    root, _, ((first, began), (second, went_on)) = nights
    assert first["privacy"]["spans"] == [ONE] and first["privacy"]["base"] is None
    said = second["privacy"]
    assert (said["spans"], Base(**said["base"])) == ([ONE, TWO], Base(spans=[ONE], charges=[1]))
    assert said["epsilon"] == Ledger(root / "ledger.sqlite").book().epsilon((ONE, TWO), DELTA) > said["run_epsilon"]
    assert f"on the weights of an earlier private model of {ONE} (charge 1 of the ledger)" in said["statement"]
    assert [any("pretraining" in line for line in heard.told) for heard in (began, went_on)] == [True, False]
    manifest = json.loads(Path(second["pushed"]["path"]).with_name("manifest.json").read_text())
    assert (manifest["spans"], manifest["epsilon"]) == ([ONE, TWO], said["epsilon"])
    assert f"Trained on {ONE}, {TWO}. Started from a model of {ONE}." in Path(second["report"]).read_text()
    assert second["ledger"]["span"] == ONE


def test_the_same_night_again_comes_from_the_cache_and_costs_nothing(nights):
    root, data, (_, (second, _)) = nights
    before, listening = kept(root), Listening()
    again = execute(settings(data), root, listening)
    always = {"Window", "WarmStart", "Baseline", "Served", "Lineage", "PrivacyAuditor", "Pusher"}
    assert {node for node, state in listening.states.items() if state == "ran"} == always
    assert again["pushed"] == second["pushed"] and kept(root) == before


def test_a_span_of_the_window_that_is_dry_refuses_the_night_before_anything_is_read(nights):
    """What DPTrainer would read is gone, so that a read would be another error."""
    root, data, _ = nights
    dry = Budget(spans=TWO, epsilon=3.0, delta=DELTA)
    Ledger(root / "ledger.sqlite").set_policy(Policy(owners=(getpass.getuser(),), budgets=(dry,)), "a test")
    arrive(data, 3)
    before = kept(root)

    def lose() -> None:
        for folder in root.glob("artifacts/ImportExampleGen/examples/*/Split-train"):
            shutil.rmtree(folder)

    refused = execute(settings(data), root, Listening(lose))
    assert refused["exit_code"] == 3 and refused["pushed"] is None
    assert refused["error"].startswith(f"the budget of span {TWO} must hold the run")
    assert refused["error"].endswith("Nothing private was read")
    assert kept(root) == before and THREE not in Ledger(root / "ledger.sqlite").book().spans
