"""A computation on private examples that happens once under its charge."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.common.files import write_durably
from components.common.locks import alone
from components.dp_training.charged import mechanism_for, run_key
from components.privacy.account import Account
from components.privacy.accounting import Mechanism
from components.privacy.config import PrivacyConfig


def counting(policy: PrivacyConfig, data: str, fingerprint: str) -> tuple[str, Mechanism]:
    """The name and the mechanism of the noisy counts of some examples.

    Args:
        policy: of which they get their share. data: the images' settings as JSON. fingerprint: of the examples.
    """
    return run_key("statistics", data, fingerprint), mechanism_for(policy.statistics_epsilon, policy, 1.0, 1)


def released_once(
    account: Account, span: str, run: str, mechanism: Mechanism, compute: Callable[[], dict[str, Any]]
) -> tuple[int, dict[str, Any]]:
    """Computes under a charge what is then kept beside the journals, and found there by every later call: noise that
    were drawn again under the same charge could be averaged out.

    Args:
        account: what it is charged to. span: the ledger's name of the examples.
        run: names the release by all that it depends on (`counting`).
        mechanism: what `compute` executes.
        compute: reads the private examples; gives what is released, for JSON.

    Returns:
        The charge's id, and what was released.

    Raises:
        BudgetError: the span's budget would be passed; nothing was reserved or read.
        LedgerError: the ledger is not what it was.
    """
    ledger, kept = account.open(), Path(account.journals, run, "release.json")
    with alone(Path(account.journals, f"{run}.lock"), "these statistics"):
        charge = ledger.charge_of([span], run, mechanism)
        if charge is None or (charge.settled and not kept.exists()):
            kept.unlink(missing_ok=True)
            charge = ledger.reserve([span], run, mechanism, account.policy)
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_durably(kept, json.dumps(compute()).encode())
        ledger.settle(charge.id, mechanism.steps)
        return charge.id, json.loads(kept.read_text())
