"""Numbers as people write them."""

import re
from collections.abc import Sequence


def number(value: float) -> str:
    """A number in at most six significant digits: 8,000; 0.005; 1e-5; 2.94984."""
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return re.sub(r"e([+-])0*(\d+)", lambda m: f"e{m[1].replace('+', '')}{m[2]}", f"{value:.6g}")


def points(fraction: float) -> str:
    """A difference of accuracies (a fraction) in points with its sign: −0.18, +0.06, 0.00."""
    text = f"{100 * fraction:+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "−")


def microseconds(value: float | None) -> str:
    """A time in whole microseconds, or a dash where nothing could be timed: 12 µs."""
    return "–" if value is None else f"{value:.0f} µs"


def kilobytes(count: int) -> str:
    """Bytes as kilobytes of 1,000: 32.1 KB."""
    return f"{count / 1000:.1f} KB"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: a; a and b; a, b and c."""
    return " and ".join([*([", ".join(names[:-1])] if names[1:] else []), *names[-1:]])
