"""What a person sees in the terminal: progress while nodes run, then the table and the decision."""

import os
import sys
from pathlib import Path
from typing import Any

from rich.console import Console as RichConsole
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from components.common.words import kilobytes, microseconds, number, points
from pipeline.report.html import moment, warning
from pipeline.run import Watcher
from pipeline.schedule.due import damaged_in_words, waiting_in_words

_VERDICTS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}


class Console(Watcher):
    """A watcher that writes to the terminal as it was when the run began; libraries' output goes elsewhere.

    Args:
        quiet: show nothing of the progress.
    """

    def __init__(self, quiet: bool = False):
        self._quiet = quiet
        self._line: Progress | None = None

    def __enter__(self) -> "Console":
        self._terminal = os.fdopen(os.dup(sys.stdout.fileno()), "w")
        self._out = RichConsole(file=self._terminal, highlight=False)
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop()
        self._terminal.close()

    def node_started(self, node: str, position: int, total: int) -> None:
        """Shows a spinner, the node's name and place, and how long it runs; nothing where nobody watches a terminal."""
        if self._quiet or not self._out.is_terminal:
            return
        columns = (
            SpinnerColumn(),
            TextColumn(f"{node} [dim]{position} of {total}[/dim]"),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
        )
        self._line = Progress(*columns, console=self._out, transient=True)
        self._line.add_task("", total=None)
        self._line.start()

    def progress(self, message: str) -> None:
        """Shows what the running node says beside its spinner."""
        if self._line:
            self._line.update(self._line.task_ids[0], description=escape(message))

    def node_ended(self, node: str, state: str, seconds: float) -> None:
        """Writes one line for the node."""
        self._stop()
        if not self._quiet:
            mark = {"ran": "[green]✓[/green]", "cached": "[cyan]=[/cyan]", "failed": "[red]✗[/red]"}[state]
            note = "cached" if state == "cached" else f"{seconds:.1f} s"
            self._out.print(f"{mark} {node:<38} [dim]{note:>8}[/dim]")

    def close_run(self, record: dict[str, Any]) -> None:
        """Prints the table of variants, what stands against those refused, the decision, and where to look further."""
        if record["variants"]:
            self._out.print()
            self._out.print(_table(record, wide=self._out.width >= 76))
        refused = [v for v in record["variants"] if v["reasons"]]
        if refused:
            self._out.print()
            self._out.print(_reasons(refused))
        self._out.print()
        self._out.print(_decision(record))
        if warning(record) and record["state"] != "refused":
            self._out.print(Text(warning(record), style="yellow"))
        for name, place in _places(record).items():
            self._out.print(f"[dim]{name:<6}[/dim]  {place}", soft_wrap=True)

    def close_firing(self, firing: Any) -> None:
        """Prints what became of a retraining, a `Firing`."""
        for record in firing.runs:
            if record["run"]:
                self.close_run(record)
            else:
                self._out.print(_decision(record))
        if firing.idle:
            self._out.print(f"{firing.idle.capitalize()}: no run was started.")
        _print_spans(self._out, firing.damaged, firing.waiting)

    def _stop(self) -> None:
        if self._line:
            self._line.stop()
            self._line = None


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


def print_status(found: dict[str, Any]) -> None:
    """Prints what serves, what comes next, and the last runs, newest first."""
    out = RichConsole(highlight=False)
    serving = found["serving"]
    if serving:
        since = f" since {moment(serving['since'])}"
        promise = f"ε = {serving['epsilon']:.2f} at δ = {number(serving['delta'])}"
        figures = f"{100 * serving['accuracy']:.2f} % on holdout, {promise}, from {serving['spans_in_words']}"
        out.print(f"Version {serving['version']}, {serving['recipe']}, serves{since}: {figures}.", style="bold green")
        out.print(escape(serving["path"]), style="dim", soft_wrap=True)
    else:
        out.print("Nothing serves yet.", style="bold yellow")
    idle = "nothing is due" if found["waiting"] or found["damaged"] or found["problem"] else "nothing new has arrived"
    due = f"due: {', '.join(found['due'])}" if found["due"] else idle
    out.print(f"Next firing {moment(found['next'])} ({found['time_zone']}); {due}.")
    if found["problem"]:
        out.print(escape(found["problem"]), style="red")
    _print_spans(out, found["damaged"], found["waiting"])
    if found["runs"]:
        out.print()
        out.print(_last_runs(found["runs"]))


def print_cleaned(found: Any, dry_run: bool) -> None:
    """Prints what went, or would, and how much stays; a `Cleaned`."""
    out = RichConsole(highlight=False)
    for row in found.removed:
        out.print(f"[dim]{row['what']:<8}{kilobytes(row['bytes']):>12}[/dim]  {escape(row['path'])}", soft_wrap=True)
    verb = "would be removed" if dry_run else "removed"
    total = f"{kilobytes(found.bytes)} {verb}" if found.removed else "Nothing to remove"
    out.print(f"{total}; {kilobytes(found.kept_bytes)} stay.")


