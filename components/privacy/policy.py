"""The policy: how much may be spent on which span, how often it is renewed, and who may change that."""

import sys
from dataclasses import dataclass
from pathlib import Path

from components.common.errors import ConfigError
from components.common.settings import from_mapping, require, require_positive

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What all runs together may spend on each span that the pattern `spans` names.

    epsilon, delta: for adding or removing one record, or one person where a run declares how many records a person has.
    days: length of a period after which it is renewed; None for a budget that lasts for ever. A renewed budget bounds
    no lifetime ε, which is shown beside it.
    """

    spans: str
    epsilon: float
    delta: float
    days: float | None = None

    def __post_init__(self):
        require(bool(self.spans), "spans", "be a pattern of spans' names", self.spans)
        require_positive("epsilon", self.epsilon)
        require(0 < self.delta < 1, "delta", "be in (0, 1)", self.delta)
        if self.days is not None:
            require_positive("days", self.days)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The policy file. owners: operating-system users who may put another policy in its place. budgets: the first
    whose pattern fits a span is its budget; a span that none fits keeps the one that its first run came with."""

    owners: tuple[str, ...]
    budgets: tuple[Budget, ...]

    def __post_init__(self):
        require(bool(self.owners), "owners", "name at least one user", list(self.owners))


def read_policy(path: Path) -> Policy:
    """Reads a policy file (TOML).

    Raises:
        ConfigError: it cannot be read, or is no policy.
    """
    try:
        return from_mapping(Policy, tomllib.loads(path.read_text()), "")
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"a policy must be a TOML file. Received: {path}: {reason}") from None
