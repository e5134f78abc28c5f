"""The report page: one self-contained HTML file, rendered from nothing but the run record."""

import datetime
import json
import os
from typing import Any

import jinja2

from components.common.words import kilobytes, microseconds, number, points
from pipeline.report.charts import accuracy_over_size, epsilon_over_time, tried_points


def render(record: dict[str, Any]) -> str:
    """Renders a run record (see `pipeline.run`) as a page without any outside reference.

    Parts that a failed run does not have are left out with a sentence.
    """
    pushed = record["pushed"]
    shown = next((v for v in record["variants"] if pushed and v["recipe"] == pushed["recipe"]), None)
    return page(
        "report.html.j2",
        r=record,
        outcome=outcome(record),
        warning=warning(record),
        shown=shown or next(iter(record["variants"]), None),
        chart=accuracy_over_size(record["parent"], record["variants"], record["max_drop"]),
        spending=epsilon_over_time(record.get("ledger")),
        searches=[(search, tried_points(search), _pareto(search)) for search in record["searches"]],
        settings=json.dumps(record["settings"], indent=2, ensure_ascii=False),
        trained=_trained_against_plain(record),
        longest=max((n["seconds"] for n in record["nodes"]), default=0) or 1,
        types={row["artifact"]: row["type"] for row in record["lineage"]},
        behind=_behind_the_push(record["lineage"]),
    )


def page(template: str, **shown: Any) -> str:
    """Renders a template of this folder, with the filters for figures."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.report", "."), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(
        number=number,
        points=points,
        kilobytes=kilobytes,
        microseconds=microseconds,
        percent=_percent,
        moment=moment,
        duration=_duration,
        relative=os.path.relpath,
    )
    return environment.get_template(template).render(**shown)


def outcome(record: dict[str, Any]) -> str:
    """How the run ended, as one sentence."""
    if record["error"]:
        return f"{record['state'].capitalize()}: {record['error']}"
    if record["pushed"]:
        chosen = next(v for v in record["variants"] if v["recipe"] == record["pushed"]["recipe"])
        epsilon, delta = record["privacy"]["epsilon"], record["privacy"]["delta"]
        return (
            f"Pushed {chosen['recipe']}: {_percent(chosen['accuracy'])} on holdout, {points(-chosen['drop'])} points "
            f"against its parent, {kilobytes(chosen['gzip_bytes'])} gzip, ε\u00a0=\u00a0{epsilon:.2f} at "
            f"δ\u00a0=\u00a0{number(delta)}."
        )
    return "Refused: no variant passed its gate, nothing was pushed."


def warning(record: dict[str, Any]) -> str | None:
    """What goes with the outcome and did not stop the run."""
    drift = record.get("drift")
    return f"Warning: the span has drifted: {'; '.join(drift['reasons'])}." if drift and drift["reasons"] else None


def _trained_against_plain(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Pairs of variants whose recipes differ only in whether the last stage trains before it converts."""
    recipes = record["settings"].get("recipes", {})
    recipes = {name: stages for name, stages in recipes.items() if isinstance(stages, list)}
    variants = {v["recipe"]: v for v in record["variants"]}
    pairs = []
    for name, stages in recipes.items():
        plain = next((other for other, theirs in recipes.items() if theirs == _untrained(stages) != stages), None)
        if name in variants and plain in variants:
            before = " + ".join(stage["stage"] for stage in stages[:-1]) or "none"
            pair = {"plain": variants[plain], "trained": variants[name]}
            pairs.append({"before": before, "mode": stages[-1]["mode"], **pair})
    return pairs


def _untrained(stages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    last = {key: value for key, value in stages[-1].items() if key not in ("public", "private")}
    return [*stages[:-1], last]


def _pareto(search: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of the Pareto set, from the largest file to the smallest."""
    tries = {made["key"]: made for made in search["tries"]}
    return [{**tries[key], "levels": _levels(tries[key])} for key in search["pareto"]]


def _levels(made: dict[str, Any]) -> str:
    """The levels of a try, over all its layers: "50 to 80 % zeros, 8 to 32 clusters"."""
    zeros = _span([f"{100 * sparsity:.0f}" for sparsity in sorted(made["sparsities"].values())])
    clusters = _span([str(count) for count in sorted(made["clusters"].values())])
    return ", ".join(([f"{zeros} % zeros"] if zeros else []) + ([f"{clusters} clusters"] if clusters else []))


def _span(ordered: list[str]) -> str:
    return " to ".join(dict.fromkeys(ordered[:1] + ordered[-1:]))


def moment(iso: str) -> str:
    """A time as a person reads it, to the minute, in the zone that it is given in."""
    return f"{datetime.datetime.fromisoformat(iso):%Y-%m-%d %H:%M}"


def _duration(seconds: float) -> str:
    """86 s, 12 min, 3.5 h."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f} %"


def _behind_the_push(lineage: list[dict[str, Any]]) -> set[int]:
    """The ids of the artifacts that what was pushed was made from, itself included; empty without a push."""
    made_from = {row["artifact"]: row["inputs"] for row in lineage}
    open_ = [row["artifact"] for row in lineage if row["node"] == "Pusher"]
    found: set[int] = set()
    while open_:
        artifact = open_.pop()
        if artifact not in found:
            found.add(artifact)
            open_ += made_from.get(artifact, [])
    return found
