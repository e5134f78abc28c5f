"""How often a holdout has decided: every decision takes its share of alpha, and what is taken is never given back.

The planned decisions share alpha by Bonferroni. That bounds the probability of any wrong pass as long as what comes
next depends on the holdout through passes alone: until the first pass there is one path, whatever the plan is. Whoever
tunes a model by the figures of the report, rather than by verdicts, needs fresh data.

A holdout that has an example in common with an earlier one is not fresh: the earlier one's decisions count as its own.
"""

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from components.common.errors import ServiceError
from components.common.sqlite import locking_engine
from components.gates.measured import Spent
from components.gates.scoring.table import fingerprint

_metadata = sa.MetaData()
_decisions = sa.Table(
    "decisions",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("holdout", sa.String(64), nullable=False, index=True),
    sa.Column("models", sa.String(64), nullable=False),
    sa.Column("alpha", sa.Float(53), nullable=False),
    sa.Column("made", sa.String(32), nullable=False),
    sa.UniqueConstraint("holdout", "models"),
)
_holdouts = sa.Table(
    "holdouts",
    _metadata,
    sa.Column("fingerprint", sa.String(64), primary_key=True),
    sa.Column("examples", sa.LargeBinary, nullable=False),  # the first eight bytes of every digest
)


class Decisions:
    """A sqlite database of decisions, made with mode 0600.

    Args:
        path: of the file.

    Raises:
        ServiceError: by every method, if the database cannot be read or written.
    """

    def __init__(self, path: str | Path):
        self._path = Path(path)
        self._engine = locking_engine(str(path))

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
            rows = connection.execute(_of(_akin(connection, short) | {holdout})).fetchall()
            at = next((i for i, row in enumerate(rows) if (row.holdout, row.models) == (holdout, models)), len(rows))
            if at == len(rows):
                made = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
                values = {"holdout": holdout, "models": models, "alpha": alpha, "made": made}
                connection.execute(_decisions.insert().values(values))
                known = {"fingerprint": holdout, "examples": short.tobytes()}
                connection.execute(_holdouts.insert().prefix_with("OR IGNORE").values(known))
            return Spent(number=at + 1, earlier=sum(row.alpha for row in rows[:at]))

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            self._path.touch(mode=0o600)
            with self._engine.begin() as connection:
                _metadata.create_all(connection)
                yield connection
        except (OSError, sa.exc.SQLAlchemyError) as error:
            reason = getattr(error, "orig", None) or error
            raise ServiceError(f"the count of decisions, {self._path}, must be writable. Received: {reason}") from None


def _akin(connection: sa.Connection, examples: np.ndarray) -> set[str]:
    """The holdouts that have an example in common with these."""
    known = connection.execute(_holdouts.select())
    return {row.fingerprint for row in known if np.isin(np.frombuffer(row.examples, "<u8"), examples).any()}


def _of(holdouts: set[str]) -> sa.Select:
    return _decisions.select().where(_decisions.c.holdout.in_(holdouts)).order_by(_decisions.c.id)
