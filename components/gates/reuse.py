"""How often a holdout has decided: every decision takes its share of alpha, and what is taken is never given back.

The planned decisions share alpha by Bonferroni. That bounds the probability of any wrong pass as long as what comes
next depends on the holdout through passes alone: until the first pass there is one path, whatever the plan is. Whoever
tunes a model by the figures of the report, rather than by verdicts, needs fresh data.

A holdout that has an example in common with an earlier one is not fresh: the earlier one's decisions count as its own.
"""

import datetime
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from components.common.databases import WAIT_SECONDS, reason
from components.common.errors import ServiceError
from components.common.sqlite import locking_engine
from components.gates.measured import Spent
from components.gates.migrations import SCHEMA
from components.gates.scoring.table import fingerprint
from components.privacy.database import server_engine

metadata = sa.MetaData()
_decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("holdout", sa.String(64), nullable=False, index=True),
    sa.Column("models", sa.String(64), nullable=False),
    sa.Column("alpha", sa.Float(53), nullable=False),
    sa.Column("made", sa.String(32), nullable=False),
    sa.UniqueConstraint("holdout", "models"),
)
_holdouts = sa.Table(
    "holdouts",
    metadata,
    sa.Column("fingerprint", sa.String(64), primary_key=True),
    sa.Column("examples", sa.LargeBinary, nullable=False),  # the first eight bytes of every digest
)
_lock = sa.Table("decisions_lock", metadata, sa.Column("id", sa.Integer, primary_key=True, autoincrement=False))


class Decisions:
    """A database of decisions.

    Args:
        place: path of a sqlite file, made with mode 0600; or the address of a server, as a ledger's, whose password is
            in the same variable of the environment.
        counted: path of a sqlite file that decisions were counted in before; those of it that are not in `place` are
            taken over. It need not exist.

    Raises:
        ConfigError: the address is none.
        ServiceError: by every method, if the database cannot be read or written.
    """

    def __init__(self, place: str | Path, counted: str | Path = ""):
        self.place, self._ready = str(place), False
        self._is_file = "://" not in self.place
        self._counted = Path(counted) if counted else None
        self._engine = locking_engine(self.place) if self._is_file else server_engine(self.place)

    def take(self, examples: np.ndarray, models: str, alpha: float) -> Spent:
        """Counts one decision. The same models under the same settings are the same decision, however often they are
        asked.

        Args:
            examples: hexadecimal digests of the holdout's examples, in any order.
            models: fingerprint of what is judged, and of the settings that it is judged by.
            alpha: what the decision takes.
        """
        short = np.unique([int(digest[:16], 16) for digest in examples]).astype("<u8")
        holdout = fingerprint(examples)
        with self._transaction() as connection:
            self._take_over(connection)
            rows = connection.execute(_of(_akin(connection, short) | {holdout})).fetchall()
            at = next((i for i, row in enumerate(rows) if (row.holdout, row.models) == (holdout, models)), len(rows))
            if at == len(rows):
                made = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
                values = {"holdout": holdout, "models": models, "alpha": alpha, "made": made}
                connection.execute(_decisions.insert().values(values))
                if holdout not in _fingerprints(connection):
                    known = {"fingerprint": holdout, "examples": short.tobytes()}
                    connection.execute(_holdouts.insert().values(known))
            return Spent(number=at + 1, earlier=sum(row.alpha for row in rows[:at]))

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        """A transaction that counts alone; of several processes one makes the schema."""
        try:
            if self._is_file:
                Path(self.place).touch(mode=0o600)
            if not self._ready:
                with self._engine.connect() as connection:
                    SCHEMA.prepare(connection)
                self._ready = True
            with self._engine.begin() as connection:
                if connection.dialect.name == "postgresql":
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{WAIT_SECONDS}s'")
                connection.execute(_lock.select().with_for_update())
                yield connection
        except (OSError, sa.exc.SQLAlchemyError) as error:
            must = f"the count of decisions, {self.place}, must be writable"
            raise ServiceError(f"{must}. Received: {reason(error)}") from None

    def _take_over(self, connection: sa.Connection) -> None:
        """Adds what was counted elsewhere before, in its order."""
        if self._counted is None or not self._counted.exists():
            return
        rows, examples_of = _counted_in(self._counted)
        known = {(row.holdout, row.models) for row in connection.execute(_decisions.select())}
        new = [row for row in rows if (row["holdout"], row["models"]) not in known]
        if not new:
            return
        missing = set(examples_of) - _fingerprints(connection)
        connection.execute(_decisions.insert(), new)
        if missing:
            values = [{"fingerprint": each, "examples": examples_of[each]} for each in sorted(missing)]
            connection.execute(_holdouts.insert(), values)


def _counted_in(path: Path) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """The decisions of a file, oldest first, and the examples of its holdouts.

    Raises:
        ServiceError: it cannot be read.
    """
    opened = sa.create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True),
        poolclass=sa.NullPool,
    )
    try:
        with opened.connect() as connection:
            if not sa.inspect(connection).has_table(_decisions.name):
                return [], {}
            rows = connection.execute(_decisions.select().order_by(_decisions.c.id)).mappings().all()
            holdouts = connection.execute(_holdouts.select()).fetchall()
    except sa.exc.SQLAlchemyError as error:
        must = f"the count of decisions before, {path}, must be readable: restore it, or remove it to begin anew"
        raise ServiceError(f"{must}. Received: {reason(error)}") from None
    decisions = [{name: value for name, value in row.items() if name != "id"} for row in rows]
    return decisions, {row.fingerprint: row.examples for row in holdouts}


def _fingerprints(connection: sa.Connection) -> set[str]:
    return set(connection.execute(sa.select(_holdouts.c.fingerprint)).scalars())


def _akin(connection: sa.Connection, examples: np.ndarray) -> set[str]:
    """The holdouts that have an example in common with these."""
    known = connection.execute(_holdouts.select())
    return {row.fingerprint for row in known if np.isin(np.frombuffer(row.examples, "<u8"), examples).any()}


def _of(holdouts: set[str]) -> sa.Select:
    return _decisions.select().where(_decisions.c.holdout.in_(holdouts)).order_by(_decisions.c.id)
