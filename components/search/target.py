"""How much a try may lose on `validation`, so that the gate will most likely pass it on `holdout`."""

import math
from dataclasses import dataclass

from scipy.stats import norm

from components.gates.config import GatesConfig
from components.gates.core import Paired, drop_bound
from components.search.config import SearchConfig


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a search aims at.

    max_drop: what the user may lose. margin: the drop under which the gate's bound must stay. alpha: of that bound.
    holdout: number of examples that the gate will measure on. power: probability with which it is to pass.
    """

    max_drop: float
    margin: float
    alpha: float
    holdout: int
    power: float

    @classmethod
    def under(cls, gates: GatesConfig, settings: SearchConfig, holdout: int, competitors: int) -> "Target":
        """The target of a search whose find will be judged by `gates` beside other variants, `competitors` in all."""
        return cls(
            max_drop=settings.max_drop,
            margin=gates.max_drop,
            alpha=gates.alpha_each(competitors),
            holdout=holdout,
            power=settings.power,
        )

    def of(self, seen: Paired) -> float:
        """The largest drop that is within the target: `max_drop`, or less where the gate asks for more.

        Parent and variant disagree on a share p of the examples (seen: b + c of n, one more of two more, so that it is
        never 0). With probability `power`, a true drop of d shows itself on `holdout` as d + z(power) sqrt((p - d^2) /
        holdout) at most, by the normal approximation. The gate passes that if Tango's bound of the counts that belong
        to it is below the margin, so that d is about margin - (z(1 - alpha) + z(power)) sqrt(p / holdout).

        The power is that of a variant whose true drop is d. What `validation` shows differs from it by
        sqrt(p / validation), so that with fewer examples there than in `holdout` a search to the edge is passed less
        often: 87 % of the time with 2,000 of them for 8,000, 71 % with 1,000, in a simulation.

        Args:
            seen: how parent and variant did on `validation`.
        """
        low, high = -1.0, self.max_drop
        if self._passes(high, seen):
            return high
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if self._passes(middle, seen) else (low, middle)
        return low

    def _passes(self, drop: float, seen: Paired) -> bool:
        discordance = (seen.parent_only + seen.variant_only + 1) / (seen.total + 2)
        worst = drop + norm.ppf(self.power) * math.sqrt(max(0.0, discordance - drop**2) / self.holdout)
        return drop_bound(expected(self.holdout, worst, max(discordance, abs(worst))), self.alpha) < self.margin


def expected(examples: int, drop: float, discordance: float) -> Paired:
    """The counts of so many examples that belong to a drop and a share of disagreement, rounded to the worse side."""
    parent_only = min(examples, math.ceil(examples * (discordance + drop) / 2))
    variant_only = math.floor(examples * (discordance - drop) / 2)
    return Paired(
        both=examples - parent_only - variant_only, parent_only=parent_only, variant_only=variant_only, neither=0
    )
