"""Migrations of the ledger's schema."""

from pathlib import Path

from components.common.migrations import Schema

SCHEMA = Schema(
    name="lockgate ledger",
    folder=Path(__file__).parent,
    newest="0002",
    version_table="alembic_version",
    first_table="charges",
)
