"""What the user may set about drift."""

from dataclasses import dataclass

from components.common.settings import require, require_fraction

ACTIONS = ("off", "warn", "stop")


@dataclass(frozen=True, kw_only=True)
class DriftConfig:
    """When a span has drifted from those before it, and what follows.

    action: `off` looks at nothing; `warn` goes on and says so; `stop` refuses the run before anything private is read.
    max_divergence: Jensen-Shannon divergence in bits, in [0, 1], that the shares of classes, and those of brightness,
    may have from the earlier spans'. significance: probability below which a difference that large must lie if there
    were none, so that a small span does not seem to drift. reference: how many earlier spans are compared with.
    """

    action: str = "off"
    max_divergence: float = 0.05
    significance: float = 0.001
    reference: int = 7

    def __post_init__(self):
        require(self.action in ACTIONS, "action", f"be one of {', '.join(ACTIONS)}", self.action)
        require_fraction("max_divergence", self.max_divergence, low_open=True)
        require_fraction("significance", self.significance, low_open=True, high_open=True)
        require(self.reference >= 1, "reference", "be at least 1", self.reference)
