"""What a pipeline's schedule must remember between firings: when it fired, what it has told, which span a run has."""

import contextlib
import datetime
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import filelock

from components.common.errors import ServiceError
from pipeline.guards import unwritable
from pipeline.run import write_whole


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A span that a run has taken whose steps are processes of their own, so that none of them can hold a lock for it.
    run: its id. span: its number. fingerprint: of its files then. since: when."""

    run: str
    span: int
    fingerprint: str
    since: datetime.datetime


@dataclass(frozen=True, kw_only=True)
class State:
    """fired: when the last firing had ended; None before the first. told: keys of what was told and still holds.
    damaged: what was wrong with spans that a run could not be trained on, by their files' fingerprint. claim: the last
    one that was not given back."""

    fired: datetime.datetime | None = None
    told: tuple[str, ...] = ()
    damaged: dict[str, str] = field(default_factory=dict)
    claim: Claim | None = None


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
            claim = kept.get("claim")
            return State(
                fired=_moment(kept["fired"]),
                told=tuple(kept["told"]),
                damaged=dict(kept["damaged"]),
                claim=claim and Claim(**{**claim, "since": _moment(claim["since"])}),
            )
        except FileNotFoundError:
            return State()
        except (OSError, ValueError, KeyError, TypeError):
            raise ServiceError(f"the schedule's state must be whole: remove {self._file}, and it starts anew") from None

    def save(self, state: State) -> None:
        """Writes the state in one step."""
        try:
            self._folder()
            write_whole(self._file, json.dumps(asdict(state), default=datetime.datetime.isoformat))
        except OSError as error:
            raise unwritable(self._file, error) from None

    @contextlib.contextmanager
    def alone(self, seconds: float = 0) -> Iterator[bool]:
        """Keeps other firings of this pipeline out; gives whether nobody else is at work, or is done after so many
        seconds. The lock goes with its process."""
        try:
            self._folder()
            lock = filelock.FileLock(self._file.with_suffix(".lock"), timeout=seconds)
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


def _moment(text: str | None) -> datetime.datetime | None:
    return text and datetime.datetime.fromisoformat(text)
