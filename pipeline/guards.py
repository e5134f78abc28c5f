"""What surrounds a run: the lock on its root, the log that takes everything libraries print, and its signals."""

import contextlib
import logging
import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from components.common.errors import Interrupted, ServiceError


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Holds the root for this run alone. The lock goes with the process, however it ends.

    Raises:
        ServiceError: another run holds it, or the folder cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = filelock.FileLock(root / "lock", timeout=0)
        lock.acquire()
    except filelock.Timeout:
        raise ServiceError(
            f"one run at a time must use a root. Another is running on {root}: wait, or give --root"
        ) from None
    except OSError as error:
        raise unwritable(root, error) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def logged(path: Path) -> Iterator[None]:
    """Sends everything that libraries print, from Python or from C, to the file; what is made meanwhile is private.

    Raises:
        ServiceError: the file cannot be written.
    """
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise unwritable(path, error) from None
    umask = os.umask(0o077)
    saved = [os.dup(1), os.dup(2)]
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    handler = logging.StreamHandler(os.fdopen(file, "w"))
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    level = logging.getLogger().level
    raising, logging.raiseExceptions = logging.raiseExceptions, False  # a full disk must not end in a traceback
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        logging.getLogger().setLevel(level)  # what comes after a run has no log, only the terminal
        logging.raiseExceptions = raising
        for descriptor, original in zip((1, 2), saved, strict=True):
            os.dup2(original, descriptor)
            os.close(original)
        with contextlib.suppress(OSError):  # what a full disk did not take stays in the buffer
            handler.stream.close()
        os.umask(umask)


def quiet_imports() -> None:
    """Keeps what TensorFlow, Google's libraries and MLMD's client (glog) print off the terminal, where a command has no
    log. To be called before they are imported."""
    os.environ.update(TF_USE_LEGACY_KERAS="1", TF_CPP_MIN_LOG_LEVEL="3", GLOG_minloglevel="2")
    warnings.simplefilter("ignore")


class Signals:
    """SIGINT and SIGTERM of a run: they interrupt the graph, and wait while the record is written.

    Only the first one interrupts; what follows it would only break the cleaning up.
    """

    def __init__(self):
        self._first: int | None = None
        self._armed = False

    @contextlib.contextmanager
    def held(self) -> Iterator["Signals"]:
        """Takes both signals over while the context is open."""
        taken = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(s, self._arrived) for s in taken]
        try:
            yield self
        finally:
            for s, handler in zip(taken, before, strict=True):
                signal.signal(s, handler)

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """Raises Interrupted in the main thread when a signal arrives, or has arrived before."""
        self._armed = True
        try:
            self.check()
            yield
        finally:
            self._armed = False

    def check(self) -> None:
        """Raises Interrupted if a signal has arrived: a library's callback may have swallowed the first raising."""
        if self._first is not None:
            raise Interrupted(self._first)

    def _arrived(self, number: int, frame: Any) -> None:
        again, self._first = self._first is not None, self._first or number
        if self._armed and not again:
            raise Interrupted(number)


def unwritable(path: Path, error: OSError) -> ServiceError:
    """The one line for a place under the root that cannot be written."""
    return ServiceError(f"`--root` must be a folder that can be written. Received: {path} ({error.strerror})")
