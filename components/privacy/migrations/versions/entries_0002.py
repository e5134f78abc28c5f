"""Entries bound by hashes instead of rows that were changed. What the first schema's rows had spent stays spent; their
budgets were kept in no database, so the first schema's default is pinned: whoever has another one raises or lowers it.
"""

import sqlalchemy as sa
from alembic import op

from components.privacy.accounting import Mechanism
from components.privacy.entries import BEFORE_ALL, RESERVE, SETTLE, sealed
from components.privacy.filters import pinned_order

revision, down_revision = "0002", "0001"
_BUDGET = {"epsilon": 8.0, "delta": 1e-5, "days": None}


def upgrade() -> None:
    """Makes the tables, and entries of the old rows."""
    entries = op.create_table(
        "entries",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("made", sa.String(40), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("curve", sa.LargeBinary(2**16 - 1), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    lock = op.create_table("ledger_lock", sa.Column("id", sa.Integer, primary_key=True, autoincrement=False))
    op.bulk_insert(lock, [{"id": 1}])
    old = op.get_bind().execute(sa.text("SELECT * FROM charges ORDER BY id")).mappings().all()
    made = [entry._asdict() for entry in _converted(old)]
    if made:
        op.bulk_insert(entries, made)
    op.drop_table("charges")


def _converted(rows) -> list:
    made, pinned, previous = [], set(), BEFORE_ALL
    for row in rows:
        mechanism = {key: row[key] for key in ("noise_multiplier", "sampling_probability", "steps")}
        curve = Mechanism(**mechanism).curve()
        pins = {}
        if row["span"] not in pinned:
            order = pinned_order(_BUDGET["epsilon"], _BUDGET["delta"], curve)
            pins[row["span"]] = {"order": order, "budget": {"spans": row["span"], **_BUDGET}}
            pinned.add(row["span"])
        body = {"run": row["run"], "spans": [row["span"]], "mechanism": {**mechanism, "group": 1}, "pins": pins}
        made.append(sealed(previous, len(made) + 1, RESERVE, row["made"], body, curve.tobytes()))
        if row["settled"]:
            said = {"charge": made[-1].number, "executed": row["steps"]}
            made.append(sealed(made[-1].hash, len(made) + 1, SETTLE, row["made"], said))
        previous = made[-1].hash
    return made
