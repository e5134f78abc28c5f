"""The ledger: what was spent on which span, kept outside any run.

A run reserves before its first private read and settles after its last. A reservation that was never settled, because
the run crashed, stays spent in full. Whether a reservation fits is decided by a Rényi filter (see `filters`).
"""

import dataclasses
import datetime
import getpass
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa

from components.common.errors import BudgetError, ConfigError, LedgerError
from components.common.garbage import uncollected
from components.privacy import database
from components.privacy.accounting import Mechanism
from components.privacy.book import Book, Charge
from components.privacy.config import PrivacyConfig
from components.privacy.entries import (
    DECIDE,
    POLICY,
    SETTLE,
    Entry,
    Head,
    damage,
    digest,
    sealed,
)
from components.privacy.policy import Policy
from components.privacy.refusal import refusal
from components.privacy.reservation import Wanted, pinned, reservations, without_room


class Witness(Protocol):
    """A place outside the database that remembers the newest head that was seen."""

    def head(self) -> Head: ...

    def remember(self, head: Head) -> None: ...


class Ledger:
    """Entries in a database: read once in full, then as they come.

    Args:
        place: a sqlite file's path or a server's URL, see `Database`.
        witness: what the entries must agree with; None asks nobody.

    Raises:
        ServiceError: by every method, if the database cannot be read or written.
        LedgerError: by every method but `verify` and `decide`, if entries were changed, are missing or were reordered,
            or the witness has seen one that is not there. Nothing is spent until a person has decided.
    """

    def __init__(self, place: str | Path, witness: Witness | None = None):
        self._database, self._witness = database.Database(place), witness
        self._book: Book | None = None

    def reserve(
        self,
        spans: Sequence[str],
        run: str,
        mechanism: Mechanism,
        policy: PrivacyConfig,
        also: Mapping[str, Wanted] | None = None,
    ) -> Charge:
        """Charges a run in full to every span that it reads, in one transaction.

        Args:
            spans: the ledger's names of all that the run will read.
            run: its name.
            mechanism: what it will execute at most.
            policy: what it was configured with; the budget in force counts too, whichever is less.
            also: what other runs will execute, by their name, whatever this one gives out: it is fixed, and charged,
                together with it, each on its own spans, and they find their charges (`charge_of`). Who has one already
                gets no other.

        Raises:
            BudgetError: a span's budget would be passed; nothing was reserved.
        """
        wanted = {run: Wanted(spans=tuple(spans), mechanism=mechanism), **(also or {})}
        for each in wanted.values():
            each.mechanism.curve()  # before the transaction: nobody waits for it
        with self._database.transaction() as connection:
            book, full = self._read(connection), None
            runs = {r: w for r, w in wanted.items() if r == run or book.charge_of(w.spans, r, w.mechanism) is None}
            now, pins = _now(book), {}
            for name, mechanisms in _by_span(runs.values()).items():
                curve = sum(m.curve() for m in mechanisms)
                span = book.spans.get(name) or pins.setdefault(name, pinned(book, name, curve, policy))
                full = full or without_room(book, span, curve, policy, now)
            if full is None:
                made = reservations(book, runs, pins, now)
                database.append(connection, made)
        if full is not None:  # what would fit takes a while to find: nobody waits for that either
            raise BudgetError(refusal(*full, *_by_span(runs.values())[full[0].name]))
        self._add(*made)
        return book.charges[made[0].number]

    def charge_of(self, spans: Sequence[str], run: str, mechanism: Mechanism) -> Charge | None:
        """See `Book.charge_of`."""
        return self.book().charge_of(spans, run, mechanism)

    def settle(self, charge: int, executed_steps: int) -> None:
        """Closes a reservation with the number of steps that were executed; what was once reported is never less."""
        made = []
        with self._database.transaction() as connection:
            book = self._read(connection)
            known = book.charges.get(charge)
            if known is None:
                raise LedgerError(f"a charge must be in the ledger to be settled. Received: {charge}")
            if known.executed is None or executed_steps > known.executed:
                body = {"charge": charge, "executed": executed_steps}
                made.append(self._append(connection, book, SETTLE, body, _now(book)))
        self._add(*made)

    def set_policy(self, policy: Policy, reason: str) -> None:
        """Puts a policy in force, as an entry with who did it and why.

        Raises:
            BudgetError: the user of this process is no owner of the policy in force, or of this first one.
            ConfigError: there is no reason.
        """
        by = _by(reason)
        with self._database.transaction() as connection:
            book = self._read(connection)
            owners = (book.policy or policy).owners
            if by not in owners:
                raise BudgetError(f"a policy must be put in force by one of {', '.join(owners)}. Received: {by}")
            body = {"policy": dataclasses.asdict(policy), "by": by, "reason": reason}
            made = self._append(connection, book, POLICY, body, _now(book))
        self._add(made)

    def note(self, kind: str, body: dict[str, Any]) -> None:
        """Appends an entry that changes no balance."""
        with self._database.transaction() as connection:
            book = self._read(connection)
            made = self._append(connection, book, kind, body, _now(book))
        self._add(made)

    def book(self) -> Book:
        """What all entries add up to now."""
        with self._database.transaction() as connection:
            return self._read(connection)

    def charges(self, span: str) -> list[Charge]:
        """All charges on a span, oldest first."""
        return self.book().charges_on(span)

    def epsilon(self, span: str, delta: float) -> float:
        """ε at `delta` of all that was ever spent or is reserved on a span."""
        spans = self.book().spans
        return spans[span].epsilon(delta) if span in spans else 0.0

    def verify(self) -> list[str]:
        """What is wrong with the ledger, a sentence each; empty where nothing is."""
        with self._database.transaction() as connection:
            return self._wrong(database.read(connection))

    def decide(self, kept: Sequence[str], reason: str) -> None:
        """A person's decision about a damaged ledger: it goes on from what stands there.

        Args:
            kept: patterns of the names of spans for which that person vouches that all charges stand there; on all
                others, those not heard of included, nothing is spent any more, and their ε is infinite.
            reason: why.

        Raises:
            ConfigError: nothing is wrong and nothing was decided before, or there is no reason.
        """
        by = _by(reason)
        with self._database.transaction() as connection:
            rows = database.read(connection)
            found, witnessed = self._wrong(rows), self._witness.head() if self._witness else Head()
            if not found and not any(row.kind == DECIDE for row in rows):
                raise ConfigError("a decision must be about a damaged ledger. Nothing is wrong with this one")
            number = max(witnessed.number, *(row.number for row in rows), 0) + 1
            body = {"by": by, "reason": reason, "found": found, "kept": list(kept), "witnessed": list(witnessed)}
            made = sealed(digest(rows), number, DECIDE, _now(None).isoformat(), body)
            database.append(connection, [made])
        if self._witness:
            self._witness.remember(made.head)

    def export(self) -> list[Entry]:
        """All entries."""
        with self._database.transaction() as connection:
            self._read(connection)
            return database.read(connection)

    def take_over(self, entries: Sequence[Entry]) -> None:
        """Fills an empty ledger with another one's entries.

        Raises:
            ConfigError: this one has entries.
            LedgerError: those are damaged, or the witness knows another ledger.
        """
        with self._database.transaction() as connection:
            if database.read(connection):
                raise ConfigError(f"an import must go into an empty ledger. Received: {self._database.place}")
            _raise_if(self._wrong(entries))
            database.append(connection, entries)
        self._book = _added_up(entries)
        self._add()

    def close(self) -> None:
        """Gives the database's connections back."""
        self._database.close()

    def _read(self, connection: sa.Connection) -> Book:
        if self._book is not None:
            at = self._book.head
            rows = database.read(connection, at.number)
            stands, new = (rows[:1] and rows[0].head == at, rows[1:]) if at.number else (True, rows)
            if stands and not damage(new, at) and not any(row.kind == DECIDE for row in new):
                for row in new:
                    self._book.add(row)
                return self._book
            self._book = None
        with uncollected():
            rows = database.read(connection)
            _raise_if(self._wrong(rows))
            self._book = _added_up(rows)
        return self._book

    def _wrong(self, rows: Sequence[Entry]) -> list[str]:
        found = damage(rows)
        seen = self._witness.head() if self._witness else Head()
        decided = [Head(*row.says()["witnessed"]) for row in rows if row.kind == DECIDE] if rows and not found else []
        if seen.number and seen not in decided and not any(row.head == seen for row in rows):
            there = next((row for row in rows if row.number == seen.number), None)
            newest = rows[-1].number if rows else 0
            how = "another one has its number" if there else f"the newest here is {newest}"
            found.append(f"entry {seen.number}, which a run has seen, must be there: {how}")
        return found

    def _append(self, connection, book: Book, kind: str, body: dict, now: datetime.datetime) -> Entry:
        made = sealed(book.head.hash, book.head.number + 1, kind, now.isoformat(), body)
        database.append(connection, [made])
        return made

    def _add(self, *made: Entry) -> None:
        """Takes in what was committed, and tells the witness."""
        for entry in made:
            self._book.add(entry)
        if self._witness:
            self._witness.remember(self._book.head)


