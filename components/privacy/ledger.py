"""The ledger: what was spent on which span, kept outside any run.

A run reserves before its first private read and settles after its last. A reservation that was never settled, because
the run crashed, stays spent in full.
"""

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from components.common.errors import BudgetError, ServiceError
from components.common.words import number
from components.privacy.accounting import Mechanism, epsilon_of
from components.privacy.config import PrivacyConfig

_metadata = sa.MetaData()
_charges = sa.Table(
    "charges",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("span", sa.String(255), nullable=False, index=True),
    sa.Column("run", sa.String(64), nullable=False),
    sa.Column("noise_multiplier", sa.Float(53), nullable=False),
    sa.Column("sampling_probability", sa.Float(53), nullable=False),
    sa.Column("steps", sa.Integer, nullable=False),
    sa.Column("settled", sa.Boolean, nullable=False),
    sa.Column("made", sa.String(32), nullable=False),
)


@dataclass(frozen=True, kw_only=True)
class Charge:
    """What a run spends on a span. settled: False while it is a reservation."""

    id: int
    span: str
    run: str
    mechanism: Mechanism
    settled: bool


class Ledger:
    """A sqlite database of charges, made with mode 0600.

    Args:
        path: of the file.

    Raises:
        ServiceError: by every method, if the database cannot be read or written.
    """

    def __init__(self, path: str | Path):
        self._path = Path(path)
        self._engine = sa.create_engine(sa.URL.create("sqlite", database=str(self._path)), poolclass=sa.NullPool)
        sa.event.listen(self._engine, "connect", _no_implicit_begin)
        sa.event.listen(self._engine, "begin", _lock_at_once)
        with self._transaction() as connection:
            _metadata.create_all(connection)

    def reserve(self, span: str, run: str, mechanism: Mechanism, policy: PrivacyConfig) -> tuple[int, float]:
        """Reserves a charge in one transaction.

        Returns:
            The charge's id, and the ε of everything that was ever reserved on the span, this charge included.

        Raises:
            BudgetError: the span's budget would be passed; nothing was reserved.
        """
        with self._transaction() as connection:
            spent = [c.mechanism for c in _read(connection, span)]
            together = epsilon_of([*spent, mechanism], policy.delta)
            if together > policy.budget_epsilon:
                already = epsilon_of(spent, policy.delta)
                raise BudgetError(
                    f"the budget of span {span} must hold the run: ε {already:.3f} of {policy.budget_epsilon:g} is "
                    f"spent and this run would make it {together:.3f} (δ = {number(policy.delta)}). Nothing private "
                    "was read. Lower its epsilon, or raise privacy.budget_epsilon if its owner agrees"
                )
            values = dict(span=span, run=run, settled=False, made=_now(), **_columns(mechanism))
            return connection.execute(_charges.insert().values(values)).inserted_primary_key[0], together

    def charge_of(self, span: str, run: str, mechanism: Mechanism) -> int | None:
        """The id of a run's newest charge on a span if it covers the whole mechanism: one that was settled with fewer
        steps, because the run failed, covers no others. Else None."""
        mine = [c for c in self.charges(span) if c.run == run]
        return mine[-1].id if mine and mine[-1].mechanism == mechanism else None

    def settle(self, charge: int, executed_steps: int) -> None:
        """Closes a reservation with the number of steps that were executed, at most those reserved."""
        with self._transaction() as connection:
            steps = sa.func.min(_charges.c.steps, executed_steps)
            open_charge = sa.and_(_charges.c.id == charge, _charges.c.settled.is_(False))
            connection.execute(_charges.update().where(open_charge).values(settled=True, steps=steps))

    def charges(self, span: str) -> list[Charge]:
        """All charges on a span, oldest first."""
        with self._transaction() as connection:
            return _read(connection, span)

    def epsilon(self, span: str, delta: float) -> float:
        """ε at `delta` of all that was spent or is reserved on a span."""
        return epsilon_of([c.mechanism for c in self.charges(span)], delta)

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            self._path.touch(mode=0o600)
            with self._engine.begin() as connection:
                yield connection
        except (OSError, sa.exc.SQLAlchemyError) as error:
            reason = getattr(error, "orig", None) or error
            raise ServiceError(f"the ledger {self._path} must be readable and writable. Received: {reason}") from None


def _no_implicit_begin(connection, _record) -> None:
    connection.isolation_level = None


def _lock_at_once(connection: sa.Connection) -> None:
    """Takes sqlite's write lock before the balance is read, so that two runs cannot both see the old one."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _read(connection: sa.Connection, span: str) -> list[Charge]:
    rows = connection.execute(_charges.select().where(_charges.c.span == span).order_by(_charges.c.id))
    return [
        Charge(
            id=row.id,
            span=row.span,
            run=row.run,
            settled=row.settled,
            mechanism=Mechanism(
                noise_multiplier=row.noise_multiplier,
                sampling_probability=row.sampling_probability,
                steps=row.steps,
            ),
        )
        for row in rows
    ]


def _columns(mechanism: Mechanism) -> dict[str, float | int]:
    return {
        "noise_multiplier": mechanism.noise_multiplier,
        "sampling_probability": mechanism.sampling_probability,
        "steps": mechanism.steps,
    }


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
