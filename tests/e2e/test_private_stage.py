"""A recipe that trains on private images: refused past the budget, else in the ε of whatever is pushed."""

import getpass
import json
import sqlite3
from pathlib import Path

import pytest

from components.privacy.ledger import Ledger
from components.privacy.policy import Budget, Policy
from components.privacy.statement import load_statement
from tests.e2e.conftest import kept, run_tiny

RECIPE = (
    'recipes.private=[{stage="quantize", mode="int8", private={epsilon=0.5, steps=3, expected_batch_size=100, '
    "l2_norm_clip=0.5, learning_rate=0.05}}]"
)
SPAN, DELTA = "fashion-mnist/span-1", 1e-5


def stated(root: Path, recipe: str):
    """The statement of a recipe's variant in the last run."""
    variants = root.glob(f"artifacts/Quantizer-{recipe}/variant/*")
    return load_statement(str(max(variants, key=lambda folder: int(folder.name))))


def test_it_is_refused_past_the_budget_and_otherwise_counts_in_what_is_pushed(tmp_path):
    code, refused = run_tiny(tmp_path, RECIPE, "privacy.budget_epsilon=2.96")
    assert code == 3 and refused["pushed"] is None
    assert f"budget of span {SPAN}" in refused["error"] and "Nothing private was read" in refused["error"]
    before = kept(tmp_path)
    assert before.serving == {} and len(before.charges) == 1
    parents = Ledger(tmp_path / "ledger.sqlite").epsilon(SPAN, DELTA)
    assert 2.9 < parents <= 2.95

    assert run_tiny(tmp_path, RECIPE)[0] == 3  # the budget is pinned: no configuration raises it
    allowed = Budget(spans="fashion-mnist/*", epsilon=8.0, delta=DELTA)
    Ledger(tmp_path / "ledger.sqlite").set_policy(Policy(owners=(getpass.getuser(),), budgets=(allowed,)), "a test")
    code, record = run_tiny(tmp_path, RECIPE)
    assert code == 0 and record["pushed"]
    charges = Ledger(tmp_path / "ledger.sqlite").charges(SPAN)
    assert [(c.settled, c.mechanism.steps) for c in charges] == [(True, 12), (True, 3)]
    together = Ledger(tmp_path / "ledger.sqlite").epsilon(SPAN, DELTA)
    assert parents + 0.01 < together < parents + 1
    assert record["epsilon"] == pytest.approx(together)
    pushed = Path(record["pushed"]["path"])
    assert json.loads(pushed.with_name("manifest.json").read_text())["epsilon"] == together
    assert f"ε = {together:.3f}" in pushed.with_name("statement.txt").read_text()
    assert f"ε = {together:.3f}" in Path(record["report"]).read_text()
    tuned = stated(tmp_path, "private")
    assert tuned.run_epsilon < tuned.epsilon == together and [t.charge for t in tuned.tuned] == [charges[1].id]
    assert stated(tmp_path, "int8").tuned == ()
    nothing_is_pushed_when_the_ledger_lost_its_newest_entry(tmp_path)


def nothing_is_pushed_when_the_ledger_lost_its_newest_entry(root: Path) -> None:
    """All of it comes from the cache: what looks is the node before the Pusher."""
    before = kept(root)
    with sqlite3.connect(root / "ledger.sqlite") as connection:
        connection.execute("DELETE FROM entries WHERE number = (SELECT max(number) FROM entries)")
    code, refused = run_tiny(root, RECIPE)
    assert code == 3 and refused["pushed"] is None
    assert f"entry {before.entries[-1].number}, which a run has seen, must be there" in refused["error"]
    assert kept(root).serving == before.serving
    assert {n["id"] for n in refused["nodes"] if n["state"] == "failed"} == {"PrivacyAuditor"}
