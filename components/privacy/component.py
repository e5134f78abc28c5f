"""TFX glue of the audit: no model reaches the Pusher whose lineage holds a private read that nobody was charged for."""

import dataclasses
import json
import math
from pathlib import Path

from components.common.artifacts import PrivacyAudit, Selection
from components.common.errors import GateError
from components.common.settings import from_json
from components.common.tfx_nodes import InputArtifact, OutputArtifact, Parameter, component, standard_artifacts
from components.privacy.account import Account
from components.privacy.book import Book
from components.privacy.lineage import Ancestry, ancestry
from components.privacy.taint import EXEMPT_ROLES, Taint, taint_of


@component
def PrivacyAuditor(
    selection: InputArtifact[Selection],
    audit: OutputArtifact[PrivacyAudit],
    account: Parameter[str],
    statistics: InputArtifact[list[standard_artifacts.ExampleStatistics]] = None,
) -> None:
    """Walks from the selected variant, and from noisy statistics, to their sources; refuses it if an execution
    among them read private splits uncharged. Of the spans that it finds, a model is made from those behind the variants
    (`made_from`); the others are behind models that it was compared with.

    Raises:
        GateError: ε is infinite; the executions that make it so are named.
        LedgerError: the ledger is not what it was.
    """
    charged_to = from_json(Account, account)
    book = charged_to.open().book()
    behind = ancestry(charged_to.metadata, [selection.id, *(found.id for found in statistics or ())])
    taint = taint_of(behind.executions, behind.orphans, book, charged_to.policy.statistics)
    spans = sorted(_charged(taint, book, behind))
    made = ancestry(charged_to.metadata, _variants(behind, selection.id))
    delta, group = charged_to.policy.delta, charged_to.policy.records_per_person
    epsilons = {name: book.epsilon([name], delta, group) for name in spans}
    epsilon = math.inf if taint.unaccounted else book.epsilon(spans, delta, group)
    found = {
        "epsilon": epsilon,
        "spans": epsilons,
        "made_from": sorted(_charged(taint, book, made)),
        "exempt_roles": EXEMPT_ROLES,
        **dataclasses.asdict(taint),
    }
    Path(audit.uri, "audit.json").write_text(json.dumps(found, indent=2))
    if taint.unaccounted:
        more = f", and {len(taint.unaccounted) - 1} more" if taint.unaccounted[1:] else ""
        raise GateError(
            "a pushed model's lineage must hold no private read that the ledger has no entry for, or ε is infinite. "
            f"Received: {taint.unaccounted[0]}{more}"
        )


def _charged(taint: Taint, book: Book, behind: Ancestry) -> set[str]:
    """The spans that executions were charged on."""
    ids = {id for execution in behind.executions for id in taint.charges.get(execution.name, ())}
    return {name for id in ids for name in book.charges[id].spans}


def _variants(behind: Ancestry, selection: int) -> set[int]:
    """The variants that a selection was made from; itself where MLMD does not say, as all may be behind it then."""
    makers = [e for e in behind.executions if selection in {a.id for a in e.outputs}]
    return {a.id for e in makers for a in e.inputs if a.kind == "Variant"} or {selection}
