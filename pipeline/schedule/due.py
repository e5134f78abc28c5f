"""Which spans a pipeline has still to be trained on. Pure."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from components.common.errors import DataError, LedgerError
from components.example_gen.arrivals import BAD, READY, WAITING, Arrival

_DECIDED = (0, 3)  # exit codes of runs that came to an end of their own


@dataclass(frozen=True, kw_only=True)
class Due:
    """What has arrived. spans: due, in order, each for a run of its own. waiting: not yet whole; damaged: of which a
    person must know."""

    spans: tuple[Arrival, ...]
    waiting: tuple[Arrival, ...]
    damaged: tuple[Arrival, ...]

    def rows(self) -> dict[str, list[dict[str, str]]]:
        """Those that wait and those that are damaged, for people: name, reason, and fingerprint of the files."""
        keys = {"span": "name", "reason": "reason", "fingerprint": "fingerprint"}
        of = {"waiting": self.waiting, "damaged": self.damaged}
        return {kind: [{k: getattr(a, f) for k, f in keys.items()} for a in found] for kind, found in of.items()}


def damaged_in_words(row: Mapping[str, str]) -> str:
    """A row of `Due.rows` as a sentence."""
    return f"{row['span']} is damaged and is left out until it is mended: {row['reason']}"


def waiting_in_words(row: Mapping[str, str]) -> str:
    """A row of `Due.rows` as a sentence."""
    return f"{row['span']} is not whole yet: {row['reason']}"


def due(arrived: Iterable[Arrival], refused: Mapping[str, str], damaged: str) -> Due:
    """Sorts what has arrived.

    Args:
        arrived: the spans that no run has decided on, in any order.
        refused: what was wrong with spans that a run could not be trained on, by their files' fingerprint.
        damaged: `wait`, or `stop`: then nothing that came after a damaged span is due.
    """
    new = sorted((_known(a, refused) for a in arrived), key=lambda a: a.span)
    bad = tuple(a for a in new if a.state == BAD)
    first_bad = bad[0].span if bad and damaged == "stop" else None
    spans = (a for a in new if a.state == READY and (first_bad is None or a.span < first_bad))
    return Due(spans=tuple(spans), waiting=tuple(a for a in new if a.state == WAITING), damaged=bad)


def _known(arrival: Arrival, refused: Mapping[str, str]) -> Arrival:
    """The arrival, bad if a run has found it so."""
    if arrival.state != READY or arrival.fingerprint not in refused:
        return arrival
    return dataclasses.replace(arrival, state=BAD, reason=refused[arrival.fingerprint])


def decided(records: Iterable[Mapping[str, Any]], pipeline: str) -> set[int]:
    """The spans on which a run of the pipeline has come to a decision: it pushed, or it was refused."""
    return {record["data"]["span"] for record in records if record["config"] == pipeline and decides(record)}


def decides(record: Mapping[str, Any]) -> bool:
    """Whether a run has decided on its span; one that failed, was interrupted, or found the ledger damaged has not: of
    a damaged ledger a person decides, and then the span is due again."""
    return record["exit_code"] in _DECIDED and record.get("cause") != LedgerError.cause


def is_damaged(record: Mapping[str, Any]) -> bool:
    """Whether a run failed because of what its span holds."""
    return record["cause"] == DataError.cause
