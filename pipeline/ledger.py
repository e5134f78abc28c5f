"""`lockgate ledger`: what was spent, whether the ledger is whole, moving it, its policy, and a person's decision."""

import base64
import datetime
import fnmatch
import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from components.common.errors import ConfigError, LedgerError
from pipeline.options import DEFAULT_ROOT, JsonOption, RootOption
from pipeline.places import ledger_of, metadata_of

app = typer.Typer(help="The privacy ledger: what was spent, and what is left.", no_args_is_help=True)

LedgerOption = Annotated[
    str | None,
    typer.Option("--ledger", envvar="LOCKGATE_LEDGER", help="A sqlite file or a URL. Default: the root's."),
]
WITNESS = "LOCKGATE_LEDGER_WITNESS"  # the MLMD that remembers the ledger's head; empty: the root's
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is kept in the ledger.")]


@app.command()
def show(root: RootOption = DEFAULT_ROOT, ledger: LedgerOption = None, as_json: JsonOption = False) -> None:
    """Show spans, runs, what is spent and left, and when the budget will run dry."""
    from components.privacy.standing import standings

    book = _open(root, ledger).book()
    found = standings(book, datetime.datetime.now(datetime.timezone.utc))
    if as_json:
        runs = [_run(charge) for charge in book.charges.values()]
        _print({"entries": book.head.number, "spans": [s.as_json() for s in found], "runs": runs})
        return
    from pipeline.console import print_standings

    print_standings(found, _place(root, ledger))


@app.command()
def verify(root: RootOption = DEFAULT_ROOT, ledger: LedgerOption = None, as_json: JsonOption = False) -> None:
    """Check every entry, and the newest one against the head that MLMD remembers."""
    opened = _open(root, ledger)
    wrong = opened.verify()
    if as_json:
        _print({"whole": not wrong, "wrong": wrong})
    else:
        print("\n".join(wrong) or f"The ledger is whole: {opened.book().head.number} entries.")
    raise typer.Exit(LedgerError.exit_code if wrong else 0)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="The file to write, mode 0600.")],
    root: RootOption = DEFAULT_ROOT,
    ledger: LedgerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write all entries to a file."""
    entries = _open(root, ledger).export()
    rows = [{**entry._asdict(), "curve": base64.b64encode(entry.curve).decode()} for entry in entries]
    try:
        file.touch(mode=0o600)
        file.chmod(0o600)
        file.write_text(json.dumps({"entries": rows}))
    except OSError as error:
        raise ConfigError(
            f"an export must be a file that can be written. Received: {file} ({error.strerror})"
        ) from None
    _told(as_json, len(rows), f"{len(rows)} entries are in {file}.")


@app.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(help="What `lockgate ledger export` wrote.")],
    root: RootOption = DEFAULT_ROOT,
    ledger: LedgerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fill an empty ledger with the entries of another one."""
    from components.privacy.entries import Entry

    try:
        rows = json.loads(file.read_text())["entries"]
        entries = [Entry(**{**row, "curve": base64.b64decode(row["curve"])}) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"an import must be what `lockgate ledger export` wrote. Received: {file}: {error}") from None
    _open(root, ledger).take_over(entries)
    _told(as_json, len(entries), f"{len(entries)} entries are in {_place(root, ledger)}.")


@app.command()
def policy(
    file: Annotated[Path, typer.Argument(help="A TOML file: owners, and budgets by span.")],
    reason: ReasonOption,
    root: RootOption = DEFAULT_ROOT,
    ledger: LedgerOption = None,
) -> None:
    """Put a policy in force: who may change it, and how much may be spent on which spans."""
    from components.privacy.policy import read_policy

    wanted, opened = read_policy(file), _open(root, ledger)
    opened.set_policy(wanted, reason)
    print(f"The policy is in force, of {len(wanted.budgets)} budgets; {', '.join(wanted.owners)} may replace it.")
    for budget in wanted.budgets:
        if not fnmatch.filter(opened.book().spans, budget.spans):
            print(f"No span of the ledger fits {budget.spans} yet; `lockgate ledger show` prints their names.")


@app.command()
def decide(
    reason: ReasonOption,
    keep: Annotated[list[str] | None, typer.Option("--keep", help="Pattern of spans to vouch for. Repeatable.")] = None,
    root: RootOption = DEFAULT_ROOT,
    ledger: LedgerOption = None,
) -> None:
    """Go on with a damaged ledger: spans that nobody vouches for are closed for ever."""
    _open(root, ledger).decide(keep or [], reason)
    print(f"The ledger goes on; vouched for: {', '.join(keep or []) or 'no span'}.")


def _open(root: Path, ledger: str | None):
    from pipeline.guards import quiet_imports

    quiet_imports()
    from components.privacy.witness import witnessed

    return witnessed(_place(root, ledger), os.environ.get(WITNESS) or metadata_of(root.expanduser()))


def _place(root: Path, ledger: str | None) -> str:
    return ledger or ledger_of(root.expanduser())


def _run(charge) -> dict[str, Any]:
    mechanism = charge.mechanism
    return {
        "charge": charge.id,
        "run": charge.run,
        "spans": list(charge.spans),
        "made": charge.made.isoformat(timespec="seconds"),
        "settled": charge.settled,
        **vars(mechanism),
    }


def _told(as_json: bool, entries: int, sentence: str) -> None:
    if as_json:
        _print({"entries": entries})
    else:
        print(sentence)


def _print(found: dict[str, Any]) -> None:
    print(json.dumps(found, indent=2, ensure_ascii=False))
