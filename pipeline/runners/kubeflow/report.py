"""The last step of a Kubeflow run: its record and page on the volume, and in Kubeflow's own UI the page, the table of
variants and the figures. It runs however the run ended."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_SHOWN = ("accuracy", "gzip_bytes", "download_bytes")


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the record and the artifacts.

    Returns:
        0; 2 MLMD or the volume; 1 a fault of ours.
    """
    step = _parser().parse_args(arguments)
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    os.umask(0o077)
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(message)s")
    from pipeline.runners.kubeflow.node import explained

    try:
        print(f"lockgate: {_reported(step)}".rstrip())
    except Exception as error:
        told = explained(error, step.metadata)
        print(f"lockgate: {told}", file=sys.stderr)
        return told.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    from pipeline.runners.kubeflow.node import add_shared

    parser = argparse.ArgumentParser(prog="report.py", description="Closes a run: its record, page and figures.")
    add_shared(parser)
    parser.add_argument("--executor-input", required=True, help="what Kubeflow says of the outputs")
    parser.add_argument("--page", type=Path, required=True, help="file for the report's page")
    parser.add_argument("--variants", type=Path, required=True, help="file for the table of variants")
    parser.set_defaults(metadata="")
    return parser


def _reported(step: argparse.Namespace) -> str:
    """Closes the run, and writes what Kubeflow's UI shows; gives the sentence that says how the run ended."""
    from pipeline.report.html import render
    from pipeline.runners.kubeflow.imports import only_for
    from pipeline.runners.kubeflow.node import shared_by_steps

    common = shared_by_steps(step)
    with only_for(None):
        from pipeline.runners.kubeflow.closing import close
        from pipeline.runners.kubeflow.settings import read

    closed = close(read(common.settings), step.run, common.metadata)
    record = closed.record
    _write(step, render(record), [*_table(record), "", *closed.spans], _figures(record))
    return f"the run is {record['state']}. {record['error'] or ''}"


def _write(step: argparse.Namespace, page: str, lines: list[str], figures: dict[str, float]) -> None:
    """What Kubeflow's UI shows."""
    from pipeline.run import write_whole

    step.page.parent.mkdir(parents=True, exist_ok=True)
    step.variants.parent.mkdir(parents=True, exist_ok=True)
    write_whole(step.page, page)
    write_whole(step.variants, "\n".join(lines) + "\n")
    asked = json.loads(step.executor_input)["outputs"]
    (metrics,) = asked["artifacts"]["metrics"]["artifacts"]
    said = {"artifacts": {"metrics": {"artifacts": [{**metrics, "metadata": figures}]}}}
    file = Path(asked["outputFile"])
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps(said))


def _table(record: dict[str, Any]) -> list[str]:
    """The variants as Markdown."""
    lines = [
        f"# {record['config']}: {record['state']}",
        *([record["error"]] if record["error"] else []),
        "",
        "| variant | accuracy | drop, points | gzip, bytes | verdict | why |",
        "|---|---|---|---|---|---|",
    ]
    pushed = record["pushed"] and record["pushed"]["recipe"]
    for variant in record["variants"]:
        verdict = variant["verdict"] + (", pushed" if variant["recipe"] == pushed else "")
        why = " ".join(variant["reasons"]).replace("|", "/")
        drop = f"{100 * variant['drop']:.2f}"
        lines.append(
            f"| {variant['recipe']} | {100 * variant['accuracy']:.2f} % | {drop} | {variant['gzip_bytes']} "
            f"| {verdict} | {why} |"
        )
    return lines


def _figures(record: dict[str, Any]) -> dict[str, float]:
    """The figures of the run that Kubeflow compares over runs: of what was pushed, ε, and how many passed."""
    found: dict[str, float] = {"passed": sum(v["verdict"] == "pass" for v in record["variants"])}
    found["pushed"] = int(record["pushed"] is not None)
    if record["privacy"] and record["privacy"]["epsilon"] is not None:
        found["epsilon"] = record["privacy"]["epsilon"]
    for variant in record["variants"]:
        if record["pushed"] and variant["recipe"] == record["pushed"]["recipe"]:
            found |= {key: variant[key] for key in _SHOWN}
    return found
