"""How often a holdout has decided: every decision takes its share of alpha, and what is taken is never given back.

The planned decisions share alpha by Bonferroni. That bounds the probability of any wrong pass as long as what comes
next depends on the holdout through passes alone: until the first pass there is one path, whatever the plan is. Whoever
tunes a model by the figures of the report, rather than by verdicts, needs fresh data.
"""

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from components.common.errors import ServiceError
from components.common.sqlite import locking_engine
from components.gates.measured import Spent

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

    def take(self, holdout: str, models: str, alpha: float) -> Spent:
        """Counts one decision. The same models under the same settings are the same decision, however often they are
        asked.

        Args:
            holdout: fingerprint of its examples.
            models: fingerprint of what is judged, and of the settings that it is judged by.
            alpha: what the decision takes.
        """
        with self._transaction() as connection:
            rows = connection.execute(_of(holdout)).fetchall()
            at = next((i for i, row in enumerate(rows) if row.models == models), len(rows))
            if at == len(rows):
                made = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
                values = {"holdout": holdout, "models": models, "alpha": alpha, "made": made}
                connection.execute(_decisions.insert().values(values))
            return Spent(number=at + 1, earlier=sum(row.alpha for row in rows[:at]))

    def count(self, holdout: str) -> int:
        """How often a holdout has decided."""
        with self._transaction() as connection:
            return len(connection.execute(_of(holdout)).fetchall())

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


def _of(holdout: str) -> sa.Select:
    return _decisions.select().where(_decisions.c.holdout == holdout).order_by(_decisions.c.id)