def _by_span(runs: Iterable[Wanted]) -> dict[str, list[Mechanism]]:
    """What will be executed on each span, by name; in the order of the runs."""
    runs = list(runs)
    names = sorted({name for wanted in runs for name in wanted.spans})
    return {name: [wanted.mechanism for wanted in runs if name in wanted.spans] for name in names}


def _added_up(rows: Sequence[Entry]) -> Book:
    book = Book()
    decided = max((i + 1 for i, row in enumerate(rows) if row.kind == DECIDE), default=0)
    book.add_what_can_be_read(rows[:decided])
    for row in rows[decided:]:
        book.add(row)
    return book


def _raise_if(found: Iterable[str]) -> None:
    found = list(found)
    if found:
        more = f", and {len(found) - 1} more" if found[1:] else ""
        raise LedgerError(
            f"the ledger must be whole: {found[0]}{more}. Nothing is spent until its owner has restored it, or has "
            "said `lockgate ledger decide`"
        )


def _now(book: Book | None) -> datetime.datetime:
    """The time, never before that of an entry: a clock that was set back renews no budget twice."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return max(now, book.newest) if book and book.newest else now


def _by(reason: str) -> str:
    if not reason.strip():
        raise ConfigError("`--reason` must say why. Received: nothing")
    return getpass.getuser()
