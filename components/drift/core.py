"""How far a span's examples are from those before it. Nothing here reads private examples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2_contingency

from components.common.examples import Split
from components.drift.config import DriftConfig
from components.statistics.core import count_exactly


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Numbers of examples. classes: a class each; brightness: a bucket each, from dark to bright."""

    classes: tuple[int, ...]
    brightness: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Distance:
    """How far one feature is. divergence: Jensen-Shannon, in bits; p_value: of a chi-square test of both samples being
    from one distribution; drifted: whether it is too far, and not by chance."""

    feature: str
    divergence: float
    p_value: float
    drifted: bool

    def in_words(self) -> str:
        """One sentence."""
        return f"{self.feature} is {self.divergence:.3f} bits from the earlier spans' (p = {self.p_value:.2g})"


def summarize(pieces: Sequence[Split], classes: int) -> Summary:
    """Counts examples by class and by brightness.

    Args:
        pieces: the examples; labels from 0 to `classes` - 1.
    """
    exact = count_exactly(pieces, classes).astype(int)
    return Summary(classes=tuple(map(int, exact[:classes])), brightness=tuple(map(int, exact[classes:])))


def distances(own: Summary, earlier: Sequence[Summary], config: DriftConfig) -> list[Distance]:
    """Compares a span with all earlier ones together; an empty list where there are none."""
    found = []
    for feature in ("classes", "brightness") if earlier else ():
        here = np.array(getattr(own, feature))
        there = np.sum([getattr(summary, feature) for summary in earlier], axis=0)
        divergence, p_value = jensen_shannon(here, there), same_distribution(here, there)
        drifted = divergence > config.max_divergence and p_value < config.significance
        found.append(Distance(feature=feature, divergence=divergence, p_value=p_value, drifted=bool(drifted)))
    return found


def jensen_shannon(first: np.ndarray, second: np.ndarray) -> float:
    """The Jensen-Shannon divergence of two histograms [k], in bits, from 0 (same shares) to 1 (nothing in common).

    Lin 1991, "Divergence measures based on the Shannon entropy", equation 3.1 with equal weights.
    """
    p, q = first / first.sum(), second / second.sum()
    middle = (p + q) / 2
    return float(sum(0.5 * np.sum(r[r > 0] * np.log2(r[r > 0] / middle[r > 0])) for r in (p, q)))


def same_distribution(first: np.ndarray, second: np.ndarray) -> float:
    """The p-value of Pearson's chi-square test that two histograms [k] are samples of one distribution."""
    table = np.array([first, second])
    table = table[:, table.sum(0) > 0]
    return float(chi2_contingency(table, correction=False).pvalue) if table.shape[1] > 1 else 1.0
