"""Entries of the ledger: append-only lines, each bound to all before it by a hash. Pure functions over rows."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

RESERVE, SETTLE, POLICY, DECIDE, WITHDRAW = "reserve", "settle", "policy", "decide", "withdraw"
BEFORE_ALL = "0" * 64
_parsed = json.JSONDecoder().raw_decode


class Head(NamedTuple):
    """The newest entry: its number, 0 where there is none, and its hash."""

    number: int = 0
    hash: str = BEFORE_ALL


class Entry(NamedTuple):
    """One row. number: from 1, without gaps. made: UTC, ISO 8601. body: canonical JSON. curve: float64 bytes of a
    reservation's divergences; empty in others, and where the body names an earlier entry with the same ones. hash:
    SHA-256 in hex over the hash before and all of the above."""

    number: int
    kind: str
    made: str
    body: str
    curve: bytes
    hash: str

    @property
    def head(self) -> Head:
        """What the next entry is bound to."""
        return Head(self.number, self.hash)

    def says(self) -> dict[str, Any]:
        """The body as a mapping."""
        return _parsed(self.body)[0]


def sealed(previous: str, number: int, kind: str, made: str, body: dict[str, Any], curve: bytes = b"") -> Entry:
    """A new entry behind the one with hash `previous`."""
    text = json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return Entry(number, kind, made, text, curve, _hash(previous, number, kind, made, text, curve))


def digest(entries: Sequence[Entry]) -> str:
    """One hash over all entries as they stand, whole or damaged: what a person's decision is bound to."""
    whole = hashlib.sha256()
    for entry in entries:
        whole.update(f"{entry.hash}\n{_hash('', *entry[:-1])}\n".encode())
    return whole.hexdigest()


def damage(entries: Sequence[Entry], before: Head = Head()) -> list[str]:  # noqa: B008 - immutable
    """What is wrong with entries that should follow `before`, a sentence each; empty where nothing is.

    A decision (see `Ledger.decide`) is bound to all entries before it as they stood, and settles what was wrong with
    them; its number may leave a gap.
    """
    found: list[str] = []
    last, bound = before
    for i, (number, kind, made, body, curve, hash_) in enumerate(entries):
        if kind == DECIDE and hash_ == _hash(digest(entries[:i]), number, kind, made, body, curve):
            found.clear()
        elif number != last + 1:
            gone = f"entry {last + 1}" if number == last + 2 else f"entries {last + 1} to {number - 1}"
            found.append(f"{gone} must stand before entry {number}")
        elif hash_ != _hash(bound, number, kind, made, body, curve):
            found.append(f"entry {number} ({kind}, {made[:19]}) was changed or moved")
        last, bound = number, hash_
    return found


def _hash(previous: str, number: int, kind: str, made: str, body: str, curve: bytes) -> str:
    return hashlib.sha256(f"{previous}\n{number}\n{kind}\n{made}\n{body}\n".encode() + curve).hexdigest()
