"""Progress that a running node tells: whoever watches subscribes, and without a watcher it goes to the log."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_watchers: list[Callable[[str], None]] = []


def tell(message: str) -> None:
    """Tells one line, for example "step 120 of 270, ε 2.1 of 2.9"; it holds nothing derived from private data
    that is not released by a charged mechanism."""
    logging.info("progress: %s", message)
    for watcher in _watchers:
        watcher(message)


@contextmanager
def watching(watcher: Callable[[str], None]) -> Iterator[None]:
    """Calls `watcher` with every line that is told while the context is open."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)
