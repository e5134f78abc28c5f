"""What the ledger's tests share: an empty ledger on each kind of database, and a run to charge."""

import itertools

import pytest

from components.privacy import filters
from components.privacy.accounting import ORDERS, Mechanism
from components.privacy.config import PrivacyConfig

RUN = Mechanism(noise_multiplier=2.0, sampling_probability=0.05, steps=200)
DELTA = 1e-5
_names = (f"ledger{i}" for i in itertools.count())


def policy(budget: float, **more) -> PrivacyConfig:
    return PrivacyConfig(epsilon=1.0, delta=DELTA, budget_epsilon=budget, **more)


def budget_for(runs: float, mechanism: Mechanism = RUN) -> float:
    """The smallest budget that holds so many equal runs, a little more for the last digits."""
    curve = runs * mechanism.curve()
    return 1e-9 + min(filters.fixed_epsilon(r, a, DELTA) for a, r in zip(ORDERS, curve, strict=True))


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def place(request, tmp_path) -> str:
    """Where an empty ledger is, on each kind of database."""
    if request.param == "sqlite":
        return str(tmp_path / "on-its-own.sqlite")
    return request.getfixturevalue(f"{request.param}_server").fresh(next(_names))
