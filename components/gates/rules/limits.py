"""Answers that compare one figure, or an interval around it, with a limit."""

from components.common.words import number
from components.gates.core import share_bounds
from components.gates.verdict import FAIL, INCONCLUSIVE, PASS, Check


def at_most(gate: str, what: str, value: float | None, ceiling: float) -> Check:
    """Passes a value that is known and not above the ceiling; NaN is above any."""
    if value is None:
        return Check(gate, INCONCLUSIVE, f"{gate}_not_measured", f"The {what} was not measured.")
    good = value <= ceiling
    sentence = f"The {what} is {number(value)}; allowed are {number(ceiling)}."
    return Check(gate, PASS if good else FAIL, f"{gate}_{'within' if good else 'above'}_limit", sentence)


def between(gate: str, figures: str, low: float, high: float, ceiling: float) -> Check:
    """Passes an interval below the ceiling, fails one above it or not a number, else cannot tell."""
    if high <= ceiling:
        return Check(gate, PASS, f"{gate}_within_limit", figures)
    if low <= ceiling < high:
        return Check(gate, INCONCLUSIVE, f"{gate}_undecided", figures)
    return Check(gate, FAIL, f"{gate}_above_limit", figures)


def share_at_most(gate: str, what: str, count: int, total: int, ceiling: float, alpha: float) -> Check:
    """The same of a share of examples, by exact one-sided bounds at `alpha`."""
    if not total:
        return Check(gate, INCONCLUSIVE, "no_examples", "There are no holdout examples.")
    low, high = share_bounds(count, total, alpha)
    figures = (
        f"The {what} is {100 * count / total:.2f} % of {number(total)} examples, between {100 * low:.2f} and "
        f"{100 * high:.2f} with confidence {number(100 * (1 - alpha))} % each way; allowed are {number(100 * ceiling)}."
    )
    return between(gate, figures, low, high, ceiling)
