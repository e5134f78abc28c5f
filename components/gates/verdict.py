"""What a gate answers: a verdict with a code for programs and a sentence for people."""

from collections.abc import Iterable
from dataclasses import dataclass

PASS, FAIL, INCONCLUSIVE, NOT_APPLICABLE = "pass", "fail", "inconclusive", "not applicable"


@dataclass(frozen=True)
class Check:
    """One gate's answer. gate: its name. code: a stable word for programs. sentence: for people."""

    gate: str
    verdict: str
    code: str
    sentence: str


def worst(verdicts: Iterable[str]) -> str:
    """`fail` before `inconclusive` before `pass`. What does not apply has no say, and no `pass` at all, or a word that
    is none of these, is `inconclusive`."""
    seen = set(verdicts) - {NOT_APPLICABLE}
    if FAIL in seen:
        return FAIL
    return PASS if seen == {PASS} else INCONCLUSIVE
