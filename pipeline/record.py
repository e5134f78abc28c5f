"""The run record: everything that the table, `--json` and the report page show, read from MLMD and the artifacts."""

import json
import math
from pathlib import Path
from typing import Any

from tfx.orchestration import metadata

from components.common.events import INPUTS, MADE, OUTPUTS
from components.common.mlmd import connection, node_ids
from components.common.remote import read


class Lineage:
    """The executions and artifacts of one run, as MLMD has them.

    Args:
        database: place of MLMD.
        run_id: of the run.
    """

    def __init__(self, database: str, run_id: str):
        with metadata.Metadata(connection(database)) as handle:
            store = handle.store
            context = store.get_context_by_type_and_name("pipeline_run", run_id)
            self._executions = {e.id: e for e in store.get_executions_by_context(context.id)} if context else {}
            self._events = store.get_events_by_execution_ids(list(self._executions)) if self._executions else []
            artifacts = store.get_artifacts_by_id(sorted({e.artifact_id for e in self._events}))
            self._artifacts = {a.id: a for a in artifacts}
            self._types = {t.id: t.name for t in store.get_artifact_types()}
            self._nodes = node_ids(store)

    def outputs(self, type_name: str) -> list[Any]:
        """The artifacts of a type that this run's executions made, or took from the cache, oldest first."""
        ids = {e.artifact_id for e in self._events if e.type in MADE}
        found = [a for id, a in self._artifacts.items() if id in ids and self._types[a.type_id] == type_name]
        return sorted(found, key=lambda a: a.id)

    def rows(self) -> list[dict[str, Any]]:
        """One row an output: artifact, type, node, execution, uri and the artifacts it was made from."""
        rows = []
        for event in self._events:
            if event.type not in OUTPUTS:
                continue
            inputs = sorted(
                {e.artifact_id for e in self._events if e.execution_id == event.execution_id and e.type in INPUTS}
            )
            artifact = self._artifacts[event.artifact_id]
            rows.append(
                {
                    "artifact": artifact.id,
                    "type": self._types[artifact.type_id],
                    "node": self._nodes.get(event.execution_id, ""),
                    "execution": event.execution_id,
                    "uri": artifact.uri,
                    "inputs": inputs,
                }
            )
        return sorted(rows, key=lambda row: (row["execution"], row["artifact"]))


def outcome(database: str, run_id: str) -> dict[str, Any]:
    """The part of the record that comes from MLMD: privacy, statistics, parent, variants, searches, pushed, roles'
    counts and lineage."""
    lineage = Lineage(database, run_id)
    verdicts = [_read(a.uri, "verdict.json") for a in lineage.outputs("Verdict")]
    checks = lineage.outputs("DataCheck")
    return {
        "privacy": _privacy(lineage),
        "statistics": _statistics(lineage),
        "drift": _drift(lineage),
        "counts": _read(checks[0].uri, "check.json")["examples"] if checks else {},
        "parent": verdicts[0]["parent"] if verdicts else None,
        "variants": [_variant(v) for v in verdicts],
        "searches": [told for a in lineage.outputs("Variant") if (told := _search(a.uri))],
        "pushed": _pushed(lineage),
        "lineage": lineage.rows(),
    }


def spent_over_time(ledger: str, record: dict[str, Any]) -> dict[str, Any] | None:
    """What was charged to the span of a run, of several behind its model to that of the largest ε: its name, its
    budget, and ε for life after each charge. None where nothing was."""
    from components.privacy.ledger import Ledger
    from components.privacy.standing import history

    if "://" not in ledger and not Path(ledger).exists():
        return None
    own, privacy = f"{record['data']['name']}/span-{record['data']['span']}", record["privacy"]
    behind = [*privacy["spans"], *(privacy["base"] or {"spans": []})["spans"]] if privacy else [own]
    book = Ledger(ledger).book()
    spans = sorted(name for name in set(behind) if name in book.spans)
    if not spans:
        return None
    span = max(spans, key=lambda name: (book.spans[name].epsilon(book.budget_of(name).delta), name == own))
    budget = book.budget_of(span)
    found = [point for point in history(book.spans[span], budget.delta) if math.isfinite(point[1])]
    return {"span": span, "budget": budget.epsilon, "history": found}


def _variant(verdict: dict[str, Any]) -> dict[str, Any]:
    keys = (
        "recipe",
        "accuracy",
        "drop",
        "bytes",
        "gzip_bytes",
        "xz_bytes",
        "zstd_bytes",
        "download_bytes",
        "latency_us",
        "latency",
        "sparsity",
        "int8_weights",
        "integer_operators",
        "agreement",
        "largest_difference",
        "layers",
        "skipped",
        "sha256",
        "verdict",
        "checks",
        "confusion",
        "holdout",
    )
    reasons = [check["sentence"] for check in verdict["checks"] if check["verdict"] in ("fail", "inconclusive")]
    return {**{key: verdict[key] for key in keys}, "reasons": reasons}


def _search(uri: str) -> dict[str, Any] | None:
    """What a search tried, if a search made it; what it scanned before stays in its artifact."""
    try:
        told = _read(uri, "search.json")
    except FileNotFoundError:
        return None
    return {key: told[key] for key in ("recipe", "target", "chosen", "within", "pareto", "tries")}


def _privacy(lineage: Lineage) -> dict[str, Any] | None:
    pushed = [a for a in lineage.outputs("PushedModel") if a.custom_properties["pushed"].int_value == 1]
    found = pushed or lineage.outputs("PrivacyStatement")
    if not found:
        return None
    statement = _read(found[0].uri, "statement.json")
    mechanism = statement.pop("mechanism")
    return {**statement, **mechanism, "statement": read(found[0].uri, "statement.txt").decode()}


def _statistics(lineage: Lineage) -> dict[str, Any] | None:
    """What noisy statistics released, and what it cost alone."""
    for artifact in lineage.outputs("ExampleStatistics"):
        try:
            counts, release = (_read(artifact.uri, name) for name in ("counts.json", "release.json"))
        except FileNotFoundError:
            continue
        return {**counts, "epsilon": release["epsilon"], "delta": release["delta"]}
    return None


def _drift(lineage: Lineage) -> dict[str, Any] | None:
    """How far the span is from those before it, if that was looked at."""
    found = [_read(a.uri, "drift.json") for a in lineage.outputs("Drift")]
    return {k: found[0][k] for k in ("compared_with", "distances", "reasons", "stopped")} if found else None


def _pushed(lineage: Lineage) -> dict[str, Any] | None:
    for artifact in lineage.outputs("PushedModel"):
        said = artifact.custom_properties
        if said["pushed"].int_value == 1:
            return {
                "recipe": said["recipe"].string_value,
                "path": said["path"].string_value,
                "sha256": said["sha256"].string_value,
                "version": said["version"].int_value,
            }
    return None


def _read(uri: str, name: str) -> dict[str, Any]:
    return json.loads(read(uri, name))
