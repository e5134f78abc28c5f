"""What the user may set about the privacy budget."""

from dataclasses import dataclass

from components.common.settings import require, require_positive


@dataclass(frozen=True, kw_only=True)
class PrivacyConfig:
    """What a run may spend, and what all runs may spend together, for adding or removing one example.

    epsilon: target of one run; its noise is calibrated to it. delta: of every ε here. budget_epsilon: what all runs
    together may spend on one span, and so the largest ε that a pushed model may have.
    """

    epsilon: float
    delta: float
    budget_epsilon: float

    def __post_init__(self):
        require_positive("epsilon", self.epsilon)
        require_positive("budget_epsilon", self.budget_epsilon)
        require(0 < self.delta < 1, "delta", "be in (0, 1)", self.delta)
