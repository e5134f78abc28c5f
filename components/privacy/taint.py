"""Taint: which executions behind a model read private splits, and whether the ledger has an entry for each. Pure."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from components.common.errors import GateError
from components.example_gen.config import PRIVATE
from components.privacy.book import Book
from components.privacy.release import load_release
from components.privacy.statement import Statement, load_statement

COPIES = "copies files and releases nothing"
STRUCTURE = "checks each record's structure and releases only which were refused; named in the statement"
DECLARED = "is declared as not covered; named in the statement"
EXEMPT_ROLES = {"validation": "searches and tuning", "holdout": "gates"}
_CARRIES_NO_MODEL = ("Examples", "Schema", "ExampleStatistics", "ExampleAnomalies", "DataCheck")


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """An artifact as MLMD knows it. splits, span: of Examples."""

    id: int
    kind: str
    uri: str
    splits: tuple[str, ...] = ()
    span: int = 0


@dataclass(frozen=True, kw_only=True)
class Execution:
    """An execution with what went in and out. kind: the class of its component."""

    id: int
    kind: str
    inputs: tuple[Artifact, ...]
    outputs: tuple[Artifact, ...]
    parameters: Mapping[str, Any]

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.kind} (execution {self.id})"


@dataclass(frozen=True, kw_only=True)
class Taint:
    """What lies behind a model. charges: ids by the name of the execution that they cover. unaccounted: what makes its
    ε infinite, a sentence each. exempt: executions that read private records outside ε, with the reason."""

    charges: dict[str, list[int]]
    unaccounted: list[str]
    exempt: dict[str, str]


def taint_of(
    executions: Iterable[Execution], orphans: Iterable[Artifact], book: Book, statistics: str = "public"
) -> Taint:
    """Looks at every execution behind a model.

    One that is given examples with a private split is taken to have read it, unless its settings, which `_READS` knows
    how to read, say otherwise. What read a private split must have put out a statement, or a release, that names a
    charge which its inputs do not name, and the ledger must hold that charge, for that mechanism, on a span of the
    number of each that it read. A DataChecker must have been given these examples too: what spans sum up to rests on
    whose their records are. A model that was brought from outside has nobody who accounts for it.

    Args:
        executions: all of them. orphans: artifacts that no execution put out. book: of the ledger. statistics: as
            configured; those that are declared as not covered are exempt, and the statement names them.
    """
    executions = list(executions)
    checked = {a.id for e in executions if e.kind == "DataChecker" for a in e.inputs}
    charges, unaccounted, exempt = {}, [], {}
    known = {**_EXEMPT, "StatisticsGen": DECLARED} if statistics == "declared" else _EXEMPT
    for execution in executions:
        private = [a for a in execution.inputs if a.kind == "Examples" and set(a.splits) & set(PRIVATE)]
        if execution.kind == "Importer":
            unaccounted += [_brought(a, execution.name) for a in execution.outputs if a.kind not in _CARRIES_NO_MODEL]
        if execution.kind in known:
            exempt[execution.name] = known[execution.kind]
        elif private and _reads_private(execution):
            covered = _new_claims(execution)
            wrong = _uncovered(execution, private, covered, book) or _unchecked(execution, private, checked)
            if wrong:
                unaccounted.append(wrong)
            else:
                charges[execution.name] = sorted(covered)
    unaccounted += [_brought(a, "nobody") for a in orphans if a.kind not in _CARRIES_NO_MODEL]
    return Taint(charges=charges, unaccounted=unaccounted, exempt=exempt)


def _brought(artifact: Artifact, by: str) -> str:
    return f"artifact {artifact.id} ({artifact.kind}, {artifact.uri}) was brought in from outside by {by}"


def _reads_private(execution: Execution) -> bool:
    reads = _READS.get(execution.kind)
    if reads is None:
        return True
    try:
        return bool(reads(execution.parameters) & set(PRIVATE))
    except (KeyError, TypeError, ValueError, AttributeError):
        return True


def _uncovered(execution: Execution, private: list[Artifact], claims: dict[int, Any], book: Book) -> str | None:
    """Why a private read is not covered; None if it is."""
    if not claims:
        return f"{execution.name} read {' and '.join(PRIVATE)} and names no charge"
    for id, mechanism in claims.items():
        charge = book.charges.get(id)
        if charge is None:
            return f"{execution.name} names charge {id}, which the ledger does not have"
        if charge.reserved != mechanism:
            return f"{execution.name} executed another mechanism than its charge {id} is for"
        for examples in private:
            if not any(name.endswith(f"/span-{examples.span}") for name in charge.spans):
                on = ", ".join(charge.spans)
                return f"{execution.name} read span {examples.span}, and its charge {id} is on {on}"
    return None


def _unchecked(execution: Execution, private: list[Artifact], checked: set[int]) -> str | None:
    """Which examples no DataChecker was given; None if each was."""
    for examples in private:
        if examples.id not in checked:
            return (
                f"{execution.name} read artifact {examples.id} of span {examples.span}, which no DataChecker was given"
            )
    return None


def _new_claims(execution: Execution) -> dict[int, Any]:
    """Mechanisms by charge that statements and releases of the outputs name, and those of the inputs do not."""
    before = {id for artifact in execution.inputs for id in _claims(artifact)}
    after = {id: m for artifact in execution.outputs for id, m in _claims(artifact).items()}
    return {id: mechanism for id, mechanism in after.items() if id not in before}


def _claims(artifact: Artifact) -> dict[int, Any]:
    try:
        if artifact.kind == "ExampleStatistics":
            release = load_release(artifact.uri)
            return {release.charge: release.mechanism}
        stated: Statement = load_statement(artifact.uri)
    except GateError:
        return {}
    return {stated.charge: stated.mechanism, **{t.charge: t.mechanism for t in stated.tuned}}


def _not_excluded(parameters: Mapping[str, Any]) -> set[str]:
    return set(PRIVATE) - set(json.loads(parameters["exclude_splits"]))


def _listed(parameters: Mapping[str, Any]) -> set[str]:
    return set(json.loads(parameters["example_splits"]))


def _tuned_on(parameters: Mapping[str, Any]) -> set[str]:
    return set() if json.loads(parameters["config"])["private"] is None else set(PRIVATE)


def _none(_: Mapping[str, Any]) -> set[str]:
    return set()


_EXEMPT = {"ImportExampleGen": COPIES, "DataChecker": STRUCTURE}
_READS: dict[str, Callable[[Mapping[str, Any]], set[str]]] = {
    "StatisticsGen": _not_excluded,
    "Evaluator": _listed,
    "Pruner": _tuned_on,
    "Clusterer": _tuned_on,
    "Quantizer": _tuned_on,
    "CompressionSearch": _none,  # validation and public
    "DriftDetector": _none,  # public
    "HoldoutScorer": _none,  # holdout
    "Resolver": _none,
}