def _last_runs(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("run", "span", "s", "ε", "ended", "why"):
        table.add_column(column, no_wrap=column in ("run", "ended"), justify="right" if column in "sε" else "left")
    styles = {"pushed": "green", "refused": "yellow"}
    for row in rows:
        seconds = f"{row['seconds']:.0f}" if row["seconds"] is not None else ""
        epsilon = f"{row['epsilon']:.2f}" if row["epsilon"] else ""
        state = Text(row["state"], style=styles.get(row["state"], "red"))
        table.add_row(row["run"], row["span_name"] or "", seconds, epsilon, state, escape(row["why"]))
    return table


def _print_spans(out: RichConsole, damaged: list[dict[str, str]], waiting: list[dict[str, str]]) -> None:
    """Prints a line for each span that is damaged or not whole yet."""
    for span in damaged:
        out.print(escape(damaged_in_words(span)), style="red")
    for span in waiting:
        out.print(escape(waiting_in_words(span)), style="dim")


def print_standings(found: list[Any], place: str) -> None:
    """Prints a line a span of the ledger, each a `Standing`."""
    out = RichConsole(highlight=False)
    if not found:
        out.print(f"Nothing was spent yet in {place}.")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("span", "runs", "budget", "used", "ε", "ε for life", "runs dry"):
        table.add_column(column, justify="left" if column in ("span", "runs dry") else "right")
    for s in found:
        budget = f"{s.budget:g}" + (f" in {s.days:g} days" if s.days else "")
        dry = "closed" if s.closed else s.dry or ""
        used = f"{100 * s.used:.0f} %"
        table.add_row(escape(s.span), str(s.runs), budget, used, f"{s.spent:.2f}", f"{s.lifetime:.2f}", dry)
    out.print(table)


def print_withdrawn(found: dict[str, Any]) -> None:
    """Prints what `withdraw` took out and what had it in."""
    out = RichConsole(highlight=False)
    for name in ("removed", "copies"):
        for row in found[name]:
            out.print(f"{row['records']} records from {escape(row['file'])}", soft_wrap=True)
    if not found["removed"] and not found["copies"]:
        out.print("No record fits: nothing was changed.")
    for model in found["models"]:
        epsilon = "no ε is promised" if model["epsilon"] is None else f"ε = {model['epsilon']:.2f}"
        out.print(f"{model['kind']} {escape(model['served'] or model['uri'])} had them in, {epsilon}", soft_wrap=True)
    for line in found["retrain"]:
        out.print(f"Retrain: {line}.", soft_wrap=True)
    for line in found["left"]:
        out.print(f"Still to do: {line}.", soft_wrap=True)


def _table(record: dict[str, Any], wide: bool) -> Table:
    """The parent and the variants, a row each; a narrow terminal gets the columns that decide."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("variant", no_wrap=True)
    for column in ("accuracy", "change", "raw", "gzip", "latency") if wide else ("accuracy", "change", "gzip"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict")
    parent, pushed = record["parent"], record["pushed"]
    table.add_row("parent (float)", f"{100 * parent['accuracy']:.2f} %", "", *_sizes(parent, wide), "")
    for v in record["variants"]:
        shipped = bool(pushed) and pushed["recipe"] == v["recipe"]
        verdict = Text(v["verdict"] + (", pushed" if shipped else ""), style=_VERDICTS[v["verdict"]])
        figures = (f"{100 * v['accuracy']:.2f} %", points(-v["drop"]), *_sizes(v, wide))
        table.add_row(v["recipe"], *figures, verdict, style="bold" if shipped else "")
    return table


def _sizes(model: dict[str, Any], wide: bool) -> tuple[str, ...]:
    raw, packed = kilobytes(model["bytes"]), kilobytes(model["gzip_bytes"])
    return (raw, packed, microseconds(model["latency_us"])) if wide else (packed,)


def _reasons(refused: list[dict[str, Any]]) -> Table:
    """A line a reason, wrapped beside the name of its variant."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for variant in refused:
        for i, reason in enumerate(variant["reasons"]):
            table.add_row("" if i else variant["recipe"], reason)
    return table


def _decision(record: dict[str, Any]) -> Text:
    pushed, privacy = record["pushed"], record["privacy"]
    took = f" in {record['seconds']:.0f} s" if record["seconds"] is not None else ""
    if record["error"]:
        return Text(f"{record['state'].capitalize()}: {record['error']}", style="bold red")
    if pushed:
        promise = f"ε = {privacy['epsilon']:.2f} at δ = {number(privacy['delta'])}"
        return Text(f"Pushed {pushed['recipe']}, {promise},{took}.", style="bold green")
    return Text(f"Refused{took}: no variant passed its gate, nothing was pushed.", style="bold yellow")


def _places(record: dict[str, Any]) -> dict[str, str]:
    model = {"model": record["pushed"]["path"]} if record["pushed"] else {}
    return {**model, **{name: record[name] for name in ("report", "log", "root")}}
