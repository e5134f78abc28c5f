"""A row that whoever counts locks, because servers let two read before either writes."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"


def upgrade() -> None:
    """Makes the table with its row."""
    lock = op.create_table("decisions_lock", sa.Column("id", sa.Integer, primary_key=True, autoincrement=False))
    op.bulk_insert(lock, [{"id": 1}])
