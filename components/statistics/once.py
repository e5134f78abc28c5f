"""A computation on private examples that happens once under its charge."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.privacy.account import Account
from components.privacy.accounting import Mechanism


def released_once(
    account: Account, span: str, run: str, mechanism: Mechanism, compute: Callable[[], dict[str, Any]]
) -> tuple[int, dict[str, Any]]:
    """Computes under a charge what is then kept beside the journals, and found there by every later call: noise that
    were drawn again under the same charge could be averaged out.

    Args:
        account: what it is charged to. span: the ledger's name of the examples.
        run: names the release by all that it depends on (`run_key`).
        mechanism: what `compute` executes.
        compute: reads the private examples; gives what is released, for JSON.

    Returns:
        The charge's id, and what was released.

    Raises:
        BudgetError: the span's budget would be passed; nothing was reserved or read.
        LedgerError: the ledger is not what it was.
    """
    ledger, kept = account.open(), Path(account.journals, run, "release.json")
    charge = ledger.charge_of([span], run, mechanism)
    if charge is None or (charge.settled and not kept.exists()):
        kept.unlink(missing_ok=True)
        charge = ledger.reserve([span], run, mechanism, account.policy)
    if not kept.exists():
        _write_once(kept, json.dumps(compute()))
    ledger.settle(charge.id, mechanism.steps)
    return charge.id, json.loads(kept.read_text())


def _write_once(path: Path, text: str) -> None:
    """Writes a file of mode 0600 that is there whole, and on the disk, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = path.with_name(f".{path.name}")
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
