"""Locks between processes, also those of other machines that share the folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from components.common.progress import tell


@contextmanager
def alone(path: Path, what: str) -> Iterator[None]:
    """Holds a lock file while the context is open; waits for whoever holds it. The lock goes with its process,
    however that ends, and one process may take it several times.

    Args:
        path: of the lock file, whose folder is made. what: it protects, for whoever waits.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = filelock.FileLock(path, is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        tell(f"another run holds {what}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
