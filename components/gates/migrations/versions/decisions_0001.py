"""The first schema: one row a decision, and one a holdout."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0001", None


def upgrade() -> None:
    """Makes the tables."""
    op.create_table(
        "decisions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("holdout", sa.String(64), nullable=False, index=True),
        sa.Column("models", sa.String(64), nullable=False),
        sa.Column("alpha", sa.Float(53), nullable=False),
        sa.Column("made", sa.String(32), nullable=False),
        sa.UniqueConstraint("holdout", "models"),
    )
    op.create_table(
        "holdouts",
        sa.Column("fingerprint", sa.String(64), primary_key=True),
        sa.Column("examples", sa.LargeBinary(2**32 - 1), nullable=False),
    )
