"""What the user may set about the privacy budget."""

import sys
from dataclasses import dataclass

from components.common.settings import require, require_positive
from components.privacy.policy import Budget

STATISTICS = ("public", "noised", "declared")


@dataclass(frozen=True, kw_only=True)
class PrivacyConfig:
    """What a run may spend, and what all runs may spend together, for adding or removing one example, or one person.

    epsilon: target of one run; its noise is calibrated to it. delta: of every ε here. budget_epsilon: what all runs
    together may spend on one span; a policy in the ledger may allow less, or, put there by its owner, more.
    budget_days: after so many days the budget is renewed, which bounds no lifetime ε; absent: never.
    records_per_person: the most examples that one person has; ε is then for adding or removing that person. statistics:
    what statistics read: `public`; `noised`, which adds noisy counts of `train` that cost the fraction
    `statistics_share` of `epsilon`, and leave the training the rest; or `declared`, where TFDV's statistics and drift
    checks read `train` too, and the statement says that ε does not cover it.
    """

    epsilon: float
    delta: float
    budget_epsilon: float
    budget_days: float | None = None
    records_per_person: int = 1
    statistics: str = "public"
    statistics_share: float = 0.05

    def __post_init__(self):
        require_positive("epsilon", self.epsilon)
        require_positive("budget_epsilon", self.budget_epsilon)
        require(0 < self.delta < 1, "delta", "be in (0, 1)", self.delta)
        require(self.budget_days is None or self.budget_days > 0, "budget_days", "be above 0", self.budget_days)
        require(self.records_per_person >= 1, "records_per_person", "be at least 1", self.records_per_person)
        require(self.statistics in STATISTICS, "statistics", f"be one of {', '.join(STATISTICS)}", self.statistics)
        require(0 < self.statistics_share < 1, "statistics_share", "be in (0, 1)", self.statistics_share)

    @property
    def statistics_epsilon(self) -> float:
        """What noisy counts cost alone; 0 where there are none."""
        return self.epsilon * self.statistics_share if self.statistics == "noised" else 0.0

    @property
    def training_epsilon(self) -> float:
        """What the training of a run costs alone."""
        return self.epsilon - self.statistics_epsilon

    @property
    def pushable_epsilon(self) -> float:
        """The largest ε of a pushed model; any finite one where the budget is renewed, which the ledger enforces."""
        return self.budget_epsilon if self.budget_days is None else sys.float_info.max

    def budget(self, span: str) -> Budget:
        """What all runs together may spend on a span."""
        return Budget(spans=span, epsilon=self.budget_epsilon, delta=self.delta, days=self.budget_days)
