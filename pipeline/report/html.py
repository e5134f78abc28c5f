"""The report page: one self-contained HTML file, rendered from nothing but the run record."""

import json
from typing import Any

import jinja2

from pipeline.report.charts import accuracy_over_size


def render(record: dict[str, Any]) -> str:
    """Renders a run record (see `pipeline.run`) as a page without any outside reference.

    Parts that a failed run does not have are left out with a sentence.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.report", "."), autoescape=True, undefined=jinja2.StrictUndefined
    )
    pushed = record["pushed"]
    shown = next((v for v in record["variants"] if pushed and v["recipe"] == pushed["recipe"]), None)
    return environment.get_template("report.html.j2").render(
        r=record,
        outcome=outcome(record),
        shown=shown or next(iter(record["variants"]), None),
        chart=accuracy_over_size(record["parent"], record["variants"], record["max_drop"]),
        settings=json.dumps(record["settings"], indent=2, ensure_ascii=False),
        longest=max((n["seconds"] for n in record["nodes"]), default=0) or 1,
    )


def outcome(record: dict[str, Any]) -> str:
    """How the run ended, as one sentence."""
    if record["pushed"]:
        chosen = next(v for v in record["variants"] if v["recipe"] == record["pushed"]["recipe"])
        return (
            f"Pushed {chosen['recipe']}: {100 * chosen['accuracy']:.1f} % on holdout, {-100 * chosen['drop']:+.2f} points "
            f"against its parent, {chosen['gzip_bytes'] / 1000:.1f} KB gzip, ε = {record['privacy']['epsilon']:.2f} at "
            f"δ = {record['privacy']['delta']:g}."
        )
    return record["error"] or "Nothing was pushed: every variant was refused."
