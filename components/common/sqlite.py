"""sqlite databases that several processes write to."""

import sqlalchemy as sa


def locking_engine(path: str, wait_seconds: float = 5.0) -> sa.Engine:
    """An engine whose transactions take sqlite's write lock before they read, so that two of them cannot both see what
    stood before; they wait so long for it."""
    url = sa.URL.create("sqlite", database=path)
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"timeout": wait_seconds})
    sa.event.listen(engine, "connect", _no_implicit_begin)
    sa.event.listen(engine, "begin", _lock_at_once)
    return engine


def _no_implicit_begin(connection, _record) -> None:
    connection.isolation_level = None


def _lock_at_once(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
