"""The arithmetic of gates: what counts of paired right and wrong answers say of a drop, exactly.

Tango's score bound orders the outcomes, and enumeration of all of them gives it the level that it claims.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr, gammaln
from scipy.stats import beta, norm

_RATES = 300  # shares of right answers of the variant alone at which a wrong pass is enumerated


@dataclass(frozen=True, kw_only=True)
class Paired:
    """How two models did on the same examples: counts of both right, only one right, neither right."""

    both: int
    parent_only: int
    variant_only: int
    neither: int

    @property
    def total(self) -> int:
        """Number of examples."""
        return self.both + self.parent_only + self.variant_only + self.neither

    @property
    def parent_accuracy(self) -> float:
        """Fraction of examples that the parent has right; NaN without examples."""
        return (self.both + self.parent_only) / self.total if self.total else math.nan

    @property
    def variant_accuracy(self) -> float:
        """Fraction of examples that the variant has right; NaN without examples."""
        return (self.both + self.variant_only) / self.total if self.total else math.nan

    @property
    def drop(self) -> float:
        """Parent's accuracy less the variant's; NaN without examples."""
        return self.parent_accuracy - self.variant_accuracy

    def swapped(self) -> "Paired":
        """The same counts with the roles of the two models exchanged."""
        return Paired(
            both=self.both, parent_only=self.variant_only, variant_only=self.parent_only, neither=self.neither
        )


def drop_bound(paired: Paired, alpha: float) -> float:
    """Upper one-sided confidence bound of the drop, by Tango's score interval for paired proportions.

    The bound is the d at which `score` is -z(1 - alpha) (Tango 1998, Statistics in Medicine 17:891, section 4).

    Args:
        paired: counts, of at least one example.
        alpha: nominal probability, in (0, 0.5), that the true drop is above the bound.
    """
    n, b, c, z = paired.total, paired.parent_only, paired.variant_only, norm.ppf(1 - alpha)
    low, high = paired.drop, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if score(n, b, c, middle) > -z else (low, middle)
    return high


def score(n, parent_only, variant_only, drop):
    """Tango's statistic for a true drop d, negative where the counts show a smaller one; scalars or arrays.

    Z(d) = (b - c - n d) / sqrt(n (2 q + d (1 - d))), where b and c count the examples that only the parent and only the
    variant has right, and q is the maximum likelihood estimate of the latter's probability under d: the larger root of
    2 n q^2 + (-b - c + (2 n - b + c) d) q - c d (1 - d) (Tango 1998, eq. 3 to 6). Where nothing varies it is infinite,
    or 0 if the counts are the drop.
    """
    linear = -parent_only - variant_only + (2 * n - parent_only + variant_only) * drop
    constant = variant_only * drop * (1 - drop)
    root = np.sqrt(np.maximum(0.0, linear**2 + 8 * n * constant))
    with np.errstate(divide="ignore", invalid="ignore"):
        q = np.where(linear > 0, 2 * constant / (root + linear), (root - linear) / (4 * n))
        gap, variance = parent_only - variant_only - n * drop, n * (2 * q + drop * (1 - drop))
        return np.where(variance > 0, gap / np.sqrt(variance), np.where(gap == 0, 0.0, np.copysign(np.inf, gap)))


@functools.lru_cache(maxsize=1024)
def exact_level(n: int, margin: float, alpha: float) -> float:
    """The nominal level, at most `alpha`, at which a drop of exactly `margin` passes with a probability of at most
    `alpha` whatever share of predictions flips: an exact unconditional test with Tango's ordering (Hsueh, Liu and Chen
    2001, Biometrics 57:478).

    All outcomes are enumerated for 300 shares of examples that the variant alone has right, from none to all that can
    be; between two of them the probability is less than 2 % of itself above both.

    Args:
        n: number of examples, at least 1.
        margin: in (0, 1).
        alpha: in (0, 0.5).
    """
    if wrong_pass(n, margin, alpha) <= alpha:
        return alpha
    low, high = alpha / 8, alpha
    for _ in range(9):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if wrong_pass(n, margin, middle) <= alpha else (low, middle)
    return low


def wrong_pass(n: int, margin: float, level: float) -> float:
    """The largest probability, over all flip rates, with which Tango's bound at a nominal `level` is below the margin
    although the true drop equals it."""
    most, allowed = (1 - margin) / 2, passing(n, margin, level)
    even, dense_below = np.linspace(0, 0.9999 * most, 2 * _RATES // 3), np.geomspace(0.01 / n, most / 2, _RATES // 3)
    return max(pass_probability(n, allowed, q + margin, q) for q in (*even, *dense_below))


def passing(n: int, margin: float, level: float) -> np.ndarray:
    """How many examples only the parent may have right, int64 [n + 1], by how many only the variant has right, for the
    bound at `level` to be below `margin`; -1 where none is few enough."""
    z = norm.ppf(1 - level)
    variant_only = np.arange(n + 1)
    low, high = np.full(n + 1, -1), n - variant_only + 1
    while np.any(open_ := high - low > 1):
        middle = (low + high) // 2
        passes = score(n, np.maximum(middle, 0), variant_only, margin) < -z
        low, high = np.where(open_ & passes, middle, low), np.where(open_ & ~passes, middle, high)
    return low


def pass_probability(n: int, allowed: np.ndarray, parent_only: float, variant_only: float) -> float:
    """Probability that `passing` lets a variant pass which has one more kind of answer with probability `variant_only`
    and one less with `parent_only`, by enumeration of all counts but those beyond 8 standard deviations."""
    q, spread = variant_only, 8 * math.sqrt(n * variant_only) + 20
    counts = np.arange(max(0, int(n * q - spread)), min(n, int(n * q + spread)) + 1)
    log = gammaln(n + 1) - gammaln(counts + 1) - gammaln(n - counts + 1) + (n - counts) * math.log1p(-q)
    log = log + counts * math.log(q) if q > 0 else np.where(counts == 0, log, -np.inf)
    few = allowed[counts]
    tail = np.where(few >= 0, bdtr(np.maximum(few, 0), n - counts, min(1.0, parent_only / (1 - q))), 0.0)
    return float(np.sum(np.exp(log) * tail))


def share_bounds(count: int, total: int, alpha: float) -> tuple[float, float]:
    """Lower and upper one-sided bounds of a probability, each exact at `alpha` (Clopper and Pearson 1934)."""
    low = beta.ppf(alpha, count, total - count + 1) if count > 0 else 0.0
    high = beta.ppf(1 - alpha, count + 1, total - count) if count < total else 1.0
    return float(low), float(high)
