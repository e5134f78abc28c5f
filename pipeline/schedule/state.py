"""What a pipeline's schedule must remember between firings: when it fired, and what it has told."""

import contextlib
import datetime
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import filelock

from components.common.errors import ServiceError
from pipeline.guards import unwritable
from pipeline.run import write_whole


@dataclass(frozen=True, kw_only=True)
class State:
    """fired: when the last firing had ended; None before the first. told: keys of what was told and still holds.
    damaged: what was wrong with spans that a run could not be trained on, by their files' fingerprint."""

    fired: datetime.datetime | None = None
    told: tuple[str, ...] = ()
    damaged: dict[str, str] = field(default_factory=dict)


class Memory:
    """A pipeline's state, as `schedule/NAME.json` under the root.

    Args:
        root: folder for everything that is written. pipeline: its name.

    Raises:
        ServiceError: by every method, if the folder cannot be read or written.
    """

    def __init__(self, root: Path, pipeline: str):
        self._root, self._file = root, root / "schedule" / f"{pipeline}.json"

    def load(self) -> State:
        """The state; that of a pipeline which never fired where there is none."""
        try:
            kept = json.loads(self._file.read_text())
            fired = kept["fired"] and datetime.datetime.fromisoformat(kept["fired"])
            return State(fired=fired, told=tuple(kept["told"]), damaged=dict(kept["damaged"]))
        except FileNotFoundError:
            return State()
        except (OSError, ValueError, KeyError, TypeError):
            raise ServiceError(f"the schedule's state must be whole: remove {self._file}, and it starts anew") from None

    def save(self, state: State) -> None:
        """Writes the state in one step."""
        kept = {"fired": state.fired and state.fired.isoformat(), "told": list(state.told), "damaged": state.damaged}
        try:
            self._folder()
            write_whole(self._file, json.dumps(kept))
        except OSError as error:
            raise unwritable(self._file, error) from None

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        """Keeps other firings of this pipeline out; gives whether nobody else is at work. The lock goes with its
        process."""
        try:
            self._folder()
            lock = filelock.FileLock(self._file.with_suffix(".lock"), timeout=0)
            lock.acquire()
        except filelock.Timeout:
            yield False
            return
        except OSError as error:
            raise unwritable(self._file, error) from None
        try:
            yield True
        finally:
            lock.release()

    def _folder(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file.parent.mkdir(exist_ok=True, mode=0o700)
