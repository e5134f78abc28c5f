"""A recipe that trains on private images: refused past the budget, else in the ε of whatever is pushed. Beside it, a
recipe by accuracy: it reads nothing private, and what it finds is judged like the others."""

import getpass
import json
import sqlite3
from pathlib import Path

import pytest

from components.privacy.ledger import Ledger
from components.privacy.policy import Budget, Policy
from components.privacy.statement import load_statement
from tests.e2e.conftest import Kept, kept, run_tiny

RECIPE = (
    'recipes.private=[{stage="quantize", mode="int8", private={epsilon=0.5, steps=3, expected_batch_size=100, '
    "l2_norm_clip=0.5, learning_rate=0.05}}]"
)
AUTO = "recipes.auto={max_drop=0.01}"
SPAN, DELTA = "fashion-mnist/span-1", 1e-5


def stated(root: Path, node: str):
    """The statement of a node's variant in the last run."""
    variants = root.glob(f"artifacts/{node}/variant/*")
    return load_statement(str(max(variants, key=lambda folder: int(folder.name))))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("private")


@pytest.fixture(scope="module")
def refused(root) -> tuple[int, dict, Kept]:
    """A run whose budget is spent by the parent, and what it left."""
    return *run_tiny(root, RECIPE, "privacy.budget_epsilon=2.96"), kept(root)


@pytest.fixture(scope="module")
def pushed(root, refused) -> dict:
    """The record of the run after it, whose budget its owner has raised."""
    allowed = Budget(spans="fashion-mnist/*", epsilon=8.0, delta=DELTA)
    Ledger(root / "ledger.sqlite").set_policy(Policy(owners=(getpass.getuser(),), budgets=(allowed,)), "a test")
    code, record = run_tiny(root, RECIPE, AUTO)
    assert code == 0 and record["pushed"], record["error"]
    return record


def test_it_is_refused_past_the_budget(refused):
    code, record, left = refused
    assert code == 3 and record["pushed"] is None
    assert f"budget of span {SPAN}" in record["error"] and "Nothing private was read" in record["error"]
    assert left.serving == {} and len(left.charges) == 1


def test_otherwise_it_counts_in_what_is_pushed(root, pushed):
    ledger = Ledger(root / "ledger.sqlite")
    charges, together = ledger.charges(SPAN), ledger.epsilon(SPAN, DELTA)
    assert [(c.settled, c.mechanism.steps) for c in charges] == [(True, 12), (True, 3)]
    parents = stated(root, "Quantizer-int8")
    assert parents.tuned == () and 2.9 < parents.epsilon <= 2.95
    assert parents.epsilon + 0.01 < together < parents.epsilon + 1
    assert pushed["epsilon"] == pytest.approx(together)
    path = Path(pushed["pushed"]["path"])
    assert json.loads(path.with_name("manifest.json").read_text())["epsilon"] == together
    assert f"ε = {together:.3f}" in path.with_name("statement.txt").read_text()
    assert f"ε = {together:.3f}" in Path(pushed["report"]).read_text()
    tuned = stated(root, "Quantizer-private")
    assert tuned.run_epsilon < tuned.epsilon == together and [t.charge for t in tuned.tuned] == [charges[1].id]


def test_what_a_recipe_by_accuracy_found_is_judged_and_shown(root, pushed):
    record = json.loads((root / "runs" / pushed["run"] / "run.json").read_text())
    (found,) = record["searches"]
    assert found["recipe"] == "auto" and found["target"]["max_drop"] == 0.01
    tries = {made["key"]: made for made in found["tries"]}
    assert 1 <= len(tries) <= 4 and set(found["pareto"]) <= set(tries)
    chosen = tries[found["chosen"]]
    assert found["within"] == chosen["within"] == (chosen["drop"] <= chosen["target"])
    judged = next(v for v in record["variants"] if v["recipe"] == "auto")
    assert (judged["gzip_bytes"], judged["sha256"]) == (chosen["gzip_bytes"], chosen["sha256"])
    assert judged["verdict"] == "pass"
    assert stated(root, "CompressionSearch-auto") == stated(root, "Quantizer-int8")
    assert "gzip size of what auto tried" in Path(pushed["report"]).read_text()


def test_nothing_is_pushed_when_the_ledger_lost_its_newest_entry(root, pushed):
    """All of it comes from the cache: what looks is the node before the Pusher."""
    before = kept(root)
    with sqlite3.connect(root / "ledger.sqlite") as connection:
        connection.execute("DELETE FROM entries WHERE number = (SELECT max(number) FROM entries)")
    code, refused = run_tiny(root, RECIPE, AUTO)
    assert code == 3 and refused["pushed"] is None
    assert f"entry {before.entries[-1].number}, which a run has seen, must be there" in refused["error"]
    assert kept(root).serving == before.serving
    assert {n["id"] for n in refused["nodes"] if n["state"] == "failed"} == {"PrivacyAuditor"}
