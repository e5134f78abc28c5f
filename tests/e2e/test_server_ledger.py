"""The tiny preset with its ledger on a PostgreSQL: charged, refused when it is spent, one line when it is away."""

import psycopg
import pytest

from benchmarks.database_servers import postgresql
from components.privacy.ledger import Ledger
from tests.conftest import skip_without
from tests.e2e.conftest import run_tiny

SPAN, BUDGET = "fashion-mnist/span-1", "privacy.budget_epsilon=3.0"


@pytest.fixture
def server(monkeypatch):
    try:
        with postgresql() as running:
            monkeypatch.setenv("LOCKGATE_LEDGER", running.fresh("ledger"))
            yield running
    except FileNotFoundError as missing:
        skip_without(f"Debian's package {missing}")


def test_a_run_is_charged_on_the_server_and_ends_where_the_budget_or_the_server_does(tmp_path, server):
    place = server.url.rsplit("/", 1)[0] + "/ledger"
    code, record = run_tiny(tmp_path, BUDGET)
    assert code == 0 and record["pushed"], record
    (charge,) = Ledger(place).charges(SPAN)
    assert charge.settled and charge.mechanism.steps == charge.reserved.steps == 12
    assert not (tmp_path / "ledger.sqlite").exists() and not (tmp_path / "holdout.sqlite").exists()
    with psycopg.connect(place) as connection:  # one decision, in which all variants competed
        assert len(connection.execute("SELECT * FROM decisions").fetchall()) == 1
    before = Ledger(place).export()

    code, record = run_tiny(tmp_path, BUDGET, "trainer.learning_rate=0.4")
    assert (code, record["state"], record["pushed"]) == (3, "refused", None)
    assert record["error"].startswith(f"the budget of span {SPAN} must hold the run") and "\n" not in record["error"]

    server.stop()
    code, record = run_tiny(tmp_path, BUDGET, "trainer.learning_rate=0.3")
    assert (code, record["state"], record["pushed"]) == (2, "failed", None)
    away = f"the ledger {place} must be readable and writable. Received: "
    assert record["error"].startswith(away) and "\n" not in record["error"]

    server.start()
    assert Ledger(place).export() == before and Ledger(place).verify() == []
