"""What a person sees in the terminal: progress while nodes run, then the table and the decision."""

import os
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console as RichConsole
from rich.status import Status
from rich.table import Table
from rich.text import Text

from pipeline.run import Watcher

_VERDICTS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}


class Console(Watcher):
    """A watcher that writes to the terminal as it was when the run began; libraries' output goes elsewhere.

    Args:
        quiet: show nothing of the progress.
    """

    def __init__(self, quiet: bool = False):
        self._quiet = quiet
        self._status: Status | None = None
        self._begun = 0.0

    def __enter__(self) -> "Console":
        self._terminal = os.fdopen(os.dup(sys.stdout.fileno()), "w")
        self._out = RichConsole(file=self._terminal, highlight=False)
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop()
        self._terminal.close()

    def node_started(self, node: str) -> None:
        """Shows a spinner with the node's name."""
        self._begun = time.monotonic()
        if not self._quiet:
            self._status = self._out.status(f"{node} …", spinner="dots")
            self._status.start()

    def progress(self, message: str) -> None:
        """Shows what the running node says beside its spinner."""
        if self._status:
            self._status.update(f"{message}  [dim]{time.monotonic() - self._begun:.0f} s[/dim]")

    def node_ended(self, node: str, state: str, seconds: float) -> None:
        """Writes one line for the node."""
        self._stop()
        if not self._quiet:
            mark = {"ran": "[green]✓[/green]", "cached": "[cyan]=[/cyan]", "failed": "[red]✗[/red]"}[state]
            note = "cached" if state == "cached" else f"{seconds:.1f} s"
            self._out.print(f"{mark} {node:<38} [dim]{note:>8}[/dim]")

    def close_run(self, record: dict[str, Any]) -> None:
        """Prints the table of variants, the decision and where to look further."""
        if record["variants"]:
            self._out.print()
            self._out.print(_table(record))
        self._out.print()
        self._out.print(_decision(record))
        self._out.print(f"report  {record['report']}", soft_wrap=True)
        self._out.print(f"log     {record['log']}", soft_wrap=True)
        self._out.print(f"root    {record['root']}", soft_wrap=True)

    def _stop(self) -> None:
        if self._status:
            self._status.stop()
            self._status = None


def print_runs(records: list[dict[str, Any]], root: Path) -> None:
    """Prints a line a run."""
    out = RichConsole(highlight=False)
    if not records:
        out.print(f"No runs under {root}. Start one with: lockgate run")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("run", "config", "state", "s", "ε", "pushed"):
        table.add_column(column)
    for r in records:
        epsilon = (r["privacy"] or {}).get("epsilon")
        seconds = f"{r['seconds']:.0f}" if r["seconds"] is not None else ""
        pushed = r["pushed"]["recipe"] if r["pushed"] else ""
        table.add_row(r["run"], r["config"], r["state"], seconds, f"{epsilon:.2f}" if epsilon else "", pushed)
    out.print(table)


def _table(record: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("variant", "accuracy", "change", "raw", "gzip", "latency", "verdict"):
        table.add_column(column, justify="left" if column in ("variant", "verdict") else "right", no_wrap=True)
    table.add_column("why", overflow="fold")
    parent, pushed = record["parent"], record["pushed"]
    table.add_row("parent (float)", f"{100 * parent['accuracy']:.2f} %", "", *_sizes(parent), "", "")
    for v in record["variants"]:
        name = f"{v['recipe']} ◀" if pushed and pushed["recipe"] == v["recipe"] else v["recipe"]
        verdict = Text(v["verdict"], style=_VERDICTS[v["verdict"]])
        why = " ".join(v["reasons"])
        table.add_row(
            name, f"{100 * v['accuracy']:.2f} %", f"{-100 * v['drop']:+.2f}", *_sizes(v), verdict, why
        )
    return table


def _sizes(model: dict[str, Any]) -> tuple[str, str, str]:
    return f"{model['bytes'] / 1000:.1f} KB", f"{model['gzip_bytes'] / 1000:.1f} KB", f"{model['latency_us']:.0f} µs"


def _decision(record: dict[str, Any]) -> Text:
    if record["pushed"]:
        privacy = record["privacy"]
        return Text(
            f"Pushed {record['pushed']['recipe']} (ε = {privacy['epsilon']:.2f}, δ = {privacy['delta']:g}) to "
            f"{record['pushed']['path']} in {record['seconds']:.0f} s",
            style="bold green",
        )
    if record["error"]:
        return Text(f"{record['state'].capitalize()}: {record['error']}", style="bold red")
    return Text("Refused: no variant passed its gate, nothing was pushed.", style="bold yellow")
