"""The first schema: one row a charge."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0001", None


def upgrade() -> None:
    """Makes the table."""
    op.create_table(
        "charges",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("span", sa.String(255), nullable=False, index=True),
        sa.Column("run", sa.String(64), nullable=False),
        sa.Column("noise_multiplier", sa.Float(53), nullable=False),
        sa.Column("sampling_probability", sa.Float(53), nullable=False),
        sa.Column("steps", sa.Integer, nullable=False),
        sa.Column("settled", sa.Boolean, nullable=False),
        sa.Column("made", sa.String(32), nullable=False),
    )
