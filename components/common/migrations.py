"""Schemas of our databases, brought up to date by Alembic inside the transaction that found one old."""

from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from components.common.databases import alone
from components.common.errors import ServiceError


@dataclass(frozen=True, kw_only=True)
class Schema:
    """Tables that belong together.

    name: of what is kept in them, under which one process at a time changes them. folder: of the migrations, newest:
    the newest of them. version_table: says which one a database has. first_table: one of the first schema, by which a
    database is known that was made without Alembic.
    """

    name: str
    folder: Path
    newest: str
    version_table: str
    first_table: str

    def prepare(self, connection: sa.Connection) -> None:
        """Brings the database of a connection to the newest schema; of several processes one does it.

        Raises:
            ServiceError: its schema is none that this code knows.
        """
        if self._is_current(connection):
            return
        with alone(connection, self.name):
            if not self._is_current(connection):
                self._upgrade(connection)
            connection.commit()

    def scripts(self):
        """The migrations, newest first by `walk_revisions`."""
        from alembic.config import Config
        from alembic.script import ScriptDirectory

        config = Config()
        config.set_main_option("script_location", str(self.folder))
        config.set_main_option("path_separator", "os")
        return ScriptDirectory.from_config(config)

    def _is_current(self, connection: sa.Connection) -> bool:
        if not sa.inspect(connection).has_table(self.version_table):
            return False
        versions = connection.execute(sa.text(f"SELECT version_num FROM {self.version_table}"))
        return versions.scalars().all() == [self.newest]

    def _upgrade(self, connection: sa.Connection) -> None:
        from alembic.migration import MigrationContext
        from alembic.operations import Operations

        known, options = self.scripts(), {"version_table": self.version_table}
        context = MigrationContext.configure(connection, opts=options)
        unknown = set(context.get_current_heads()) - {script.revision for script in known.walk_revisions()}
        if unknown:
            raise ServiceError(
                f"the database of {self.name} must be its own, and not newer than this code. "
                f"Received: {self.version_table} says {', '.join(sorted(unknown))}, which is no revision of it"
            )
        tables = set(sa.inspect(connection).get_table_names())
        if self.first_table in tables and self.version_table not in tables:
            context.stamp(known, known.get_base())
        steps = {"fn": lambda revision, _: known._upgrade_revs("head", revision)}
        context = MigrationContext.configure(connection, opts={**options, **steps})
        with Operations.context(context):
            context.run_migrations()
