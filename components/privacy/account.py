"""An account: what private reads are charged to, as it travels to a node."""

from dataclasses import dataclass

from components.privacy.config import PrivacyConfig
from components.privacy.ledger import Ledger
from components.privacy.witness import LineageWitness


@dataclass(frozen=True, kw_only=True)
class Account:
    """What private trainings on a span are charged to.

    policy: what they may spend. ledger: path of its file, or URL. journals: folder of the journals. population:
    declared number of private examples. metadata: place of MLMD, which remembers the ledger's head; empty: nobody does.
    """

    policy: PrivacyConfig
    ledger: str
    journals: str
    population: int
    metadata: str = ""

    def open(self) -> Ledger:
        """The ledger, with MLMD as its witness."""
        return Ledger(self.ledger, LineageWitness(self.metadata) if self.metadata else None)
