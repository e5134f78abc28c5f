"""Migrations of the ledger's schema, run by Alembic inside the transaction that found the schema old."""

from pathlib import Path

import sqlalchemy as sa
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory


def scripts() -> ScriptDirectory:
    """The migrations, oldest first by `walk_revisions`."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)


def upgrade(connection: sa.Connection) -> None:
    """Brings the database of a connection to the newest schema. A first schema that was made without Alembic counts
    as the first revision."""
    known = scripts()
    context = MigrationContext.configure(connection)
    tables = set(sa.inspect(connection).get_table_names())
    if "charges" in tables and "alembic_version" not in tables:
        context.stamp(known, "0001")
    context = MigrationContext.configure(connection, opts={"fn": lambda rev, _: known._upgrade_revs("head", rev)})
    with Operations.context(context):
        context.run_migrations()
