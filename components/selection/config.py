"""What the user may set about selection."""

import math
from dataclasses import dataclass, field

from components.common.settings import require

FIGURES = ("download_bytes", "gzip_bytes", "bytes", "latency_us")
WEIGHTED = "weighted"


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """Which of the variants that passed is shipped.

    objective: the figure to make smallest, or `weighted`: the sum of the figures in `weights`, each over the smallest
    that passed, times its weight. Ties go to the smaller gzip size, then to the name.
    """

    objective: str = "gzip_bytes"
    weights: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        known = (*FIGURES, WEIGHTED)
        require(self.objective in known, "objective", f"be one of {', '.join(known)}", self.objective)
        good = all(name in FIGURES and 0 < weight < math.inf for name, weight in self.weights.items())
        require(good, "weights", f"give {', '.join(FIGURES)} numbers above 0", self.weights)
        fits = (self.objective == WEIGHTED) == bool(self.weights)
        require(fits, "weights", f"be set where objective is {WEIGHTED}, and only there", self.weights)

    @property
    def figures(self) -> dict[str, float]:
        """The figures that count, each with its weight."""
        return self.weights or {self.objective: 1.0}
