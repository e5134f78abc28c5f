"""Budgets: who may raise them, what a renewal means, and a clock that was set back."""

import datetime
import getpass

import pytest

from components.common.errors import BudgetError, ConfigError
from components.privacy import ledger as module
from components.privacy.ledger import Ledger
from components.privacy.policy import Budget, Policy, read_policy
from tests.components.privacy.conftest import DELTA, RUN, budget_for, policy

A = "a/span-1"
ME = getpass.getuser()


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


@pytest.fixture
def clock(monkeypatch):
    """The time that the ledger sees, in days from now."""
    start = datetime.datetime.now(datetime.timezone.utc)

    class At(datetime.datetime):
        days = 0.0

        @classmethod
        def now(cls, tz=None):
            return start + datetime.timedelta(days=cls.days)

    fake = type("datetime", (), {"datetime": At, "timezone": datetime.timezone, "timedelta": datetime.timedelta})
    monkeypatch.setattr(module, "datetime", fake)
    return At


def allowing(epsilon: float, spans: str = "a/*", owner: str = ME, days: float | None = None) -> Policy:
    return Policy(owners=(owner,), budgets=(Budget(spans=spans, epsilon=epsilon, delta=DELTA, days=days),))


def test_a_configuration_cannot_raise_the_budget_that_was_pinned_but_can_go_below_it(ledger):
    ledger.reserve([A], "1", RUN, policy(budget_for(2)))
    with pytest.raises(BudgetError):
        ledger.reserve([A], "2", RUN, policy(budget_for(1.5)))
    ledger.reserve([A], "3", RUN, policy(100.0))
    with pytest.raises(BudgetError):
        ledger.reserve([A], "4", RUN, policy(100.0))


def test_the_order_is_pinned_by_the_first_charge_and_stays(ledger):
    ledger.reserve([A], "1", RUN, policy(8.0))
    pinned = ledger.book().spans[A].order
    ledger.set_policy(allowing(20.0), "more data is worth it")
    ledger.reserve([A], "2", RUN, policy(20.0))
    assert Ledger(ledger._database.place).book().spans[A].order == pinned


def test_an_owner_raises_it_with_a_reason_that_is_kept(ledger):
    ledger.reserve([A], "1", RUN, policy(budget_for(1)))
    ledger.set_policy(allowing(20.0), "the review of May agreed")
    ledger.reserve([A], "2", RUN, policy(20.0))
    said = ledger.export()[1].says()
    assert (said["by"], said["reason"]) == (ME, "the review of May agreed")


def test_after_a_raise_the_bound_is_the_one_that_holds_at_all_times(ledger):
    """The budget was then not fixed beforehand: fewer runs fit than if it had been so from the start."""
    ledger.reserve([A], "1", RUN, policy(budget_for(1)))
    ledger.set_policy(allowing(budget_for(4)), "trying")
    runs = 1
    with pytest.raises(BudgetError):
        for runs in range(2, 9):
            ledger.reserve([A], str(runs), RUN, policy(100.0))
    assert runs <= 4


@pytest.mark.parametrize(
    ("owner", "reason", "error"), [("someone-else", "because", BudgetError), (ME, " ", ConfigError)]
)
def test_nobody_else_and_nobody_without_a_reason(ledger, owner, reason, error):
    with pytest.raises(error):
        ledger.set_policy(allowing(20.0, owner=owner), reason)
    assert ledger.export() == []


def test_who_is_no_owner_of_the_policy_in_force_cannot_replace_it(ledger, monkeypatch):
    ledger.set_policy(allowing(5.0), "first")
    monkeypatch.setattr(getpass, "getuser", lambda: "mallory")
    with pytest.raises(BudgetError, match=f"one of {ME}. Received: mallory"):
        ledger.set_policy(allowing(50.0, owner="mallory"), "mine now")


def test_a_policy_lowers_too(ledger):
    ledger.set_policy(allowing(budget_for(1)), "careful")
    ledger.reserve([A], "1", RUN, policy(100.0))
    with pytest.raises(BudgetError):
        ledger.reserve([A], "2", RUN, policy(100.0))


def test_a_renewed_budget_renews_and_the_lifetime_goes_on_growing(ledger, clock):
    monthly = policy(budget_for(1), budget_days=30)
    ledger.reserve([A], "1", RUN, monthly)
    clock.days = 29.9
    with pytest.raises(BudgetError, match="of these 30 days"):
        ledger.reserve([A], "2", RUN, monthly)
    lifetimes = []
    for month in (1, 2, 3):
        clock.days = 30.1 * month
        ledger.reserve([A], f"month {month}", RUN, monthly)
        lifetimes.append(ledger.epsilon(A, DELTA))
    assert monthly.budget_epsilon < lifetimes[0] < lifetimes[1] < lifetimes[2]


def test_a_clock_that_was_set_back_renews_nothing_and_one_that_comes_back_renews_once(ledger, clock):
    monthly = policy(budget_for(1), budget_days=30)
    clock.days = 31
    ledger.reserve([A], "1", RUN, monthly)
    clock.days = -400
    with pytest.raises(BudgetError):
        ledger.reserve([A], "2", RUN, monthly)
    clock.days = 62
    ledger.reserve([A], "3", RUN, monthly)
    clock.days = 32
    with pytest.raises(BudgetError):
        ledger.reserve([A], "4", RUN, monthly)
    made = [entry.made for entry in ledger.export()]
    assert made == sorted(made)


def test_a_policy_file_is_read_and_a_bad_one_is_one_line(tmp_path):
    good = tmp_path / "policy.toml"
    good.write_text('owners = ["anna"]\n[[budgets]]\nspans = "a/*"\nepsilon = 3\ndelta = 1e-6\ndays = 30\n')
    assert read_policy(good).budgets == (Budget(spans="a/*", epsilon=3.0, delta=1e-6, days=30.0),)
    for text in (
        "owners = []\nbudgets = []",
        "owners = [",
        'owners=["a"]\n[[budgets]]\nspans="a"\nepsilon=0\ndelta=1e-5',
    ):
        good.write_text(text)
        with pytest.raises(ConfigError) as error:
            read_policy(good)
        assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="No such file"):
        read_policy(tmp_path / "nowhere.toml")
