"""Locks between processes, also those of other machines that share the folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from components.common.progress import tell


def hold(path: Path, what: str) -> filelock.BaseFileLock:
    """Takes a lock, waiting for whoever holds it. It goes with its process, however that ends; one process may take it
    several times.

    Args:
        path: of the lock file, whose folder is made. what: it protects, for whoever waits.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = filelock.FileLock(path, is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        tell(f"another run holds {what}: waiting for it")
        lock.acquire()
    return lock


@contextmanager
def alone(path: Path, what: str) -> Iterator[None]:
    """Holds a lock, see `hold`, while the context is open."""
    lock = hold(path, what)
    try:
        yield
    finally:
        lock.release()
