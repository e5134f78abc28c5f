"""Migrations of the schema that decisions are counted in."""

from pathlib import Path

from components.common.migrations import Schema

SCHEMA = Schema(
    name="lockgate decisions",
    folder=Path(__file__).parent,
    newest="0002",
    version_table="decisions_version",
    first_table="decisions",
)
